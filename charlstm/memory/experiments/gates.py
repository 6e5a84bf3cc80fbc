"""The role of each gate: networks without it."""

from __future__ import annotations

from functools import partial

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import UNTRAINED, ArmsByTask
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.experiments.recall_runs import recall_groups, recall_task
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.metrics import MetricValue, estimate, fraction_metric, percent
from charlstm.memory.task_measures import JsonObject
from charlstm.probes.tasks import ContinualReber
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Networks without one of the gates (Greff et al. 2017), on tasks that were designed to need it. Continual Reber: "
    "strings of the embedded Reber grammar in sequence, without a reset or a separator between them; one symbol of "
    "each must be recalled at its end. Without a forget gate, as in 1997, the cell state can only be added to (Gers, "
    "Schmidhuber & Cummins 2000), and the test is one long stream. Reber: single strings of the same grammar. Recall: "
    "a key over a lag of letters, which an input gate can ignore. Coupled and peephole cells are included for "
    "comparison."
)


@experiment("gates")
class GatesExperiment(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gates
        assert section is not None
        self._section = section
        self._reber_task: JsonObject = {"task": "Reber", "min_inner": section.min_inner}
        groups: dict[str, dict[str, RunGroup]] = {}
        if section.continual_arms:
            settings = {"task": "ContinualReber", "characters": section.characters}
            dataset = grid.texts.running(
                "continual-reber", settings, partial(ContinualReber().text, section.characters)
            )
            groups["continual Reber"] = grid.run_groups("gates", dataset, section.continual_arms)
        if section.reber_arms:
            dataset = grid.texts.task("reber", self._reber_task, section.strings)
            groups["Reber"] = grid.run_groups("gates", dataset, section.reber_arms)
        if section.recall_arms:
            lag = section.recall_lag
            groups[f"recall at {lag}"] = recall_groups(config, grid, [lag], section.recall_arms)[lag]
        super().__init__(config, grid, groups)
        self._recall_arguments: JsonObject = {"task": recall_task(config, section.recall_lag)}

    def metric_names(self) -> list[str]:
        return [f"{name}{suffix}" for name in self._groups for suffix in ("", " solved")]

    def measure(self, key: str) -> tuple[str, JsonObject]:
        if key == "continual Reber":
            return "continual_reber", {"characters": self._section.test_characters}
        name, task = ("reber", {"task": self._reber_task}) if key == "Reber" else ("answers", self._recall_arguments)
        return name, task | {"strings": self._config.test_strings}

    def result(self) -> ExperimentResult:
        arms = list(dict.fromkeys(arm for groups in self._groups.values() for arm in groups))
        metrics: dict[tuple[str, str], MetricValue] = {}
        estimates: dict[str, dict[str, list[Estimate]]] = {name: {} for name in self._groups}
        rows = {arm: [visible(arm)] for arm in arms}
        for name, groups in self._groups.items():
            for arm in arms:
                if arm not in groups:
                    rows[arm].append("–")
                    continue
                metrics[f"{name} solved", arm] = self._seeds_that_solve(name, arm)
                results = self._results(name, arm)
                if not results:
                    rows[arm].append(UNTRAINED)
                    continue
                accuracies = [one["accuracy"] for one in results]
                strings = results[0].get("positions", self._config.test_strings)
                metrics[name, arm] = metric = fraction_metric(accuracies, strings)
                estimates[name][arm] = [metric.estimate]
                largest = [one["max_abs_state"] for one in results if "max_abs_state" in one]
                state = f", largest state {estimate(largest)[0]:,.0f}" if largest else ""
                rows[arm].append(f"{metric.text} ({percent(min(accuracies))} to {percent(max(accuracies))}{state})")
        plots = [
            bars_plot([""], by_arm, self._colors, f"ablations-{name.lower().replace(' ', '-')}", f"Correct: {name}")
            for name, by_arm in estimates.items()
        ]
        table = Table(
            ["arm", *self._groups],
            list(rows.values()),
            caption="Correct, mean over seeds (lowest to highest seed); guessing gives 50% in the two Reber tasks",
            colors=self._arm_colors(arms),
        )
        section = Section(
            title="Gates",
            paragraphs=[WHAT],
            figures=[figure for figure in plots if figure is not None],
            tables=[table, runs_table(self._grid, self.run_groups())],
            data={
                "shares": {
                    f"{name}, {arm}": self._results(name, arm)
                    for name, groups in self._groups.items()
                    for arm in groups
                },
            },
        )
        return ExperimentResult(section, metrics)
