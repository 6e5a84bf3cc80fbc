"""Held-out scores."""

from charlstm.evaluation.score import Score, nats_per_character, score

__all__ = ["Score", "nats_per_character", "score"]
