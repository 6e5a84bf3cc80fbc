"""Held-out scores, and what a model restores."""

from charlstm.evaluation.restoration import Restoration, restore
from charlstm.evaluation.score import Score, nats_per_character, score

__all__ = ["Restoration", "Score", "nats_per_character", "restore", "score"]
