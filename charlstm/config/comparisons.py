"""Reads comparison files of both kinds: of arms on one text, and of experiments on memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlstm.config.misplaced import reject_other_command
from charlstm.config.reader import read_yaml
from charlstm.errors import UserError

if TYPE_CHECKING:
    from charlstm.config.compare import CompareConfig
    from charlstm.config.memory import MemoryConfig


def load_comparison(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> CompareConfig | MemoryConfig:
    """Read a comparison file of either kind: a memory comparison has ``experiments``. With ``quick``, the changes of
    its `quick` field are applied before the overrides.

    Raises UserError as `load_config` does (problems of an arm have the line of the arm), and with ``quick`` if the file
    has no `quick` field.
    """
    document = read_yaml(path)
    reject_other_command(path, document.data, "compare")
    is_memory = "experiments" in document.data
    if quick and not is_memory:
        raise UserError(f"{path} has no quick form: only files with experiments on memory have one")
    changes = document.data.get("quick") or []
    if quick and not (isinstance(changes, list) and changes and all(isinstance(change, str) for change in changes)):
        raise UserError(f"{path} has no quick form: its field quick must be a list of changes, such as seeds=2")
    from charlstm.config.validation import validate

    if not is_memory:
        from charlstm.config.compare import CompareConfig

        return validate(CompareConfig, document, overrides)
    from charlstm.config.memory import MemoryConfig  # many models, which a comparison of arms does without

    return validate(MemoryConfig, document, [*changes, *overrides] if quick else overrides)
