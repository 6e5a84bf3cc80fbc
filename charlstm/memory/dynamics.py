"""Measurements of a network during its training, at every evaluation: ``dynamics.jsonl`` in the run directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json

from charlstm import atomic_io
from charlstm.errors import UserError
from charlstm.files import MissingError, append_regular, read_regular
from charlstm.memory.task_measures import TEST_SEED, finite_or_none, make_task, with_start
from charlstm.model import LanguageModel
from charlstm.probes.dynamics import dynamics
from charlstm.probes.gradients import FULL_STATE, effective_depth, gradient_over_lag
from charlstm.probes.reading import float64_copy
from charlstm.text.vocabulary import Vocabulary
from charlstm.training.trainer import Trainer

FILE = "dynamics.jsonl"
SIZE_LIMIT = 1 << 28
FRACTION = 0.01
"""The effective depth is the largest lag at which this fraction of the gradient at lag 0 is left."""
STEPS = 50
"""Number of steps whose Jacobians are computed."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Dynamics:
    """What is measured: the dynamics on some test strings of a task, up to ``depth`` characters back."""

    task: dict[str, Any]
    texts: int
    depth: int

    def measure(self, model: LanguageModel, vocabulary: Vocabulary) -> Record:
        """The measurements of the current network, in JSON types. Neither the model nor a random state changes.

        depth                  the effective depth of the gradient, in characters
        remaining              the gradient at the largest lag, relative to lag 0
        spectral_radius        of the recurrent matrix; null for cells with several
        largest_singular_value, median_singular_value
                               of the one-step Jacobians of the state, means over the last `STEPS` steps of one string
        lyapunov_exponent      the largest over these steps, nats per character; null for -inf
        """
        strings = with_start(model, vocabulary, make_task(self.task).strings(self.texts, TEST_SEED))
        norms = gradient_over_lag(model, strings, min(self.depth, len(strings) - 2)).norms[FULL_STATE]
        positive = norms[0] > 0
        curve = (norms[:, positive] / norms[0][positive]).mean(1) if positive.any() else norms.mean(1)
        one = strings[:-1, :1]
        state = dynamics(model, one, exponents=1, warm_up=max(0, len(one) - STEPS))
        return {
            "depth": effective_depth(curve, FRACTION),
            "remaining": min(float(curve[-1]), sys.float_info.max),
            "spectral_radius": spectral_radius(model),
            "largest_singular_value": finite_or_none(float(state.largest.mean())),
            "median_singular_value": finite_or_none(float(state.median.mean())),
            "lyapunov_exponent": finite_or_none(float(state.exponents[0, 0])),
        }

    def recorder(self, trainer: Trainer) -> Callable[[float | None], None]:
        """A function to call with the validation loss after each evaluation, which appends a record.

        Records of an interrupted training after the step from which it resumes are deleted first, and the initial
        network, or the one that is resumed, is measured if its record is missing.
        """
        file = trainer.directory.path / FILE

        def record(nats: float | None) -> None:
            model = trainer.state.evaluated_model
            values = {"step": trainer.counters.step, "nats": nats, **self.measure(model, vocabulary)}
            try:
                append_regular(file, (json.dumps(values) + "\n").encode())
            except OSError as error:
                raise UserError(f"{file}: cannot write the measurement: {error.strerror or error}") from error

        vocabulary, step = trainer.corpus.vocabulary, trainer.counters.step
        records = [one for one in read_dynamics(trainer.directory.path) if one["step"] <= step]
        try:
            atomic_io.write_atomic(file, "".join(json.dumps(one) + "\n" for one in records).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot write the measurement: {error.strerror or error}") from error
        evaluations = {one["step"]: one["nats"] for one in trainer.directory.metrics() if one["kind"] == "evaluation"}
        if (step == 0 or step in evaluations) and all(one["step"] != step for one in records):
            record(evaluations.get(step))
        return record


def read_dynamics(path: Path) -> list[Record]:
    """The records of a run directory, by step; empty if there are none. Incomplete lines are left out."""
    try:
        lines = read_regular(path / FILE, SIZE_LIMIT).splitlines()
    except MissingError:
        return []
    records: list[Record] = []
    for line in lines:
        try:
            record = from_json(line)
        except ValueError:
            break  # the end of a record that was interrupted
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise UserError(f"{path / FILE}: not a list of measurements: delete the file")
        records.append(record)
    return records


def spectral_radius(model: LanguageModel) -> float | None:
    """The largest absolute eigenvalue of the recurrent matrix of the last layer; None for cells with several."""
    weights = [value for name, value in float64_copy(model).named_parameters() if "weight_hh" in name]
    if not weights or (last := weights[-1].detach()).shape[0] != last.shape[1]:
        return None
    radius = float(torch.linalg.eigvals(last).abs().max())
    return radius if radius < float("inf") else None
