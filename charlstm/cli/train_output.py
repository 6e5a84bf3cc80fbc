"""Prints what ``charlstm train`` will do, and what a finished run has done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from charlstm import console
from charlstm.cli import next_steps
from charlstm.config import Config
from charlstm.config.corpus import NO_VALIDATION
from charlstm.errors import UserError
from charlstm.hardware.device import memory
from charlstm.paths import command
from charlstm.runs.metrics import evaluated_nats
from charlstm.text.corpus import Corpus
from charlstm.text.hints import text_hints
from charlstm.training.advice import ending_advice
from charlstm.training.budget import steps_before_evaluation
from charlstm.training.budget_advice import longer_training, planned_budget_advice
from charlstm.training.captured_steps import why_not_captured
from charlstm.training.events import Ended
from charlstm.training.fine_tuning import start_notes
from charlstm.training.initial_run import InitialRun
from charlstm.training.size_defaults import FRACTION, chosen_by
from charlstm.training.trainer import Trainer
from charlstm.units import bits, duration

SAMPLED = ", on a sample of the held-out text; charlstm evaluate scores all of it"
MIN_SCORES, CURVE = 3, 24
"""Scores for which bars are shown, and the most bars."""


def print_chosen(settings: Config, sections: Sequence[str]) -> None:
    """Print the choices for the sections that were left out."""
    model, training = settings.model, settings.training
    if "model" in sections:
        layers = "one layer" if model.num_layers == 1 else f"{model.num_layers} layers"
        console.out_wrapped(f"network: {model.cell}, {layers} of {model.hidden_size} units, dropout {model.dropout:g}")
    if "training" in sections:
        budget = training.budget
        limits = [
            f"{value:g} {unit if value != 1 else unit.removesuffix('s')}"
            for unit in ("epochs", "steps", "minutes")
            if (value := getattr(budget, unit))
        ]
        console.out_wrapped(
            f"training: batches of {training.batch_size} x {training.sequence_length}, learning rate "
            f"{training.learning_rate:g}, at most {' or '.join(limits)}"
        )


def print_chosen_by(settings: Config, sections: Sequence[str], corpus: Corpus) -> None:
    """Print by what the sections that were left out were chosen."""
    if sections:
        is_network_chosen = "model" in sections and settings.training.initial_run is None
        by = chosen_by(corpus, settings.model.hidden_size if is_network_chosen else 0)
        console.out_wrapped(f"{by}; change any of it with --set, or write a file with charlstm init")


def print_held_out(settings: Config, chosen: Sequence[str]) -> None:
    """Print that no text is held out, if so, and how to change what was chosen of the text."""
    if not settings.corpus.has_validation:
        console.out_wrapped(NO_VALIDATION)
    if "corpus" in chosen and settings.corpus.validation_fraction != FRACTION:
        part = f"{settings.corpus.validation_fraction:.1g} of it is held out" if settings.corpus.has_validation else ""
        size, held_out = ("long", part) if part else ("short", "it is left whole")
        console.out_wrapped(
            f"since the text is {size}, {held_out}; --set corpus.validation_fraction=0.1 holds a tenth out"
        )
    if "corpus" in chosen and settings.corpus.normalize:
        console.out_wrapped("the model writes LF at the ends of lines; --set corpus.normalize=false keeps CR LF")


def print_start(run: InitialRun, settings: Config, corpus: Corpus) -> None:
    """Print the run whose weights training starts from, the new characters, and why it may be of little use."""
    console.out_wrapped(run.describe(corpus.vocabulary))
    for line in [*run.damaged, *start_notes(run, settings, corpus)]:
        console.note(f"note: {line}", is_wrapped=True)


def print_corpus(corpus: Corpus) -> None:
    """Print the size of the text, its splits, and what was changed in it."""
    console.out_wrapped(corpus.describe())
    for line in corpus.changes:
        console.out_wrapped(line)


def print_hints(trainer: Trainer) -> None:
    """Print what the user may want to set for this text and this budget."""
    planned = planned_budget_advice(trainer.config.training, trainer.steps_per_epoch)
    for hint in [*text_hints(trainer.corpus), *([planned] if planned else [])]:
        console.note(f"note: {hint}", is_wrapped=True)


def print_result(ended: Ended, trainer: Trainer) -> None:
    """Print the length and speed of the training, why it ended early, and the best score."""
    pseudo, unit = trainer.model.bidirectional, trainer.corpus.vocabulary.unit
    speed = ended.characters / ended.seconds if ended.seconds else 0
    console.out_wrapped(
        f"{ended.step:,} steps, {ended.characters:,} {unit}s in {duration(ended.seconds)} of training "
        f"({speed:,.0f} {unit}s per second)"
    )
    if ended.stop_reason == "early_stopping":
        console.out_wrapped("stopped early: the held-out score stopped improving")
    if ended.stop_reason == "target_reached":
        console.out_wrapped("ended: the held-out score reached training.budget.target_nats")
    kind = "pseudo-likelihood (each character given the text on both sides)" if pseudo else "score"
    if ended.best_nats is not None:
        console.out_wrapped(
            f"best held-out {kind}: {ended.best_nats:.4f} nats, {ended.best_bits_per_character:.4f} bits per {unit}, "
            f"at step {ended.best_step:,}{SAMPLED if ended.is_sampled else ''}"
        )
    with suppress(UserError):  # unreadable metrics: writing the report, which needs them, raises the error
        characters, records = trainer.corpus.length("train"), trainer.directory.metrics()
        evaluations = [record for record in records if record["kind"] == "evaluation"]
        if ended.best_nats is None and evaluations:
            nats, step = evaluated_nats(evaluations[-1]), evaluations[-1]["step"]
            console.out_wrapped(
                f"{kind} of the training text: {nats:.4f} nats, {bits(nats):.4f} bits per {unit}, at step {step:,}"
            )
        is_sampled = any(record.get("sampled_from") is not None for record in evaluations)
        text = (
            "held-out sample" if is_sampled else "held-out" if trainer.config.corpus.has_validation else "training text"
        )
        _print_curve([bits(evaluated_nats(record)) for record in evaluations], text)
        if (longer := longer_training(trainer.config.training, records)) is not None:
            console.out_wrapped(longer.sentence)
            if longer.options:
                console.out(f"train longer:  {next_steps.resume_command(trainer, *longer.options)}")
        for line in ending_advice(trainer.config, ended, characters, records):
            console.out_wrapped(line)
    console.out(f"run: {trainer.directory.path}")


def _print_curve(scores: Sequence[float], text: str) -> None:
    """Print the scores of all evaluations, in bits, as bars, on a terminal."""
    if len(scores) >= MIN_SCORES and console.is_terminal():
        bars = console.sparkline(scores, CURVE)
        console.out_wrapped(f"{text} bits from first to last: {scores[0]:.3f} {bars} {scores[-1]:.3f}")


def report_and_next_steps(ended: Ended, trainer: Trainer, is_interrupted: bool) -> None:
    """Write the report of a complete run, unless a signal has ended the command, and print the commands to use next.

    Raises UserError if the report cannot be written.
    """
    directory = trainer.directory
    if ended.stop_reason in ("stopped", "diverged"):
        console.out(
            f"saved at step {ended.step:,}"
            if ended.stop_reason == "stopped"
            else "the last checkpoint before the divergence is saved"
        )
        _write_short_report(trainer)
        if (line := next_steps.resume_or_retry_command(ended, trainer)) is not None:
            console.out(f"resume:  {line}")
    elif is_interrupted:
        console.out(f"training complete and saved; make the report:  {command('compare', directory.path)}")
    else:
        console.out(f"report: {_write_report(trainer)}")
        for number, line in enumerate(next_steps.use_commands(trainer.config, trainer.corpus, directory)):
            console.out(f"{'next:  ' if number == 0 else '       '} {line}")


def _write_report(trainer: Trainer) -> Path:
    """Write the report of a complete run. Raises UserError, with the run itself complete."""
    from charlstm.run_report.page import write_run_report  # loads matplotlib

    path = trainer.directory.path
    try:
        return write_run_report(path, corpus=trainer.corpus)[0]
    except UserError as error:
        raise UserError(
            f"the run is complete and saved, only its report is missing: {error}. Make it: {command('compare', path)}"
        ) from error


def _write_short_report(trainer: Trainer) -> None:
    """Write the quick parts of the report of a run that was stopped; if they cannot be written, print a note."""
    from charlstm.run_report.page import write_run_report

    try:
        console.out(f"report: {write_run_report(trainer.directory.path, is_complete=False)[0]}")
    except UserError as error:
        console.note(f"the report cannot be written: {error}")


def print_plan(trainer: Trainer) -> None:
    """Print parameters, memory, executors and steps per epoch of a run, without training."""
    counts = trainer.model.parameter_counts()
    console.table(
        [
            ["parameters", ""],
            *([k, f"{v:,}"] for k, v in counts.items()),
            ["all", f"{sum(counts.values()):,}"],
            *([["frozen, not included", f"{frozen:,}"]] if (frozen := trainer.model.frozen_count()) else []),
        ]
    )
    parts = trainer.execution.memory_breakdown()
    console.table(
        [
            ["memory (estimate)" if trainer.group.size == 1 else "memory of each process (estimate)", "MB"],
            *([k, f"{v / 1e6:,.1f}"] for k, v in parts.items()),
            ["all", f"{sum(parts.values()) / 1e6:,.1f}"],
        ]
    )
    if (usage := memory(trainer.device)) is not None:
        free, total = (f"{size / 1e6:,.1f}" for size in (usage.free + usage.allocated, usage.total))
        console.out_wrapped(f"free on {trainer.device}: {free} MB of {total} MB")
    console.out_wrapped(f"device {trainer.device}, precision {trainer.execution.precision}")
    trainer.execution.choose_executor()
    for layer, choice in enumerate(trainer.execution.choices()):
        console.out_wrapped(f"layer {layer}: executor {choice.executor.name}: {choice.reason}")
        for other, why in choice.others.items():
            console.out_wrapped(f"         not {other}: {why}")
    if trainer.device.type == "cuda":
        why_not = why_not_captured(trainer.device, trainer.group)
        console.out_wrapped(
            "training steps: each one CUDA graph, after three of its size"
            if why_not is None
            else f"training steps: launched operation by operation, not as a CUDA graph: {why_not}"
        )
    if trainer.streams.notice:
        console.out_wrapped(trainer.streams.notice)
    if evaluations := plan_of_evaluations(trainer):
        console.out_wrapped(evaluations)
    existing = ", which exists already" if trainer.directory.exists else ""
    console.out_wrapped(
        f"{trainer.steps_per_epoch:,} steps per epoch; the run would be in {trainer.directory.path}{existing}"
    )


def plan_of_evaluations(trainer: Trainer) -> str | None:
    """What the evaluations would score of the held-out text; None if nothing is held out."""
    training, steps_per_epoch = trainer.config.training, trainer.steps_per_epoch
    steps = steps_before_evaluation(training, steps_per_epoch)
    trained = 0 if steps is None else round(steps * trainer.corpus.length("train") / steps_per_epoch)
    sample = trainer.validator.planned_sample(trained)
    if sample is None:
        return None
    if steps is not None or training.evaluation_characters != "auto":
        return sample.describe(trainer.validator.unit)
    return (
        f"the first evaluation chooses how many of the {sample.of:,} held-out {trainer.validator.unit}s evaluations "
        "score, so that they take little of the time (training.evaluation_characters)"
    )
