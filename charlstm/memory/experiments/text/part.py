"""The base class of the parts of the experiment on a real text."""

from __future__ import annotations

from collections.abc import Mapping

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentPart, colors
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup


class TextPart(ExperimentPart):
    """A part that measures the runs of some arms on the text."""

    def __init__(self, config: MemoryConfig, grid: Grid, groups: Mapping[str, RunGroup]) -> None:
        section = config.experiments.text
        assert section is not None
        self._config, self._section, self._grid, self._groups = config, section, grid, groups
        self._colors = colors(config)
