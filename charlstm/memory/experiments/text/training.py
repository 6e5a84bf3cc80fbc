"""How the gradient, the half-lives and the state change in the first steps of training on a real text."""

from __future__ import annotations

import math
import statistics
from typing import Any

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.metrics import MetricValue, median_metric
from charlstm.report.document import Section, Table
from charlstm.report.training_plots import TrainingCurve, moments_plot
from charlstm.text.visible import visible

WHAT = (
    "What a network comes to remember is often decided early. After some numbers of steps, on segments of the "
    "validation split: the effective depth of the gradient; the longest half-life of a unit, at the mean value of its "
    "forget gate; how large the state is (root mean square of c, or of h in cells without c), since a tanh passes "
    "little of the gradient where its argument is far above 1; and which fraction of the mean square of h is the same "
    "at all characters, so that it can only serve as a bias."
)
MEASURED = {
    "depth": ("depth on text", "characters"),
    "half_life": ("longest half-life", "characters"),
    "state_rms": ("state size", ""),
    "constant_fraction": ("constant fraction of h", ""),
}
"""Field of a record -> the name and the unit of its metric."""
PLOTS = {"depth": "Effective depth on text", "half_life": "Longest half-life of a unit"}


class TrainingDynamics(TextPart):
    """Measurements of the judged runs of each arm after each of ``training_steps`` that they reached."""

    @property
    def _steps(self) -> list[int]:
        return sorted(set(self._section.training_steps))

    def metric_names(self) -> list[str]:
        return [_name(name, n) for name, _ in MEASURED.values() for n in self._steps]

    def _records(self, arm: str) -> list[list[dict[str, Any]]]:
        """For each judged seed that has them, one record for each of the steps."""
        diverged, runs = self._diverged(arm), []
        by_seed = zip(self._config.judged_seeds(), self._grid.dynamics(self._groups[arm]), strict=True)
        for records in (records for seed, records in by_seed if seed not in diverged):
            found = [next((one for one in records if one["step"] >= n), None) for n in self._steps]
            if all(found):
                runs.append([one for one in found if one])
        return runs

    def result(self) -> ExperimentResult:
        metrics: dict[tuple[str, str], MetricValue] = {}
        curves: dict[str, dict[str, list[TrainingCurve]]] = {field: {} for field in PLOTS}
        tables = {field: list[list[str]]() for field in MEASURED}
        for arm in self._groups:
            runs = self._records(arm)
            for field, (name, unit) in MEASURED.items():
                values = [[_value(one[field]) for one in run] for run in runs if all(field in one for one in run)]
                columns = [[v for v in column if not math.isnan(v)] for column in zip(*values, strict=True)]
                if not columns or not all(columns):
                    continue
                if field in curves:
                    steps = self._steps
                    curves[field][arm] = [TrainingCurve(steps, run, None) for run in values if math.nan not in run]
                tables[field].append([visible(arm), *(f"{statistics.median(column):.3g}" for column in columns)])
                end = self._section.gradient_depth if field == "depth" else math.inf
                missing = len(self._grid.judged_seeds)
                for n, column in zip(self._steps, columns, strict=True):
                    metrics[_name(name, n), arm] = median_metric(column, unit, end, missing - len(column))
        plots = [
            moments_plot(curves[field], self._colors, f"{field.replace('_', '-')}-in-training", title, "characters")
            for field, title in PLOTS.items()
        ]
        header = ["arm", *(f"{n:,} steps" for n in self._steps)]
        section = Section(
            title="During training",
            paragraphs=[WHAT],
            figures=[plot for plot in plots if plot],
            tables=[
                Table(header, rows, caption=f"{name[0].upper()}{name[1:]}{f', {unit}' * bool(unit)}, median over seeds")
                for (name, unit), rows in zip(MEASURED.values(), tables.values(), strict=True)
                if rows
            ],
            data={"training": {arm: self._grid.dynamics(group) for arm, group in self._groups.items()}},
        )
        return ExperimentResult(section, metrics)


def _name(measured: str, steps: int) -> str:
    return f"{measured} after {steps} steps"


def _value(value: float | None) -> float:
    return math.nan if value is None else value
