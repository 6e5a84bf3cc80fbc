"""Held-out scores, token predictions and restoration of deleted characters."""

from charlstm.evaluation.predictions import TokenPredictions, predict_tokens
from charlstm.evaluation.restoration import Restoration, restore
from charlstm.evaluation.score import Score, nats_per_character, score

__all__ = ["Restoration", "Score", "TokenPredictions", "nats_per_character", "predict_tokens", "restore", "score"]
