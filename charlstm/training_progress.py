"""Prints the events of a training run as they arrive."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from charlstm import console
from charlstm.console import out
from charlstm.progress_line import ProgressLine
from charlstm.terminal_layout import Part, fit_parts, join_parts, wrap
from charlstm.text.visible import visible
from charlstm.training.events import Ended, Evaluated, Event, Notice, Progress, Scoring, WholeSplitScored
from charlstm.units import bits, duration

if TYPE_CHECKING:
    from charlstm.training.trainer import Trainer

SPARKLINE = 8
SAMPLE_LINES = 5
"""Lines of a sample that a terminal shows: those of a list of names would scroll everything else away."""
INDENT = "    "
"""Before the lines of a sample, and once more before what continues a line."""
NUMBER_RANK, LABEL_RANK = 2, 7


class Position(NamedTuple):
    """The position of a run among those of a comparison. ``later``: the runs that are to be trained after it."""

    number: int
    total: int
    later: int


class LossHistory:
    """The losses of a training so far, as fewer than ``2 * SPARKLINE`` means of equally many losses each."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._per_mean, self._sum, self._count = 1, 0.0, 0

    def add(self, nats: float) -> None:
        """Add the next loss."""
        self._sum, self._count = self._sum + nats, self._count + 1
        if self._count < self._per_mean:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._means) == 2 * SPARKLINE:
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._per_mean *= 2

    def sparkline(self) -> str:
        """The losses as bars, the latest to the right."""
        return console.sparkline(self._means, SPARKLINE)


def follow(
    events: Iterable[Event],
    samples: bool = True,
    unit: str = "character",
    plain_progress: bool = True,
    trainer: Trainer | None = None,
) -> Ended:
    """Print the events as they arrive; returns the last one.

    Args:
        samples: print the texts that are sampled at evaluations.
        unit: character or byte.
        plain_progress: print the progress between evaluations also where a line cannot be updated in place.
        trainer: whose events these are; if it is given, the progress of evaluations that take long is shown, too.
    """
    ended: Ended | None = None
    with RunProgress(samples=samples, unit=unit, plain_progress=plain_progress) as run:
        if trainer is not None:
            trainer.validator.on_scoring = lambda what, fraction: run.show(Scoring(what, fraction))
        for event in events:
            run.show(event)
            if isinstance(event, Ended):
                ended = event
    assert ended is not None
    return ended


class _ScoringProgress:
    """Shows how much of a text has been scored."""

    def __init__(self, line: ProgressLine) -> None:
        self._line, self._what, self._last = line, "", 1.0

    def __call__(self, what: str, fraction: float) -> None:
        if what != self._what or fraction < self._last:
            self._what, self._show = what, self._line.fractions(f"scoring the {what}")
        self._last = fraction
        self._show(fraction)


class RunProgress:
    """The progress of one run, a context manager; the arguments are those of :func:`follow`."""

    def __init__(
        self,
        prefix: str = "",
        samples: bool = True,
        unit: str = "character",
        position: Position | None = None,
        plain_progress: bool = True,
    ) -> None:
        self._prefix, self._samples, self._unit, self._plain_progress = prefix, samples, unit, plain_progress
        self._history, self._later = LossHistory(), position.later if position else 0
        number = [] if position is None else [Part(f"run {position.number} of {position.total} ", NUMBER_RANK)]
        label = [Part(prefix, LABEL_RANK)] if prefix else []
        self._line = ProgressLine(prefix, live_prefix=[*number, *label])
        self._scoring = _ScoringProgress(self._line)

    def __enter__(self) -> RunProgress:
        self._line.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.__exit__(kind, value, trace)

    def show(self, event: Event | Scoring) -> None:
        """Show an event; nothing of :class:`Ended`."""
        shows_progress = self._line.live or self._plain_progress
        if isinstance(event, Progress):
            self._history.add(event.nats)
            if shows_progress:
                self._line.update(event.fraction, lambda: self._progress(event))
        elif isinstance(event, Scoring):
            if shows_progress:
                self._scoring(event.what, event.fraction)
        else:
            show_event(event, self._prefix, self._samples, self._unit)

    def _progress(self, event: Progress) -> list[Part]:
        if not self._line.live:
            return progress_parts(event, self._unit)
        return progress_parts(event, self._unit, self._history.sparkline(), self._later)


