"""What all experiments share: their form, and how figures over seeds are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from charlstm.comparison.resampling import wilson
from charlstm.comparison.statistics import t_interval
from charlstm.config import MemoryConfig
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate
from charlstm.text.visible import visible

MadeStudy = TypeVar("MadeStudy", bound=Any)


@dataclass(frozen=True)
class Measured:
    """A figure that a claim may be about: its value, and it and its interval in words."""

    value: float
    text: str
    interval: str = ""


Figures = Mapping[tuple[str, str], Measured]
"""(name of the figure, arm) -> what was measured."""


@dataclass(frozen=True)
class Chapter:
    """What an experiment has found: its section of the report, and the figures that claims are about."""

    section: Section
    figures: Figures


class Study(Protocol):
    """An experiment.

    series    what is to be trained
    measures  what is to be measured, once that is trained
    chapter   what was found, once that is measured
    names     of the figures that it will have, for every arm that it trains
    """

    def series(self) -> list[Series]: ...
    def measures(self) -> list[Measuring]: ...
    def chapter(self) -> Chapter: ...
    def names(self) -> list[str]: ...


MakeStudy = Callable[[MemoryConfig, Grid], Study]
STUDIES: dict[str, MakeStudy] = {}


def study(name: str) -> Callable[[type[MadeStudy]], type[MadeStudy]]:
    """Register the decorated class as the experiment of this name, that of its section in a configuration."""

    def register(make: type[MadeStudy]) -> type[MadeStudy]:
        STUDIES[name] = make
        return make

    return register


def colours(config: MemoryConfig) -> dict[str, int]:
    """Each arm's colour, by its place in the file."""
    return {arm: place for place, arm in enumerate(config.arms)}


def estimate(values: Sequence[float | None], low: float = -math.inf, high: float = math.inf) -> Estimate:
    """The mean over seeds with its 95% t interval, which ends at the bounds; NaN for what cannot be had."""
    there = [value for value in values if value is not None]
    if not there:
        return math.nan, math.nan, math.nan
    mean, interval = statistics.fmean(there), t_interval(there)
    ends = (math.nan, math.nan) if interval is None else (max(interval[0], low), min(interval[1], high))
    return mean, *ends


def share(values: Sequence[float], strings: int) -> tuple[Estimate, Measured]:
    """The mean over seeds of shares of so many strings, which all seeds were given alike.

    The interval is a t interval over seeds; where all seeds agree to the last string there is none, and Wilson's over
    the strings stands in its place and says so.
    """
    mean, low, high = estimate(values, 0.0, 1.0)
    words = f"95% over {len(values)} seeds"
    if math.isnan(low) or low == high:
        low, high = wilson(round(mean * strings), strings)
        words = f"95% over {strings:,} strings; " + ("every seed the same" if len(set(values)) == 1 else "of the mean")
    return (mean, low, high), Measured(mean, percent(mean), f"{words}: {percent(low)} to {percent(high)}")


def highest(values: Sequence[float]) -> Measured:
    """The largest share of any seed: what a claim that none succeeds is about."""
    return Measured(max(values), percent(max(values)), f"mean of {len(values)}: {percent(statistics.fmean(values))}")


def solved_share(values: Sequence[float], solved: float) -> str:
    """``99.8% (5/5)``: the mean over seeds, and how many seeds have solved it."""
    return f"{percent(statistics.fmean(values))} ({sum(value >= solved for value in values)}/{len(values)})"


def percent(value: float) -> str:
    """99.8%, 50%."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}%".replace(".0%", "%")


def measured_number(values: Sequence[float | None], unit: str) -> Measured:
    """A mean over seeds in words."""
    there = [value for value in values if value is not None]
    mean, low, high = estimate(there)
    interval = "" if math.isnan(low) else f"95% over {len(there)} seeds: {low:.3f} to {high:.3f}"
    return Measured(mean, f"{mean:.3f} {unit}", interval)


def reach(lengths: Sequence[int], solved: Sequence[Sequence[bool]], min_seed_fraction: float) -> tuple[int, list[int]]:
    """The longest of the lengths that enough seeds solve, and each seed's own longest; 0 for none.

    solved: for each seed, whether it solves each length.
    """
    needed = math.ceil(min_seed_fraction * len(solved) - 1e-9)
    common = [n for place, n in enumerate(lengths) if sum(seed[place] for seed in solved) >= needed]
    own = [max((n for n, right in zip(lengths, seed, strict=True) if right), default=0) for seed in solved]
    return max(common, default=0), own


def measured_reach(value: float, own: Sequence[int], unit: str = "") -> Measured:
    """A length in words, with each seed's own."""
    low, high = min(own), max(own)
    spread = f"every seed: {low:,}" if low == high else f"single seeds: {low:,} to {high:,}"
    return Measured(value, f"{value:,g} {unit}".rstrip(), spread)


def runs_table(grid: Grid, series: Iterable[Series], caption: str = "The runs") -> Table:
    """A row for each series: parameters, and the validation score of each learning rate that was tried."""
    rows = []
    for one in series:
        trained = grid.trained(one)
        scores = "; ".join(
            f"{rate:g}: {', '.join('–' if nats is None else f'{nats:.3f}' for nats in tried)}"
            for rate, tried in trained.tried.items()
        )
        row = [one.arm, one.lesson.name, str(one.model.hidden_size), f"{one.parameters:,}"]
        rates = trained.tried.keys()
        edge = ", at the grid's edge" if len(rates) > 2 and trained.learning_rate in (min(rates), max(rates)) else ""
        rows.append([visible(cell) for cell in (*row, f"{trained.learning_rate:g}{edge}", scores)])
    header = ["arm", "lesson", "units", "parameters", "best rate", "validation nats of each rate"]
    return Table(header, rows, caption=caption, folded=True)
