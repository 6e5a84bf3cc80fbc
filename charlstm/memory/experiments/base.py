"""The interface of experiments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from charlstm.config import MemoryConfig
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import Metrics
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

ExperimentClass = TypeVar("ExperimentClass", bound=Any)


@dataclass(frozen=True)
class ExperimentResult:
    """The result of an experiment: its section of the report, and its metrics."""

    section: Section
    metrics: Metrics


class MemoryExperiment(Protocol):
    """An experiment on memory.

    run_groups        the runs to train
    measurement_jobs  the measurements to make after training
    result            the result, after the measurements
    metric_names      the names of its metrics, which exist for the arms that it trains, except for the arm that a
                      difference is from, and where a text has too few of what is measured
    """

    def run_groups(self) -> list[RunGroup]: ...
    def measurement_jobs(self) -> list[MeasurementJob]: ...
    def result(self) -> ExperimentResult: ...
    def metric_names(self) -> list[str]: ...


class ExperimentPart(ABC):
    """A part of an experiment, which measures runs of the experiment: a part of its section, with a title."""

    def measurement_jobs(self) -> list[MeasurementJob]:
        """The measurements to make after training; none by default."""
        return []

    def metric_names(self) -> list[str]:
        """The names of its metrics; none by default."""
        return []

    @abstractmethod
    def result(self) -> ExperimentResult:
        """The result, after the measurements."""


def merged(title: str, parts: Iterable[ExperimentResult], *tables: Table) -> ExperimentResult:
    """One section with a part for each result, followed by tables, and all metrics."""
    results = list(parts)
    sections = [part.section for part in results]
    section = Section(
        title=title,
        tables=list(tables),
        data={key: value for one in sections for key, value in one.data.items()},
        parts=[replace(one, plots_first=True) for one in sections if one.paragraphs or one.figures or one.tables],
    )
    return ExperimentResult(section, {key: value for part in results for key, value in part.metrics.items()})


MakeExperiment = Callable[[MemoryConfig, Grid], MemoryExperiment]
EXPERIMENTS: dict[str, MakeExperiment] = {}


def experiment(name: str) -> Callable[[type[ExperimentClass]], type[ExperimentClass]]:
    """Register the decorated class as the experiment of this name, which is also its name in the configuration."""

    def register(experiment_class: type[ExperimentClass]) -> type[ExperimentClass]:
        EXPERIMENTS[name] = experiment_class
        return experiment_class

    return register


def colors(config: MemoryConfig) -> dict[str, int]:
    """Each arm's color number, by its position in the file; the initializations of an arm have its color."""
    return {name: index for index, arm in enumerate(config.arms) for name in (arm, *config.initializations(arm))}


def runs_table(grid: Grid, groups: Iterable[RunGroup], caption: str = "The runs") -> Table:
    """One row per run group: parameters, the validation scores of each learning rate, and the judged runs that
    diverged."""
    rows = []
    for group in groups:
        runs = grid.best_runs(group)
        score_text = "; ".join(
            f"{rate:g}: {', '.join('–' if nats is None else f'{nats:.3f}' for nats in scores)}"
            for rate, scores in runs.scores.items()
        )
        row = [group.arm, group.dataset.name, str(group.model.hidden_size), f"{group.parameters:,}"]
        if not runs.paths:
            rows.append([visible(cell) for cell in (*row, "not trained", "", "")])
            continue
        row[0] = runs.group.arm
        edge = ", at the edge of the grid" if runs.at_edge else ""
        diverged = ", ".join(f"seed {seed}" for seed in grid.diverged_seeds([group]))
        rows.append([visible(cell) for cell in (*row, f"{runs.learning_rate:g}{edge}", score_text, diverged or "none")])
    header = ["arm", "dataset", "hidden_size", "parameters", "best rate", "validation nats of each rate", "diverged"]
    return Table(header, rows, caption=caption, folded=True)
