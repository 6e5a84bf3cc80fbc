"""Arms trained on recall over a lag, which several experiments use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from charlstm.config import MemoryConfig
from charlstm.config.experiments.recall import RecallConfig
from charlstm.memory.dynamics import DynamicsMeasurement
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.metrics import (
    Metrics,
    MetricValue,
    above_chance_metric,
    fraction_metric,
    median_metric,
    percent,
    reach_metric,
)
from charlstm.memory.task_measures import JsonObject
from charlstm.report.document import Figure, Table
from charlstm.report.solved_plot import solved_plot
from charlstm.text.visible import visible

MIXED = "mixed: "
"""The prefix of the metrics of recall with distractors."""


def recall_section(config: MemoryConfig) -> RecallConfig:
    """The settings of the task, which also the experiments need that use its networks."""
    section = config.experiments.recall
    assert section is not None
    return section


def recall_task(config: MemoryConfig, lag: int, mixed: bool = False) -> JsonObject:
    """The specification of the task at a lag."""
    section = recall_section(config)
    task = {"task": "Recall", "lag": lag, "keys": section.keys, "letters": section.letters}
    return task | ({"mixed": True} if mixed else {})


def recall_groups(
    config: MemoryConfig, grid: Grid, lags: Iterable[int], arms: Iterable[str], mixed: bool = False
) -> dict[int, dict[str, RunGroup]]:
    """The run groups of arms by lag, ascending. They have as many parameters as the first arm of the experiment.

    An initialization, or an arm with a single one, is not trained at a lag if it learned nothing of the lag before,
    unless a claim is about it at this lag.
    """
    section, gradient = recall_section(config), config.experiments.gradient
    arms, groups, previous = list(arms), dict[int, dict[str, RunGroup]](), dict[str, RunGroup]()
    claimed = set(_claimed_lags(config, mixed))
    for lag in sorted(set(lags)):
        task = recall_task(config, lag, mixed)
        dataset = grid.texts.task(f"recall-{lag}{'-mixed' * mixed}", task, section.strings)
        dynamics = None
        if gradient and gradient.training_texts and lag == gradient.lag_of(section) and not mixed:
            dynamics = DynamicsMeasurement(task, gradient.training_texts, gradient.depth_of(section))
        conditions = {
            arm: group for arm, group in previous.items() if group.initializations or (lag, arm) not in claimed
        }
        previous = grid.run_groups("recall", dataset, [section.arms[0], *arms], conditions, dynamics)
        groups[lag] = {arm: previous[arm] for arm in arms}
    return groups


def _claimed_lags(config: MemoryConfig, mixed: bool) -> Iterator[tuple[int, str]]:
    """The lag at which the networks of each claim are trained, and its arm."""
    sections = (config.experiments.recall, config.experiments.gradient)
    for claim in (claim for section in sections if section for claim in section.claims):
        match = re.search(r"at lag (\d+)$", claim.metric)
        if match and claim.metric.startswith(MIXED) == mixed:
            yield int(match[1]), claim.arm


def groups_at(config: MemoryConfig, grid: Grid, lag: int, arms: list[str]) -> dict[str, RunGroup]:
    """The run groups of arms at one of the lags of the recall experiment."""
    return recall_groups(config, grid, [one for one in recall_section(config).lags if one <= lag], arms)[lag]


class RecallRuns(ArmsByTask[int]):
    """Arms trained on recall at several lags, and the fraction of test strings that each answers.

    ``arms`` are the arms that are trained, each initialization of an arm by itself; ``contestants`` are the arms of
    the file, of which the best initialization counts.
    """

    def __init__(
        self, config: MemoryConfig, grid: Grid, arms: Iterable[str], lags: Iterable[int], mixed: bool = False
    ) -> None:
        self.contestants, self.lags, self._mixed = list(dict.fromkeys(arms)), sorted(set(lags)), mixed
        self.arms = self.contestants if mixed else config.trained(self.contestants)
        self.names = list(dict.fromkeys([*self.arms, *self.contestants]))
        super().__init__(config, grid, recall_groups(config, grid, self.lags, self.names, mixed))

    def run_groups(self) -> list[RunGroup]:
        return [groups[arm] for groups in self._groups.values() for arm in self.arms]

    def measure(self, key: int) -> tuple[str, JsonObject]:
        return "answers", {"task": recall_task(self._config, key, self._mixed), "strings": self._config.test_strings}

    def is_trained(self, lag: int, arm: str) -> bool:
        """Whether the arm was trained at this lag, since a seed learned something of the lag before."""
        return bool(self._grid.best_runs(self._groups[lag][arm]).paths)

    def initialization(self, lag: int, arm: str) -> str:
        """The initialization of the arm that is judged at a lag: its name without that of the arm."""
        return self._grid.best_runs(self._groups[lag][arm]).group.arm.removeprefix(f"{arm}, ")

    def accuracies(self, arm: str) -> list[list[float]]:
        """For each seed, the fraction of correct answers at each lag; NaN where it was not trained."""
        missing = [math.nan] * self._config.seeds
        by_lag = [self._fractions(lag, arm) or missing for lag in self.lags]
        return [list(seed) for seed in zip(*by_lag, strict=True)]

    def solved(self, arm: str) -> list[list[bool]]:
        """For each seed, whether it solves each lag."""
        return [[value >= self._config.solve_threshold for value in seed] for seed in self.accuracies(arm)]

    def longest(self, arm: str) -> MetricValue:
        """The longest lag that enough seeds solve."""
        return reach_metric(self.lags, self.solved(arm), fraction=self._config.min_seed_fraction)

    def seeds_that_solve(self, lag: int, arm: str) -> MetricValue:
        """The fraction of the seeds that solve a lag."""
        learned = max((one for one in self.lags if one < lag and self.is_trained(one, arm)), default=0)
        return self._seeds_that_solve(lag, arm, f"not trained: no seed learned lag {learned}")

    def metrics(self, prefix: str = "") -> Metrics:
        """The metrics of each arm at each lag."""
        metrics: dict[tuple[str, str], MetricValue] = {}
        for arm in self.names:
            metrics[f"{prefix}longest lag", arm] = self.longest(arm)
            for lag in self.lags:
                metrics[f"{prefix}solved at lag {lag}", arm] = self.seeds_that_solve(lag, arm)
                values = self._fractions(lag, arm)
                if not values:
                    continue
                strings, chance = self._config.test_strings, 1 / recall_section(self._config).keys
                metrics[f"{prefix}accuracy at lag {lag}", arm] = fraction_metric(values, strings)
                metrics[f"{prefix}seeds above chance at lag {lag}", arm] = above_chance_metric(values, strings, chance)
                if steps := self.steps(lag, arm):
                    metrics[f"{prefix}steps to solve at lag {lag}", arm] = median_metric(
                        steps, "steps", missing=len(values) - len(steps)
                    )
        return metrics

    def metric_names(self) -> list[str]:
        names = ("solved", "accuracy", "seeds above chance", "steps to solve")
        return [
            "longest lag",
            *(f"{name} at lag {lag}" for lag in self.lags for name in names),
        ]

    def steps(self, lag: int, arm: str) -> list[int]:
        """The steps of each seed until the validation loss reaches the target that ends a run; of those that do."""
        outcomes = self._grid.outcomes(self._groups[lag][arm])
        return [one.steps_to_target for one in outcomes if one.target_nats and one.steps_to_target is not None]

    def table(self) -> Table:
        """How many seeds solve each lag, for each initialization of each arm."""
        rows = []
        for arm in self.arms:
            cells = [self._cell(lag, arm) for lag in self.lags]
            rows.append([visible(arm), f"{self._groups[self.lags[0]][arm].parameters:,}", *cells])
        caption = (
            f"Seeds that solve each lag ({percent(self._config.solve_threshold)} of the test strings), in brackets "
            "one-sided 95% bounds of their fraction, at the best learning rate of each initialization. Not "
            "trained: no seed learned the lag before"
        )
        header = ["arm, initialization", "parameters", *(f"lag {lag}" for lag in self.lags)]
        return Table(header, rows, caption=caption, colors=self._arm_colors(self.arms))

    def _cell(self, lag: int, arm: str) -> str:
        """``4/5 (34% to 99%)``: the seeds that solve a lag, with the bounds of their fraction."""
        values = self._fractions(lag, arm)
        if not values:
            return "not trained"
        metric = self.seeds_that_solve(lag, arm)
        return f"{round(metric.value * len(values))}/{len(values)} ({metric.interval})"

    def _solved_plot(self) -> Figure | None:
        """How many seeds solve each lag, for each initialization of each arm."""
        threshold = self._config.solve_threshold
        by_arm = {arm: [self._fractions(lag, arm) for lag in self.lags] for arm in self.arms}
        rows = {
            arm: [(sum(value >= threshold for value in values), len(values)) if values else None for values in by_lag]
            for arm, by_lag in by_arm.items()
        }
        columns, title = [f"lag {lag}" for lag in self.lags], "Seeds that recall the key"
        return solved_plot(columns, rows, self._colors, "recall-by-initialization", title)

    def best_table(self) -> Table:
        """The best initialization of each arm at each lag, selected by the search seeds."""
        rows = [
            [
                visible(arm),
                self.longest(arm).text,
                *(f"{visible(self.initialization(lag, arm))}: {self._cell(lag, arm)}" for lag in self.lags),
            ]
            for arm in self.contestants
        ]
        caption = (
            "The initialization that the search seeds select for each arm at each lag, and the judged seeds that solve "
            "it (one-sided 95% bounds)"
        )
        header = ["arm", "longest lag", *(f"lag {lag}" for lag in self.lags)]
        return Table(header, rows, caption=caption, colors=self._arm_colors(self.contestants))
