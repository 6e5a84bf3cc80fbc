"""The role of each gate: networks without it, and the gates of a trained network."""

from __future__ import annotations

from functools import partial

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    ExperimentResult,
    MetricValue,
    estimate,
    experiment,
    fraction_metric,
    percent,
    runs_table,
)
from charlstm.memory.experiments.recall import recall_groups, recall_task
from charlstm.memory.experiments.text import text_groups
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.task_measures import JsonObject
from charlstm.probes.tasks import ContinualReber
from charlstm.report.document import Figure, Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.report.gate_plots import gate_map, half_life_plot, saturation_plot
from charlstm.text.visible import visible

ROWS, COLUMNS = 16, 160
MAX_HALF_LIFE = 1e9

WHAT = (
    "Networks without one of the gates (Greff et al. 2017), on tasks that were designed to need it. Continual Reber: "
    "strings of the embedded Reber grammar in sequence, without a reset or a separator between them; one symbol of "
    "each must be recalled at its end. Without a forget gate, as in 1997, the cell state can only be added to (Gers, "
    "Schmidhuber & Cummins 2000), and the test is one long stream. Reber: single strings of the same grammar. Recall: "
    "a key over a lag of letters, which an input gate can ignore. Coupled and peephole cells are included for "
    "comparison."
)
TRAINED_GATES = (
    "The gates of a trained network over text of the test split: how often each unit's gates are closed (below 0.1) "
    "and open (above 0.9; Karpathy, Johnson & Fei-Fei 2015), and each unit's half-life, the number of characters after "
    "which half of its state is left at the mean value of its forget gate. The heat map shows the forget gate over the "
    "beginning of the split for the {rows} units where it varies most."
)


@experiment("gates")
class GatesExperiment(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gates
        assert section is not None
        self._section = section
        groups: dict[str, dict[str, RunGroup]] = {}
        if section.continual_arms:
            settings = {"task": "ContinualReber", "characters": section.characters}
            dataset = grid.texts.running(
                "continual-reber", settings, partial(ContinualReber().text, section.characters)
            )
            groups["continual Reber"] = grid.run_groups("gates", dataset, section.continual_arms)
        if section.reber_arms:
            dataset = grid.texts.task("reber", {"task": "Reber"}, section.strings)
            groups["Reber"] = grid.run_groups("gates", dataset, section.reber_arms)
        if section.recall_arms:
            lag = section.recall_lag
            groups[f"recall at {lag}"] = recall_groups(config, grid, [lag], section.recall_arms)[lag]
        super().__init__(config, grid, groups)
        self._recall_arguments: JsonObject = {"task": recall_task(config, section.recall_lag)}
        text = text_groups(config, grid) if section.shown_arms else {}
        self._shown = {arm: text[arm] for arm in section.shown_arms}

    def metric_names(self) -> list[str]:
        return [f"{name}{suffix}" for name in self._groups for suffix in ("", " solved")]

    def run_groups(self) -> list[RunGroup]:
        return [*super().run_groups(), *self._shown.values()]

    def measure(self, key: str) -> tuple[str, JsonObject]:
        if key == "continual Reber":
            return "continual_reber", {"characters": self._section.test_characters}
        strings = {"strings": self._config.test_strings}
        return ("reber", strings) if key == "Reber" else ("answers", self._recall_arguments | strings)

    def _gate_job(self, arm: str) -> MeasurementJob:
        """The gate measurement of the arm's first seed."""
        return self._grid.measurement_jobs(self._shown[arm], "gate_values", {"length": 200, "shown": COLUMNS})[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [*super().measurement_jobs(), *(self._gate_job(arm) for arm in self._shown)]

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
                results = self._results(name, arm)
                accuracies = [one["accuracy"] for one in results]
                value, metrics[name, arm] = fraction_metric(
                    accuracies, results[0].get("positions", self._config.test_strings)
                )
                metrics[f"{name} solved", arm] = self._seeds_that_solve(name, arm)
                estimates[name][arm] = [value]
                largest = [one["max_abs_state"] for one in results if "max_abs_state" in one]
                state = f", largest state {estimate(largest)[0]:,.0f}" if largest else ""
                rows[arm].append(
                    f"{percent(value[0])} ({percent(min(accuracies))} to {percent(max(accuracies))}{state})"
                )
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
        gate_plots = [figure for arm in self._shown for figure in self._plot_gates(arm)]
        if self._shown:
            gate_plots.append(self._plot_half_lives())
        section = Section(
            title="Gates",
            paragraphs=[WHAT, *([TRAINED_GATES.format(rows=ROWS)] if self._shown else [])],
            figures=[figure for figure in (*plots, *gate_plots) if figure is not None],
            tables=[table, runs_table(self._grid, super().run_groups())],
            data={
                "shares": {
                    f"{name}, {arm}": self._results(name, arm)
                    for name, groups in self._groups.items()
                    for arm in groups
                },
                "half_lives": {arm: self._gate_job(arm).result()["half_lives"] for arm in self._shown},
            },
        )
        return ExperimentResult(section, metrics)

    def _plot_gates(self, arm: str) -> list[Figure | None]:
        """Plot the saturation of an arm's gates, and the forget gate over text."""
        result, slug = self._gate_job(arm).result(), "-".join("".join(c if c.isalnum() else " " for c in arm).split())
        gates = {f"gate {letter}": (unit["left"], unit["right"]) for letter, unit in result["saturation"].items()}
        values = np.array(result["series"])
        most_variable = np.sort(np.argsort(-values.std(0))[:ROWS])
        text = "".join(character or " " for character in result["characters"])
        return [
            saturation_plot(gates, f"saturation-{slug}", f"Saturated gates: {arm}", self._colors[arm]),
            gate_map(
                values[:, most_variable],
                text,
                f"gate-map-{slug}",
                f"Gate {result['letter']} over text: {arm}",
                most_variable.tolist(),
            ),
        ]

    def _plot_half_lives(self) -> Figure | None:
        half_lives = {arm: self._gate_job(arm).result()["half_lives"] for arm in self._shown}
        drawn = {
            arm: [MAX_HALF_LIFE if value is None else value for value in values]
            for arm, values in half_lives.items()
            if values is not None
        }
        return half_life_plot(drawn, self._colors)
