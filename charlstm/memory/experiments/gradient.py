"""The gradient over lag, and recall where the gradient is cut in training."""

from __future__ import annotations

import statistics
from typing import Any

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult, colors, experiment, merged
from charlstm.memory.experiments.gradient_curves import GradientCurves
from charlstm.memory.experiments.recall_runs import RecallRuns, groups_at, recall_section, recall_task
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Section, Table
from charlstm.report.training_plots import TrainingCurve, training_plot
from charlstm.text.visible import visible

CUT = (
    "Then the gradient from each step to the one before is cut in training: along the cell state c in one arm, and "
    "along the output h in another. The forward pass is unchanged; only the backward pass does not use that path. If "
    "the cell state is the path by which an LSTM learns over long lags, the first cut prevents recall over long lags, "
    "and the second has little effect."
)
TRAINING = (
    "The depth before training is a property of the initial weights, not of what a network can learn: training "
    "changes it. The plot shows the effective depth at every evaluation of each run; a dot marks where the run reaches "
    "the target loss. Networks whose gradient does not reach the key at first can still learn the task if it comes to "
    "do so. "
    "The table adds what decides how a gradient shrinks from step to step: the singular values of the one-step "
    "Jacobians of the state (1: nothing is lost), and the largest Lyapunov exponent, the mean rate in nats per "
    "character at which the most persistent direction shrinks or grows (-0.01: 1/e is left after 100 characters)."
)
STATE = {
    "remaining": "gradient left",
    "spectral_radius": "spectral radius",
    "largest_singular_value": "largest singular value",
    "median_singular_value": "median singular value",
    "lyapunov_exponent": "Lyapunov exponent",
}
"""Measurements of the state in training, shown before and after training."""


@experiment("gradient")
class GradientExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gradient
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        arms = config.trained(section.arms)
        recall = recall_section(config)
        self._lag, self._depth = section.lag_of(recall), section.depth_of(recall)
        self._recall = groups_at(config, grid, self._lag, [*arms, *section.arms])
        self._trained = arms
        arguments = {"depth": self._depth, "texts": section.texts, "task": recall_task(config, self._lag)}
        shortest = groups_at(config, grid, min(recall.lags), arms)  # which every arm is trained at
        trained = {arm: self._recall[arm] for arm in arms}
        self._curves = GradientCurves(config, grid, trained, arguments, "on recall", shortest)
        self._cut = RecallRuns(config, grid, section.cut_arms, section.cut_lags) if section.cut_arms else None

    def metric_names(self) -> list[str]:
        cut = self._cut.metric_names() if self._cut else []
        return [*self._curves.metric_names(), *cut]

    def run_groups(self) -> list[RunGroup]:
        cut = self._cut.run_groups() if self._cut else []
        return [*(self._recall[arm] for arm in self._trained), *cut]

    def measurement_jobs(self) -> list[MeasurementJob]:
        return self._curves.measurement_jobs() + (self._cut.measurement_jobs() if self._cut else [])

    def result(self) -> ExperimentResult:
        parts = [self._curves.result(), self._training(), *([self._cuts()] if self._cut else [])]
        result = merged("Gradient over lag", parts)
        metrics = dict(result.metrics)
        for arm in self._section.arms:  # the metric of an arm is that of its best initialization
            if (runs := self._grid.best_runs(self._recall[arm])).paths:
                of_best = {name: metric for (name, trained), metric in metrics.items() if trained == runs.group.arm}
                metrics |= {(name, arm): of_best[name] for name in self._curves.metric_names() if name in of_best}
        return ExperimentResult(result.section, metrics)

    def _training(self) -> ExperimentResult:
        """The effective depth during training, for each initialization, beside success."""
        panels: dict[str, dict[str, list[TrainingCurve]]] = {}
        rows, row_arms = [], []
        for arm in self._section.arms:
            for trained in self._config.initializations(arm):
                group = self._recall[trained]
                records = [one for one in self._grid.dynamics(group) if one]
                if not records:
                    continue
                solved = [one.steps_to_target for one in self._grid.outcomes(group)]
                panels.setdefault(arm, {})[trained.removeprefix(f"{arm}, ")] = [
                    TrainingCurve([one["step"] for one in each], [one["depth"] for one in each], step)
                    for each, step in zip(self._grid.dynamics(group), solved, strict=True)
                ]
                first, last = ([each[index] for each in records] for index in (0, -1))
                before = [each[0]["depth"] for each in records]
                most = [max(one["depth"] for one in each) for each in records]
                rows.append(
                    [
                        visible(trained),
                        f"{sum(step is not None for step in solved)}/{len(solved)}",
                        f"{statistics.median(before):g}",
                        f"{statistics.median(most):g}",
                        f"{statistics.median(one['depth'] for one in last):g}",
                        *(f"{_median(first, name)} → {_median(last, name)}" for name in STATE),
                    ]
                )
                row_arms.append(trained)
        title = f"Effective depth on recall at lag {self._lag}"
        plot = training_plot(panels, colors(self._config), "depth-in-training", title, "characters")
        table = Table(
            [
                "arm, initialization",
                "seeds that reach the target loss",
                "depth before training",
                "largest",
                "after training",
                *STATE.values(),
            ],
            rows,
            caption=f"Training at lag {self._lag}, medians over seeds: effective depth in characters (it cannot exceed "
            f"{self._depth}); before → after training: the gradient that is left there relative to lag 0, the "
            "spectral radius of the recurrent matrix, singular values, and the largest Lyapunov exponent",
            colors=[colors(self._config)[arm] for arm in row_arms],
        )
        section = Section(
            title="During training",
            paragraphs=[TRAINING] if rows else [],
            figures=[plot] if plot else [],
            tables=[table] if rows else [],
            data={"training": {arm: self._grid.dynamics(self._recall[arm]) for arm in row_arms}},
        )
        return ExperimentResult(section, {})

    def _cuts(self) -> ExperimentResult:
        """Recall by arms whose gradient is cut."""
        assert self._cut is not None
        cut = self._cut
        accuracies = {arm: cut.accuracies(arm) for arm in cut.arms}
        chance_level = 1 / recall_section(self._config).keys
        plot = recall_plot(
            cut.lags,
            accuracies,
            colors(self._config),
            chance_level,
            self._config.solve_threshold,
            name="cut-gradient",
            title="Recall with the gradient cut",
        )
        section = Section(
            title="Where the gradient is cut in training",
            paragraphs=[CUT],
            figures=[plot] if plot else [],
            tables=[cut.table()],
            data={"cut": {"lags": cut.lags, "shares": accuracies}},
        )
        return ExperimentResult(section, cut.metrics())


def _median(records: list[dict[str, Any]], name: str) -> str:
    """The median of a measurement; a dash for cells that do not have it."""
    values = [one[name] for one in records if one.get(name) is not None]
    return f"{statistics.median(values):.2g}" if values else "–"
