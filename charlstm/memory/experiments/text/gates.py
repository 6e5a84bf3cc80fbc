"""The gates of networks that were trained on a real text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charlstm.cells import CELLS
from charlstm.config import MemoryConfig
from charlstm.memory.dynamics import LONGEST
from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.document import Figure, Section, slug
from charlstm.report.gate_plots import gate_map, half_life_plot, saturation_plot

ROWS, COLUMNS = 16, 160

WHAT = (
    "The gates of a trained network over text of the test split: how often each unit's gates are closed (below 0.1) "
    "and open (above 0.9; Karpathy, Johnson & Fei-Fei 2015), and each unit's half-life, the number of characters after "
    "which half of its state is left, at the mean rate at which its forget gate reduces it over this text. The heat "
    f"map shows the forget gate over the beginning of the split for the {ROWS} units where it varies most."
)


class TextGates(TextPart):
    """The gates of the first seed of some arms. Raises ValueError for an arm without gates."""

    def __init__(self, config: MemoryConfig, grid: Grid, groups: Mapping[str, RunGroup]) -> None:
        super().__init__(config, grid, groups)
        for arm, group in self._groups.items():
            if len(CELLS[group.members[0].model.cell].gates) == 1:
                raise ValueError(f"gate_arms: {arm} has no gates")

    def _job(self, arm: str) -> MeasurementJob:
        return self._measurement_jobs(arm, "gate_values", {"length": 200, "shown": COLUMNS})[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [self._job(arm) for arm in self._groups]

    def result(self) -> ExperimentResult:
        plots = [plot for arm in self._groups for plot in self._plot_gates(arm)]
        half_lives = {arm: self._job(arm).result()["half_lives"] for arm in self._groups}
        drawn = {
            arm: [LONGEST if value is None else value for value in values]
            for arm, values in half_lives.items()
            if values is not None
        }
        figures = [plot for plot in (*plots, half_life_plot(drawn, self._colors)) if plot is not None]
        return ExperimentResult(
            Section("The gates", paragraphs=[WHAT], figures=figures, data={"half_lives": half_lives}), {}
        )

    def _plot_gates(self, arm: str) -> list[Figure | None]:
        """Plot the saturation of an arm's gates, and the forget gate over text."""
        result = self._job(arm).result()
        gates = {f"gate {letter}": (unit["left"], unit["right"]) for letter, unit in result["saturation"].items()}
        values = np.array(result["series"])
        most_variable = np.sort(np.argsort(-values.std(0))[:ROWS])
        text = "".join(character or " " for character in result["characters"])
        return [
            saturation_plot(gates, f"saturation-{slug(arm)}", f"Saturated gates: {arm}", self._colors[arm]),
            gate_map(
                values[:, most_variable],
                text,
                f"gate-map-{slug(arm)}",
                f"Gate {result['letter']} over text: {arm}",
                most_variable.tolist(),
            ),
        ]
