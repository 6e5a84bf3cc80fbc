"""Advice for a training run that has diverged."""

from __future__ import annotations

import math

from charlstm.config import TrainingConfig


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
    return (
        f"{what}. Most likely the learning rate is too high: "
        f"try --set training.learning_rate={lower_rate(training)}, a longer warm-up "
        f"(warmup_steps is {training.warmup_steps}) or clip_grad_norm 1 (now {clip}){precision_hint}"
    )


def lower_rate(training: TrainingConfig) -> str:
    """The learning rate to try after a divergence."""
    return f"{training.learning_rate / 3:.2g}"
