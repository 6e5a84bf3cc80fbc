"""How the gradient, the half-lives and the state change in the first steps of training on a real text."""

from __future__ import annotations

import math
import statistics

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.metrics import MetricValue, median_metric
from charlstm.report.document import Section, Table
from charlstm.report.training_plots import medians_plot
from charlstm.text.visible import visible

WHAT = (
    "After some numbers of training steps, on segments of the validation split: the effective depth of the gradient; "
    "the longest half-life of a unit, at the mean rate at which its forget gate reduces its state; the root mean "
    "square of the state (of c, or of h in cells without c), since a tanh passes less than a tenth of the gradient "
    "where its argument is above 1.9; and the constant fraction of the output h, the mean square of the units' means "
    "divided by the mean square: 1 if h is the same at all characters."
)
MEASURED = {
    "depth": ("depth on text", "characters"),
    "half_life": ("longest half-life", "characters"),
    "state_rms": ("root mean square of the state", ""),
    "constant_fraction": ("constant fraction of h", ""),
}
"""Field of a record -> the name and the unit of its metric."""
PLOTS = {"depth": "Effective depth on text", "half_life": "Longest half-life of a unit"}


class TrainingDynamics(TextPart):
    """Measurements of the judged runs of each arm after each of ``training_steps`` that they reached."""

    def metric_names(self) -> list[str]:
        return [_name(name, n) for name, _ in MEASURED.values() for n in self._steps]

    @property
    def _steps(self) -> list[int]:
        return sorted(set(self._section.training_steps))

    def _values(self, arm: str, field: str) -> dict[int, list[float]]:
        """Step -> the values of the judged runs that have one, in the order of their seeds."""
        by_seed = zip(self._config.judged_seeds(), self._grid.dynamics(self._groups[arm]), strict=True)
        runs = [records for seed, records in by_seed if seed not in self._diverged(arm)]
        by_step = {
            n: [one[field] for records in runs for one in records if one["step"] == n and one.get(field) is not None]
            for n in self._steps
        }
        return {n: values for n, values in by_step.items() if values}

    def result(self) -> ExperimentResult:
        metrics: dict[tuple[str, str], MetricValue] = {}
        tables, plots = [], []
        header, seeds = ["arm", *(f"{n:,} steps" for n in self._steps)], len(self._grid.judged_seeds)
        for field, (name, unit) in MEASURED.items():
            values = {arm: by_step for arm in self._groups if (by_step := self._values(arm, field))}
            end = self._section.gradient_depth if field == "depth" else math.inf
            for arm, by_step in values.items():
                for n, column in by_step.items():
                    metrics[_name(name, n), arm] = median_metric(column, unit, end, seeds - len(column))
            rows = [
                [visible(arm), *(f"{statistics.median(by_step[n]):.3g}" if n in by_step else "–" for n in self._steps)]
                for arm, by_step in values.items()
            ]
            caption = f"{name[0].upper()}{name[1:]}{f', {unit}' if unit else ''}: median over seeds"
            if rows:
                tables.append(Table(header, rows, caption=caption, colors=[self._colors[arm] for arm in values]))
            if field in PLOTS:
                figure = f"{field.replace('_', '-')}-on-text-in-training"
                plots.append(medians_plot(values, self._colors, figure, PLOTS[field], unit))
        section = Section(
            title="During training",
            paragraphs=[WHAT],
            figures=[plot for plot in plots if plot],
            tables=tables,
            data={"training": {arm: self._grid.dynamics(group) for arm, group in self._groups.items()}},
        )
        return ExperimentResult(section, metrics)


def _name(measured: str, steps: int) -> str:
    return f"{measured} after {steps} steps"
