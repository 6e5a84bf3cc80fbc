"""Temporal order and adding, also with a plain RNN whose vanishing gradients are penalized."""

from __future__ import annotations

import math

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import UNTRAINED, ArmsByTask
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.metrics import MetricValue, fraction_metric, percent, solved_summary
from charlstm.memory.task_measures import JsonObject, make_task
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.text.visible import visible

TASKS = {"temporal order": "TemporalOrder", "adding": "Adding"}

WHAT = (
    "Temporal order (Hochreiter & Schmidhuber 1997, experiment 6): two marks, each X or Y, are among random letters, "
    "and the answer is which came first and which second. Adding (experiment 4, with digits): of many digits, the two "
    "after a star must be added. A plain RNN can learn temporal order: Pascanu, Mikolov & Bengio 2013 solved it by "
    "clipping the gradient and penalizing a gradient that shrinks or grows in the backward pass. One arm here is such "
    "an RNN."
)


@experiment("order")
class OrderExperiment(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.order
        assert section is not None
        self._section = section
        self._tasks = {
            f"{name} {length}": {"task": task, "length": length}
            for name, task in TASKS.items()
            for length in sorted(set(section.lengths))
        }
        groups = dict[str, dict[str, RunGroup]]()
        previous = dict[str, dict[str, RunGroup]]()  # by task: its groups at the length before
        for name, task in self._tasks.items():
            dataset = grid.texts.task(name.replace(" ", "-"), task, section.strings)
            kind = str(task["task"])
            is_claimed = {claim.arm for claim in section.claims if claim.metric in (name, f"{name} solved")}
            conditions = {arm: group for arm, group in previous.get(kind, {}).items() if arm not in is_claimed}
            groups[name] = previous[kind] = grid.run_groups("order", dataset, section.arms, conditions)
        super().__init__(config, grid, groups)

    def metric_names(self) -> list[str]:
        return [f"{name}{suffix}" for name in self._tasks for suffix in ("", " solved")]

    def measure(self, key: str) -> tuple[str, JsonObject]:
        return "answers", {"task": self._tasks[key], "strings": self._config.test_strings}

    def result(self) -> ExperimentResult:
        config, arms = self._config, self._section.arms
        accuracies = {arm: {name: self._fractions(name, arm) for name in self._tasks} for arm in arms}
        metrics, estimates = dict[tuple[str, str], MetricValue](), dict[str, list[Estimate]]()
        for arm, by_task in accuracies.items():
            estimates[arm] = []
            for name, values in by_task.items():
                metrics[f"{name} solved", arm] = self._seeds_that_solve(name, arm)
                if values:
                    metrics[name, arm] = fraction_metric(values, config.test_strings)
                estimates[arm].append(metrics[name, arm].estimate if values else (math.nan,) * 3)
        guess_accuracies = {name: make_task({"task": task, "length": 50}).chance for name, task in TASKS.items()}
        plot = bars_plot(
            list(self._tasks),
            estimates,
            self._colors,
            name="order-and-adding",
            title="Correct answers by task and length",
            thresholds={"solved": config.solve_threshold},
        )
        rows = [[visible(arm), *(self._cell(name, arm) for name in self._tasks)] for arm in arms]
        guesses = ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in guess_accuracies.items())
        table = Table(
            ["arm", *self._tasks],
            rows,
            caption=f"Correct answers to test strings, mean over seeds (seeds that solve it); by guessing: {guesses}",
            colors=self._arm_colors(arms),
        )
        section = Section(
            title="Temporal order and adding",
            paragraphs=[WHAT],
            figures=[plot] if plot else [],
            tables=[table, runs_table(self._grid, self.run_groups())],
            data={"shares": accuracies, "chance": guess_accuracies},
        )
        return ExperimentResult(section, metrics)

    def _cell(self, name: str, arm: str) -> str:
        values = self._fractions(name, arm)
        return solved_summary(values, self._config.solve_threshold) if values else UNTRAINED
