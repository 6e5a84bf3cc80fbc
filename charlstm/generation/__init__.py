"""Sampling and infilling text with a trained model."""

from charlstm.generation.infilling import Infilled, infill
from charlstm.generation.preview import preview
from charlstm.generation.sampler import Sample, Sampling, generate

__all__ = ["Infilled", "Sample", "Sampling", "generate", "infill", "preview"]
