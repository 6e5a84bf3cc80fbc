"""Saves the state of a run to its directory and restores it."""

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
from charlstm.runs.commands import continue_command, train_again_command
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import Corpus
from charlstm.text.lead_ins import lead_ins
from charlstm.training.state import TrainingState


class CheckpointManager:
    """Saves and restores the state of one run; all processes of the group call it together."""

    def __init__(
        self, config: Config, corpus: Corpus, directory: RunDirectory, group: ProcessGroup, state: TrainingState
    ) -> None:
        self._config, self._corpus, self._directory, self._group, self._state = config, corpus, directory, group, state
        self._lead_ins = lead_ins(corpus, config.model.direction)

    def save(self, facts: Mapping[str, Any], best: bool, keep: bool = False) -> None:
        """Write the checkpoint ``last``, and also ``best`` if ``best`` is true, and one to keep if ``keep`` is true.

        ``facts`` describe device, precision and versions; they go into the header.

        Raises UserError if it cannot be written.
        """
        written = self._directory.flush()
        tensors = self._state.tensors(self._group.gather(self._state.carried))
        header = {
            "config": self._config.model_dump(mode="json"),
            "vocabulary": self._corpus.vocabulary.to_json(),
            "corpus_digest": self._corpus.digest,
            "lead_ins": self._lead_ins,
            "written": written,
            **self._state.numbers(),
            **facts,
        }
        self._directory.checkpoints.save(tensors, header, best, keep)

    def restore(self) -> LoadedCheckpoint | None:
        """Load the newest valid checkpoint into the state and truncate the logs to its step; None if the run has saved
        no checkpoint.

        Raises UserError if no checkpoint is valid, or if the corpus, the model or a training setting that must not
        change has changed.
        """
        directory = self._directory
        with self._group.sync_errors():  # no file changes before all processes have read the checkpoint
            checkpoint = self._load_newest()
        problem = f"{directory.path}: the processes read different checkpoints here: they must share one folder"
        self._group.assert_equal_across_ranks([checkpoint is None, self._state.counters.step], problem)
        if checkpoint is None:
            directory.truncate_logs({"metrics": 0, "samples": 0})
        else:
            directory.checkpoints.quarantine(checkpoint)
            directory.checkpoints.discard_after(self._state.counters.step)
            directory.truncate_logs(checkpoint.header["written"])
        return checkpoint

    def _load_newest(self) -> LoadedCheckpoint | None:
        store, directory = self._directory.checkpoints, self._directory
        directory.check_files()
        if not store.exists() and all(record["step"] == 0 for record in directory.metrics()):
            return None
        if not store.exists():
            raise UserError(
                f"{directory.path}: its checkpoints were deleted; it cannot be resumed. To train it again:  "
                f"{train_again_command(directory.path)}"
            )
        checkpoint = store.newest(checkpoint_checks(self._check_settings))
        _, vocabulary = header_settings(checkpoint.header)
        if checkpoint.header["corpus_digest"] != self._corpus.digest or vocabulary != self._corpus.vocabulary:
            raise UserError(
                f"{directory.path}: the corpus has changed since this run started; it cannot be resumed. To go on with "
                f"the changed text:  {continue_command(directory.path, self._config)}"
            )
        load_state(self._state, checkpoint)
        return checkpoint

    def _check_settings(self, _: Path, saved: Config) -> None:
        if changed := changed_settings(saved, self._config):
            lines = "\n  ".join(changed)
            raise UserError(f"{self._directory.path}: these settings must not change when a run is resumed:\n  {lines}")


def load_state(state: TrainingState, checkpoint: LoadedCheckpoint) -> None:
    """Load a checked checkpoint into a training state. Raises UserError if it does not fit."""
    for name, t in strip_prefix("optimizer", checkpoint.tensors).items():
        if name.endswith((".step", ".exp_avg_sq", ".square_avg")) and bool((t < 0).any()):
            raise UserError(f"{checkpoint.path}: {name!r:.80} of the optimizer is negative, which no optimizer writes")
    try:
        state.load(checkpoint.tensors, checkpoint.header)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise UserError(f"{checkpoint.path}: does not fit this run: {str(problem).splitlines()[0]:.200}") from None
