"""Sampling and infilling text with a trained model."""

from charlstm.generation.infilling import Infilled, infill
from charlstm.generation.preview import preview
from charlstm.generation.sampler import Sampling, generate
from charlstm.generation.samples import Sample, Samples

__all__ = ["Infilled", "Sample", "Samples", "Sampling", "generate", "infill", "preview"]
