"""The base class of experiments that train arms on several tasks and measure each run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import colors
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, seeds_metric

Key = TypeVar("Key", bound=Hashable)

UNTRAINED = "not trained: no seed learned the shorter task"


class ArmsByTask(ABC, Generic[Key]):
    """Arms trained on several tasks, and the measurements of their runs.

    Args:
        groups: for each task's key, such as its lag, the run group of each arm that is trained on it.
    """

    def __init__(self, config: MemoryConfig, grid: Grid, groups: Mapping[Key, Mapping[str, RunGroup]]) -> None:
        self._config, self._grid, self._groups = config, grid, groups
        self._colors = colors(config)

    @abstractmethod
    def measure(self, key: Key) -> tuple[str, dict[str, Any]]:
        """The name of a task's measure and its arguments, which are the same for every arm."""

    def run_groups(self) -> list[RunGroup]:
        """The runs to train."""
        return [group for groups in self._groups.values() for group in groups.values()]

    def measurement_jobs(self) -> list[MeasurementJob]:
        """The measurements to make after training."""
        return [job for key, groups in self._groups.items() for arm in groups for job in self._jobs(key, arm)]

    def _jobs(self, key: Key, arm: str) -> list[MeasurementJob]:
        return self._grid.measurement_jobs(self._groups[key][arm], *self.measure(key))

    def _results(self, key: Key, arm: str) -> list[dict[str, Any]]:
        """The measurements of an arm on a task, one per seed."""
        return [job.result() for job in self._jobs(key, arm)]

    def _fractions(self, key: Key, arm: str) -> list[float]:
        """The fraction of correct answers of each seed; empty for an arm that was not trained on the task."""
        return [one["accuracy"] for one in self._results(key, arm)]

    def _seeds_that_solve(self, key: Key, arm: str, untrained: str = UNTRAINED) -> MetricValue:
        """The fraction of the seeds that solve a task; without bounds, so that no claim about it is decided, if it was
        not trained since no seed learned a shorter one, which the text then says."""
        values = self._fractions(key, arm)
        if not values:
            return MetricValue(0.0, untrained)
        return seeds_metric(sum(value >= self._config.solve_threshold for value in values), len(values))

    def _arm_colors(self, arms: Iterable[str]) -> list[int]:
        return [self._colors[arm] for arm in arms]
