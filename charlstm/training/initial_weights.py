"""The start of a training from the weights of another run, ``training.initial_run``."""

from __future__ import annotations

from typing import Any

from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.runs.names import find_initial_run
from charlstm.text.vocabulary import Vocabulary
from charlstm.training.initial_run import digest_of, load_initial_run
from charlstm.training.state import TrainingState


class InitialWeights:
    """Copies the weights of ``training.initial_run``, if there is one, into the state of a run, once.

    They are not read before: a run that is resumed from a checkpoint has them, and does not need that run any more.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary, state: TrainingState, group: ProcessGroup) -> None:
        self._config, self._vocabulary, self._state, self._group = config, vocabulary, state, group
        self._is_needed = config.training.initial_run is not None
        self.facts: dict[str, Any] = {}
        """What the metrics record about the start."""

    def skip(self) -> None:
        """The state is that of a checkpoint."""
        self._is_needed = False

    def take(self) -> None:
        """Copy the weights into the model and the average of its weights, unless that was done, or is not needed. All
        processes call it. Raises UserError if the run cannot be read, or has another network."""
        path, vocabulary = self._config.training.initial_run, self._vocabulary
        if path is None or not self._is_needed:
            return
        with self._group.sync_errors():
            run, weights = load_initial_run(find_initial_run(path))
            run.check(self._config, vocabulary)
        digest = digest_of(weights)
        self._group.assert_equal_across_ranks(digest, f"{path}: the processes read different weights here")
        for model in {self._state.model, self._state.evaluated_model}:
            run.copy_weights(weights, model, vocabulary)
        self._is_needed, self.facts = False, {"initial_run": {**run.facts(vocabulary), "digest": digest}}
