"""The search for the learning rate of an arm, by the scores of runs with seeds that are not judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable

from charlstm.config import MemoryConfig
from charlstm.memory.groups import Outcome, RunGroup, Search


class RateSearch:
    """The search for the learning rates of arms.

    outcome: the validation result of the run of a group with a rate and a seed; None if it is not complete.
    """

    def __init__(self, config: MemoryConfig, outcome: Callable[[RunGroup, float, int], Outcome | None]) -> None:
        self._config, self._outcome, self._seeds = config, outcome, config.seeds_of_search()

    def rates(self, group: RunGroup) -> list[float]:
        """The learning rates to try: the grid, widened while its best rate is at an edge, as far as is known now."""
        rates = self._config.rates(group.experiment)
        ratios = (rates[1] / rates[0], rates[-1] / rates[-2]) if len(rates) > 1 else (1.0, 1.0)
        below = above = 0
        while len(rates) > 1 and (best := self._best_rate(group, rates)) is not None:
            if best == rates[0] and below < self._config.widenings:
                below += 1
                rates = [_rounded(rates[0] / ratios[0]), *rates]
            elif best == rates[-1] and above < self._config.widenings:
                above += 1
                rates = [*rates, _rounded(rates[-1] * ratios[1])]
            else:
                break
        return rates

    def _best_rate(self, group: RunGroup, rates: Iterable[float]) -> float | None:
        """The middle one (of an even number, the lower of the two) of the rates at which every search seed reaches the
        target: a slower one may not reach it within the budget, a faster one may be unstable. Without such a rate, that
        with the best mean score, of several the lowest. None if a run is not complete."""
        scores = dict[float, float]()
        for rate in rates:
            if (score := self._score(group, rate)) is None:
                return None
            scores[rate] = score
        reached = sorted(rate for rate in scores if self._reaches_target(group, rate))
        return reached[(len(reached) - 1) // 2] if reached else min(scores, key=lambda rate: (scores[rate], rate))

    def _score(self, group: RunGroup, rate: float) -> float | None:
        """The mean score of a rate over the search seeds, none better than the target; None if a run is not complete. A
        run that diverged counts as one that learned nothing: a rate that is too high must not win by what was reached
        before."""
        outcomes = [self._outcome(group, rate, seed) for seed in self._seeds]
        nothing = math.inf if group.dataset.baseline_nats is None else group.dataset.baseline_nats
        scores = [
            nothing if one.diverged or one.nats is None else max(one.nats, one.target_nats)
            for one in outcomes
            if one is not None
        ]
        return statistics.fmean(scores) if len(scores) == len(outcomes) else None

    def _reaches_target(self, group: RunGroup, rate: float) -> bool:
        """Whether all search seeds reach the target at a rate."""
        outcomes = [self._outcome(group, rate, seed) for seed in self._seeds]
        return all(one is not None and one.steps_to_target is not None for one in outcomes)

    def result(self, group: RunGroup) -> Search | None:
        """The result of the search for an arm without initializations; None if it is not complete."""
        rates = self.rates(group)
        best = self._best_rate(group, rates)
        if best is None or (score := self._score(group, best)) is None:
            return None
        scores = {rate: [self._nats(group, rate, seed) for seed in self._seeds] for rate in rates}
        reached = sum(self._reaches_target(group, rate) for rate in self._config.rates(group.experiment))
        outcomes = [self._outcome(group, best, seed) for seed in self._seeds]
        return Search(scores, best, (score, -reached, statistics.fmean(one.steps for one in outcomes if one)))

    def _nats(self, group: RunGroup, rate: float, seed: int) -> float | None:
        outcome = self._outcome(group, rate, seed)
        return outcome.nats if outcome else None


def _rounded(rate: float) -> float:
    """The rate with two significant digits, so that the names of folders stay short."""
    return float(f"{rate:.2g}")
