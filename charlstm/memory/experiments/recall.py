"""Recall over a lag: which cells, with which starts, remember a key over how many letters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping

from charlstm.config import MemoryConfig
from charlstm.config.experiments import RecallConfig
from charlstm.memory.dynamics import Dynamics
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    ExperimentResult,
    Metrics,
    MetricValue,
    above_chance_metric,
    experiment,
    fraction_metric,
    percent,
    reach_metric,
    runs_table,
    seeds_metric,
)
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.task_measures import JsonObject
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.report.solved_plot import solved_plot
from charlstm.report.training_plots import steps_plot
from charlstm.text.visible import visible

WHAT = (
    "Each string is a key, random letters (their number is the lag), a query, and the key again: only this answer is "
    "scored, in training and in the test (Hochreiter & Schmidhuber 1997, experiment 2). To answer, a network must "
    "store the key over the letters, and to learn that, the gradient must reach back over them. Every arm is tried "
    "from several starts, each with the same grid of learning rates; seeds that are not judged select the rate of each "
    "start, and the best start of each arm at each lag. The training strings differ by seed, and no test string is "
    "among them. An arm is not trained at a longer lag when none of its seeds learned anything of the lag before."
)
LONGER = (
    "Networks that solve the lag they were trained at, tested at longer lags without further training: at the best "
    "start of each arm, how many of the seeds that solve the shorter lag also solve the longer one."
)
MIXED = (
    "With distractors the letters between the key and the query are keys, too, so that only its position identifies "
    "the key to recall."
)


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
    """The run groups of arms by lag, ascending. They have as many parameters as the first arm of the experiment."""
    section, gradient = recall_section(config), config.experiments.gradient
    arms, groups, previous = list(arms), dict[int, dict[str, RunGroup]](), None
    for lag in sorted(set(lags)):
        task = recall_task(config, lag, mixed)
        dataset = grid.texts.task(f"recall-{lag}{'-mixed' * mixed}", task, section.strings)
        dynamics = None
        if gradient and gradient.training_texts and lag == gradient.lag and not mixed:
            dynamics = Dynamics(task, gradient.training_texts, gradient.depth)
        previous = grid.run_groups("recall", dataset, [section.arms[0], *arms], previous, dynamics)
        groups[lag] = {arm: previous[arm] for arm in arms}
    return groups


def groups_at(config: MemoryConfig, grid: Grid, lag: int, arms: list[str]) -> dict[str, RunGroup]:
    """The run groups of arms at one of the lags of the recall experiment."""
    return recall_groups(config, grid, [one for one in recall_section(config).lags if one <= lag], arms)[lag]


class RecallRuns(ArmsByTask[int]):
    """Arms trained on recall at several lags, and the fraction of test strings that each answers.

    ``arms`` are the arms that are trained, each start of an arm by itself; ``contestants`` are the arms of the file,
    of which the best start counts.
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

    def start(self, lag: int, arm: str) -> str:
        """The start of the arm that is judged at a lag: its name without that of the arm."""
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
                metrics[f"{prefix}accuracy at lag {lag}", arm] = fraction_metric(values, strings)[1]
                metrics[f"{prefix}seeds above chance at lag {lag}", arm] = above_chance_metric(values, strings, chance)
                if steps := self.steps(lag, arm):
                    text = f"{statistics.median(steps):,g} steps"
                    interval = f"{len(steps)} of {len(values)} seeds: {min(steps):,} to {max(steps):,}"
                    metrics[f"{prefix}steps to solve at lag {lag}", arm] = MetricValue(
                        statistics.median(steps), text, interval
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
        """How many seeds solve each lag, for each start of each arm."""
        rows = []
        for arm in self.arms:
            cells = [self._cell(lag, arm) for lag in self.lags]
            rows.append([visible(arm), f"{self._groups[self.lags[0]][arm].parameters:,}", *cells])
        caption = (
            f"Seeds that solve each lag ({percent(self._config.solve_threshold)} of the test strings) with 95% bounds "
            "of their fraction, at the best learning rate of each start. Not trained: no seed learned the lag before"
        )
        header = ["arm, start", "parameters", *(f"lag {lag}" for lag in self.lags)]
        return Table(header, rows, caption=caption, colors=self._arm_colors(self.arms))

    def _cell(self, lag: int, arm: str) -> str:
        """``4/5 (34% to 99%)``: the seeds that solve a lag, with the bounds of their fraction."""
        values = self._fractions(lag, arm)
        if not values:
            return "not trained"
        metric = self.seeds_that_solve(lag, arm)
        return f"{round(metric.value * len(values))}/{len(values)} ({metric.interval})"

    def _solved_plot(self) -> Figure | None:
        """How many seeds solve each lag, for each start of each arm."""
        trained = {arm: [lag for lag in self.lags if self._fractions(lag, arm)] for arm in self.arms}
        rows = {
            arm: [self.seeds_that_solve(lag, arm).value if lag in lags else math.nan for lag in self.lags]
            for arm, lags in trained.items()
        }
        columns, title = [f"lag {lag}" for lag in self.lags], "Seeds that recall the key"
        return solved_plot(columns, rows, self._config.seeds, self._colors, "recall-by-start", title)

    def best_table(self) -> Table:
        """The best start of each arm at each lag, selected by the search seeds."""
        rows = [
            [
                visible(arm),
                self.longest(arm).text,
                *(f"{visible(self.start(lag, arm))}: {self._cell(lag, arm)}" for lag in self.lags),
            ]
            for arm in self.contestants
        ]
        caption = "The start that the search seeds select for each arm at each lag, and the judged seeds that solve it"
        header = ["arm", "longest lag", *(f"lag {lag}" for lag in self.lags)]
        return Table(header, rows, caption=caption, colors=self._arm_colors(self.contestants))


@experiment("recall")
class RecallExperiment(RecallRuns):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = recall_section(config)
        super().__init__(config, grid, section.arms, section.lags)
        self._tested = sorted({*self.lags, *section.longer_lags})
        mixed_arms = section.mixed_arms or section.arms
        self._distractors = (
            RecallRuns(config, grid, mixed_arms, section.mixed_lags, True) if section.mixed_lags else None
        )

    def metric_names(self) -> list[str]:
        longer = [f"solved at lag {long} trained at lag {lag}" for lag, long in self._longer_pairs()]
        mixed = [f"mixed: {name}" for name in super().metric_names()]  # even if this file or --quick has no mixed_lags
        return [*super().metric_names(), *longer, *mixed]

    def run_groups(self) -> list[RunGroup]:
        return [*super().run_groups(), *(self._distractors.run_groups() if self._distractors else [])]

    def _longer_pairs(self) -> list[tuple[int, int]]:
        return [(lag, long) for lag in self.lags for long in self._tested if long > lag]

    def _longer_jobs(self, lag: int, arm: str) -> list[MeasurementJob]:
        """The tests at longer lags of the runs at a lag; no jobs for the longest lag."""
        tasks = {str(long): recall_task(self._config, long) for short, long in self._longer_pairs() if short == lag}
        arguments = {"tasks": tasks, "strings": self._config.test_strings}
        return self._grid.measurement_jobs(self._groups[lag][arm], "longer", arguments) if tasks else []

    def measurement_jobs(self) -> list[MeasurementJob]:
        longer = [job for lag in self.lags for arm in self.contestants for job in self._longer_jobs(lag, arm)]
        return [
            *super().measurement_jobs(),
            *longer,
            *(self._distractors.measurement_jobs() if self._distractors else []),
        ]

    def result(self) -> ExperimentResult:
        config = self._config
        metrics = {**self.metrics(), **self._longer_metrics()}
        accuracies = {arm: self.accuracies(arm) for arm in self.names}
        shown = {arm: accuracies[arm] for arm in self.contestants}
        chance = 1 / recall_section(config).keys
        figures = [
            self._solved_plot(),
            recall_plot(self.lags, shown, self._colors, chance, config.solve_threshold, title="Accuracy: best starts"),
            steps_plot(
                self.lags, {arm: [self.steps(lag, arm) for lag in self.lags] for arm in self.contestants}, self._colors
            ),
        ]
        tables = [self.best_table()] if self.contestants != self.arms else []
        tables += [self.table(), self._longer_table(metrics)]
        if self._distractors:
            mixed = self._distractors
            metrics |= mixed.metrics("mixed: ")
            mixed_accuracies = {arm: mixed.accuracies(arm) for arm in mixed.contestants}
            figures.append(
                recall_plot(
                    mixed.lags,
                    mixed_accuracies,
                    self._colors,
                    chance,
                    config.solve_threshold,
                    "recall-mixed",
                    "With distractors",
                )
            )
            tables.append(mixed.best_table())
        section = Section(
            title="Recall over a lag",
            paragraphs=[WHAT, LONGER, *([MIXED] if self._distractors else [])],
            figures=[figure for figure in figures if figure],
            tables=[*tables, runs_table(self._grid, self.run_groups())],
            data={
                "lags": self.lags,
                "shares": accuracies,
                "longest": {arm: self.longest(arm).value for arm in self.names},
                "starts": {arm: [self.start(lag, arm) for lag in self.lags] for arm in self.contestants},
                "steps": {arm: [self.steps(lag, arm) for lag in self.lags] for arm in self.names},
            },
        )
        return ExperimentResult(section, metrics)

    def _longer_metrics(self) -> Metrics:
        metrics = {}
        for arm in self.contestants:
            threshold = self._config.solve_threshold
            solving = {
                lag: [
                    job.result()
                    for job, accuracy in zip(self._longer_jobs(lag, arm), self._fractions(lag, arm), strict=True)
                    if accuracy >= threshold
                ]
                for lag in sorted({lag for lag, _ in self._longer_pairs()})
            }
            for lag, long in self._longer_pairs():
                if solving[lag]:
                    solved = sum(one[str(long)] >= threshold for one in solving[lag])
                    name = f"solved at lag {long} trained at lag {lag}"
                    metrics[name, arm] = seeds_metric(solved, len(solving[lag]))
        return metrics

    def _longer_table(self, metrics: Mapping[tuple[str, str], MetricValue]) -> Table:
        rows, row_arms = [], []
        for arm in self.contestants:
            for lag in [one for one in self.lags if one < self._tested[-1]]:
                if self.seeds_that_solve(lag, arm).value:
                    tested = [metrics.get((f"solved at lag {long} trained at lag {lag}", arm)) for long in self._tested]
                    cells = [one.text.removesuffix(" seeds") if one else "" for one in tested]
                    rows.append([visible(arm), visible(self.start(lag, arm)), str(lag), *cells])
                    row_arms.append(arm)
        header = ["arm", "start", "trained at lag", *(f"lag {lag}" for lag in self._tested)]
        caption = "Seeds that solve longer lags than they were trained at"
        return Table(header, rows, caption=caption, colors=self._arm_colors(row_arms))
