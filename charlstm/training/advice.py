"""Advice for a training run that has diverged, or that could have been better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.config import Config, TrainingConfig
from charlstm.training.budget_advice import UsedBudget, used_budget_advice
from charlstm.training.events import Ended
from charlstm.training.gap_advice import gap_advice

SMALL_TEXT = 5_000  # characters
EARLY = 0.5
"""Fraction of the training after which a best score means that the rest was useless."""
MIN_EVALUATIONS = 5


def divergence_advice(
    training: TrainingConfig,
    precision: str,
    step: int,
    nats: float | None = None,
    norm: float | None = None,
    steps: int = 1,
    applied: bool = False,
    has_validation: bool = True,
) -> str:
    """A message for the user: what diverged, the likely cause, and what to try.

    Args:
        step: steps completed before the divergence.
        nats: the training loss if ``norm`` is given, else that of an evaluation. None: weights or optimizer state are
            not finite.
        norm: the gradient norm.
        steps: the number of steps in succession with a high loss, if loss and norm are finite.
        applied: whether the optimizer step was made before its loss was read, as on a GPU.
        has_validation: whether evaluations score held-out text; if not, they score training text.
    """
    if nats is None:
        what = f"weights or optimizer state contain NaN or infinity after step {step}; they were not saved"
    elif norm is None:
        evaluated = "held-out loss" if has_validation else "loss on the training text"
        what = f"the {evaluated} diverged after step {step} ({nats:.4g} nats); that step was not saved"
    elif steps > 1 and math.isfinite(norm):
        what = (
            f"the loss diverged: for {steps} steps, up to step {step + 1}, it was far above that of a guess "
            f"(loss {nats:.4g} nats, gradient norm {norm:.4g}); what was saved before remains"
        )
    else:
        part = "gradient" if math.isfinite(nats) and not math.isfinite(norm) else "loss"
        what = (
            f"the {part} diverged at step {step + 1} (loss {nats:.4g} nats, gradient norm {norm:.4g}); "
            f"that step was not {'saved' if applied else 'applied'}"
        )
    precision_hint = ", or training.precision=float32 in a new run" if precision == "bfloat16" else ""
    if step == 0:
        return (
            f"{what}. No update was made yet, so the learning rate is not the cause: activations or "
            f"gradients grow over the time steps of a chunk. Try a new run with a shorter training.sequence_length "
            f"(now {training.sequence_length}) or another model.cell{precision_hint}"
        )
    clip = "off" if training.clip_grad_norm is None else f"{training.clip_grad_norm:g}"
    warmup = "not set" if training.warmup_steps is None else training.warmup_steps
    return (
        f"{what}. Most likely the learning rate is too high: "
        f"try --set training.learning_rate={lower_rate(training)}, a longer warm-up "
        f"(warmup_steps is {warmup}) or clip_grad_norm 1 (now {clip}){precision_hint}"
    )


def lower_rate(training: TrainingConfig) -> str:
    """The learning rate to try after a divergence."""
    return f"{training.learning_rate / 3:.2g}"


def ending_advice(config: Config, ended: Ended, characters: int, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Advice after a run: one line for each thing that could be better.

    Args:
        characters: the length of the training text.
        records: the records of metrics.jsonl.
    """
    training, at_budget = config.training, ended.stop_reason == "budget"
    lines = []
    if at_budget and training.warmup_steps is not None and ended.step <= training.warmup_steps:
        lines.append(
            f"the run ended within its warmup of {training.warmup_steps:,} steps, before it reached the learning rate: "
            "give it a larger budget, or leave warmup_steps out"
        )
    if at_budget and (unread := used_budget_advice(training, UsedBudget.of(records))):
        lines.append(unread)
    if at_budget and characters < SMALL_TEXT:
        lines.append(f"a training text of {characters:,} characters is very short: expect its words, hardly its sense")
    elif at_budget and _best_was_early(ended, records):
        lines.append(
            f"the held-out score was best at step {ended.best_step:,} of {ended.step:,} and became worse: the network "
            "began to learn the text by heart; try more dropout, a smaller network or fewer epochs. Samples come from "
            "the best checkpoint; charlstm sample --checkpoint last takes the last one"
        )
    else:
        lines += gap_advice(records, config)
    return lines


def _best_was_early(ended: Ended, records: Sequence[Mapping[str, Any]]) -> bool:
    evaluations = sum(record["kind"] == "evaluation" for record in records)
    return evaluations >= MIN_EVALUATIONS and ended.best_step is not None and ended.best_step < EARLY * ended.step
