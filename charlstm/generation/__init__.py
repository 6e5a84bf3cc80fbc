"""Writing text with a trained model."""

from charlstm.generation.infilling import Infilled, infill
from charlstm.generation.sampler import Sample, Sampling, generate
from charlstm.generation.specimen import specimen

__all__ = ["Infilled", "Sample", "Sampling", "generate", "infill", "specimen"]
