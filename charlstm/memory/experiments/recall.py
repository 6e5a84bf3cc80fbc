"""Recall over a lag: which cells still know a key after so many letters."""

from __future__ import annotations

from charlstm.comparison.resampling import fisher
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    Chapter,
    Measured,
    measured_reach,
    percent,
    reach,
    runs_table,
    share,
    solved_share,
    study,
)
from charlstm.memory.grid import Grid, Series
from charlstm.memory.measures import Figures as Values
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

UNLIKELY = 0.05

WHAT = (
    "Each string is a key, so many random letters, a query, and the key again: only the answer is scored, in training "
    "and in the test (Hochreiter & Schmidhuber 1997, experiment 2). To answer, a network has to carry the key over the "
    "letters, and to learn that, the error has to reach back over them. Every arm has the same grid of learning rates, "
    "of which the best by validation counts, gradients clipped, and strings in the test that it has never seen."
)


def recall_task(config: MemoryConfig, lag: int) -> Values:
    """The task at a lag."""
    section = config.experiments.recall
    return {"task": "Recall", "lag": lag, "keys": section.keys, "letters": section.letters}


def recall_series(config: MemoryConfig, grid: Grid, lag: int, arms: list[str]) -> dict[str, Series]:
    """Arms that are trained at a lag. The first of recall's own arms says how many parameters they have."""
    section = config.experiments.recall
    lesson = grid.task_lesson(f"recall-{lag}", recall_task(config, lag), section.strings)
    found = grid.series("recall", lesson, [section.arms[0], *arms])
    return {arm: found[arm] for arm in arms}


class RecallRuns(ArmsByTask[int]):
    """Arms trained on recall at several lags, and how many fresh strings each answers."""

    def __init__(self, config: MemoryConfig, grid: Grid, arms: list[str], lags: list[int]) -> None:
        self.arms, self.lags = arms, sorted(set(lags))
        super().__init__(config, grid, {lag: recall_series(config, grid, lag, arms) for lag in self.lags})

    def measure(self, key: int) -> tuple[str, Values]:
        return "answers", {"task": recall_task(self._config, key), "strings": self._config.test_strings}

    def shares(self, arm: str) -> list[list[float]]:
        """For each seed, the share of right answers at each lag."""
        found = [[one["share"] for one in self._results(lag, arm)] for lag in self.lags]
        return [list(seed) for seed in zip(*found, strict=True)]

    def solved(self, arm: str) -> list[list[bool]]:
        """For each seed, whether it solves each lag."""
        return [[value >= self._config.solve_threshold for value in seed] for seed in self.shares(arm)]

    def longest(self, arm: str) -> Measured:
        """The longest lag that enough seeds solve."""
        return measured_reach(*reach(self.lags, self.solved(arm), self._config.min_seed_fraction))

    def longest_of_any(self, arm: str) -> Measured:
        """The longest lag that any seed solves."""
        _, own = reach(self.lags, self.solved(arm), self._config.min_seed_fraction)
        return measured_reach(max(own), own)

    def table(self) -> Table:
        """Accuracies over seeds, and how many seeds solve each lag."""
        rows = []
        for arm in self.arms:
            shares = self.shares(arm)
            row = [visible(arm), self.longest(arm).text, f"{self._series[self.lags[0]][arm].parameters:,}"]
            row += [
                solved_share([seed[place] for seed in shares], self._config.solve_threshold)
                for place in range(len(self.lags))
            ]
            rows.append(row)
        header = ["arm", "longest lag", "parameters", *(f"lag {lag}" for lag in self.lags)]
        threshold = percent(self._config.solve_threshold)
        caption = f"Right answers to fresh strings, mean over seeds (seeds that reach {threshold})"
        return Table(header, rows, caption=caption, colours=self._arm_colours(self.arms))


@study("recall")
class RecallStudy(RecallRuns):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.recall
        super().__init__(config, grid, section.arms, section.lags)

    def names(self) -> list[str]:
        return ["longest lag", "longest lag of any seed", *(f"accuracy at lag {lag}" for lag in self.lags)]

    def chapter(self) -> Chapter:
        config = self._config
        keys = config.experiments.recall.keys
        figures = {("longest lag", arm): self.longest(arm) for arm in self.arms}
        figures |= {("longest lag of any seed", arm): self.longest_of_any(arm) for arm in self.arms}
        shares = {arm: self.shares(arm) for arm in self.arms}
        for place, lag in enumerate(self.lags):
            for arm, own in shares.items():
                figures[f"accuracy at lag {lag}", arm] = share([seed[place] for seed in own], config.test_strings)[1]
        plot = recall_plot(self.lags, shares, self._colours, 1 / keys, config.solve_threshold)
        section = Section(
            title="Recall over a lag",
            paragraphs=[WHAT, self._odds()],
            figures=[plot] if plot else [],
            tables=[self.table(), runs_table(self._grid, self.series())],
            data={"lags": self.lags, "shares": shares, "longest": {arm: self.longest(arm).value for arm in self.arms}},
        )
        return Chapter(section, figures)

    def _odds(self) -> str:
        """How likely the luck of the seeds alone would have parted the first arm from the others at each lag."""
        first, seeds, parts = self.arms[0], self._config.seeds, []
        if fisher(seeds, 0, 0, seeds) >= UNLIKELY:
            return f"{seeds} seeds are too few for a test to tell arms apart, whatever they do."
        solved = {arm: self.solved(arm) for arm in self.arms}
        for place, lag in enumerate(self.lags):
            ours = sum(seed[place] for seed in solved[first])
            for arm in self.arms[1:]:
                theirs = sum(seed[place] for seed in solved[arm])
                p = fisher(ours, seeds - ours, theirs, seeds - theirs)
                if p < UNLIKELY:
                    parts.append(f"lag {lag}: {ours} of {seeds} against {theirs} of {arm}, p = {p:.3f}")
        if not parts:
            return f"At no lag do the seeds part {first} from another arm (Fisher's exact test, p < {UNLIKELY:g})."
        return (
            f"Seeds of {first} that solve it, against another arm's (Fisher's exact test, each by itself): "
            f"{'; '.join(parts)}."
        )
