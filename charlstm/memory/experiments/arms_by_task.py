"""The base of experiments that train arms on several tasks and measure each run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import colours
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring

Key = TypeVar("Key", bound=Hashable)


class ArmsByTask(ABC, Generic[Key]):
    """Arms trained on several tasks, and what is measured of each run.

    Args:
        series: for each task's key, such as its lag, the series of each arm that is trained on it.
    """

    def __init__(self, config: MemoryConfig, grid: Grid, series: Mapping[Key, Mapping[str, Series]]) -> None:
        self._config, self._grid, self._series = config, grid, series
        self._colours = colours(config)

    @abstractmethod
    def measure(self, key: Key) -> tuple[str, dict[str, Any]]:
        """The measure of a task, by name, and its arguments: the same for every arm."""

    def series(self) -> list[Series]:
        """What is to be trained."""
        return [one for arms in self._series.values() for one in arms.values()]

    def measures(self) -> list[Measuring]:
        """What is to be measured, once that is trained."""
        return [one for key, arms in self._series.items() for arm in arms for one in self._measures(key, arm)]

    def _measures(self, key: Key, arm: str) -> list[Measuring]:
        return self._grid.measurings(self._series[key][arm], *self.measure(key))

    def _results(self, key: Key, arm: str) -> list[dict[str, Any]]:
        """What was measured of an arm on a task, seed by seed."""
        return [one.result() for one in self._measures(key, arm)]

    def _arm_colours(self, arms: Iterable[str]) -> list[int]:
        return [self._colours[arm] for arm in arms]
