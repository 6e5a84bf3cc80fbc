"""The base class of the parts of the experiment on a real text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentPart, colors
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, difference_metric
from charlstm.units import bits

BLOCKS = 50
"""Blocks of the targets, whose means are compared, since the losses of neighboring characters are correlated."""


class TextPart(ExperimentPart):
    """A part that measures the runs of some arms on the text; not those that diverged."""

    def __init__(self, config: MemoryConfig, grid: Grid, groups: Mapping[str, RunGroup]) -> None:
        section = config.experiments.text
        assert section is not None
        self._config, self._section, self._grid, self._groups = config, section, grid, groups
        self._colors = colors(config)

    def _diverged(self, *arms: str) -> list[int]:
        """The seeds with which the network of one of these arms diverged."""
        return self._grid.diverged_seeds([self._groups[arm] for arm in arms])

    def _trained(self, arm: str) -> list[int]:
        return [seed for seed in self._config.judged_seeds() if seed not in self._diverged(arm)]

    def _measurement_jobs(self, arm: str, measure: str, arguments: dict[str, Any]) -> list[MeasurementJob]:
        """One job for each seed with which the network of the arm did not diverge."""
        return self._grid.measurement_jobs(self._groups[arm], measure, arguments, self._diverged(arm))

    def _minus(self, nats: Mapping[str, npt.NDArray[np.float64]], arm: str, other: str) -> npt.NDArray[np.float64]:
        """The differences of the nats [seeds, targets] of two arms, for the seeds with which both trained."""
        one, another = (dict(zip(self._trained(a), nats[a], strict=True)) for a in (arm, other))
        return np.array([row - another[seed] for seed, row in one.items() if seed in another])

    def _difference(self, nats: npt.NDArray[np.float64], *arms: str) -> MetricValue:
        """The mean in bits of nats, or of differences of nats between two arms, [seeds, targets], with the interval
        over seeds and blocks of the text."""
        blocks = np.array_split(bits(1) * nats, min(BLOCKS, nats.shape[1]), axis=1)
        return difference_metric(np.stack([one.mean(1) for one in blocks], 1), "bits", "+", len(self._diverged(*arms)))
