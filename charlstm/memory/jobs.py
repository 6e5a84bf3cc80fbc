"""The job that measures one run of a memory comparison."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.api import load
from charlstm.errors import UserError
from charlstm.jobs.base import Control
from charlstm.memory.measures import MEASURES, VERSION
from charlstm.memory.schemas import read_measurement
from charlstm.runs.directory import RunDirectory

MEASURED = "measured"
"""The folder of a run's measurements, within the run directory."""


@dataclass(frozen=True)
class MeasurementJob:
    """Measure one run, and store the result in its directory.

    arguments: the arguments of the measure, in JSON types.
    """

    path: Path
    measure: str
    arguments: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.path.name}, {self.measure}"

    @property
    def key(self) -> Path:
        """The path that identifies the job: the file of its result."""
        text = json.dumps([VERSION, self.arguments], sort_keys=True)
        return self.path / MEASURED / f"{self.measure}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"

    def done(self) -> bool:
        """Whether there is a readable result."""
        try:
            self.result()
        except UserError:
            return False
        return True

    def work(self, control: Control) -> bool:
        """Measure and store the result; always True, since so short a job is not stopped.

        Raises UserError if the result cannot be written, or if the weights of the run were deleted.
        """
        del control
        if RunDirectory(self.path).pruned:
            raise UserError(
                f"{self.path} has no weights any more (--keep nothing), and the measurement {self.measure!r} needs "
                "them. Delete this folder, and the same command trains the run again; or train all again: --overwrite"
            )
        result = MEASURES[self.measure](load(self.path), **self.arguments)
        try:
            self.key.parent.mkdir(exist_ok=True)
            atomic_io.write_atomic(self.key, json.dumps(result, allow_nan=False).encode())
        except OSError as error:
            raise UserError(f"{self.key}: cannot write the measurement: {error.strerror or error}") from error
        return True

    def result(self) -> dict[str, Any]:
        """Read the result. Raises UserError if that fails."""
        return read_measurement(self.key, self.measure)
