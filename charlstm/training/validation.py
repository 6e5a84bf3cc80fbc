"""Scores and samples the model in training: on the validation split, if any, or a sample of it, and on a part of the
training split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from charlstm.checkpoints.format import load_checkpoint, strip_prefix
from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.errors import UserError
from charlstm.evaluation import Score, nats_per_character
from charlstm.evaluation.sampled import score_of_sample
from charlstm.evaluation.score import Text, mean_score
from charlstm.executors import clear_plan_cache
from charlstm.generation import preview
from charlstm.model import LanguageModel
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents, Sequences
from charlstm.text.lead_ins import encode_lead_ins, lead_ins
from charlstm.training.held_out_sample import HeldOutSample, held_out_sample
from charlstm.training.state import TrainingState

OnScoring = Callable[[str, float], None]
"""Takes what is scored, and the fraction of it that is done."""


class ValidationInterruptedError(Exception):
    """A stop was requested during an evaluation."""


class Validator:
    """Scores the validation split or a sample of it, if the configuration holds text out, and a sample of the training
    split; generates samples of text.

    Rank 0 does the work and broadcasts the result. It calls ``on_chunk`` regularly; if that raises
    ValidationInterruptedError, all processes raise it. The training state does not change, except that
    :meth:`choose_sample` sets what the evaluations score.

    Attributes:
        on_scoring: called regularly in rank 0 while a text is scored.
        unit: character, or byte if the text is read as bytes.
    """

    def __init__(
        self, config: Config, corpus: Corpus, state: TrainingState, group: ProcessGroup, on_chunk: Callable[[], None]
    ) -> None:
        self._corpus, self._state, self._group, self._on_chunk = corpus, state, group, on_chunk
        self._training, self._model_config, self._length = config.training, config.model, config.training.sample_length
        self._whole = corpus.split("validation") if config.corpus.has_validation else None
        self._selected: HeldOutSample | None = None
        self._held_out: Text | None = self._whole
        self._sampled_from: int | None = None
        self._training_sample = corpus.training_sample()
        self._lead_ins = encode_lead_ins(lead_ins(corpus, config.model.direction), corpus.vocabulary)
        self.on_scoring: OnScoring = lambda _what, _fraction: None
        self.unit = corpus.vocabulary.unit

    def choose_sample(self, is_whole: bool = False) -> HeldOutSample | None:
        """Choose what this and all later evaluations score of the validation split, unless the run has chosen it
        already; returns it if it was chosen now.

        It is the whole split if ``is_whole``, and in a run of an older version, whose evaluations have scored it.
        """
        if self._whole is None:
            return None
        before = self._state.held_out_sample
        sample = before or self.planned_sample(is_whole=is_whole)
        assert sample is not None
        if sample != self._selected and not sample.is_whole:
            self._held_out = self._corpus.held_out_sample(sample.characters)
            self._sampled_from = sample.of
            self._training_sample = self._corpus.training_sample(sample.characters)
        self._state.held_out_sample = self._selected = sample
        return sample if before is None else None

    def planned_sample(self, trained: int | None = None, is_whole: bool = False) -> HeldOutSample | None:
        """What evaluations score of the validation split, if there is one, and the first of them comes after so many
        characters (None: those that were trained on so far)."""
        if self._whole is None:
            return None
        characters, counters = self._count(self._whole), self._state.counters
        if is_whole or counters.best_nats is not None:
            return HeldOutSample(characters, characters)
        return held_out_sample(self._training, counters.characters if trained is None else trained, characters)

    @property
    def is_sampling(self) -> bool:
        """Whether evaluations score a sample of the validation split, not the whole."""
        return self._state.held_out_sample is not None and not self._state.held_out_sample.is_whole

    def score(self) -> Score | None:
        """The held-out score of the current model; None if nothing is held out."""
        return self._score_held_out(self._state.evaluated_model, "held-out text")

    def raw_score(self) -> Score | None:
        """The held-out score of the trained weights, if the current model has their average."""
        average = self._state.average
        is_other = average is not None and average.has_started
        return self._score_held_out(self._state.model, "held-out text, raw weights") if is_other else None

    def _score_held_out(self, model: LanguageModel, what: str) -> Score | None:
        return None if self._held_out is None else self._score(model, self._held_out, what, self._sampled_from)

    def training_score(self) -> Score:
        """The score of the current model on an evenly spread sample of the training split, which is at most as long as
        the held-out text, if there is one: so an evaluation takes at most twice as long."""
        return self._score(self._state.evaluated_model, self._training_sample, "training text")

    def whole_score(self, best: Path | None = None) -> Score | None:
        """The score on the whole validation split of the current model, or of the checkpoint ``best``; None if that
        cannot be read."""
        text, name = self._whole, "whole validation split"
        assert text is not None
        if best is None:
            return self._score(self._state.evaluated_model, text, f"{name}, last network")

        def work() -> tuple[Any, ...] | None:
            try:
                weights = strip_prefix("model", load_checkpoint(best)[0])
            except UserError:
                return None
            return astuple(self._score_here(self._model_with(weights), text, f"{name}, best network"))

        scored = self._on_rank0(work)
        return None if scored is None else Score(*scored)

    def _model_with(self, weights: Mapping[str, Tensor]) -> LanguageModel:
        with torch.device("meta"):  # skips the initialization
            model = LanguageModel(self._model_config, self._corpus.vocabulary.size)
        model.load_state_dict(weights, assign=True)
        model.prefer(self._state.model.recurrent.preferred_executor)
        return model.to(self._state.device)

    def _count(self, text: Text) -> int:
        """The number of characters of a text that count in its score."""
        if isinstance(text, Documents):
            return Sequences(text, self._corpus.vocabulary.size, self._model_config.direction).characters
        return len(text)

    def _score(self, model: LanguageModel, text: Text, what: str, sampled_from: int | None = None) -> Score:
        return Score(*self._on_rank0(lambda: astuple(self._score_here(model, text, what, sampled_from))))

    def _score_here(self, model: LanguageModel, text: Text, what: str, sampled_from: int | None = None) -> Score:
        def on_progress(fraction: float) -> None:
            self._on_chunk()
            self.on_scoring(what, fraction)

        try:
            nats = nats_per_character(model, text, on_progress)
        except torch.OutOfMemoryError:
            clear_plan_cache()  # the next step rebuilds it
            nats = nats_per_character(model, text, on_progress)
        if sampled_from is None or not isinstance(text, Documents):
            return mean_score(nats, model.bidirectional)
        return score_of_sample(nats, text, sampled_from, model.vocabulary_size, model.direction)

    def sample(self, seed: int) -> str:
        """Generated text; empty if ``sample_length`` is 0."""
        if self._length == 0:
            return ""
        documents, vocabulary = self._corpus.documents, self._corpus.vocabulary
        end = "" if documents is None else vocabulary.decode(documents.end_mark)
        model, shown = self._state.evaluated_model, self._corpus.split(self._corpus.excerpt_split)
        arguments = (model, vocabulary, self._length, seed, end, shown, self._on_chunk, self._lead_ins)
        text: str = self._on_rank0(lambda: preview(*arguments))
        return text

    def _on_rank0(self, work: Callable[[], Any]) -> Any:
        def attempt() -> list[Any]:
            try:
                return [work()]
            except ValidationInterruptedError:
                return []

        result = self._group.broadcast_from_rank0(attempt)
        if not result:
            raise ValidationInterruptedError
        return result[0]
