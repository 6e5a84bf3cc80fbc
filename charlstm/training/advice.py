"""What to do about a loss that went bad."""

from __future__ import annotations

import math

from charlstm.config import TrainingConfig


def divergence_advice(
    c: TrainingConfig,
    precision: str,
    step: int,
    nats: float | None = None,
    norm: float | None = None,
    applied: bool = False,
) -> str:
    """What happened, the likely cause, and what to try.

    With a gradient's norm: of a step that was not applied, or, where it was seen only later (``applied``), not saved.
    With nats alone: of the held-out loss. With neither: of weights or an optimiser that hold a number that is not
    finite.
    """
    if nats is None:
        what = f"weights or optimiser hold a number that is not finite after step {step}; they were not saved"
    elif norm is None:
        what = f"the held-out loss went bad after step {step} ({nats:.4g} nats); that step was not saved"
    else:
        part = "gradient" if math.isfinite(nats) and not math.isfinite(norm) else "loss"
        what = (
            f"the {part} went bad at step {step + 1} (loss {nats:.4g} nats, gradient norm {norm:.4g}); "
            f"that step was not {'saved' if applied else 'applied'}"
        )
    steadier = ", or training.precision=float32 in a new run" if precision == "bfloat16" else ""
    if step == 0:
        return (
            f"{what}. Nothing has been learnt yet, so it is not the learning rate: the numbers grow along the chunk. "
            f"Try a new run with a shorter training.sequence_length (now {c.sequence_length}) or another "
            f"model.cell{steadier}"
        )
    clip = "off" if c.clip_grad_norm is None else f"{c.clip_grad_norm:g}"
    return (
        f"{what}. Most likely the learning rate is too high: "
        f"try --set training.learning_rate={lower_rate(c)}, a longer warm-up "
        f"(warmup_steps is {c.warmup_steps}) or clip_grad_norm 1 (now {clip}){steadier}"
    )


def lower_rate(c: TrainingConfig) -> str:
    """The learning rate to try next, after a loss that went bad."""
    return f"{c.learning_rate / 3:.2g}"
