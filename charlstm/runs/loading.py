"""Reads a checkpoint of a run that a user names: the best or last of a directory, or a file."""

from __future__ import annotations

from pathlib import Path

from charlstm.checkpoints.checks import checkpoint_checks
from charlstm.checkpoints.compatibility import check_same_model
from charlstm.checkpoints.format import Check, CheckpointFile
from charlstm.checkpoints.store import LoadedCheckpoint
from charlstm.errors import UserError
from charlstm.paths import is_folder
from charlstm.runs.directory import RunDirectory
from charlstm.runs.naming import is_step


def load_checkpoint_of(path: Path, checkpoint: str = "best") -> tuple[LoadedCheckpoint, RunDirectory | None]:
    """The checkpoint, and the directory of the run that contains it, if any.

    Args:
        path: the directory of a run, or the file of a checkpoint, as `charlstm.runs.names.find_weights` finds it.
        checkpoint: for a directory, ``best`` (by the held-out score; the last if no text is held out) or ``last``,
            or the step of one that is there.

    If a run's checkpoint is damaged, the newest intact one is loaded, and ``damaged`` of the result says so.

    Raises:
        UserError: the run or the checkpoint does not exist, or the file is damaged.
    """
    directory = RunDirectory(path) if is_folder(path) else _containing_run(path)
    check = _checks_for(directory)
    if directory is not None and directory.path == path:
        store = directory.checkpoints
        if is_step(checkpoint):
            return store.at_step(int(checkpoint), check), directory
        if checkpoint not in ("best", "last"):
            raise UserError(f"no checkpoint {checkpoint!r}: expected best or last, or a step")
        return store.best_or_newest(check) if checkpoint == "best" else store.newest(check), directory
    with CheckpointFile(path) as file:
        return LoadedCheckpoint(path, *file.read(check), []), directory


def _containing_run(path: Path) -> RunDirectory | None:
    """The run whose checkpoints directory contains the file."""
    run = RunDirectory(path.parent.parent)
    return run if path.parent == run.checkpoints.folder and run.exists else None


def _checks_for(directory: RunDirectory | None) -> Check:
    """Checks that a checkpoint matches the model in the run's config.yaml. Raises UserError if it is not a run."""
    if directory is None:
        return checkpoint_checks(weights_only=True, optimizer=False)
    config, config_file = directory.config(), directory.config_file
    return checkpoint_checks(lambda path, saved: check_same_model(path, saved, config, config_file), optimizer=False)
