"""Writing text with a trained model."""

from charlstm.generation.sampler import Sample, Sampling, generate
from charlstm.generation.specimen import specimen

__all__ = ["Sample", "Sampling", "generate", "specimen"]
