"""The evaluations of a run: what is scored and recorded while it trains and when it ends, and what follows for its
training state."""

from __future__ import annotations

import math
from collections.abc import Iterator

from charlstm.config import Config
from charlstm.evaluation import Score
from charlstm.runs.directory import RunDirectory
from charlstm.training.divergence import DivergenceDetector, is_finite_loss
from charlstm.training.event_log import EventLog
from charlstm.training.events import Ended, Evaluated, Notice, WholeSplitScored
from charlstm.training.state import TrainingState
from charlstm.training.validation import Validator


class Evaluations:
    """Scores, samples and records with a validator.

    All processes call its methods. If one raises ValidationInterruptedError, nothing has changed.

    Attributes:
        scores_training_split: whether a sample of the training split is scored beside the held-out text; False where
            nobody reads that score.
        always_scores_whole_split: whether the whole validation split is scored each time, whatever the configuration
            says; True where results are read from evaluations.
    """

    def __init__(
        self,
        config: Config,
        state: TrainingState,
        directory: RunDirectory,
        validator: Validator,
        divergence: DivergenceDetector,
        log: EventLog,
    ) -> None:
        self._seed, self._state, self._directory = config.training.seed, state, directory
        self._validator, self._divergence, self._log = validator, divergence, log
        self.scores_training_split, self.always_scores_whole_split = True, False

    def evaluate(self) -> tuple[Evaluated | Ended, list[Notice]]:
        """Score and sample the current model, of which the schedule and the average learn the held-out score.

        Returns the event, Ended if the model has diverged, and notices for the user. A high loss is never the best."""
        counters, state, validator = self._state.counters, self._state, self._validator
        chosen = validator.choose_sample(self.always_scores_whole_split)
        held_out, raw = validator.score(), validator.raw_score()
        training = validator.training_score() if self.scores_training_split or held_out is None else None
        decisive = held_out or training
        if decisive is not None and not is_finite_loss(decisive.nats):
            return self._divergence.end(decisive.nats), []
        if (ended := self._divergence.end_if_not_finite()) is not None:
            return ended, []
        sample = validator.sample(self._seed + counters.step)
        is_high = decisive is not None and self._divergence.is_high(decisive.nats)
        improved = counters.add_score(None if held_out is None else math.inf if is_high else held_out.nats)
        notices = []
        if held_out is not None:
            state.schedule.step_evaluation(improved)
            if state.average is not None and state.average.add_score(counters.step, held_out.nats):
                text = "the held-out score has stopped improving: the weights are averaged from here on"
                notices.append(Notice(f"step {counters.step:,}: {text}"))
        if chosen is not None and not chosen.is_whole:
            notices.append(Notice(chosen.describe(validator.unit)))
        return self._log.evaluation(held_out, training, sample, improved, raw), notices

    def score_whole_split(self) -> Iterator[WholeSplitScored | Notice]:
        """Score the best and the last network on the whole validation split, if the evaluations scored a sample of it,
        and record both at once, so that an interrupted run scores both again."""
        counters, best = self._state.counters, self._directory.best
        if not self._validator.is_sampling:
            return
        steps = {counters.step: "last", counters.best_step: "best"}
        scored = list[WholeSplitScored]()
        for step, name in reversed(steps.items()):
            if step is None:
                continue
            score: Score | None = self._validator.whole_score(None if step == counters.step else best)
            if score is None:
                yield Notice(f"{best} cannot be read: it is not scored on the whole validation split")
            elif math.isfinite(score.nats):
                scored.append(WholeSplitScored(name, step, score.nats, score.characters, score.is_pseudo_likelihood))
        self._log.whole_split(scored)
        yield from scored
