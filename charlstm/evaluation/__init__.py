"""Held-out scores, what a model expects at every place, and what it restores."""

from charlstm.evaluation.foresight import Foresight, foresee
from charlstm.evaluation.restoration import Restoration, restore
from charlstm.evaluation.score import Score, nats_per_character, score

__all__ = ["Foresight", "Restoration", "Score", "foresee", "nats_per_character", "restore", "score"]
