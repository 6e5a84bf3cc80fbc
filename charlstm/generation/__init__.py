"""Sampling and infilling text with a trained model."""

from charlstm.generation.infilling import Infilled, infill
from charlstm.generation.preview import preview
from charlstm.generation.requests import TextRequest
from charlstm.generation.sampler import generate
from charlstm.generation.samples import Sample, Samples
from charlstm.generation.sampling import Sampling

__all__ = ["Infilled", "Sample", "Samples", "Sampling", "TextRequest", "generate", "infill", "preview"]
