"""Scores and samples the model in training: on the validation split, if any, and on a part of the training split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import torch

from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.evaluation import Score, score
from charlstm.evaluation.score import Text
from charlstm.executors import clear_plan_cache
from charlstm.generation import preview
from charlstm.model import LanguageModel
from charlstm.text.corpus import Corpus
from charlstm.text.lead_ins import encode_lead_ins, lead_ins
from charlstm.training.state import TrainingState


class ValidationInterruptedError(Exception):
    """A stop was requested during an evaluation."""


class Validator:
    """Scores the validation split, if the configuration holds text out, and a sample of the training split; generates
    samples.

    Rank 0 does the work and broadcasts the result. It calls ``on_chunk`` regularly; if that raises
    ValidationInterruptedError, all processes raise it. The training state does not change.
    """

    def __init__(
        self, config: Config, corpus: Corpus, state: TrainingState, group: ProcessGroup, on_chunk: Callable[[], None]
    ) -> None:
        self._corpus, self._state, self._group, self._on_chunk = corpus, state, group, on_chunk
        self._length = config.training.sample_length
        self._held_out = corpus.split("validation") if config.corpus.has_validation else None
        self._training_sample = corpus.training_sample()
        self._lead_ins = encode_lead_ins(lead_ins(corpus, config.model.direction), corpus.vocabulary)

    def score(self) -> Score | None:
        """The held-out score of the current model; None if nothing is held out."""
        return None if self._held_out is None else self._score(self._state.evaluated_model, self._held_out)

    def raw_score(self) -> Score | None:
        """The held-out score of the trained weights, if the current model has their average."""
        average, text = self._state.average, self._held_out
        is_other = average is not None and average.has_started
        return self._score(self._state.model, text) if is_other and text is not None else None

    def training_score(self) -> Score:
        """The score of the current model on an evenly spread sample of the training split, which is at most as long as
        the validation split, if there is one: so an evaluation takes at most twice as long."""
        return self._score(self._state.evaluated_model, self._training_sample)

    def _score(self, model: LanguageModel, text: Text) -> Score:
        def work() -> Score:
            try:
                return score(model, text, self._on_chunk)
            except torch.OutOfMemoryError:
                clear_plan_cache()  # the next step rebuilds it
            return score(model, text, self._on_chunk)

        return Score(*self._on_rank0(lambda: astuple(work())))

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
