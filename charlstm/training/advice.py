"""What to do about a loss that went bad."""

from __future__ import annotations

from charlstm.config import TrainingConfig


def divergence_advice(c: TrainingConfig, step: int, nats: float, norm: float | None = None) -> str:
    """What happened, and what to try: of a step that was not applied (with its gradient's norm), or held out."""
    clip = "off" if c.clip_grad_norm is None else f"{c.clip_grad_norm:g}"
    what = (
        f"the held-out loss went bad after step {step} ({nats:.4g} nats); that step was not saved"
        if norm is None
        else f"the loss went bad at step {step + 1} (loss {nats:.4g} nats, gradient norm {norm:.4g}); "
        "that step was not applied"
    )
    return (
        f"{what}. Most likely the learning rate is too high: "
        f"try --set training.learning_rate={c.learning_rate / 3:.2g}, a longer warm-up "
        f"(warmup_steps is {c.warmup_steps}) or clip_grad_norm 1 (now {clip})"
    )
