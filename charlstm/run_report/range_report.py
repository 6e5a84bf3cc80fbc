"""The page of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter, LogLocator

from charlstm.report.axes import grid_lines, mark_positions
from charlstm.report.document import Document, Figure, Section, Table
from charlstm.report.drawing import MUTED, canvas, color, finish, placeholder_on_error, style
from charlstm.report.writer import write_document
from charlstm.training.range_test import (
    BELOW_MINIMUM,
    DIVERGED,
    SMOOTHED_STEPS,
    STEPS_PER_DECADE,
    RangeStep,
    lowest_rate,
    smoothed,
    suggested_rate,
)
from charlstm.units import bits

FORMAT = 1
ROWS_PER_DECADE = 5


def table(steps: Sequence[RangeStep], unit: str) -> list[list[str]]:
    """The smoothed loss at some of the rates, under its header."""
    curve = smoothed(steps)
    rows = [
        [f"{step.rate:.2g}", f"{nats:.3f}", f"{bits(nats):.3f}"]
        for step, nats in zip(steps, curve, strict=True)
        if step.number % (STEPS_PER_DECADE // ROWS_PER_DECADE) == 0
    ]
    return [["learning rate", f"nats per {unit}", f"bits per {unit}"], *rows]


def sentence(steps: Sequence[RangeStep]) -> str:
    """The suggested rate, and where it comes from."""
    return (
        f"Suggested learning rate: {suggested_rate(steps):g}, 1/{BELOW_MINIMUM:g} of {lowest_rate(steps):.2g}, where "
        "the smoothed loss is lowest."
    )


def write_range_report(steps: Sequence[RangeStep], name: str, unit: str, command: str, folder: Path) -> list[Path]:
    """Write index.html, range-test.png and report.json; index.html comes first.

    Raises UserError if they cannot be written, or if the loss did not fall at any rate.
    """
    rows, figure = table(steps, unit), range_plot(steps, unit)
    facts = [
        (
            "Test",
            f"One step at each rate, {STEPS_PER_DECADE} steps for every factor of ten, with the network, batches and "
            f"optimizer of a run (Smith 2017). It ends when the smoothed loss, the mean over {SMOOTHED_STEPS} steps, "
            f"is {DIVERGED:g} times that of the untrained network, or not finite.",
        ),
        (
            "Suggestion",
            f"The rate of the lowest smoothed loss, divided by {BELOW_MINIMUM:g}: there the loss still falls, and a "
            "run holds its highest rate for longer than the test does.",
        ),
    ]
    document = Document(
        title=f"{name}: learning-rate range test",
        headline=[sentence(steps)],
        sections=[
            Section("Loss by learning rate", figures=[figure], command=command),
            Section("Table", tables=[Table(rows[0], rows[1:])]),
            Section("How it was measured", facts=facts),
        ],
    )
    record = {
        "format": FORMAT,
        "title": name,
        "suggested_learning_rate": suggested_rate(steps),
        "learning_rate_of_lowest_loss": lowest_rate(steps),
        "steps": [
            {"learning_rate": step.rate, f"nats_per_{unit}": step.nats, f"smoothed_nats_per_{unit}": nats}
            for step, nats in zip(steps, smoothed(steps), strict=True)
        ],
    }
    return write_document(document, record, folder)


@placeholder_on_error
def range_plot(steps: Sequence[RangeStep], unit: str) -> Figure:
    """Plot the loss of each step, thin, and the smoothed loss against the rate, with the suggested rate marked."""
    rates, curve = [step.rate for step in steps], [bits(nats) for nats in smoothed(steps)]
    losses = [bits(step.nats) for step in steps]
    suggested, lowest = suggested_rate(steps), lowest_rate(steps)
    with style():
        figure, axes = canvas()
        axes.set_xscale("log")
        axes.plot(rates, losses, color=MUTED, linewidth=0.8, alpha=0.6)
        axes.plot(rates, curve, color=color(0), linewidth=2.2)
        ceiling = curve[0] + 0.15 * (curve[0] - min(curve))
        axes.set_ylim(min(losses) - 0.05 * (ceiling - min(losses)), ceiling)
        axes.plot(lowest, min(curve), "o", color=color(0), markersize=7)
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        grid_lines(axes)
        mark_positions(axes, {f"suggested {suggested:g}": suggested})
        axes.set_xlabel("learning rate")
        axes.set_title(f"Training bits per {unit}", pad=20)
        alt = (
            f"Line plot of training bits per {unit} against the learning rate, logarithmic: from {curve[0]:.2f} at "
            f"{rates[0]:.1g} down to {min(curve):.2f} at {lowest:.2g}, then up to {curve[-1]:.2f} at {rates[-1]:.2g}."
        )
        return finish(figure, "range-test", alt, "Thin: each step. Bold: smoothed, with its lowest point.")
