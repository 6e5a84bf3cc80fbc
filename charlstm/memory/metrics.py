"""Metrics over seeds, each with the interval that decides a claim about it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from charlstm.comparison.distributions import binomial_test, holm
from charlstm.comparison.intervals import (
    BOUND,
    Bounds,
    binomial_bounds,
    bounded_mean_bounds,
    median_bounds,
    t_bounds,
    two_way_bounds,
)
from charlstm.report.estimate_plots import Estimate

TOO_FEW = "too few for bounds"


@dataclass(frozen=True)
class MetricValue:
    """The value of a metric that a claim can be about, with the value and its interval as text.

    interval: empty if there is none; reason: why there is none.
    low, high: 95% bounds of the value, which decide a claim; NaN if there are none, and infinite if the measurement
    ends before the bound.
    """

    value: float
    text: str
    interval: str = ""
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @property
    def estimate(self) -> Estimate:
        """The value and its bounds."""
        return self.value, self.low, self.high


Metrics = Mapping[tuple[str, str], MetricValue]
"""(name of the metric, arm) -> its value."""


def estimate(values: Sequence[float | None], low: float = -math.inf) -> Estimate:
    """The mean over seeds with its 95% t bounds, of which the lower is at least ``low``; NaN for missing values."""
    present = [value for value in values if value is not None]
    if not present:
        return math.nan, math.nan, math.nan
    mean, bounds = statistics.fmean(present), t_bounds(present, BOUND)
    ends = (math.nan, math.nan) if bounds is None else (max(bounds[0], low), bounds[1])
    return mean, *ends


def fraction_metric(values: Sequence[float], strings: int) -> MetricValue:
    """The mean over seeds of fractions of the same strings, with bounds that hold for any spread between seeds."""
    mean, (low, high) = statistics.fmean(values), (float(end) for end in bounded_mean_bounds(values))
    interval = f"{_seeds(len(values))} with {strings:,} strings: {percent(low)} to {percent(high)}"
    return MetricValue(mean, percent(mean), interval, low, high)


def seeds_metric(successes: int, seeds: int) -> MetricValue:
    """The fraction of seeds that succeed: ``3 of 10 seeds``, ``9% to 61%``; ``0 of 5 seeds``, ``at most 45%``."""
    low, high = binomial_bounds(successes, seeds)
    ends = f"at most {high:.0%}" if not successes else f"{low:.0%} to {high:.0%}"
    interval = f"at least {low:.0%}" if successes == seeds else ends
    return MetricValue(successes / seeds, f"{successes} of {_seeds(seeds)}", interval, low, high)


def above_chance_metric(values: Sequence[float], strings: int, chance: float) -> MetricValue:
    """The fraction of seeds that answer more strings than guessing would: exact binomial tests at 5%, with Holm's
    correction for the number of seeds."""
    p_values = [binomial_test(round(value * strings), strings, chance) for value in values]
    return seeds_metric(sum(holm(p_values)), len(values))


def solved_summary(values: Sequence[float], solved: float) -> str:
    """``99.8% (5/5)``: the mean over seeds, and how many seeds solve the task."""
    return f"{percent(statistics.fmean(values))} ({sum(value >= solved for value in values)}/{len(values)})"


def percent(value: float) -> str:
    """99.8%, 50%."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}%".replace(".0%", "%")


def mean_metric(values: Sequence[float | None], unit: str) -> MetricValue:
    """The mean over seeds; no interval if a seed has no value, since the others are then a selection."""
    present = [value for value in values if value is not None]
    mean, low, high = estimate(values)
    text = f"{mean:.3f} {unit}" if present else "no value"
    if len(present) < len(values):
        return MetricValue(mean, text, reason=_without_value(len(values) - len(present), len(values)))
    return _with_bounds(mean, text, _seeds(len(values)), (low, high), f"{low:.3f} to {high:.3f}")


