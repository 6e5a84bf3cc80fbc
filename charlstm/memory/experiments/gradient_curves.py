"""The gradient over lag of some arms, before and after training."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentPart, ExperimentResult, colors
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, median_metric
from charlstm.probes.gradients import FULL_STATE, effective_depth
from charlstm.report.distance_plots import lag_plot
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

DEPTH_FRACTION = 0.01
WHEN = {" before training": "before training", "": "trained"}

WHAT = (
    "How strongly the loss at t depends on the state k characters before: the norm of d loss(t) / d state(t - k), "
    "which is a product of k Jacobians and vanishes or explodes with k unless they are close to the identity "
    "(Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). The effective depth is the "
    "largest k at which 1% of the value at k = 0 is left. Each curve is the mean over seeds; the number next to its "
    "name is the median of the seeds' depths."
)


class GradientCurves(ExperimentPart):
    """The norm of the gradient over lag, and the effective depth, of each arm.

    Args:
        arguments: the arguments of the measure `gradient`, but for `trained`.
        where: the text on which it is measured, such as "on recall": the name of the metrics ends with it.
        initial: groups with the same initial networks, for those that were not trained here; default: the same groups.
    """

    def __init__(
        self,
        config: MemoryConfig,
        grid: Grid,
        groups: Mapping[str, RunGroup],
        arguments: Mapping[str, Any],
        where: str,
        initial: Mapping[str, RunGroup] | None = None,
    ) -> None:
        self._colors, self._grid, self._groups, self._arguments = colors(config), grid, groups, arguments
        self._where, self._initial = where, initial or groups

    def metric_names(self) -> list[str]:
        return [f"depth {self._where}{when}" for when in WHEN]

    def _jobs(self, when: str, arm: str) -> list[MeasurementJob]:
        group = self._initial[arm] if when else self._groups[arm]
        arguments = {**self._arguments, "trained": not when}
        return self._grid.measurement_jobs(group, "gradient", arguments, self._diverged_seeds(when, arm))

    def _diverged_seeds(self, when: str, arm: str) -> list[int]:
        """The seeds without a trained network; none for what is measured before training."""
        return [] if when else self._grid.diverged_seeds([self._groups[arm]])

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for when in WHEN for arm in self._groups for job in self._jobs(when, arm)]

    def result(self) -> ExperimentResult:
        depth, metrics = self._arguments["depth"], dict[tuple[str, str], MetricValue]()
        panels: dict[str, dict[str, tuple[list[float], float]]] = {when: {} for when in WHEN}
        rows = {arm: [visible(arm)] for arm in self._groups}
        for when, panel in panels.items():
            for arm, row in rows.items():
                curves = [job.result()[FULL_STATE] for job in self._jobs(when, arm)]
                if not curves:
                    row.append("–")
                    continue
                depths = [effective_depth(curve, DEPTH_FRACTION) for curve in curves]
                panel[arm] = np.mean(curves, axis=0).tolist(), statistics.median(depths)
                missing = len(self._diverged_seeds(when, arm))
                metrics[f"depth {self._where}{when}", arm] = median_metric(depths, "characters", depth, missing)
                row.append(metrics[f"depth {self._where}{when}", arm].text)
        plot = lag_plot(
            {title: panels[when] for when, title in WHEN.items()},
            self._colors,
            DEPTH_FRACTION,
            name=f"gradient-{self._where.replace(' ', '-')}",
            title=f"Gradient over lag {self._where}",
        )
        caption = f"Effective depth, median over seeds; measured up to {depth} characters back"
        header = ["arm", *(f"{self._where}, {title}" for title in WHEN.values())]
        section = Section(
            title="The gradient before and after training",
            paragraphs=[WHAT],
            figures=[plot] if plot else [],
            tables=[Table(header, list(rows.values()), caption=caption, colors=[self._colors[arm] for arm in rows])],
            data={
                f"{self._where}, {title}, {arm}": {"depth": depth, "mean": mean}
                for when, title in WHEN.items()
                for arm, (mean, depth) in panels[when].items()
            },
        )
        return ExperimentResult(section, metrics)
