"""The experiments: what each trains, what it measures, and how it tells of it."""

from __future__ import annotations

from collections.abc import Callable

from charlstm.comparison.memory.grid import Grid
from charlstm.comparison.memory.studies.copying import CopyingStudy
from charlstm.comparison.memory.studies.counting import CountingStudy
from charlstm.comparison.memory.studies.gates import GatesStudy
from charlstm.comparison.memory.studies.gradient import GradientStudy
from charlstm.comparison.memory.studies.order import OrderStudy
from charlstm.comparison.memory.studies.recall import RecallStudy
from charlstm.comparison.memory.studies.study import Study
from charlstm.comparison.memory.studies.surgery import SurgeryStudy
from charlstm.comparison.memory.studies.text import TextStudy
from charlstm.config import MemoryConfig
from charlstm.errors import UserError

STUDIES: dict[str, Callable[[MemoryConfig, Grid], Study]] = {
    "recall": RecallStudy,
    "gradient": GradientStudy,
    "surgery": SurgeryStudy,
    "gates": GatesStudy,
    "counting": CountingStudy,
    "order": OrderStudy,
    "text": TextStudy,
    "copying": CopyingStudy,
}


def make_studies(config: MemoryConfig, grid: Grid, only: list[str]) -> dict[str, Study]:
    """The experiments that the file asks for, or those of them that are named.

    Raises UserError for a task that there is not, such as one that is too short.
    """
    found: dict[str, Study] = {}
    for name in config.experiments.present():
        if not only or name in only:
            try:
                found[name] = STUDIES[name](config, grid)
            except ValueError as error:
                raise UserError(f"experiments.{name}: {error}") from None
    return found
