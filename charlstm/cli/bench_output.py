"""Prints what ``charlstm bench`` measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlstm import terminal_layout

if TYPE_CHECKING:
    from charlstm.benchmark import Measurement, Progress
    from charlstm.benchmark.loops import LoopTimes
    from charlstm.terminal_layout import Part

MIN_BAR_WIDTH, MAX_BAR_WIDTH = 8, 24
NOT_MEASURED = "–"
RATIO = "to\nnn.LSTM\n"
WORK, UTILIZATION, SPREAD, BARS = "per\nmulti-\nply-add", "utili-\nzation", "spread", ""
OPTIONAL_COLUMNS = (WORK, UTILIZATION, RATIO + "bfloat16", SPREAD)
"""Left out in this order on a narrow terminal."""
LEGEND = """\
Ratios are the result; char/s hold for this machine only. Bars: the ratio to nn.LSTM float32.
spread: highest minus lowest round, over the median.
utilization: multiply-adds per second of the cells, over those of torch.mm in the same precision and rounds \
(model FLOPs utilization, MFU, with the measured instead of the theoretical peak).
per multiply-add: multiply-adds per second, over those of charlstm's LSTM in the same precision on its fastest \
executor."""


def progress_parts(progress: Progress) -> list[Part]:
    """``[1 of 3] training 1x256,32,64: about 0:12 left, lstm cpp float32``."""
    from charlstm.terminal_layout import Part
    from charlstm.units import duration

    parts = [Part(f"[{progress.number} of {progress.parts}] ", 1), Part(f"{progress.title}: ", 4)]
    if progress.seconds_left is None:
        return [*parts, Part("warming up")]
    return [*parts, Part(f"about {duration(progress.seconds_left)} left"), Part(f", {progress.candidate}", 6)]


def show(measurement: Measurement) -> None:
    """Print the table of a measurement, and what belongs to it."""
    from charlstm import console

    console.out("")
    width = console.width() or terminal_layout.WIDE
    rows = table(measurement, width)
    console.table(rows, f"{measurement.title}, rounds: {measurement.rounds}")
    console.name_omitted([name for name in OPTIONAL_COLUMNS if name not in rows[0] and name in table(measurement)[0]])
    peaks = (f"{speed.median / 1e9:,.0f} in {precision}" for precision, speed in measurement.peaks.items())
    console.out(f"peak (torch.mm), billion multiply-adds per second: {', '.join(peaks)}")
    for line in (*measurement.notes, *left_out(measurement)):
        console.out_wrapped(line)


def show_loops(measured: Sequence[LoopTimes], rounds: int) -> None:
    """Print the table of the loops over time, and why some were not measured."""
    from charlstm import console
    from charlstm.benchmark.loops import rows

    console.table(rows(measured), f"microseconds per time step, rounds: {rounds}")
    for one in measured:
        for name, why in one.left_out.items():
            console.out_wrapped(f"{one.cell}, {one.hidden_size} units, batch {one.batch}: no {name}: {why}")


def left_out(measurement: Measurement) -> list[str]:
    """Lines on what was not measured: cells that an executor cannot run, and candidates without time or memory."""
    from charlstm.benchmark import NO_MEMORY, NO_TIME

    limits = {NO_TIME: "no time left for", NO_MEMORY: "no memory left for"}
    measured = {(r.key.cell, r.key.executor) for r in measurement.results}
    groups: dict[str, dict[str, None]] = {}
    for key, reason in measurement.left_out.items():
        other_precision = (key.cell, key.executor) in measured
        if reason in limits:
            groups.setdefault(limits[reason], {})[str(key)] = None
        else:
            limit = f" in {key.precision}" if other_precision else ""
            # That an executor does not have a cell needs no reason.
            why = f" ({reason})" if other_precision or key.cell not in reason else ""
            groups.setdefault(f"{key.executor} cannot run{limit}{why}", {})[key.cell] = None
    return [f"{reason}: {', '.join(names)}" for reason, names in groups.items()]


def table(measurement: Measurement, width: int = 1000) -> list[list[str]]:
    """Header and rows, without columns that have no value and without those that do not fit into the width."""
    float32 = [measurement.ratio(r, "float32") for r in measurement.results]
    columns = {
        "cell": [r.key.cell for r in measurement.results],
        "executor": [r.key.executor for r in measurement.results],
        "precision": [r.key.precision for r in measurement.results],
        "char/s": [f"{r.speed.median:,.0f}" for r in measurement.results],
        SPREAD: [f"{r.speed.spread:.0%}" if measurement.rounds > 1 else NOT_MEASURED for r in measurement.results],
        RATIO + "float32": [_ratio(ratio) for ratio in float32],
        RATIO + "bfloat16": [_ratio(measurement.ratio(r, "bfloat16")) for r in measurement.results],
        UTILIZATION: [
            NOT_MEASURED if (value := measurement.utilization(r)) is None else f"{value:.0%}"
            for r in measurement.results
        ],
        WORK: [_ratio(measurement.ratio_to_fastest_lstm(r)) for r in measurement.results],
    }
    columns = {name: cells for name, cells in columns.items() if set(cells) != {NOT_MEASURED}}

    def bar_space() -> int:
        """Width that the other columns leave for the bars, minus the frame of the bar column."""
        return width - 4 - sum(3 + max(map(len, (*name.split("\n"), *cells))) for name, cells in columns.items())

    for name in OPTIONAL_COLUMNS:
        if bar_space() < MIN_BAR_WIDTH:
            columns.pop(name, None)
    longest = max((ratio for ratio in float32 if ratio is not None), default=1.0)
    length = max(MIN_BAR_WIDTH, min(MAX_BAR_WIDTH, bar_space()))
    columns[BARS] = [bar((ratio or 0.0) / longest, length) for ratio in float32]
    return [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]


def bar(fraction: float, width: int) -> str:
    """A bar of this fraction of the width, padded to the width, and a mark at its end."""
    return terminal_layout.bar(fraction, width) + "▏"  # rich strips trailing spaces


def _ratio(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f}"
