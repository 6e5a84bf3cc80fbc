"""Writing text with a trained model."""

from charlstm.generation.sampler import Sample, Sampling, generate

__all__ = ["Sample", "Sampling", "generate"]
