"""Recall over a lag: which cells remember a key over how many letters."""

from __future__ import annotations

from charlstm.comparison.distributions import fisher
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    ExperimentResult,
    MetricValue,
    experiment,
    fraction_metric,
    length_metric,
    percent,
    reach,
    runs_table,
    solved_summary,
)
from charlstm.memory.grid import Grid, RunGroup
from charlstm.memory.measures import JsonObject
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

SIGNIFICANCE = 0.05

WHAT = (
    "Each string is a key, random letters (their number is the lag), a query, and the key again: only this answer is "
    "scored, in training and in the test (Hochreiter & Schmidhuber 1997, experiment 2). To answer, a network must "
    "store the key over the letters, and to learn that, the gradient must reach back over them. Every arm has the same "
    "grid of learning rates, the best of which is selected by validation score, the same gradient clipping, and test "
    "strings that are not in the training set."
)


def recall_task(config: MemoryConfig, lag: int) -> JsonObject:
    """The specification of the task at a lag."""
    section = config.experiments.recall
    return {"task": "Recall", "lag": lag, "keys": section.keys, "letters": section.letters}


def recall_groups(config: MemoryConfig, grid: Grid, lag: int, arms: list[str]) -> dict[str, RunGroup]:
    """The run groups of arms at a lag. They have as many parameters as the first arm of the recall experiment."""
    section = config.experiments.recall
    dataset = grid.task_dataset(f"recall-{lag}", recall_task(config, lag), section.strings)
    groups = grid.run_groups("recall", dataset, [section.arms[0], *arms])
    return {arm: groups[arm] for arm in arms}


class RecallRuns(ArmsByTask[int]):
    """Arms trained on recall at several lags, and the fraction of test strings that each answers."""

    def __init__(self, config: MemoryConfig, grid: Grid, arms: list[str], lags: list[int]) -> None:
        self.arms, self.lags = arms, sorted(set(lags))
        super().__init__(config, grid, {lag: recall_groups(config, grid, lag, arms) for lag in self.lags})

    def measure(self, key: int) -> tuple[str, JsonObject]:
        return "answers", {"task": recall_task(self._config, key), "strings": self._config.test_strings}

    def accuracies(self, arm: str) -> list[list[float]]:
        """For each seed, the fraction of correct answers at each lag."""
        by_lag = [[one["accuracy"] for one in self._results(lag, arm)] for lag in self.lags]
        return [list(seed) for seed in zip(*by_lag, strict=True)]

    def solved(self, arm: str) -> list[list[bool]]:
        """For each seed, whether it solves each lag."""
        return [[value >= self._config.solve_threshold for value in seed] for seed in self.accuracies(arm)]

    def longest(self, arm: str) -> MetricValue:
        """The longest lag that enough seeds solve."""
        return length_metric(*reach(self.lags, self.solved(arm), self._config.min_seed_fraction))

    def longest_of_any(self, arm: str) -> MetricValue:
        """The longest lag that any seed solves."""
        _, longest = reach(self.lags, self.solved(arm), self._config.min_seed_fraction)
        return length_metric(max(longest), longest)

    def table(self) -> Table:
        """The table of mean accuracies, and of how many seeds solve each lag."""
        rows = []
        for arm in self.arms:
            accuracies = self.accuracies(arm)
            row = [visible(arm), self.longest(arm).text, f"{self._groups[self.lags[0]][arm].parameters:,}"]
            row += [
                solved_summary([seed[index] for seed in accuracies], self._config.solve_threshold)
                for index in range(len(self.lags))
            ]
            rows.append(row)
        header = ["arm", "longest lag", "parameters", *(f"lag {lag}" for lag in self.lags)]
        threshold = percent(self._config.solve_threshold)
        caption = f"Correct answers to test strings, mean over seeds (seeds that reach {threshold})"
        return Table(header, rows, caption=caption, colors=self._arm_colors(self.arms))


@experiment("recall")
class RecallExperiment(RecallRuns):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.recall
        super().__init__(config, grid, section.arms, section.lags)

    def metric_names(self) -> list[str]:
        return ["longest lag", "longest lag of any seed", *(f"accuracy at lag {lag}" for lag in self.lags)]

    def result(self) -> ExperimentResult:
        config = self._config
        keys = config.experiments.recall.keys
        metrics = {("longest lag", arm): self.longest(arm) for arm in self.arms}
        metrics |= {("longest lag of any seed", arm): self.longest_of_any(arm) for arm in self.arms}
        accuracies = {arm: self.accuracies(arm) for arm in self.arms}
        for index, lag in enumerate(self.lags):
            for arm, seeds in accuracies.items():
                metrics[f"accuracy at lag {lag}", arm] = fraction_metric(
                    [seed[index] for seed in seeds], config.test_strings
                )[1]
        plot = recall_plot(self.lags, accuracies, self._colors, 1 / keys, config.solve_threshold)
        section = Section(
            title="Recall over a lag",
            paragraphs=[WHAT, self._significance()],
            figures=[plot] if plot else [],
            tables=[self.table(), runs_table(self._grid, self.run_groups())],
            data={
                "lags": self.lags,
                "shares": accuracies,
                "longest": {arm: self.longest(arm).value for arm in self.arms},
            },
        )
        return ExperimentResult(section, metrics)

    def _significance(self) -> str:
        """Fisher's exact test of the numbers of seeds that solve each lag: the first arm against each other arm."""
        first, seeds, parts = self.arms[0], self._config.seeds, []
        if fisher(seeds, 0, 0, seeds) >= SIGNIFICANCE:
            return f"{seeds} seeds are too few for a significant difference between arms, whatever the results."
        solved = {arm: self.solved(arm) for arm in self.arms}
        for index, lag in enumerate(self.lags):
            successes = sum(seed[index] for seed in solved[first])
            for arm in self.arms[1:]:
                other = sum(seed[index] for seed in solved[arm])
                p = fisher(successes, seeds - successes, other, seeds - other)
                if p < SIGNIFICANCE:
                    parts.append(f"lag {lag}: {successes} of {seeds} against {other} of {arm}, p = {p:.3f}")
        if not parts:
            return (
                f"At no lag does the number of seeds that solve it differ significantly between {first} and another "
                f"arm (Fisher's exact test, p < {SIGNIFICANCE:g})."
            )
        return (
            f"Significant differences in the number of seeds that solve a lag, {first} against another arm (Fisher's "
            f"exact test, p < {SIGNIFICANCE:g}, not corrected for multiple tests): "
            f"{'; '.join(parts)}."
        )
