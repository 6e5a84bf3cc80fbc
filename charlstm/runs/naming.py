"""Names of runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from charlstm.checkpoints.format import WEIGHTS_FILE
from charlstm.paths import expand_home, without_compression

MAX_LENGTH = 60
CHECKPOINTS, CHECKPOINT_SUFFIX = "checkpoints", ".safetensors"


def run_name(sources: Sequence[str]) -> str:
    """The name of a run on texts: that of the first one, without its suffix, as the name of a folder."""
    path = without_compression(expand_home(sources[0]))
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?\"<>|\[\]]+", "-", path.stem)
    return plain.strip().lstrip(".-").strip()[:MAX_LENGTH].rstrip() or "text"


def is_step(checkpoint: str) -> bool:
    """Whether a checkpoint is named by its step."""
    return checkpoint.isascii() and checkpoint.isdecimal() and len(checkpoint) <= 15


def initial_run_name(recorded: str) -> str:
    """The name of the run that ``training.initial_run`` records: by its folder, by the file of a checkpoint in it, or
    by that in a folder exported for model hubs."""
    path = PurePath(recorded.replace("\\", "/"))
    if path.suffix != CHECKPOINT_SUFFIX:
        return path.name
    folder = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    is_in_folder = path.parent.name == CHECKPOINTS or path.name == WEIGHTS_FILE
    return folder.name if is_in_folder else path.stem
