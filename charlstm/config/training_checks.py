"""Checks that each option of the training section has an effect on the text and the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlstm.config.options import RESERVOIRS
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.schema import Config


def training_problems(config: Config) -> Iterator[Problem]:
    """The options of the training section that have no effect, with the reason."""
    corpus, model, training = config.corpus, config.model, config.training
    if training.sequence_length_std and corpus.documents is not None:
        yield _problem("does not work with corpus.documents, only with one running text", "sequence_length_std")
    elif training.sequence_length_std and corpus.validation != "tail":
        reason = f"does not work with corpus.validation: {corpus.validation}, only with tail"
        yield _problem(reason, "sequence_length_std")
    if not corpus.has_validation:
        reason = (
            "needs a held-out score, but corpus.validation_fraction is 0: the score of the training text improves also "
            "when it is learned by heart. Remove this field, or set corpus.validation_fraction above 0"
        )
        yield from (Problem(("training", *field), reason) for field in training.fields_on_held_out_scores)
        if training.evaluation_characters != "auto":
            yield _problem("has no effect with corpus.validation_fraction: 0", "evaluation_characters")
    factors = training.learning_rate_factors
    if factors.front_end != 1 and model.front_end == "one_hot":
        reason = "has no effect with model.front_end: one_hot, which has no weights"
        yield _problem(reason, "learning_rate_factors", "front_end")
    if factors.recurrent != 1 and model.cell in RESERVOIRS:
        reason = f"has no effect with model.cell: {model.cell}, which trains only its output layer"
        yield _problem(reason, "learning_rate_factors", "recurrent")
    for name in ("activation_regularization", "temporal_activation_regularization"):
        if getattr(training, name) and model.cell in RESERVOIRS:
            yield _problem(f"has no effect with model.cell: {model.cell}, whose outputs are not trained", name)


def _problem(reason: str, *field: str) -> Problem:
    return Problem(("training", *field), f"{reason}. Remove it")
