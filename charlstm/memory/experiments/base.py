"""The interface of experiments, and metrics over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from charlstm.comparison.resampling import wilson
from charlstm.comparison.statistics import t_interval
from charlstm.config import MemoryConfig
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate
from charlstm.text.visible import visible

ExperimentClass = TypeVar("ExperimentClass", bound=Any)


@dataclass(frozen=True)
class MetricValue:
    """The value of a metric that a claim can be about, with the value and its interval as text."""

    value: float
    text: str
    interval: str = ""
    low: float = math.nan
    high: float = math.nan


Metrics = Mapping[tuple[str, str], MetricValue]
"""(name of the metric, arm) -> its value."""


@dataclass(frozen=True)
class ExperimentResult:
    """The result of an experiment: its section of the report, and its metrics."""

    section: Section
    metrics: Metrics


class MemoryExperiment(Protocol):
    """An experiment on memory.

    run_groups        the runs to train
    measurement_jobs  the measurements to make after training
    result            the result, after the measurements
    metric_names      the names of its metrics, which exist for every arm that it trains
    """

    def run_groups(self) -> list[RunGroup]: ...
    def measurement_jobs(self) -> list[MeasurementJob]: ...
    def result(self) -> ExperimentResult: ...
    def metric_names(self) -> list[str]: ...


MakeExperiment = Callable[[MemoryConfig, Grid], MemoryExperiment]
EXPERIMENTS: dict[str, MakeExperiment] = {}


def experiment(name: str) -> Callable[[type[ExperimentClass]], type[ExperimentClass]]:
    """Register the decorated class as the experiment of this name, which is also its name in the configuration."""

    def register(experiment_class: type[ExperimentClass]) -> type[ExperimentClass]:
        EXPERIMENTS[name] = experiment_class
        return experiment_class

    return register


def colors(config: MemoryConfig) -> dict[str, int]:
    """Each arm's color number, by its position in the file; the starts of an arm have its color."""
    return {name: index for index, arm in enumerate(config.arms) for name in (arm, *config.starts(arm))}


def estimate(values: Sequence[float | None], low: float = -math.inf, high: float = math.inf) -> Estimate:
    """The mean over seeds with its 95% t interval, clipped to the bounds; NaN for what is not available."""
    present = [value for value in values if value is not None]
    if not present:
        return math.nan, math.nan, math.nan
    mean, interval = statistics.fmean(present), t_interval(present)
    ends = (math.nan, math.nan) if interval is None else (max(interval[0], low), min(interval[1], high))
    return mean, *ends


def fraction_metric(values: Sequence[float], strings: int) -> tuple[Estimate, MetricValue]:
    """The mean over seeds of fractions of the same strings.

    The interval is a t interval over seeds; if there is none, or all seeds have the same fraction, it is Wilson's
    interval over the strings, and its text says so.
    """
    mean, low, high = estimate(values, 0.0, 1.0)
    label = f"95% over {len(values)} seeds"
    if math.isnan(low) or low == high:
        low, high = wilson(round(mean * strings), strings)
        label = f"95% over {strings:,} strings; " + ("every seed the same" if len(set(values)) == 1 else "of the mean")
    return (mean, low, high), MetricValue(mean, percent(mean), f"{label}: {percent(low)} to {percent(high)}")


def seeds_metric(successes: int, seeds: int) -> MetricValue:
    """The fraction of seeds that succeed, with one-sided 95% bounds (Clopper & Pearson 1934)."""
    low, high = _binomial_bound(successes, seeds), 1 - _binomial_bound(seeds - successes, seeds)
    text, interval = f"{successes} of {seeds} seeds", f"95% bounds: {percent(low)} to {percent(high)}"
    return MetricValue(successes / seeds, text, interval, low, high)


