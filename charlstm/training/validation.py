"""What a model in training is worth on the text that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import torch

from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.evaluation import Score, score
from charlstm.executors import clear_plan_cache
from charlstm.generation import preview
from charlstm.model import LanguageModel
from charlstm.text.corpus import Corpus


class ValidationInterruptedError(Exception):
    """A stop was asked for in the middle of an evaluation."""


class Validator:
    """The validation split, with the score and the sample that are made of it.

    Of a team the first process makes them, and all get what it found. ``between`` is called every moment meanwhile; if
    it raises BreakOffError there, that is raised in all of them. Training's own state is not touched.
    """

    def __init__(
        self, config: Config, corpus: Corpus, model: LanguageModel, team: ProcessGroup, between: Callable[[], None]
    ) -> None:
        self._corpus, self._model, self._team, self._between = corpus, model, team, between
        self._length = config.training.sample_length
        self._text = corpus.split("validation")

    def score(self) -> Score:
        """The score of the model as it is."""
        return Score(*self._by_first(lambda: astuple(self._scored())))

    def _scored(self) -> Score:
        try:
            return score(self._model, self._text, self._between)
        except torch.OutOfMemoryError:
            clear_plan_cache()  # what the executors keep for the steps is made again with the next one
        return score(self._model, self._text, self._between)

    def sample(self, seed: int) -> str:
        """Some text; "" if none is wanted."""
        if self._length == 0:
            return ""
        documents, vocabulary = self._corpus.documents, self._corpus.vocabulary
        end = "" if documents is None else vocabulary.decode(documents.end_mark)
        arguments = (self._model, vocabulary, self._length, seed, end, self._text, self._between)
        text: str = self._by_first(lambda: preview(*arguments))
        return text

    def _by_first(self, work: Callable[[], Any]) -> Any:
        def tried() -> list[Any]:
            try:
                return [work()]
            except ValidationInterruptedError:
                return []

        found = self._team.broadcast_from_rank0(tried)
        if not found:
            raise ValidationInterruptedError
        return found[0]
