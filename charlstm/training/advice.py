"""Advice for a training run that has diverged, or that could have been better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.config import Config, ModelConfig, TrainingConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.training.events import Ended
from charlstm.units import bits

SMALL_TEXT = 5_000  # characters
EARLY = 0.5
"""Fraction of the training after which a best score means that the rest was useless."""
MIN_EVALUATIONS = 5
FEW_EPOCHS = 0.5
"""Fewer passes over the training text than this are worth a hint."""
SMALL_GAP = 0.25
"""Bits per character between training and held-out text that need no explanation."""
DROPOUTS = (0.3, 0.5)
"""Dropout to try if a network learns its training text by heart: the first that is higher than its own."""


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


def ending_advice(
    config: Config, ended: Ended, characters: int, epochs: float, records: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Advice after a run: one line for each thing that could be better.

    Args:
        characters: the length of the training text.
        epochs: passes over it.
        records: the records of metrics.jsonl.
    """
    training, at_budget = config.training, ended.stop_reason == "budget"
    gap = gap_advice(records, config.corpus, config.model)
    lines = []
    if at_budget and training.warmup_steps is not None and ended.step <= training.warmup_steps:
        lines.append(
            f"the run ended within its warmup of {training.warmup_steps:,} steps, before it reached the learning rate: "
            "give it a larger budget, or leave warmup_steps out"
        )
    if at_budget and (unread := used_budget_advice(training, epochs)):
        lines.append(unread)
    if at_budget and characters < SMALL_TEXT:
        lines.append(f"a training text of {characters:,} characters is very short: expect its words, hardly its sense")
    elif at_budget and _best_was_early(ended, records):
        lines.append(
            f"the held-out score was best at step {ended.best_step:,} of {ended.step:,} and became worse: the network "
            "began to learn the text by heart; try more dropout, a smaller network or fewer epochs. Samples come from "
            "the best checkpoint; charlstm sample --checkpoint last takes the last one"
        )
    elif gap:
        lines.append(gap)
    return lines


def _best_was_early(ended: Ended, records: Sequence[Mapping[str, Any]]) -> bool:
    evaluations = sum(record["kind"] == "evaluation" for record in records)
    return evaluations >= MIN_EVALUATIONS and ended.best_step is not None and ended.best_step < EARLY * ended.step


def planned_budget_advice(training: TrainingConfig, steps_per_epoch: int) -> str:
    """One sentence if a budget in steps or epochs is a fraction of an epoch; "" if not, or if it is in minutes."""
    budget = training.budget
    if budget.minutes is not None:
        return ""
    epochs = min(
        *([] if budget.epochs is None else [budget.epochs]),
        *([] if budget.steps is None else [budget.steps / steps_per_epoch]),
        FEW_EPOCHS,
    )
    if epochs >= FEW_EPOCHS:
        return ""
    return f"{_unread(epochs)}: one epoch is {steps_per_epoch:,} steps; raise training.budget to read more of it"


def used_budget_advice(training: TrainingConfig, epochs: float) -> str:
    """One sentence if a budget in minutes was used up after a fraction of an epoch, else ""."""
    if training.budget.minutes is None or epochs >= FEW_EPOCHS:
        return ""
    return f"{_unread(epochs)}; raise training.budget.minutes, or train a smaller network, to read more of it"


def _unread(epochs: float) -> str:
    return f"the budget is {epochs:.2g} epochs: {1 - epochs:.0%} of the training text is not read"


def gap_advice(records: Sequence[Mapping[str, Any]], corpus: CorpusConfig, model: ModelConfig) -> str:
    """One sentence if the scores of training and held-out text part, and what to try; "" if they do not.

    A gap that is there from the beginning, when little can have been learned by heart, is one between the texts: within
    the first epoch, or at the first evaluation, it has at least half of its final size.

    Args:
        records: the records of metrics.jsonl.
        model: the network; the advice is more of the dropout that it has.
    """
    scored = [
        record
        for record in records
        if record["kind"] == "evaluation"
        and record["nats"] is not None
        and record.get("training_split_nats") is not None
    ]
    if not scored:
        return ""
    best = min(scored, key=lambda record: record["nats"])
    early = next((r for r in reversed(scored) if r["epoch"] <= 1), scored[0])
    gap, early_gap, last_gap = (_gap_in_bits(record) for record in (best, early, scored[-1]))
    has_other_text = corpus.validation == "files" or not _is_spread(corpus)
    if has_other_text and abs(gap) >= SMALL_GAP and abs(early_gap) >= abs(last_gap) / 2 and early_gap * gap > 0:
        what = "held-out text is" if corpus.validation == "tail" else "held-out files are"
        part = "its end is" if corpus.validation == "tail" else "they are"
        return (
            f"{what} {abs(gap):.1f} bits {'harder' if gap > 0 else 'easier'} than the training text: {part} not like "
            "the rest; try --set corpus.validation=blocks"
        )
    if last_gap >= SMALL_GAP:
        training, held_out = (bits(scored[-1][name]) for name in ("training_split_nats", "nats"))
        return (
            f"the network learns by heart: {training:.1f} bits for training text, {held_out:.1f} for held-out text; "
            f"try more text, {_more_dropout(model)}or a smaller model.hidden_size"
        )
    return ""


def _more_dropout(model: ModelConfig) -> str:
    """The option for the next higher dropout before the readout, with a space; "" if it is high already."""
    option, value = (
        ("dropout", model.dropout) if model.output_dropout is None else ("output_dropout", model.output_dropout)
    )
    higher = next((dropout for dropout in DROPOUTS if dropout > value), None)
    return "" if higher is None else f"--set model.{option}={higher} "


def _gap_in_bits(record: Mapping[str, Any]) -> float:
    return bits(record["nats"] - record["training_split_nats"])


def _is_spread(corpus: CorpusConfig) -> bool:
    """Whether the held-out text comes from all over the text."""
    return corpus.validation == "blocks" or (corpus.documents is not None and corpus.shuffle_documents)
