"""Statistics over seeds: means, spreads, and differences paired by seed with their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from charlstm.comparison.intervals import MIN_SEEDS, t_bounds
from charlstm.comparison.results import Arm, Comparison, RunResult


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
        diverged: number of runs that diverged; their scores are the best before.
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
    diverged: int = 0

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
        interval_bits: 95% paired t interval; None with fewer than `MIN_SEEDS` pairs, or if a run of an arm diverged.
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
        unfinished=sum(not (run.finished or run.diverged) for run in arm.runs),
        diverged=sum(run.diverged for run in arm.runs),
    )


def difference(arm: Arm, reference: Arm) -> Difference:
    """`arm` minus `reference`, over their common seeds; runs of one arm with the same seed are averaged."""
    scores, reference_scores = _by_seed(arm.runs), _by_seed(reference.runs)
    pairs = tuple((seed, scores[seed] - reference_scores[seed]) for seed in scores if seed in reference_scores)
    values = [value for _, value in pairs]
    interval = t_bounds(values)
    reason = ""
    if diverged := [one.name for one in (arm, reference) if any(run.diverged for run in one.runs)]:
        interval, reason = None, f"no interval: runs of {' and '.join(diverged)} diverged"
    elif interval is None:
        plural = "seed" if len(pairs) == 1 else "seeds"
        reason = f"no interval: {len(pairs) or 'no'} shared {plural}, {MIN_SEEDS} are needed"
    mean = statistics.fmean(values) if values else None
    return Difference(arm.name, reference.name, pairs, mean, interval, reason)


def differences(comparison: Comparison) -> list[Difference]:
    """The difference of every other arm to the first."""
    return [difference(arm, comparison.arms[0]) for arm in comparison.arms[1:]]


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
