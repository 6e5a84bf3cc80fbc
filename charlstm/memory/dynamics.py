"""Measurements of a network during its training: ``dynamics.jsonl`` in the run directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic_core import from_json
from torch import Tensor

from charlstm import atomic_io
from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.files import MissingError, append_regular, read_regular
from charlstm.memory.task_measures import TEST_SEED, finite_or_none, make_task, with_start
from charlstm.memory.text_measures import segments
from charlstm.model import LanguageModel
from charlstm.probes.dynamics import dynamics
from charlstm.probes.gates import gates
from charlstm.probes.gradients import effective_depth, gradient_over_lag
from charlstm.probes.reading import float64_copy, probe_mode
from charlstm.probes.state_size import state_size
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.training.events import Evaluated, Event
from charlstm.training.trainer import Trainer

FILE = "dynamics.jsonl"
SIZE_LIMIT = 1 << 28
FRACTION = 0.01
"""The effective depth is the largest lag at which this fraction of the gradient at lag 0 is left."""
STEPS = 50
"""Number of steps whose Jacobians are computed."""
LONGEST = 1e9
"""A half-life that is longer, in characters, is recorded as this."""

Record = dict[str, Any]


@dataclass(frozen=True)
class DynamicsMeasurement:
    """What is measured, up to ``depth`` characters back, on so many ``texts``.

    task: they are test strings of this task; None: segments of the validation split.
    steps: the numbers of training steps after which it is measured; None: at every evaluation.
    """

    task: dict[str, Any] | None
    texts: int
    depth: int
    steps: tuple[int, ...] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What measurements must have in common to be compared: the first line of the file."""
        return {"task": self.task, "texts": self.texts, "depth": self.depth}

    def measure(self, model: LanguageModel, corpus: Corpus) -> Record:
        """The measurements of the current network, in JSON types. Neither the model nor a random state changes.

        depth                  the effective depth of the gradient, in characters
        remaining              the gradient at the largest lag, relative to lag 0
        spectral_radius        of the recurrent matrix; null for cells with several
        largest_singular_value, median_singular_value
                               of the one-step Jacobians of the state, means over the last `STEPS` steps of one string
        lyapunov_exponent      the largest over these steps, nats per character; null for -inf
        half_life              the longest of all units, in characters, at most `LONGEST`; null for cells without a
                               forget gate
        state_rms              root mean square of the last part of the state (c of an LSTM, else h)
        constant_fraction      of the output h: mean square of the units' means over steps and texts, divided by the
                               mean square

        The last three are measured on the second half of the texts, with the state that the first half leaves.
        """
        strings = self._strings(model, corpus)
        curve = gradient_over_lag(model, strings, min(self.depth, len(strings) - 2)).relative()
        one = strings[:-1, :1]
        state = dynamics(model, one, exponents=1, warm_up=max(0, len(one) - STEPS))
        half = len(strings) // 2
        with torch.no_grad(), probe_mode(model):
            _, carried = model.encode(strings[:half].to(model.head.weight.device))
        size = state_size(model, strings[half:-1], carried)
        return {
            "depth": effective_depth(curve, FRACTION),
            "remaining": float(np.nan_to_num(curve[-1], posinf=sys.float_info.max)),
            "spectral_radius": spectral_radius(model),
            "largest_singular_value": finite_or_none(float(state.largest.mean())),
            "median_singular_value": finite_or_none(float(state.median.mean())),
            "lyapunov_exponent": finite_or_none(float(state.exponents[0, 0])),
            "half_life": _half_life(model, strings[half:-1], carried),
            "state_rms": finite_or_none(list(size.rms.values())[-1]),
            "constant_fraction": finite_or_none(next(iter(size.constant_fraction.values()))),
        }

    def _strings(self, model: LanguageModel, corpus: Corpus) -> Tensor:
        """The characters on which it is measured, [T + 1, texts]."""
        if self.task is not None:
            return with_start(model, corpus.vocabulary, make_task(self.task).strings(self.texts, TEST_SEED))
        split = corpus.split("validation")
        assert not isinstance(split, Documents)
        return segments(split, 2 * self.depth + 1, self.texts, "validation")

    def recorder(self, trainer: Trainer) -> Callable[[Event | None], None]:
        """A function to call with each event of the training and with None after each step, which appends a record
        where one is due; with the validation loss, if that is at evaluations.

        Records of an interrupted training after the step from which it resumes are deleted first, and the initial
        network, or the one that is resumed, is measured if its record is due and missing.
        """
        file = trainer.directory.path / FILE

        def record(**values: float | None) -> None:
            known = {"step": trainer.counters.step, **values}
            recorded.add(trainer.counters.step)
            measured = self.measure(trainer.state.evaluated_model, trainer.corpus)
            try:
                append_regular(file, (json.dumps(known | measured) + "\n").encode())
            except OSError as error:
                raise UserError(f"{file}: cannot write the measurement: {error.strerror or error}") from error

        def record_evaluation(event: Event | None) -> None:
            if isinstance(event, Evaluated):
                record(nats=event.nats)

        def record_step(event: Event | None) -> None:
            if event is None and (step := trainer.counters.step) in due and step not in recorded:
                record()

        step, due = trainer.counters.step, set(self.steps or ())
        records = [one for one in read_dynamics(trainer.directory.path, self) if one["step"] <= step]
        recorded = {one["step"] for one in records}
        is_known = not records or read_dynamics(trainer.directory.path, has_settings=True)
        lines = [{"settings": self.settings}, *records] if is_known else records
        try:
            atomic_io.write_atomic(file, "".join(json.dumps(one) + "\n" for one in lines).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot write the measurement: {error.strerror or error}") from error
        if self.steps is not None:
            record_step(None)
            return record_step
        evaluations = {one["step"]: one["nats"] for one in trainer.directory.metrics() if one["kind"] == "evaluation"}
        if (step == 0 or step in evaluations) and step not in recorded:
            record(nats=evaluations.get(step))
        return record_evaluation


def read_dynamics(path: Path, measured: DynamicsMeasurement | None = None, has_settings: bool = False) -> list[Record]:
    """The records of a run directory, by step; empty if there are none, or if they were measured with other settings
    than ``measured``; with ``has_settings``, also if the file does not name its settings. Incomplete lines are left
    out."""
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
        if isinstance(record, dict) and "settings" in record:
            if measured is not None and record["settings"] != measured.settings:
                return []
            has_settings = False
            continue
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise UserError(f"{path / FILE}: not a list of measurements: delete the file")
        records.append(record)
    return [] if has_settings else records


def _half_life(model: LanguageModel, previous: Tensor, state: State) -> float | None:
    """The longest half-life of all units from a state, in characters; None for a cell without a forget gate."""
    if not model.recurrent.cell.forget_gate:
        return None
    half_lives = gates(model, previous, state).half_lives
    return None if half_lives is None else min(float(half_lives.max()), LONGEST)


def spectral_radius(model: LanguageModel) -> float | None:
    """The largest absolute eigenvalue of the recurrent matrix of the last layer; None for cells with several."""
    weights = [value for name, value in float64_copy(model).named_parameters() if "weight_hh" in name]
    if not weights or (last := weights[-1].detach()).shape[0] != last.shape[1]:
        return None
    radius = float(torch.linalg.eigvals(last).abs().max())
    return radius if radius < float("inf") else None