def show_event(event: Event | Scoring, prefix: str, samples: bool, unit: str) -> None:
    """Print a score or a notice, and nothing of other events; the arguments are those of :func:`follow`."""
    if isinstance(event, Evaluated):
        parts, width = [Part(prefix), *evaluated_parts(event, unit)], console.width()
        out(join_parts(parts) if width is None else fit_parts(parts, width))
        if samples and event.sample:
            out("\n".join(INDENT + part for part in _sample_lines(event.sample, width)))
    elif isinstance(event, WholeSplitScored):
        console.out_wrapped(prefix + whole_split_line(event, unit))
    elif isinstance(event, Notice):
        console.out_wrapped(prefix + event.text)


def whole_split_line(e: WholeSplitScored, unit: str) -> str:
    """One line about a score on the whole validation split."""
    kind = "pseudo-likelihood" if e.is_pseudo_likelihood else "held out"
    return (
        f"step {e.step:,} ({e.network}), whole validation split, {e.characters_scored:,} {unit}s: {kind} {e.nats:.4f} "
        f"nats, {e.bits_per_character:.4f} bits per {unit}"
    )


def _sample_lines(sample: str, width: int | None) -> list[str]:
    """The lines of a sample, on a terminal of this width the first few, wrapped; without their indent."""
    lines = visible(sample).split("\n")
    if width is None:
        return lines
    if len(lines) > SAMPLE_LINES + 1:
        lines[SAMPLE_LINES:] = [f"... {len(lines) - SAMPLE_LINES} more lines in samples.txt"]
    return [part for line in lines for part in wrap(line, width - len(INDENT), INDENT)]


def progress_parts(e: Progress, unit: str, sparkline: str = "", later: int = 0) -> list[Part]:
    """The parts of a progress line: bits and time left stay longest on a narrow terminal.

    Args:
        sparkline: of the loss.
        later: number of runs to be trained after this one, which are expected to take as long.
    """
    short = unit.removesuffix("acter")
    all_left = e.seconds_left + later * e.seconds / e.fraction if later and e.fraction > 0 else None
    return [
        Part(f"step {e.step:,}", 4),
        Part(f" epoch {e.epoch:.2f}", 9),
        Part("  loss", 11),
        Part(f" {sparkline}" if sparkline else "", 3),
        Part(f" {e.nats:.3f} nats,", 10),
        Part(f" {e.bits_per_character:.3f} bits/{short}"),
        Part(f"  {e.characters_per_second:,.0f} {short}/s", 8),
        Part(f"  {duration(e.seconds_left)} left", 1),
        Part(f", {duration(all_left)} for all runs" if all_left is not None else "", 5),
    ]


def evaluated_parts(e: Evaluated, unit: str) -> list[Part]:
    """The parts of the line of an evaluation."""
    is_held_out = e.nats is not None
    kind = "pseudo-likelihood" if e.is_pseudo_likelihood else "held out" if is_held_out else ""
    kind += "" if e.sampled_from is None else " sample"
    error = "" if e.standard_error_bits is None else f" ± {e.standard_error_bits:.3f}"
    training = "" if is_held_out else " training text"
    if is_held_out and e.training_split_bits is not None:
        training = f" training text {e.training_split_bits:.3f} bits,"
    return [
        Part(f"step {e.step:,}", 2),
        Part(f" epoch {e.epoch:.2f}", 5),
        Part(" "),
        Part(training, 4 if is_held_out else 1),
        Part(f" {kind}" if kind else "", 1),
        Part(f" {e.evaluated_nats:.4f} nats,", 7),
        Part(f" {bits(e.evaluated_nats):.4f}"),
        Part(error, 3),
        Part(" bits"),
        Part(f" per {unit}", 6),
        Part("" if e.sampled_from is None else f", {e.characters_scored:,} {unit}s", 9),
        Part("" if e.raw_bits is None else f", raw weights {e.raw_bits:.4f} bits", 8),
        Part("  (best so far)" if e.improved else "", 3),
    ]
