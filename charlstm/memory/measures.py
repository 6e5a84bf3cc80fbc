"""The measures of a trained run, by name; arguments and results are JSON objects."""

from __future__ import annotations

from collections.abc import Callable

from charlstm.memory.sentence_measures import sentence_answers, sentence_gates
from charlstm.memory.state_measures import gradient, memory_capacity, state_dynamics, unit_ablation
from charlstm.memory.task_measures import (
    JsonObject,
    answers,
    continual_reber,
    counting,
    longer,
    reber,
    state_surgery,
)
from charlstm.memory.text_measures import (
    character_losses,
    context_loss,
    dependency_loss,
    far_context_loss,
    gate_values,
    ngram,
    ngram_dependency_loss,
)

VERSION = 1
"""Incremented whenever the meaning of a measure changes: old results are then measured again."""

MEASURES: dict[str, Callable[..., JsonObject]] = {
    measure.__name__: measure
    for measure in (
        answers,
        longer,
        state_surgery,
        counting,
        continual_reber,
        reber,
        gradient,
        state_dynamics,
        memory_capacity,
        unit_ablation,
        context_loss,
        character_losses,
        ngram,
        far_context_loss,
        dependency_loss,
        ngram_dependency_loss,
        gate_values,
        sentence_answers,
        sentence_gates,
    )
}
"""Measures by name, so that a measurement job can be sent to another process as text."""
