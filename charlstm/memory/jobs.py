"""The work of a memory comparison in pieces that any process can do: to train one run, or to measure one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.api import load
from charlstm.comparison.experiment import Trial
from charlstm.errors import UserError
from charlstm.memory.measures import MEASURES, VERSION
from charlstm.memory.stored import read_measured

MEASURED = "measured"
"""The folder within a run that keeps what was measured of it."""


@dataclass(frozen=True)
class Training:
    """One run of the grid."""

    trial: Trial

    @property
    def label(self) -> str:
        return self.trial.directory.path.name

    @property
    def key(self) -> Path:
        """What no other job has."""
        return self.trial.directory.path

    def done(self) -> bool:
        """Whether it has come to an end already, with just these settings.

        Raises UserError if it was trained with others.
        """
        return self.trial.done

    def work(self, stopping: Callable[[], bool]) -> bool:
        """Train it, or go on with it; False if it was stopped before its end."""
        with self.trial.directory.writing():
            trainer = self.trial.trainer()
            for _ in trainer.run():
                if stopping():
                    trainer.request_stop()
        return self.trial.directory.ended != "stopped"


@dataclass(frozen=True)
class Measuring:
    """One measurement of one run; what it gave is kept in the run's folder.

    arguments: what the measure is called with, in JSON types.
    """

    path: Path
    measure: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.path.name}, {self.measure}"

    @property
    def key(self) -> Path:
        """What no other job has: the file that keeps the result."""
        text = json.dumps([VERSION, self.arguments], sort_keys=True)
        return self.path / MEASURED / f"{self.measure}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"

    def done(self) -> bool:
        """Whether it was measured already, and what that gave can be read."""
        try:
            self.result()
        except UserError:
            return False
        return True

    def work(self, stopping: Callable[[], bool]) -> bool:
        """Measure and keep it. True: seconds are not worth breaking off. Raises UserError if it cannot be written."""
        del stopping
        result = MEASURES[self.measure](load(self.path), **self.arguments)
        try:
            self.key.parent.mkdir(exist_ok=True)
            atomic_io.write_atomic(self.key, json.dumps(result, allow_nan=False).encode())
        except OSError as error:
            raise UserError(f"{self.key}: cannot write the measurement: {error.strerror or error}") from error
        return True

    def result(self) -> dict[str, Any]:
        """What was measured. Raises UserError if it cannot be read."""
        return read_measured(self.key, self.measure)


Job = Training | Measuring
