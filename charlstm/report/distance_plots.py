"""Plots of how far a memory reaches: accuracy, gradient and loss against a distance in characters.

A missing measurement is NaN; a curve has a gap there. A plot without any measurement is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from charlstm.report.axes import (
    End,
    label_ends,
    label_room,
    labelled_canvas,
    log_distance,
    panels,
    ruled,
    share_axis,
)
from charlstm.report.document import Figure
from charlstm.report.drawing import MUTED, colour, finish, percent, picture, short, stroke, style
from charlstm.report.estimate_plots import Estimate
from charlstm.text.visible import visible

Curve = NDArray[np.float64]
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@picture
def recall_plot(
    lags: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
    colours: Mapping[str, int],
    chance: float,
    solved: float = 0.95,
    name: str = "recall-over-lag",
    title: str = "Right answers over the lag",
) -> Figure | None:
    """Accuracy against lag: the median over seeds, and each seed as a thin line.

    Args:
        lags: characters between the key and the query, ascending.
        curves: for each arm, for each seed, the share of right answers at each lag.
        colours: each arm's colour number.
        chance: the share that a guess gets right.
        solved: the share from which a lag counts as solved.
        name: the figure's name, unlike every other's.
        title: stands above the plot.
    """
    drawn = {
        arm: array for arm, seeds in curves.items() if np.isfinite(array := np.array(seeds, dtype=np.float64)).any()
    }
    if not drawn:
        return None
    with style():
        figure, axes, gap = labelled_canvas(len(drawn))
        ends, said = [], []
        for (arm, seeds), width in zip(drawn.items(), _widths(len(drawn)), strict=True):
            median = _median(seeds)
            if len(seeds) > 1:
                for seed in seeds:
                    axes.plot(lags, seed, linewidth=0.8, alpha=0.35, **stroke(colours[arm]))
            axes.plot(lags, median, marker="o", markersize=3 + width / 2, linewidth=width, **stroke(colours[arm]))
            last = int(np.flatnonzero(np.isfinite(median))[-1])
            ends.append(End(f"{short(arm)} {median[last]:.0%}", colour(colours[arm]), lags[last], median[last]))
            shares = ", ".join(
                f"{share:.0%} at {lag}" for lag, share in zip(lags, median, strict=True) if share == share
            )
            said.append(f"{visible(arm)}: {shares}.")
        log_distance(axes, lags)
        share_axis(axes, {"chance": chance, "solved": solved})
        axes.set_xlabel("characters between the key and the query")
        axes.set_title(visible(title))
        label_ends(axes, ends, gap)
        alt = f"Line plot of the share of right answers against the lag in characters; chance is {percent(chance)}. "
        several = any(len(seeds) > 1 for seeds in drawn.values())
        caption = "Bold: median over seeds. Thin: each seed." if several else "One seed."
        return finish(figure, name, alt + " ".join(said), caption)


@picture
def lag_plot(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], int]]],
    colours: Mapping[str, int],
    share: float = 0.01,
    floor: float = 1e-12,
    name: str = "gradient-over-lag",
    title: str = "Gradient over lag, relative to lag 0",
) -> Figure | None:
    """The norm of d loss(t) / d state(t - k) against k, relative to its value at k = 0, on a logarithmic axis.

    A curve ends where it first falls below `floor`, be it to an exact zero.

    Args:
        curves: for each panel's title, for each arm, the norms at k = 0, 1, ... and the effective depth: the largest k
            with at least `share` of the value at k = 0.
        colours: each arm's colour number.
        share: the share that the effective depth is about, drawn as a dotted line.
        floor: what is smaller is not drawn.
        name: the figure's name, unlike every other's.
        title: stands above a single panel without a title of its own, and is the label of the upright axis otherwise.
    """
    relative = {panel: _relative(inside, floor) for panel, inside in curves.items()}
    relative = {panel: inside for panel, inside in relative.items() if inside}
    if not relative:
        return None
    with style():
        gap, height = label_room(max(map(len, relative.values())))
        figure, row = panels(len(relative), height)
        said = []
        _gradient_axis(
            row[0], np.concatenate([c for inside in relative.values() for c in inside.values()]), share, floor
        )
        for axes, (panel, inside) in zip(row, relative.items(), strict=True):
            ends = []
            for (arm, curve), width in zip(inside.items(), _widths(len(inside)), strict=True):
                depth, shade = curves[panel][arm][1], colour(colours[arm])
                axes.plot(curve, linewidth=width, solid_capstyle="butt", **stroke(colours[arm]))
                if depth < len(curve) and curve[depth] == curve[depth]:
                    axes.plot(depth, curve[depth], "o", color=shade, markersize=8, clip_on=False)
                last = int(np.flatnonzero(np.isfinite(curve))[-1])
                ends.append(End(f"{short(arm)}: {depth}", shade, last, curve[last]))
                said.append(f"{visible(panel)} {visible(arm)}: effective depth {depth}.".lstrip())
            axes.set_xlim(0, max(len(curve) for curve in inside.values()) - 1)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("lag k in characters")
            ruled(axes)
            axes.axhline(share, color=MUTED, linestyle=":", linewidth=1.2)
            label_ends(axes, ends, gap)
            axes.set_title(visible(panel or title))
        if any(relative):
            row[0].set_ylabel(visible(title))
        alt = f"Line plot, logarithmic: {title}, against the lag k in characters. " + " ".join(said)
        caption = (
            f"The figure beside each name, and the dot on its curve, is the effective depth: the largest lag with at "
            f"least {percent(share)} of the gradient at lag 0 (dotted). Logarithmic: a straight fall is exponential."
        )
        return finish(figure, name, alt, caption)


@picture
def context_plot(
    kept: Sequence[int],
    curves: Mapping[str, Sequence[Estimate]],
    colours: Mapping[str, int],
    ngram: tuple[int, float] | None = None,
    unit: str = "character",
    name: str = "loss-over-context",
    title: str = "",
) -> Figure | None:
    """Held-out bits against the number of characters read since the state was reset, with a band for the interval.

    Args:
        kept: characters of context, ascending; 0 is drawn left of the logarithmic axis' beginning.
        curves: for each arm, the mean bits for each of `kept`, with the interval's ends.
        colours: each arm's colour number.
        ngram: the order of an n-gram model and its bits: drawn as a level, with a dot at the order - 1 characters of
            context that it has.
        unit: what is scored: character or byte.
        name: the figure's name, unlike every other's.
        title: stands above the plot.
    """
    drawn = {
        arm: array
        for arm, values in curves.items()
        if np.isfinite((array := np.array(values, dtype=np.float64))[:, 0]).any()
    }
    if not drawn:
        return None
    with style():
        figure, axes, gap = labelled_canvas(len(drawn) + (ngram is not None))
        places = log_distance(axes, kept)
        ends, said = [], []
        if ngram is not None:
            order, bits = ngram
            axes.axhline(bits, color=MUTED, linewidth=1.2, linestyle=":")
            axes.plot(max(order - 1, places[0]), bits, "o", color=MUTED, markersize=6)
            ends.append(End(f"{order}-gram {bits:.2f}", MUTED, places[-1], bits))
            said.append(f"A {order}-gram model: {bits:.2f} bits.")
        for arm, values in drawn.items():
            mean, low, high = values.T
            axes.fill_between(places, low, high, color=colour(colours[arm]), alpha=0.18, linewidth=0)
            axes.plot(places, mean, linewidth=2.2, marker="o", markersize=4, **stroke(colours[arm]))
            seen = np.flatnonzero(np.isfinite(mean))
            first, last = int(seen[0]), int(seen[-1])
            ends.append(End(f"{short(arm)} {mean[last]:.2f}", colour(colours[arm]), places[last], mean[last]))
            said.append(
                f"{visible(arm)} goes from {mean[first]:.2f} bits at {kept[first]} to {mean[last]:.2f} at {kept[last]}."
            )
        axes.yaxis.set_major_locator(MaxNLocator(6))
        ruled(axes)
        axes.set_xlabel(f"{unit}s read since the state was reset")
        axes.set_title(visible(title) or f"Held-out bits per {unit}")
        label_ends(axes, ends, gap)
        alt = f"Line plot of held-out bits per {unit} against the {unit}s of context kept. " + " ".join(said)
        caption = "Lower is better; a curve is flat beyond what its model uses." + (
            " Band: 95% interval." if any(np.isfinite(values[:, 1:]).any() for values in drawn.values()) else ""
        )
        return finish(figure, name, alt, caption)


def _median(seeds: Curve) -> Curve:
    """The median over the seeds [seeds, places] that were measured at each place, NaN where none was."""
    measured = np.isfinite(seeds).any(axis=0)
    median = np.full(seeds.shape[1], math.nan)
    median[measured] = np.nanmedian(seeds[:, measured], axis=0)
    return median


def _widths(count: int) -> list[float]:
    """Line widths that leave an edge of each curve to be seen where later ones lie on it."""
    step = min(0.7, 2.0 / max(count - 1, 1))
    return [2.0 + step * later for later in range(count - 1, -1, -1)]


def _relative(curves: Mapping[str, tuple[Sequence[float], int]], floor: float) -> dict[str, Curve]:
    """Each curve over its first value, down to the floor, NaN after it; one that begins with zero is left out."""
    drawn = {}
    for arm, (norms, _) in curves.items():
        curve = np.array(norms, dtype=np.float64)
        if curve.size and np.isfinite(curve[0]) and curve[0] > 0:
            curve = curve / curve[0]
            curve[~np.isfinite(curve)] = math.nan
            below = np.flatnonzero(curve < floor)
            if below.size:
                curve[below[0]] = floor
                curve[below[0] + 1 :] = math.nan
            drawn[arm] = curve
    return drawn


def _gradient_axis(axes: Axes, values: Curve, share: float, floor: float) -> None:
    """A logarithmic axis over the values and the share, with up to seven powers of ten and the share as ticks."""
    values = values[np.isfinite(values)]
    lowest = math.floor(math.log10(max(min(values.min(), share / 10), floor)))
    highest = math.ceil(math.log10(max(values.max(), 1.0)))
    ticks = [10.0**exponent for exponent in range(highest, lowest - 1, -math.ceil((highest - lowest) / 6))]
    ticks = [tick for tick in ticks if abs(math.log10(tick / share)) > 0.5]
    axes.set_yscale("log")
    axes.set_ylim(10.0**lowest, 2 * 10.0**highest)
    axes.set_yticks([*ticks, share], [*map(_power, ticks), percent(share)])
    axes.minorticks_off()


def _power(value: float) -> str:
    """1, 10⁻², 10⁻⁴."""
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else "1"
