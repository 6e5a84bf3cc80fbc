"""What a folder under ``runs`` holds, so that one thing is not written over another, or taken for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from charlstm.errors import UserError
from charlstm.paths import RUNS, command, is_folder, path_exists

Content = Literal["a run", "a sweep", "experiments on memory", "a comparison of arms"]

_MARKS: dict[Content, Callable[[Path], bool]] = {
    "a run": lambda folder: path_exists(folder / "config.yaml"),
    "a sweep": lambda folder: path_exists(folder / "sweep.yaml"),
    "experiments on memory": lambda folder: path_exists(folder / "claims.json"),
    "a comparison of arms": lambda folder: any(folder.glob("*-seed*/config.yaml")),
}


def content_of(folder: Path) -> Content | None:
    """What the folder holds; None if it is nothing of these, or no folder."""
    return next((content for content, is_there in _MARKS.items() if is_folder(folder) and is_there(folder)), None)


def check_folder(folder: Path, wanted: Content) -> None:
    """Raises UserError if the folder holds something else than what is ``wanted`` in it."""
    for content, is_there in _MARKS.items():
        if content != wanted and is_there(folder):
            raise UserError(f"{folder} is the folder of {content}. Choose another name: --name NAME")


def why_no_run(path: Path) -> str:
    """Why a path that exists, or not, is not the folder of a run, and what to do."""
    held = content_of(path)
    if held is None or held == "a run":
        return f"{path} is not a run directory: it has no config.yaml. charlstm train creates runs"
    runs = [] if path.parent == RUNS else ["--runs", path.parent]
    return f"{path} is the folder of {held}, not of a run. To list its runs:  {command('runs', *runs, '--all')}"
