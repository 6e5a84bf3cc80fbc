"""Plots of gates: their values over a text, how often they are saturated, and the half-lives of units.

The functions return None if there are no measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from charlstm.report.axes import End, grid_lines, label_ends, labeled_canvas, log_locator, panels
from charlstm.report.document import Figure
from charlstm.report.drawing import (
    FULL_WIDTH,
    INK,
    MUTED,
    WIDTH,
    add_title,
    color,
    finish,
    font_families,
    placeholder_on_error,
    stroke,
    style,
)
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

LINE = 80
"""Characters per line of a gate map."""

MAX_UNITS = 24
"""Largest number of units in a gate map: more rows would be too low to distinguish."""

_SYMBOLS = {" ": "·", "\n": "↵", "\t": "→"}
_LONGEST, _SHORTEST = 1e5, 0.1  # characters; half-lives outside this range are drawn at the edge


@placeholder_on_error
def gate_map(
    values: ArrayLike,
    characters: str,
    name: str,
    title: str,
    units: Sequence[int] | None = None,
) -> Figure | None:
    """Plot a gate of some units over a text: a row per unit, a column per character, and the text below.

    Args:
        values: [T, units], the gate's values from 0 to 1, NaN where missing; at most 24 units.
        characters: the T characters.
        name: the unique name of the figure.
        title: the title of the plot.
        units: the indices of the units; the default is 0, 1, 2, ...

    Raises:
        ValueError: there are more than 24 units, or the number of values is not that of characters.
    """
    gate = np.array(values, dtype=np.float64)
    if gate.ndim != 2 or gate.shape[0] != len(characters) or gate.shape[1] > MAX_UNITS:
        raise ValueError(
            f"a gate map needs one row of values per character and at most {MAX_UNITS} units, "
            f"got values {gate.shape} for {len(characters)} characters"
        )
    if not np.isfinite(gate).any():
        return None
    indices = range(gate.shape[1]) if units is None else units
    width = math.ceil(len(characters) / math.ceil(len(characters) / LINE))  # lines of about the same length
    starts = range(0, len(characters), width)
    with style():
        row = max(0.13, 0.32 / gate.shape[1])
        figure = MplFigure(
            figsize=(FULL_WIDTH, 0.75 + len(starts) * (row * gate.shape[1] + 0.42)), layout="constrained"
        )
        lines = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
        for axes, start in zip(lines, starts, strict=True):
            line = np.full((gate.shape[1], width), math.nan)
            line[:, : len(gate) - start] = gate[start : start + width].T
            _heat_map(axes, line)
            axes.set_yticks(range(gate.shape[1]), [str(index) for index in indices], fontsize=min(72 * row * 0.8, 9))
            for column, character in enumerate(characters[start : start + width]):
                axes.text(
                    column,
                    gate.shape[1] - 0.3,
                    _symbol(character),
                    ha="center",
                    va="top",
                    family=font_families("DejaVu Sans Mono"),
                    fontsize=9.5,
                    color=MUTED if character in _SYMBOLS or not character.isprintable() else INK,
                )
        lines[0].set_title(visible(title))
        figure.supylabel("unit", fontsize=11, color=MUTED)
        scale = figure.colorbar(
            lines[0].images[0],
            ax=list(lines),
            boundaries=np.linspace(0, 1, 41),
            ticks=[0, 0.5, 1],
            aspect=12,
            shrink=min(1.0, 1.8 / figure.get_figheight()),
            pad=0.01,
        )
        scale.ax.set_yticklabels(["0 closed", "0.5", "1 open"])
        scale.ax.tick_params(length=0)
        scale.outline.set_visible(False)
        mean = ", ".join(f"{index}: {value:.2f}" for index, value in zip(indices, _means(gate), strict=True))
        alt = (
            f"Heat map of a gate, from 0 (closed) to 1 (open): {visible(title)}. One row for each of {gate.shape[1]} "
            f"units, one column for each of {len(characters)} characters: {visible(characters)!r}. "
            f"Means by unit: {mean}."
        )
        caption = "Each row is a unit, each column the step that reads the character below. · space, ↵ line end."
        return finish(figure, name, alt, caption)


@placeholder_on_error
def saturation_plot(
    gates: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    name: str,
    title: str = "Saturated gates",
    number: int = 0,
) -> Figure | None:
    """Plot the fraction of steps at which a unit's gate is open against the fraction at which it is closed.

    There is one panel per gate.

    Karpathy, Johnson & Fei-Fei 2015: right-saturated above 0.9, left-saturated below 0.1.

    Args:
        gates: for each gate's name, the fraction of steps below 0.1 of each unit, and the fraction above 0.9.
        name: the unique name of the figure.
        title: the title of the figure.
        number: the color number of the arm.
    """
    drawn = {gate: np.array(fractions, dtype=np.float64) for gate, fractions in gates.items()}
    drawn = {gate: fractions for gate, fractions in drawn.items() if np.isfinite(fractions).all(axis=0).any()}
    if not drawn:
        return None
    with style():
        width = FULL_WIDTH if len(drawn) > 2 else WIDTH
        square = min(2.8, 0.87 * (width - 1) / len(drawn))  # side of a panel in inches
        figure, row = panels(len(drawn), square + 1.05, width)
        add_title(figure, title)
        descriptions = []
        for axes, (gate, (left, right)) in zip(row, drawn.items(), strict=True):
            axes.plot([0, 1], [1, 0], color=MUTED, linewidth=1.2, linestyle=":")
            axes.plot(left, right, "o", color=color(number), alpha=0.45, markersize=7, markeredgewidth=0, clip_on=False)
            for set_limits, set_ticks in ((axes.set_xlim, axes.set_xticks), (axes.set_ylim, axes.set_yticks)):
                set_limits(-0.02, 1.02)
                set_ticks([0, 0.5, 1], ["0%", "50%", "100%"])
            axes.set_aspect("equal")
            axes.grid()
            axes.set_title(visible(gate), fontweight="normal")
            descriptions.append(
                f"{visible(gate)}: closed {np.nanmean(left):.0%} and open {np.nanmean(right):.0%} of the time, mean "
                f"over {len(left)} units."
            )
        row[0].set_ylabel("open: above 0.9")
        figure.supxlabel("closed: below 0.1, fraction of steps", fontsize=11, color=MUTED)
        alt = f"Scatter plot: {visible(title)}, open against closed, one dot per unit. " + " ".join(descriptions)
        caption = "Each dot is a unit. On the dotted line, a gate is always either open or closed."
        return finish(figure, name, alt, caption)


@placeholder_on_error
def half_life_plot(
    half_lives: Mapping[str, Sequence[float]],
    colors: Mapping[str, int],
    name: str = "half-lives",
) -> Figure | None:
    """Plot the sorted half-lives of each arm's units on a logarithmic axis, clipped to 0.1 ... 100,000 characters.

    Args:
        half_lives: for each arm, each unit's half-life in characters; infinite if the unit does not forget.
        colors: each arm's color number.
        name: the unique name of the figure.
    """
    drawn = {
        arm: np.sort(array[~np.isnan(array)]) for arm, units in half_lives.items() if (array := np.array(units)).size
    }
    drawn = {arm: array for arm, array in drawn.items() if array.size}
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, labels = [], [], distinct(drawn)
        for arm, values in drawn.items():
            x_values = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([1.0])
            median, shown = float(np.median(values)), values.clip(_SHORTEST, _LONGEST)
            marker = "o" if len(values) <= 64 else None
            axes.plot(x_values, shown, linewidth=1.8, marker=marker, markersize=4, **stroke(colors[arm]))
            axes.plot(0.5, np.clip(median, _SHORTEST, _LONGEST), "o", color=color(colors[arm]), markersize=8)
            text = f"{labels[arm]}: median {_characters(median)}"
            ends.append(End(text, color(colors[arm]), 1.0, float(shown[-1])))
            descriptions.append(f"{visible(arm)}: median {_characters(median)} characters over {len(values)} units.")
        all_values = np.concatenate([*drawn.values()]).clip(_SHORTEST, _LONGEST)
        lowest, highest = all_values.min() / 1.5, all_values.max() * 1.5
        axes.set_yscale("log")
        axes.set_ylim(lowest, highest)
        candidates = log_locator(lowest, highest).tick_values(lowest, highest)
        ticks = [tick for tick in candidates if lowest <= tick <= highest]
        axes.set_yticks(ticks, list(map(_characters, ticks)))
        axes.minorticks_off()
        grid_lines(axes)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("units, from the shortest memory to the longest")
        axes.set_ylabel("characters")
        axes.set_title("Half-life of each unit's memory")
        label_ends(axes, ends, gap)
        alt = "Line plot, logarithmic: Half-life of each unit's memory, sorted. " + " ".join(descriptions)
        return finish(figure, name, alt, "The dot is the median over the units.")


def _heat_map(axes: Axes, values: NDArray[np.float64]) -> None:
    """Draw one line of a gate map, [units, characters], with one pixel per value."""
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="none")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _symbol(character: str) -> str:
    """A visible symbol: a dot for a space, an arrow for a tab or line end, a box for an unprintable character."""
    return _SYMBOLS.get(character) or (character if character.isprintable() else "□")


def _means(gate: NDArray[np.float64]) -> list[float]:
    return [float(np.mean(unit[np.isfinite(unit)])) if np.isfinite(unit).any() else math.nan for unit in gate.T]


def _characters(value: float) -> str:
    """Format a number of characters with three digits."""
    return "100k+" if value >= _LONGEST else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
