"""The gradient over lag, and recall where the gradient is cut in training."""

from __future__ import annotations

import statistics
from itertools import product
from typing import Any

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult, MetricValue, colors, experiment, median_metric
from charlstm.memory.experiments.recall import RecallRuns, groups_at, recall_task
from charlstm.memory.experiments.text import text_groups
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.probes.gradients import FULL_STATE, effective_depth
from charlstm.report.distance_plots import lag_plot, recall_plot
from charlstm.report.document import Section, Table
from charlstm.report.training_plots import TrainingCurve, training_plot
from charlstm.text.visible import visible

DEPTH_FRACTION = 0.01

WHAT = (
    "How strongly the loss at t depends on the state k characters before: the norm of d loss(t) / d state(t - k), "
    "which is a product of k Jacobians and vanishes or explodes with k unless they are close to the identity "
    "(Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). The effective depth is the "
    "largest k at which 1% of the value at k = 0 is left. Each curve is the mean over seeds; the number next to its "
    "name is the median of the seeds' depths."
)
CUT = (
    "Then the gradient from each step to the one before is cut in training: along the cell state c in one arm, and "
    "along the output h in another. The forward pass is unchanged; only the backward pass does not use that path. If "
    "the cell state is the path by which an LSTM learns over long lags, the first cut prevents recall over long lags, "
    "and the second has little effect."
)
TRAINING = (
    "The depth at the start is a property of the initial weights, not of what a network can learn: training changes "
    "it. The plot shows the effective depth at every evaluation of each run; a dot marks where the run solves the "
    "task. Networks whose gradient does not reach the key at first can still learn the task if it comes to reach it."
)
REMAINING = ("gradient left at the start", "gradient left at the end")
RADII = ("spectral radius at the start", "spectral radius at the end")
WHERE = ("on recall", "on text")
WHEN = (" at the start", "")
TITLES = {" at the start": "at the start", "": "trained"}


