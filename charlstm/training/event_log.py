"""Makes the events of a training run, and records them in its directory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.evaluation import Score
from charlstm.executors import loop_facts
from charlstm.runs.directory import RunDirectory
from charlstm.runs.records import StopReason
from charlstm.training.events import Ended, Evaluated, Progress, WholeSplitScored
from charlstm.training.state import TrainingState


class EventLog:
    """Makes events from the state of a run, and appends their records to metrics.jsonl and samples.txt.

    ``unit`` of the text: ``character`` or ``byte``. Every method raises UserError if a file cannot be written.
    """

    def __init__(self, directory: RunDirectory, state: TrainingState, unit: str) -> None:
        self._directory, self._state, self._unit = directory, state, unit
        self._best_on_whole_split: float | None = None

    def start(self, facts: Mapping[str, Any]) -> None:
        """Record the start of a new run, unless it is recorded already."""
        if not self._directory.metrics():
            self._directory.append_metrics({"kind": "start", "step": 0, **facts})

    def progress(self, learning_rate: float, gradient_norm: float, fraction: float, is_recorded: bool) -> Progress:
        """The progress after a step; with ``is_recorded`` it is recorded, and the next record starts."""
        counters = self._state.counters
        event = Progress(
            step=counters.step,
            epoch=self._state.streams.progress,
            nats=counters.sum_nats / counters.sum_count,
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            characters_per_second=(counters.characters - counters.recorded_characters)
            / max(counters.seconds - counters.recorded_seconds, 1e-9),
            fraction=fraction,
            seconds=counters.seconds,
        )
        if is_recorded:
            self._directory.append_metrics({"kind": "train", **event.record(), "characters": counters.characters})
            counters.start_record()
        return event

    def evaluation(
        self,
        held_out: Score | None,
        training_score: Score | None,
        sample: str,
        improved: bool,
        raw_score: Score | None = None,
    ) -> Evaluated:
        """Record the held-out score and that of the training split, at least one of them, the held-out score of the
        raw weights if the first is that of their average, and the sampled text if any."""
        counters = self._state.counters
        score = held_out or training_score
        assert score is not None
        training_nats = None if training_score is None else training_score.nats
        event = Evaluated(
            step=counters.step,
            epoch=self._state.streams.progress,
            nats=None if held_out is None else held_out.nats,
            characters_scored=0 if held_out is None else held_out.characters,
            is_pseudo_likelihood=score.is_pseudo_likelihood,
            improved=improved,
            best_nats=counters.best_nats,
            sample=sample,
            training_split_nats=training_nats if training_nats is not None and math.isfinite(training_nats) else None,
            training_split_characters=0 if training_score is None else training_score.characters,
            raw_nats=raw_score.nats if raw_score is not None and math.isfinite(raw_score.nats) else None,
            sampled_from=None if held_out is None else held_out.sampled_from,
            standard_error=None if held_out is None else held_out.standard_error,
            gap_error=_gap_error(held_out, training_score),
        )
        position = {"characters": counters.characters, "seconds": counters.seconds}
        split = None if held_out is None else "validation"
        self._directory.append_metrics({"kind": "evaluation", "split": split, **event.record(self._unit), **position})
        if sample:
            self._directory.append_sample(event.step, sample)
        return event

    def whole_split(self, scored: Sequence[WholeSplitScored]) -> None:
        """Record scores on the whole validation split."""
        counters = self._state.counters
        for event in scored:
            record = {"kind": "whole_split", "split": "validation", **event.record(self._unit)}
            self._directory.append_metrics({**record, "seconds": counters.seconds})
            if event.network == "best":
                self._best_on_whole_split = event.nats

    def end(self, stop_reason: StopReason, advice: str = "") -> Ended:
        """Record the end of the training, and the loops over time that a GPU ran, known since the first steps."""
        c, sample, whole = self._state.counters, self._state.held_out_sample, self._best_on_whole_split
        self._directory.append_metrics(
            {"kind": "end", "stop_reason": stop_reason, "step": c.step, "seconds": c.seconds, **loop_facts()}
        )
        is_sampled = c.best_nats is not None and whole is None and sample is not None and not sample.is_whole
        best = c.best_nats if whole is None else whole
        return Ended(stop_reason, c.step, best, c.best_step, c.seconds, c.characters, advice, is_sampled)


def _gap_error(held_out: Score | None, training: Score | None) -> float | None:
    """The standard error of the difference of two scores, in nats, if it is known."""
    errors = [None if score is None else score.block_error for score in (held_out, training)]
    known = [error for error in errors if error is not None and math.isfinite(error)]
    return math.hypot(*known) if len(known) == len(errors) else None
