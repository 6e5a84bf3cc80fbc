"""Statistics over seeds: means, spreads, and differences paired by seed with their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from charlstm.comparison.results import Arm, Comparison, RunResult

MIN_SEEDS = 3
"""With fewer pairs, a t interval is too wide to be useful, so there is none."""

# Two-sided 95% quantiles of Student's t for 1, 2, ..., 30 degrees of freedom.
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


@dataclass(frozen=True)
class ArmSummary:
    """The metrics of an arm. `bits` are bits per character (or byte) of each run's best held-out score.

    Attributes:
        name: the arm's name.
        seeds: the seeds of its runs.
        bits: (seed, bits) of every run with a finite score.
        mean_bits, lowest_bits, highest_bits: over those runs; None without one.
        deviation_bits: sample standard deviation over those runs; None with fewer than two.
        parameters: smallest and largest number over the runs.
        characters_per_second, seconds: medians over the runs; None without a finite one.
        unfinished: number of unfinished runs; their scores are the best so far.
    """

    name: str
    seeds: tuple[int, ...]
    bits: tuple[tuple[int, float], ...]
    mean_bits: float | None
    lowest_bits: float | None
    highest_bits: float | None
    deviation_bits: float | None
    parameters: tuple[int, int]
    characters_per_second: float | None
    seconds: float | None
    unfinished: int

    @property
    def unscored(self) -> int:
        """Number of runs without a finite held-out score."""
        return len(self.seeds) - len(self.bits)


@dataclass(frozen=True)
class Difference:
    """Bits of `arm` minus bits of `reference`, paired by seed: below zero, `arm` predicts better.

    Attributes:
        pairs: (seed, difference) for each seed with a score in both arms.
        mean_bits: mean of the differences; None without a pair.
        interval_bits: 95% paired t interval; None with fewer than `MIN_SEEDS` pairs.
        reason: why there is no interval; empty if there is one.
    """

    arm: str
    reference: str
    pairs: tuple[tuple[int, float], ...]
    mean_bits: float | None
    interval_bits: tuple[float, float] | None
    reason: str

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and zero is outside it."""
        return self.interval_bits is not None and not self.interval_bits[0] <= 0.0 <= self.interval_bits[1]


def summarize(arm: Arm) -> ArmSummary:
    """The metrics of one arm. Raises ValueError if it has no runs, or both causal and bidirectional ones."""
    if not arm.runs:
        raise ValueError(f"arm {arm.name!r} has no runs")
    if len({run.causal for run in arm.runs}) > 1:
        raise ValueError(f"arm {arm.name!r} mixes likelihoods and pseudo-likelihoods: use Comparison.restrict")
    scores = tuple((run.seed, run.best_bits) for run in arm.runs if run.best_bits is not None)
    values = [value for _, value in scores]
    parameters = [run.parameters for run in arm.runs]
    return ArmSummary(
        name=arm.name,
        seeds=tuple(run.seed for run in arm.runs),
        bits=scores,
        mean_bits=statistics.fmean(values) if values else None,
        lowest_bits=min(values, default=None),
        highest_bits=max(values, default=None),
        deviation_bits=statistics.stdev(values) if len(values) > 1 else None,
        parameters=(min(parameters), max(parameters)),
        characters_per_second=_median([run.characters_per_second for run in arm.runs]),
        seconds=_median([run.seconds for run in arm.runs]),
        unfinished=sum(not run.finished for run in arm.runs),
    )


def difference(arm: Arm, reference: Arm) -> Difference:
    """`arm` minus `reference`, over their common seeds; runs of one arm with the same seed are averaged."""
    scores, reference_scores = _by_seed(arm.runs), _by_seed(reference.runs)
    pairs = tuple((seed, scores[seed] - reference_scores[seed]) for seed in scores if seed in reference_scores)
    values = [value for _, value in pairs]
    interval = t_interval(values)
    reason = ""
    if interval is None:
        plural = "seed" if len(pairs) == 1 else "seeds"
        reason = f"no interval: {len(pairs) or 'no'} shared {plural}, {MIN_SEEDS} are needed"
    mean = statistics.fmean(values) if values else None
    return Difference(arm.name, reference.name, pairs, mean, interval, reason)


def differences(comparison: Comparison) -> list[Difference]:
    """The difference of every other arm to the first."""
    return [difference(arm, comparison.arms[0]) for arm in comparison.arms[1:]]


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% t interval for the mean of values; None with fewer than `MIN_SEEDS` values."""
    if len(values) < MIN_SEEDS:
        return None
    mean = statistics.fmean(values)
    half = student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def student_t(degrees: int) -> float:
    """Two-sided 95% quantile of Student's t, to four decimals, for `degrees` >= 1 degrees of freedom."""
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {degrees}")
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = 1.959964  # Beyond the table: Cornish-Fisher expansion around the normal quantile.
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def final_training_nats(run: RunResult) -> float | None:
    """Mean training loss in nats over the last tenth of the characters; None without a finite one."""
    start = 0.9 * run.characters
    values = [nats for characters, _, nats in run.train if characters >= start and math.isfinite(nats)]
    return statistics.fmean(values) if values else None


def _by_seed(runs: Sequence[RunResult]) -> dict[int, float]:
    scores: dict[int, list[float]] = {}
    for run in runs:
        if run.best_bits is not None:
            scores.setdefault(run.seed, []).append(run.best_bits)
    return {seed: statistics.fmean(values) for seed, values in scores.items()}


def _median(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else None
