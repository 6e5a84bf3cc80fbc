"""Recall over a lag: which cells, with which initializations, remember a key over how many letters."""

from __future__ import annotations

from collections.abc import Mapping

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.experiments.recall_runs import MIXED, RecallRuns, recall_section, recall_task
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import seeds_metric
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.report.solved_plot import solved_plot
from charlstm.report.training_plots import steps_plot
from charlstm.text.visible import visible

WHAT = (
    "Each string is a key, random letters (their number is the lag), a query, and the key again: only this answer is "
    "scored, in training and in the test (Hochreiter & Schmidhuber 1997, experiment 2). To answer, a network must "
    "store the key over the letters, and to learn that, the gradient must reach back over them. Every arm is tried "
    "with several initializations, each with the same grid of learning rates; seeds that are not judged select the "
    "rate of each initialization, and the best initialization of each arm at each lag. The training strings differ by "
    "seed, and no test string is among them. An initialization is not trained at a longer lag when no seed halved the "
    "loss of a guess at the lag before, unless a claim is about it."
)
LONGER = (
    "Networks that solve the lag they were trained at, tested at longer lags without further training: with the best "
    "initialization of each arm, how many of the seeds that solve the shorter lag also solve the longer one."
)
DISTRACTORS = (
    "With distractors the letters between the key and the query are keys, too, so that only its position identifies "
    "the key to recall."
)

LongerLags = Mapping[tuple[int, int, str], tuple[int, int]]
"""For a lag of the training, a longer one and an arm: of the seeds that solve the first, how many solve the second, and
how many there are."""


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
        mixed = [f"{MIXED}{name}" for name in super().metric_names()]  # even if this file or --quick has no mixed_lags
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
        longer = self._seeds_at_longer_lags()
        metrics = dict(self.metrics())
        for (lag, long, arm), seeds in longer.items():
            metrics[f"solved at lag {long} trained at lag {lag}", arm] = seeds_metric(*seeds)
        accuracies = {arm: self.accuracies(arm) for arm in self.names}
        shown = {arm: accuracies[arm] for arm in self.contestants}
        chance = 1 / recall_section(config).keys
        figures = [
            self._solved_plot(),
            self._longer_plot(longer),
            recall_plot(
                self.lags, shown, self._colors, chance, config.solve_threshold, title="Accuracy: best initializations"
            ),
            steps_plot(
                self.lags, {arm: [self.steps(lag, arm) for lag in self.lags] for arm in self.contestants}, self._colors
            ),
        ]
        tables = [self.best_table()] if self.contestants != self.arms else []
        tables += [self.table(), self._longer_table(longer)]
        if self._distractors:
            mixed = self._distractors
            metrics |= mixed.metrics(MIXED)
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
            paragraphs=[WHAT, LONGER, *([DISTRACTORS] if self._distractors else [])],
            figures=[figure for figure in figures if figure],
            tables=[*tables, runs_table(self._grid, self.run_groups())],
            data={
                "lags": self.lags,
                "shares": accuracies,
                "longest": {arm: self.longest(arm).value for arm in self.names},
                "initializations": {
                    arm: [self.initialization(lag, arm) for lag in self.lags] for arm in self.contestants
                },
                "steps": {arm: [self.steps(lag, arm) for lag in self.lags] for arm in self.names},
            },
        )
        return ExperimentResult(section, metrics)

    def _seeds_at_longer_lags(self) -> LongerLags:
        seeds = {}
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
                    seeds[lag, long, arm] = solved, len(solving[lag])
        return seeds

    def _longer_plot(self, seeds: LongerLags) -> Figure | None:
        """For each lag, the seeds that also solve the next lag that is at least twice as long."""
        doubled = [(lag, min((long for long in self._tested if long >= 2 * lag), default=0)) for lag in self.lags]
        pairs = [(lag, long) for lag, long in doubled if long]
        rows: dict[str, list[tuple[int, int] | None]] = {}
        colors: dict[str, int] = {}
        for arm in self.contestants:
            best = dict.fromkeys(self.initialization(lag, arm) for lag, long in pairs if (lag, long, arm) in seeds)
            row = ", ".join(dict.fromkeys([arm, " / ".join(best)])) if best else arm
            rows[row], colors[row] = [seeds.get((lag, long, arm)) for lag, long in pairs], self._colors[arm]
        columns = [f"{lag} → {long}" for lag, long in pairs]
        title = "Longer lags: trained → tested"
        return solved_plot(columns, rows, colors, "longer-lags", title, "no seed solves the lag of the training")

    def _longer_table(self, seeds: LongerLags) -> Table:
        rows, row_arms = [], []
        for arm in self.contestants:
            for lag in [one for one in self.lags if one < self._tested[-1]]:
                if self.seeds_that_solve(lag, arm).value:
                    tested = [seeds.get((lag, long, arm)) for long in self._tested]
                    cells = [f"{one[0]} of {one[1]}" if one else "" for one in tested]
                    rows.append([visible(arm), visible(self.initialization(lag, arm)), str(lag), *cells])
                    row_arms.append(arm)
        header = ["arm", "initialization", "trained at lag", *(f"lag {lag}" for lag in self._tested)]
        caption = "Seeds that solve longer lags than they were trained at"
        return Table(header, rows, caption=caption, colors=self._arm_colors(row_arms))