@experiment("gradient")
class GradientExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gradient
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        arms = config.trained(section.arms)
        self._recall = groups_at(config, grid, section.lag, [*arms, *section.arms])
        self._trained = arms
        text = text_groups(config, grid) if config.experiments.text else {}
        self._text = {arm: group for arm, group in text.items() if arm in arms or arm in section.arms}
        self._all_arms = list(dict.fromkeys([*arms, *self._text]))
        self._cut = RecallRuns(config, grid, section.cut_arms, section.cut_lags) if section.cut_arms else None

    def metric_names(self) -> list[str]:
        depths = [f"depth {where}{when}" for where in WHERE for when in WHEN]
        return [*depths, "largest depth in training", *(self._cut.metric_names() if self._cut else [])]

    def run_groups(self) -> list[RunGroup]:
        cut = self._cut.run_groups() if self._cut else []
        return [*(self._recall[arm] for arm in self._trained), *self._text.values(), *cut]

    def _jobs(self, where: str, when: str, arm: str) -> list[MeasurementJob]:
        section, arguments = self._section, {"depth": self._section.depth, "texts": self._section.texts}
        task = {"task": recall_task(self._config, section.lag)} if where == "on recall" else {}
        groups = self._recall if where == "on recall" else self._text
        trained = {"trained": not when}
        return self._grid.measurement_jobs(groups[arm], "gradient", arguments | task | trained)

    def _arms(self, where: str) -> list[str]:
        return self._trained if where == "on recall" else list(self._text)

    def measurement_jobs(self) -> list[MeasurementJob]:
        curves = [
            job for where in WHERE for when in WHEN for arm in self._arms(where) for job in self._jobs(where, when, arm)
        ]
        return curves + (self._cut.measurement_jobs() if self._cut else [])

    def result(self) -> ExperimentResult:
        parts = [self._curves(), self._training(), *([self._cuts()] if self._cut else [])]
        section = Section(
            title="Gradient over lag",
            paragraphs=[text for part in parts for text in part.section.paragraphs],
            figures=[figure for part in parts for figure in part.section.figures],
            tables=[table for part in parts for table in part.section.tables],
            data={key: value for part in parts for key, value in part.section.data.items()},
        )
        return ExperimentResult(section, {key: value for part in parts for key, value in part.metrics.items()})

    def _curves(self) -> ExperimentResult:
        """Gradient norms over lag, and effective depths."""
        color_numbers, metrics = colors(self._config), dict[tuple[str, str], MetricValue]()
        panels: dict[tuple[str, str], dict[str, tuple[list[float], int]]] = {}
        rows = {arm: [visible(arm)] for arm in self._all_arms}
        for where, when in product(WHERE, WHEN):
            panels[where, when] = {}
            for arm in self._arms(where):
                curves = [job.result()[FULL_STATE] for job in self._jobs(where, when, arm)]
                if not curves:
                    continue
                depths = [effective_depth(curve, DEPTH_FRACTION) for curve in curves]
                panels[where, when][arm] = np.mean(curves, axis=0).tolist(), int(statistics.median(depths))
                metrics[f"depth {where}{when}", arm] = median_metric(depths, "characters", self._section.depth)
            # The metric of an arm is that of its best start.
            for arm in self._section.arms if where == "on recall" else ():
                if (runs := self._grid.best_runs(self._recall[arm])).paths:
                    metrics[f"depth {where}{when}", arm] = metrics[f"depth {where}{when}", runs.group.arm]
            for arm, row in rows.items():
                row.append(metrics[f"depth {where}{when}", arm].text if arm in panels[where, when] else "–")
        drawn = [
            lag_plot(
                {TITLES[when]: panels[where, when] for when in WHEN},
                color_numbers,
                DEPTH_FRACTION,
                name=f"gradient-{where.replace(' ', '-')}",
                title=f"Gradient over lag {where}",
            )
            for where in WHERE
        ]
        caption = f"Effective depth, median over seeds; measured up to {self._section.depth} characters back"
        header = ["arm", *(f"{where}, {TITLES[when]}" for where, when in product(WHERE, WHEN))]
        section = Section(
            title="",
            paragraphs=[WHAT],
            figures=[plot for plot in drawn if plot is not None],
            tables=[Table(header, list(rows.values()), caption=caption, colors=[color_numbers[arm] for arm in rows])],
            data={
                f"{where}, {TITLES[when]}, {arm}": {"depth": depth, "mean": mean}
                for (where, when), by_arm in panels.items()
                for arm, (mean, depth) in by_arm.items()
            },
        )
        return ExperimentResult(section, metrics)

    def _training(self) -> ExperimentResult:
        """The effective depth during training, for each start, beside success."""
        panels: dict[str, dict[str, list[TrainingCurve]]] = {}
        rows, row_arms = [], []
        metrics: dict[tuple[str, str], MetricValue] = {}
        for arm in self._section.arms:
            for start in self._config.starts(arm):
                group = self._recall[start]
                records = [one for one in self._grid.dynamics(group) if one]
                if not records:
                    continue
                solved = [one.steps_to_target for one in self._grid.outcomes(group)]
                panels.setdefault(arm, {})[start.removeprefix(f"{arm}, ")] = [
                    TrainingCurve([one["step"] for one in each], [one["depth"] for one in each], step)
                    for each, step in zip(self._grid.dynamics(group), solved, strict=True)
                ]
                first, last = ([each[index] for each in records] for index in (0, -1))
                before = [each[0]["depth"] for each in records]
                most = [max(one["depth"] for one in each) for each in records]
                metrics["largest depth in training", start] = median_metric(most, "characters", self._section.depth)
                rows.append(
                    [
                        visible(start),
                        f"{sum(step is not None for step in solved)}/{len(solved)}",
                        f"{statistics.median(before):g}",
                        f"{statistics.median(most):g}",
                        f"{statistics.median(one['depth'] for one in last):g}",
                        f"{statistics.median(one['remaining'] for one in first):.2g}",
                        f"{statistics.median(one['remaining'] for one in last):.2g}",
                        _radii(first),
                        _radii(last),
                    ]
                )
                row_arms.append(start)
        lag = self._section.lag
        plot = training_plot(panels, "depth-in-training", f"Effective depth on recall at lag {lag}", "characters")
        table = Table(
            ["arm, start", "seeds that solve it", "depth at the start", "largest", "at the end", *REMAINING, *RADII],
            rows,
            caption=f"Training at lag {lag}, medians over seeds: effective depth in characters (it cannot exceed "
            f"{self._section.depth}), the gradient that is left there relative to lag 0, and the spectral radius",
            colors=[colors(self._config)[arm] for arm in row_arms],
        )
        section = Section(
            title="",
            paragraphs=[TRAINING] if rows else [],
            figures=[plot] if plot else [],
            tables=[table] if rows else [],
            data={"training": {start: self._grid.dynamics(self._recall[start]) for start in row_arms}},
        )
        return ExperimentResult(section, metrics)

    def _cuts(self) -> ExperimentResult:
        """Recall by arms whose gradient is cut."""
        assert self._cut is not None
        cut = self._cut
        accuracies = {arm: cut.accuracies(arm) for arm in cut.arms}
        chance_level = 1 / self._config.experiments.recall.keys
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
            title="",
            paragraphs=[CUT],
            figures=[plot] if plot else [],
            tables=[cut.table()],
            data={"cut": {"lags": cut.lags, "shares": accuracies}},
        )
        return ExperimentResult(section, cut.metrics())


def _radii(records: list[dict[str, Any]]) -> str:
    """The median spectral radius; a dash for cells without a single recurrent matrix."""
    values = [one["spectral_radius"] for one in records if one["spectral_radius"] is not None]
    return f"{statistics.median(values):.2f}" if values else "–"
