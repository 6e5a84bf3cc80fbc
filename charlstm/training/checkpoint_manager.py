"""A run's state into its folder and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.checkpoints.checks import checkpoint_checks, header_settings
from charlstm.checkpoints.compatibility import changed_settings
from charlstm.checkpoints.format import strip_prefix
from charlstm.checkpoints.store import LoadedCheckpoint
from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import Corpus
from charlstm.training.state import TrainingState


class CheckpointManager:
    """Saves and takes up the state of one run, for all processes of its team together."""

    def __init__(
        self, config: Config, corpus: Corpus, directory: RunDirectory, team: ProcessGroup, state: TrainingState
    ) -> None:
        self._config, self._corpus, self._directory, self._team, self._state = config, corpus, directory, team, state

    def save(self, facts: Mapping[str, Any], best: bool) -> None:
        """Write the checkpoint ``last``, and ``best`` too if it is; facts: what the run runs on, for its header.

        Raises UserError if it cannot be written.
        """
        written = self._directory.flush()
        tensors = self._state.tensors(self._team.gather(self._state.carried))
        header = {
            "config": self._config.model_dump(mode="json"),
            "vocabulary": self._corpus.vocabulary.to_json(),
            "corpus_digest": self._corpus.digest,
            "written": written,
            **self._state.numbers(),
            **facts,
        }
        self._directory.checkpoints.save(tensors, header, best)

    def restore(self) -> LoadedCheckpoint | None:
        """Put the newest good checkpoint into the state, and the folder back to where it was written; None if the run
        did not live to save one.

        Raises UserError if there is no good one, or the corpus, the model or a setting that shapes the training is
        another.
        """
        directory = self._directory
        with self._team.sync_errors():  # nothing is changed before all have read it
            found = self._newest()
        apart = f"{directory.path}: the processes find different checkpoints here: they must share one folder"
        self._team.assert_equal_across_ranks([found is None, self._state.counters.step], apart)
        if found is None:
            directory.truncate_logs({"metrics": 0, "samples": 0})
        else:
            directory.checkpoints.quarantine(found)
            directory.truncate_logs(found.header["written"])
        return found

    def _newest(self) -> LoadedCheckpoint | None:
        kept, directory = self._directory.checkpoints, self._directory
        directory.check_files()
        if not kept.any() and all(record["step"] == 0 for record in directory.metrics()):
            return None
        found = kept.newest(checkpoint_checks(self._agree))
        _, vocabulary = header_settings(found.header)
        if found.header["corpus_digest"] != self._corpus.digest or vocabulary != self._corpus.vocabulary:
            raise UserError(f"{directory.path}: the corpus has changed since this run began; it cannot go on")
        load_state(self._state, found)
        return found

    def _agree(self, _: Path, saved: Config) -> None:
        if changed := changed_settings(saved, self._config):
            lines = "\n  ".join(changed)
            raise UserError(f"{self._directory.path}: a run goes on with the settings it began with:\n  {lines}")


def load_state(state: TrainingState, found: LoadedCheckpoint) -> None:
    """Put a checkpoint that has passed into a training state. Raises UserError if it does not fit."""
    for name, t in strip_prefix("optimizer", found.tensors).items():
        if name.endswith((".step", ".exp_avg_sq", ".square_avg")) and bool((t < 0).any()):
            raise UserError(f"{found.path}: the optimiser's {name!r:.80} is negative, which no optimiser writes")
    try:
        state.load(found.tensors, found.header)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise UserError(f"{found.path}: does not fit this run: {str(problem).splitlines()[0]:.200}") from None
