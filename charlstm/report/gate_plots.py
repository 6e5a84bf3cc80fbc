"""Plots of what gates do: their values over a text, how often they are saturated, how long they let a unit remember.

A plot without any measurement is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from charlstm.report.axes import End, label_ends, labelled_canvas, panels, ruled
from charlstm.report.document import Figure
from charlstm.report.drawing import (
    FULL_WIDTH,
    INK,
    MUTED,
    WIDTH,
    colour,
    finish,
    picture,
    short,
    stroke,
    style,
)
from charlstm.text.visible import visible

LINE = 80
"""Characters to a line of a gate map."""

MOST_UNITS = 24
"""More rows than that are too low to be told apart."""

_SIGNS = {" ": "·", "\n": "↵", "\t": "→"}
_LONGEST, _SHORTEST = 1e5, 0.1  # characters; a half-life beyond is drawn at the edge


@picture
def gate_map(
    values: ArrayLike,
    characters: str,
    name: str,
    title: str,
    units: Sequence[int] | None = None,
) -> Figure | None:
    """A gate of some units over a text: a row for each unit, a column for each character, the text beneath.

    Args:
        values: [T, units], the gate's values from 0 to 1, NaN where there is none. At most 24 units.
        characters: the T characters that were read.
        name: the figure's name, unlike every other's.
        title: stands above the plot.
        units: the units' numbers, if they are not 0, 1, 2, ...

    Raises:
        ValueError: there are more units than can be told apart, or not one value for each character.
    """
    gate = np.array(values, dtype=np.float64)
    if gate.ndim != 2 or gate.shape[0] != len(characters) or gate.shape[1] > MOST_UNITS:
        raise ValueError(
            f"a gate map of {gate.shape} values for {len(characters)} characters, at most {MOST_UNITS} units"
        )
    if not np.isfinite(gate).any():
        return None
    numbers = range(gate.shape[1]) if units is None else units
    width = math.ceil(len(characters) / math.ceil(len(characters) / LINE))  # lines of about the same length
    starts = range(0, len(characters), width)
    with style():
        row = max(0.13, 0.32 / gate.shape[1])
        figure = Canvas(figsize=(FULL_WIDTH, 0.75 + len(starts) * (row * gate.shape[1] + 0.42)), layout="constrained")
        lines = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
        for axes, start in zip(lines, starts, strict=True):
            part = np.full((gate.shape[1], width), math.nan)
            part[:, : len(gate) - start] = gate[start : start + width].T
            _heat(axes, part)
            axes.set_yticks(range(gate.shape[1]), [str(number) for number in numbers], fontsize=min(72 * row * 0.8, 9))
            for column, character in enumerate(characters[start : start + width]):
                axes.text(
                    column,
                    gate.shape[1] - 0.3,
                    _sign(character),
                    ha="center",
                    va="top",
                    family="DejaVu Sans Mono",
                    fontsize=9.5,
                    color=MUTED if character in _SIGNS or not character.isprintable() else INK,
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
        scale.ax.set_yticklabels(["0 shut", "0.5", "1 open"])
        scale.ax.tick_params(length=0)
        scale.outline.set_visible(False)
        mean = ", ".join(f"{number}: {value:.2f}" for number, value in zip(numbers, _means(gate), strict=True))
        alt = (
            f"Heat map of a gate, from 0 (shut) to 1 (open): {visible(title)}. A row for each of {gate.shape[1]} "
            f"units, a column for each of the {len(characters)} characters read: {visible(characters)!r}. "
            f"Means by unit: {mean}."
        )
        caption = "A row is a unit, a column the step at which the character beneath was read. · space, ↵ line end."
        return finish(figure, name, alt, caption)


@picture
def saturation_plot(
    gates: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    name: str,
    title: str = "Saturated gates",
    number: int = 0,
) -> Figure | None:
    """Share of the time that a unit's gate is open against the share that it is shut, a panel for each gate.

    Karpathy, Johnson & Fei-Fei 2015: right-saturated above 0.9, left-saturated below 0.1.

    Args:
        gates: for each gate's name, for each unit, the share of steps below 0.1 and the share above 0.9.
        name: the figure's name, unlike every other's.
        title: stands above the panels.
        number: the colour number of the arm that is shown.
    """
    drawn = {gate: np.array(shares, dtype=np.float64) for gate, shares in gates.items()}
    drawn = {gate: shares for gate, shares in drawn.items() if np.isfinite(shares).all(axis=0).any()}
    if not drawn:
        return None
    with style():
        width = FULL_WIDTH if len(drawn) > 2 else WIDTH
        square = min(2.8, 0.87 * (width - 1) / len(drawn))  # the side of a panel
        figure, row = panels(len(drawn), square + 1.05, width)
        figure.suptitle(visible(title), x=0.01, horizontalalignment="left", fontsize=12, fontweight="bold", color=INK)
        said = []
        for axes, (gate, (left, right)) in zip(row, drawn.items(), strict=True):
            axes.plot([0, 1], [1, 0], color=MUTED, linewidth=1.2, linestyle=":")
            axes.plot(
                left, right, "o", color=colour(number), alpha=0.45, markersize=7, markeredgewidth=0, clip_on=False
            )
            for set_limits, set_ticks in ((axes.set_xlim, axes.set_xticks), (axes.set_ylim, axes.set_yticks)):
                set_limits(-0.02, 1.02)
                set_ticks([0, 0.5, 1], ["0%", "50%", "100%"])
            axes.set_aspect("equal")
            axes.grid()
            axes.set_title(visible(gate), fontweight="normal")
            said.append(
                f"{visible(gate)}: shut {np.nanmean(left):.0%} and open {np.nanmean(right):.0%} of the time, mean over "
                f"{len(left)} units."
            )
        row[0].set_ylabel("open: above 0.9")
        figure.supxlabel("shut: below 0.1, share of steps", fontsize=11, color=MUTED)
        alt = f"Scatter plot: {visible(title)}, open against shut, a dot for each unit. " + " ".join(said)
        caption = "A dot is a unit. On the dotted line a gate is always one or the other: a switch."
        return finish(figure, name, alt, caption)


@picture
def half_life_plot(
    half_lives: Mapping[str, Sequence[float]],
    colours: Mapping[str, int],
    lag: float | None = None,
    name: str = "half-lives",
    title: str = "Half-life of each unit's memory",
) -> Figure | None:
    """The half-lives of an arm's units, sorted, on a logarithmic axis; beyond 0.1 and 100,000 they are at the edge.

    Args:
        half_lives: for each arm, each unit's half-life in characters; infinite for one that forgets nothing.
        colours: each arm's colour number.
        lag: the task's lag in characters, drawn as a dotted line.
        name: the figure's name, unlike every other's.
        title: stands above the plot.
    """
    drawn = {arm: np.sort(own[~np.isnan(own)]) for arm, units in half_lives.items() if (own := np.array(units)).size}
    drawn = {arm: own for arm, own in drawn.items() if own.size}
    if not drawn:
        return None
    with style():
        figure, axes, gap = labelled_canvas(len(drawn))
        ends, said = [], []
        for arm, own in drawn.items():
            places = np.linspace(0, 1, len(own)) if len(own) > 1 else np.array([1.0])
            median, shown = float(np.median(own)), own.clip(_SHORTEST, _LONGEST)
            marker = "o" if len(own) <= 64 else None
            axes.plot(places, shown, linewidth=1.8, marker=marker, markersize=4, **stroke(colours[arm]))
            ends.append(End(f"{short(arm)}: {_characters(median)}", colour(colours[arm]), 1.0, float(shown[-1])))
            beyond = "" if lag is None else f", {np.mean(own >= lag):.0%} of them at least the lag"
            said.append(f"{visible(arm)}: median {_characters(median)} characters over {len(own)} units{beyond}.")
        marks = [] if lag is None else [float(lag)]
        everything = np.concatenate([*drawn.values(), marks]).clip(_SHORTEST, _LONGEST)
        lowest, highest = everything.min() / 1.5, everything.max() * 1.5
        axes.set_yscale("log")
        axes.set_ylim(lowest, highest)
        ticks = [10.0**exponent for exponent in range(-1, 6) if lowest <= 10.0**exponent <= highest]
        ticks = [tick for tick in ticks if all(abs(math.log10(tick / mark)) > 0.15 for mark in marks)]
        axes.set_yticks(ticks + marks, [*map(_characters, ticks), *(f"lag {_characters(mark)}" for mark in marks)])
        axes.minorticks_off()
        ruled(axes)
        for mark in marks:
            axes.axhline(mark, color=MUTED, linestyle=":", linewidth=1.2)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("units, from the shortest memory to the longest")
        axes.set_ylabel("characters")
        axes.set_title(visible(title))
        label_ends(axes, ends, gap)
        alt = f"Line plot, logarithmic: {visible(title)}, sorted. " + " ".join(said)
        return finish(figure, name, alt, "The figure beside each name is the median over its units.")


def _heat(axes: Axes, part: NDArray[np.float64]) -> None:
    """One line of a gate map, [units, characters], embedded with one pixel to a value."""
    axes.imshow(part, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="none")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _sign(character: str) -> str:
    """One visible character for each: a dot for a space, an arrow for a line end, a box for what steers a terminal."""
    return _SIGNS.get(character) or (character if character.isprintable() else "□")


def _means(gate: NDArray[np.float64]) -> list[float]:
    return [float(np.mean(own[np.isfinite(own)])) if np.isfinite(own).any() else math.nan for own in gate.T]


def _characters(value: float) -> str:
    """A number of characters, to three digits."""
    return "100k+" if value >= _LONGEST else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
