"""Advice for a training run that has diverged, or that could have been better."""

from __future__ import annotations

import math

from charlstm.config import TrainingConfig
from charlstm.training.events import Ended

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
    applied: bool = False,
) -> str:
    """A message for the user: what diverged, the likely cause, and what to try.

    Args:
        step: steps completed before the divergence.
        nats: the training loss if ``norm`` is given, else the held-out loss. None: weights or optimizer state are not
            finite.
        norm: the gradient norm.
        applied: whether the optimizer step was made before its loss was read, as on a GPU.
    """
    if nats is None:
        what = f"weights or optimizer state contain NaN or infinity after step {step}; they were not saved"
    elif norm is None:
        what = f"the held-out loss diverged after step {step} ({nats:.4g} nats); that step was not saved"
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


def ending_advice(training: TrainingConfig, ended: Ended, characters: int, evaluations: int) -> list[str]:
    """Advice after a run that ended at its budget: one line for each thing that could be better.

    Args:
        characters: the length of the training text.
        evaluations: how often the run was evaluated.
    """
    lines = []
    if training.warmup_steps is not None and ended.step <= training.warmup_steps:
        lines.append(
            f"the run ended within its warmup of {training.warmup_steps:,} steps, before it reached the learning rate: "
            "give it a larger budget, or leave warmup_steps out"
        )
    is_small = characters < SMALL_TEXT
    if evaluations >= MIN_EVALUATIONS and ended.best_step is not None and ended.best_step < EARLY * ended.step:
        remedy = "it is too short for more" if is_small else "try more dropout, a smaller network or fewer epochs"
        lines.append(
            f"the held-out score was best at step {ended.best_step:,} of {ended.step:,} and became worse: the network "
            f"began to learn the text by heart; {remedy}. Samples come from the best checkpoint"
        )
    elif is_small:
        lines.append(f"a training text of {characters:,} characters is very short: expect its words, hardly its sense")
    return lines
