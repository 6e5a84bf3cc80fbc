"""Loading a trained run from its directory, a checkpoint, or a folder exported for model hubs."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from charlstm.api.loaded_run import LoadedRun
from charlstm.checkpoints.checks import header_settings
from charlstm.checkpoints.format import strip_prefix
from charlstm.hardware.device import resolve_device
from charlstm.model import LanguageModel
from charlstm.runs.directory import RunDirectory
from charlstm.runs.loading import load_checkpoint_of
from charlstm.runs.names import find_weights

log = logging.getLogger("charlstm.api")


def load(path: str | Path, checkpoint: str | int = "best", device: str | torch.device = "auto") -> LoadedRun:
    """Load a trained run.

    Args:
        path: the run's directory, its name in ``runs``, ``latest`` (the run there that was trained last), a checkpoint
            file, or a folder exported for model hubs; ``~`` is the home directory.
        checkpoint: for a directory, ``best`` (by the held-out score; the last if no text is held out) or ``last``,
            or the step of one that is there (``training.keep_checkpoints``), such as ``400``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``, or a ``torch.device`` of these.

    If a run's checkpoint is damaged, the newest intact one is loaded, with a warning (``logging``).

    Raises:
        UserError: the run, checkpoint or device does not exist, or the file is damaged.
    """
    loaded, directory = load_checkpoint_of(find_weights(path), str(checkpoint))
    for line in loaded.damaged:
        log.warning("%s; loaded %s instead", line, loaded.path.name)
    config, vocabulary = header_settings(loaded.header)
    with torch.device("meta"):  # skips the initialization
        model = LanguageModel(config.model, vocabulary.size)
    model.load_state_dict(strip_prefix("model", loaded.tensors), assign=True)
    model.prefer(loaded.header.get("preferred_executor"))
    home = None if directory is None else RunDirectory(directory.path.absolute())
    return LoadedRun(model.to(resolve_device(str(device))).eval(), vocabulary, config, loaded.header, home)
