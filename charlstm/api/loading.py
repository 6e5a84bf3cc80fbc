"""Loading a trained run from its directory, a checkpoint, or a folder exported for model hubs."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from charlstm.api.loaded_run import LoadedRun
from charlstm.checkpoints.checks import WEIGHTS_FILE, checkpoint_checks, header_settings
from charlstm.checkpoints.compatibility import check_same_model
from charlstm.checkpoints.format import Check, CheckpointFile, strip_prefix
from charlstm.checkpoints.store import LoadedCheckpoint
from charlstm.errors import UserError
from charlstm.hardware.device import resolve_device
from charlstm.model import LanguageModel
from charlstm.paths import expand_home, is_folder, path_exists
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import find_run

log = logging.getLogger("charlstm.api")


def load(path: str | Path, checkpoint: str = "best", device: str = "auto") -> LoadedRun:
    """Load a trained run.

    Args:
        path: the run's directory, its name in ``runs``, ``latest`` (the run there that was trained last), a checkpoint
            file, or a folder exported for model hubs; ``~`` is the home directory.
        checkpoint: for a directory, ``best`` (by the held-out score; the last if no text is held out) or ``last``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    If a run's checkpoint is damaged, the newest intact one is loaded, with a warning (``logging``).

    Raises:
        UserError: the run, checkpoint or device does not exist, or the file is damaged.
    """
    path = find_run(_weights_file(expand_home(path)))
    directory = RunDirectory(path) if is_folder(path) else _containing_run(path)
    check = _checks_for(directory)
    if directory is not None and directory.path == path:
        if checkpoint not in ("best", "last"):
            raise UserError(f"no checkpoint {checkpoint!r}: expected best or last")
        store = directory.checkpoints
        loaded = store.best_or_newest(check) if checkpoint == "best" else store.newest(check)
        for line in loaded.damaged:
            log.warning("%s; loaded %s instead", line, loaded.path.name)
    else:
        with CheckpointFile(path) as file:
            loaded = LoadedCheckpoint(path, *file.read(check), [])
    config, vocabulary = header_settings(loaded.header)
    with torch.device("meta"):  # skips the initialization
        model = LanguageModel(config.model, vocabulary.size)
    model.load_state_dict(strip_prefix("model", loaded.tensors), assign=True)
    model.prefer(loaded.header.get("preferred_executor"))
    return LoadedRun(model.to(resolve_device(device)).eval(), vocabulary, config, loaded.header, directory)


def _weights_file(path: Path) -> Path:
    """The weights of a folder exported for model hubs; any other path is unchanged."""
    file = path / WEIGHTS_FILE
    return file if is_folder(path) and not RunDirectory(path).exists and path_exists(file) else path


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
