"""Counting beyond the lengths seen in training."""

from __future__ import annotations

import statistics

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.grid import Grid
from charlstm.memory.metrics import MetricValue, reach_metric, seeds_metric
from charlstm.memory.task_measures import JsonObject
from charlstm.report.count_plot import count_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.text.visible import visible

SHOWN = 100
"""The n of the string over which the counting unit is plotted."""

WHAT = (
    "The strings are n times a, then n times b, and in another task then n times c. After the first b, a network that "
    "has counted can predict all characters: a string is accepted if each of them, its end included, is the most "
    "probable one. In training, n is at most {longest}; the test uses larger n, too. An LSTM can count in its cell "
    "state, which is unbounded, and a plain RNN with rectified linear units in its state; those of a GRU and of a tanh "
    "RNN are bounded (Gers & Schmidhuber 2001; Weiss, Goldberg & Yahav 2018). The plots show the unit that correlates "
    "best with the count, in the best seed of each arm."
)


@experiment("counting")
class CountingExperiment(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.counting
        assert section is not None
        self._section, self._tested = section, sorted(set(section.tested))
        groups = {}
        for letters in dict.fromkeys(section.letters):
            task = {"task": "Counting", "letters": letters, "longest": section.longest}
            dataset = grid.texts.task(f"counting-{letters}", task, section.strings, exclude_test=False)
            groups[letters] = grid.run_groups("counting", dataset, section.arms)
        super().__init__(config, grid, groups)

    def metric_names(self) -> list[str]:
        longest = [f"longest {letters}" for letters in self._groups]
        return longest + [f"{letters} to {n}" for letters in self._groups for n in self._tested]

    def measure(self, key: str) -> tuple[str, JsonObject]:
        return "counting", {"letters": key, "tested": self._tested, "shown": SHOWN}

    def result(self) -> ExperimentResult:
        config, arms = self._config, self._section.arms
        metrics: dict[tuple[str, str], MetricValue] = {}
        rows: list[list[str]] = []
        row_colors: list[int] = []
        data: dict[str, object] = {}
        plots: list[Figure | None] = []
        for letters in self._groups:
            for arm in arms:
                results = self._results(letters, arm)
                longest = [one["longest"] for one in results]
                solved = [[n <= limit for n in self._tested] for limit in longest]
                metrics[f"longest {letters}", arm] = reach_metric(
                    self._tested, solved, "of each", config.min_seed_fraction
                )
                for n in self._tested:
                    metrics[f"{letters} to {n}", arm] = seeds_metric(sum(n <= limit for limit in longest), len(longest))
                best = max(results, key=lambda one: (one["longest"], abs(one["correlation"] or 0)))
                row_colors.append(self._colors[arm])
                rows.append(
                    [
                        visible(arm),
                        letters,
                        metrics[f"longest {letters}", arm].text,
                        f"{statistics.median(longest):g}",
                        ", ".join(map(str, longest)),
                        f"{best['unit']}, r = {best['correlation']:.3f}" if best["correlation"] is not None else "–",
                    ]
                )
                data[f"{letters}, {arm}"] = {
                    "longest": longest,
                    "unit": best["unit"],
                    "correlation": best["correlation"],
                }
                if letters == self._section.letters[0] and best["longest"]:
                    name, unit = f"counting-unit-{len(plots)}", f"unit {best['unit']}"
                    boundaries = {letters[number]: float(SHOWN * number) for number in range(1, len(letters))}
                    title = f"A counting unit: {arm}"
                    color_number = self._colors[arm]
                    plots.append(
                        count_plot(best["values"], best["counts"], name, unit, boundaries, color_number, title)
                    )
        table = Table(
            ["arm", "string", "longest n", "median of seeds", "each seed", "counting unit of the best seed"],
            rows,
            caption=f"Longest n up to which all tested n are accepted ({', '.join(map(str, self._tested))}); the first "
            f"number is reached by {config.min_seed_fraction:.0%} of the seeds; trained up to {self._section.longest}",
            colors=row_colors,
        )
        section = Section(
            title="Counting",
            paragraphs=[WHAT.format(longest=self._section.longest)],
            figures=[plot for plot in plots if plot is not None],
            tables=[table, runs_table(self._grid, self.run_groups())],
            data=data,
        )
        return ExperimentResult(section, metrics)
