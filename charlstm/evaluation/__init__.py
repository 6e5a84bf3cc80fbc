"""Held-out scores, what a model expects at every place, and what it restores."""

from charlstm.evaluation.predictions import TokenPredictions, predict_tokens
from charlstm.evaluation.restoration import Restoration, restore
from charlstm.evaluation.score import Score, nats_per_character, score

__all__ = ["Restoration", "Score", "TokenPredictions", "nats_per_character", "predict_tokens", "restore", "score"]
