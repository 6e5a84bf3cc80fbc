"""The bar chart: each candidate's speed as a ratio to torch.nn.LSTM in float32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from charlstm.benchmark.candidates import BASELINE
from charlstm.benchmark.environment import describe_machine
from charlstm.benchmark.results import Measurement, Result
from charlstm.report.drawing import GRID, INK, MUTED, PALETTE, finish, style

WIDTH = 10.5  # inches
BAR, GAP = 0.165, 0.13  # inches: from bar to bar, and from cell to cell
HEADER = 0.8  # inches of title and legend
FRAME = 0.95  # inches of a panel above and below its bars
BASELINE_COLOR = "#8b929c"

Panel = tuple[str, list[Result], Measurement]
"""Title, results (one bar each), and the measurement that they are from."""


def draw(measurements: Sequence[Measurement], facts: dict[str, Any]) -> bytes:
    """The chart as a PNG: a row for each size, with a panel for each precision or each number of texts.

    A size at which torch.nn.LSTM was not measured is left out.
    """
    rows = _rows(measurements)
    executors = dict.fromkeys(r.key.executor for m in measurements for r in m.results)
    others = [name for name in executors if name != BASELINE]
    colors = {BASELINE: BASELINE_COLOR, **{name: PALETTE[n % len(PALETTE)] for n, name in enumerate(others)}}
    heights = [max(_height(results) for _, results, _ in panels) + FRAME for _, panels in rows]
    with style():
        layout = ConstrainedLayoutEngine(h_pad=0.06, hspace=0.0, w_pad=0.08)
        figure = Canvas(figsize=(WIDTH, sum(heights) + HEADER), layout=layout)
        header, *strips = figure.subfigures(len(rows) + 1, 1, squeeze=False, height_ratios=[HEADER, *heights])[:, 0]
        title_style: dict[str, Any] = {"x": 0.012, "ha": "left", "fontweight": "bold", "color": INK}
        header.suptitle("Speed as a ratio to torch.nn.LSTM in float32", fontsize=15, **title_style)
        handles = [Patch(color=color, label=name) for name, color in colors.items() if name in executors]
        header.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.004, 0.0), ncols=len(handles), frameon=False)
        header.text(0.988, 0.2, describe_machine(facts), ha="right", fontsize=9, color=MUTED)
        for strip, (title, panels) in zip(strips, rows, strict=True):
            strip.suptitle(title, fontsize=12, **title_style)
            axes = strip.subplots(1, 2, squeeze=False)[0]
            for unused in axes[len(panels) :]:
                unused.set_visible(False)
            same_scale = panels[0][2] is panels[-1][2]
            longest = [
                max(_ratio(m, r) * (r.speed.highest / r.speed.median) for r in results) for _, results, m in panels
            ]
            for panel_axes, panel, panel_longest in zip(axes, panels, longest, strict=False):
                _panel(panel_axes, panel, max(longest) if same_scale else panel_longest, colors)
        return finish(figure, "bench", "").png


def _rows(measurements: Sequence[Measurement]) -> list[tuple[str, list[Panel]]]:
    rows: list[tuple[str, list[Panel]]] = []
    drawn = (m for m in measurements if m.baseline("float32"))
    for _, group in groupby(drawn, key=lambda m: (m.workload, m.size if m.workload == "training" else m.size.net)):
        panels: list[Panel] = []
        for m in group:
            for precision in dict.fromkeys(r.key.precision for r in m.results):
                results = [r for r in m.results if r.key.precision == precision]
                panels.append((precision if m.workload == "training" else m.title.partition(", ")[2], results, m))
        first = panels[0][2]
        title = first.title if first.workload == "training" else f"sampling {first.size.net}"
        rows += [(title, panels[n : n + 2]) for n in range(0, len(panels), 2)]
    return rows


def _height(results: Sequence[Result]) -> float:
    return BAR * len(results) + GAP * len({r.key.cell for r in results})


def _ratio(measurement: Measurement, result: Result) -> float:
    return measurement.ratio(result, "float32") or 0.0


def _panel(axes: Axes, panel: Panel, longest: float, colors: dict[str, str]) -> None:
    name, results, measured = panel
    baseline = measured.baseline("float32")
    assert baseline is not None
    y, ticks = 0.0, {}
    for cell, group in groupby(results, key=lambda r: r.key.cell):
        top = y
        for r in group:
            ratio = _ratio(measured, r)
            low, high = r.speed.lowest / baseline.speed.median, r.speed.highest / baseline.speed.median
            axes.barh(y, ratio, height=BAR * 0.86, color=colors[r.key.executor], linewidth=0)
            axes.plot([low, high], [y, y], color=INK, linewidth=0.9, alpha=0.7, solid_capstyle="butt")
            axes.annotate(
                f"{ratio:.2f}",
                (max(ratio, high), y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
            y += BAR
        ticks[cell] = (top + y - BAR) / 2
        y += GAP
    axes.axvline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)), zorder=0.5)
    axes.set_yticks(list(ticks.values()), list(ticks), color=INK, fontsize=10)
    axes.set_ylim(y - GAP - BAR / 2 + 0.04, -BAR / 2 - 0.04)
    axes.set_xlim(0, 1.14 * max(longest, 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="both", length=0, labelsize=9)
    axes.tick_params(axis="y", labelsize=10)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="x")
    axes.set_title(name, fontsize=10.5)
    axes.set_title(
        f"1.00: {baseline.speed.median:,.0f} characters/s here",
        loc="right",
        fontsize=8.5,
        color=MUTED,
        fontweight="normal",
    )
