"""What a folder under ``runs`` holds, so that one thing is not written over another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from charlstm.errors import UserError
from charlstm.paths import path_exists

Content = Literal["a run", "a sweep", "a comparison of memories", "a comparison of arms"]

_MARKS: dict[Content, Callable[[Path], bool]] = {
    "a run": lambda folder: path_exists(folder / "config.yaml"),
    "a sweep": lambda folder: path_exists(folder / "sweep.yaml"),
    "a comparison of memories": lambda folder: path_exists(folder / "claims.json"),
    "a comparison of arms": lambda folder: any(folder.glob("*-seed*/config.yaml")),
}


def check_folder(folder: Path, wanted: Content) -> None:
    """Raises UserError if the folder holds something else than what is ``wanted`` in it."""
    for content, is_there in _MARKS.items():
        if content != wanted and is_there(folder):
            raise UserError(f"{folder} is the folder of {content}. Choose another name: --name NAME")
