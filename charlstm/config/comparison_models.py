"""The models of comparison files, for their documentation."""

from __future__ import annotations

from pydantic import BaseModel

from charlstm.config.claims import Claim
from charlstm.config.compare import CompareConfig
from charlstm.config.memory import MemoryConfig

COMPARISON_MODELS: dict[str, type[BaseModel]] = {
    "A comparison of arms on one text": CompareConfig,
    "Experiments on memory: a comparison file with experiments": MemoryConfig,
    "A claim: an item of claims in an experiment": Claim,
}
"""The models of comparison files and of the items of their lists, by what they are."""