def above_chance(successes: Sequence[int], trials: int, chance: float) -> int:
    """How many seeds do better than chance: exact binomial tests of their successes at 5%, corrected by Holm 1979."""
    p_values = sorted(_tail(count, trials, chance) for count in successes)
    rejected = 0
    while rejected < len(p_values) and p_values[rejected] <= 0.05 / (len(p_values) - rejected):
        rejected += 1
    return rejected


def _tail(successes: int, trials: int, p: float) -> float:
    """The probability of this many successes or more."""
    logs = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(p)
        + (trials - k) * math.log1p(-p)
        for k in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def _binomial_bound(successes: int, trials: int) -> float:
    """The probability at which this many successes or more have a probability of 5%; 0 for no success."""
    low, high = 0.0, 1.0 if successes else 0.0
    for _ in range(60):
        p = (low + high) / 2
        tail = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1))
        low, high = (p, high) if tail < 0.05 else (low, p)
    return low


def highest(values: Sequence[float]) -> MetricValue:
    """The largest value of any seed, for claims that no seed succeeds."""
    return MetricValue(max(values), percent(max(values)), f"mean of {len(values)}: {percent(statistics.fmean(values))}")


def solved_summary(values: Sequence[float], solved: float) -> str:
    """``99.8% (5/5)``: the mean over seeds, and how many seeds solve the task."""
    return f"{percent(statistics.fmean(values))} ({sum(value >= solved for value in values)}/{len(values)})"


def percent(value: float) -> str:
    """99.8%, 50%."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}%".replace(".0%", "%")


def mean_metric(values: Sequence[float | None], unit: str) -> MetricValue:
    """The metric of a mean over seeds."""
    present = [value for value in values if value is not None]
    mean, low, high = estimate(present)
    interval = "" if math.isnan(low) else f"95% over {len(present)} seeds: {low:.3f} to {high:.3f}"
    return MetricValue(mean, f"{mean:.3f} {unit}", interval)


def reach(lengths: Sequence[int], solved: Sequence[Sequence[bool]], min_seed_fraction: float) -> tuple[int, list[int]]:
    """The longest length that enough seeds solve, and the longest of each seed; 0 for none.

    solved: for each seed, whether it solves each length.
    """
    needed = math.ceil(min_seed_fraction * len(solved) - 1e-9)
    common = [n for index, n in enumerate(lengths) if sum(seed[index] for seed in solved) >= needed]
    longest = [max((n for n, is_solved in zip(lengths, seed, strict=True) if is_solved), default=0) for seed in solved]
    return max(common, default=0), longest


def length_metric(value: float, per_seed: Sequence[int], unit: str = "") -> MetricValue:
    """The metric of a length, with the range over seeds as its interval."""
    low, high = min(per_seed), max(per_seed)
    spread = f"every seed: {low:,}" if low == high else f"single seeds: {low:,} to {high:,}"
    return MetricValue(value, f"{value:,g} {unit}".rstrip(), spread)


def runs_table(grid: Grid, groups: Iterable[RunGroup], caption: str = "The runs") -> Table:
    """One row per run group: parameters, and the validation scores of each learning rate."""
    rows = []
    for group in groups:
        runs = grid.best_runs(group)
        score_text = "; ".join(
            f"{rate:g}: {', '.join('–' if nats is None else f'{nats:.3f}' for nats in scores)}"
            for rate, scores in runs.scores.items()
        )
        row = [group.arm, group.dataset.name, str(group.model.hidden_size), f"{group.parameters:,}"]
        if not runs.paths:
            rows.append([visible(cell) for cell in (*row, "not trained", "")])
            continue
        row[0] = runs.group.arm
        edge = ", at the edge of the grid" if runs.at_edge else ""
        rows.append([visible(cell) for cell in (*row, f"{runs.learning_rate:g}{edge}", score_text)])
    header = ["arm", "dataset", "hidden_size", "parameters", "best rate", "validation nats of each rate"]
    return Table(header, rows, caption=caption, folded=True)