def difference_metric(values: npt.ArrayLike, unit: str, sign: str = "", missing: int = 0) -> MetricValue:
    """The mean of values or of differences paired by seed and block, [seeds, blocks], with two-way bounds.

    sign: ``+`` to show the sign of a positive value. missing: further seeds, without a value; see `mean_metric`.
    """
    table = np.asarray(values, np.float64)
    mean = float(table.mean())
    if missing:
        return MetricValue(mean, f"{mean:{sign}.3f} {unit}", reason=_without_value(missing, missing + len(table)))
    low, high = two_way_bounds(table) or (math.nan, math.nan)
    covers = f"{_seeds(len(table))} and {table.shape[1]} blocks"
    ends = f"{low:{sign}.3f} to {high:{sign}.3f}"
    return _with_bounds(mean, f"{mean:{sign}.3f} {unit}", covers, (low, high), ends)


def median_metric(values: Sequence[float], unit: str, end: float = math.inf, missing: int = 0) -> MetricValue:
    """The median over seeds. `end` is the largest value that can be measured: a bound there is infinite, and a median
    of two values of which the upper one is there is a lower limit.

    missing: further seeds, without a value; see `mean_metric`.
    """
    median, (low, high) = statistics.median(values), median_bounds(values) or (math.nan, math.nan)
    ends = f"{_short(low)} to {_short(high)}" + (" or more" if high >= end else "")
    text = f"{_short(median)} {unit}".rstrip() + (" or more" if statistics.median_high(values) >= end else "")
    if missing:
        return MetricValue(median, text, reason=_without_value(missing, missing + len(values)))
    return _with_bounds(median, text, _seeds(len(values)), (low, math.inf if high >= end else high), ends)


def _short(value: float) -> str:
    """A whole number, or one with four digits."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1000 else f"{value:.4g}"


def _with_bounds(value: float, text: str, covers: str, bounds: Bounds, ends: str) -> MetricValue:
    """A value with bounds, which ``ends`` says as text; if they are NaN, with the reason."""
    if math.isnan(bounds[0]):
        return MetricValue(value, text, reason=f"{covers}: {TOO_FEW}")
    return MetricValue(value, text, f"{covers}: {ends}", *bounds)


def _without_value(missing: int, seeds: int) -> str:
    return f"{missing} of {_seeds(seeds)} without a value"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _longest(lengths: Sequence[int], solved: Sequence[bool]) -> int:
    """The last length before the first that is not solved; 0 if the first is not."""
    return max((n for n, _ in takewhile(lambda pair: pair[1], zip(lengths, solved, strict=True))), default=0)


def reach_metric(
    lengths: Sequence[int], solved: Sequence[Sequence[bool]], unit: str = "", fraction: float = 0.5
) -> MetricValue:
    """The longest length up to which at least a fraction of the seeds solve every length.

    The bounds are the lengths up to which a bound of that fraction is high enough. The upper one is the first of one
    test per length that fails: where the true fraction is exactly ``fraction`` at several lengths, it is too low more
    often than in 5% of all repetitions (at four independent ones in 12% with 5 seeds, 4% with 10 and 8% with 20).
    """
    seeds, counts = len(solved), [sum(of_length) for of_length in zip(*solved, strict=True)]
    bounds = [binomial_bounds(count, seeds) for count in counts]
    value = _longest(lengths, [count >= fraction * seeds - 1e-9 for count in counts])
    low, high = (_longest(lengths, [bound[side] >= fraction for bound in bounds]) for side in (0, 1))
    is_open = high == max(lengths)
    interval = f"{_seeds(seeds)}: {low:,} to {high:,}" + (" or more" if is_open else "")
    reached = f"{value:,}" if value else f"less than {min(lengths):,}"
    text = f"{reached} {unit}".rstrip() + (" or more" if value == max(lengths) else "")
    return MetricValue(value, text, interval, low, math.inf if is_open else high)
