"""The ready configurations, which are part of the package."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from charlstm.errors import UserError
from charlstm.spelling import near

FOLDERS = ("compare", "sweep")
"""The folders of comparisons and of sweeps, named after their command."""
INSTALLED = Path(__file__).with_name("ready")
CHECKOUT = Path(__file__).resolve().parents[2] / "configs"
"""``configs/`` of the checkout that contains this code; it does not exist for an installed package."""


def ready_configs() -> dict[str, Path]:
    """The files of the ready configurations, by name: those of runs first, then those of each folder, sorted."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    return {
        file.stem: file
        for part in (folder, *(folder / name for name in FOLDERS))
        for file in sorted(part.glob("*.yaml"))
    }


def ready_config(name: str) -> Path:
    """The file of a ready configuration. Raises UserError if there is none of this name."""
    configs = ready_configs()
    if name not in configs:
        match = near(name, configs)
        hint = f"Did you mean {match}? " if match else ""
        raise UserError(f"there is no ready configuration {name!r}. {hint}There are: {', '.join(configs)}")
    return configs[name]


def command_of(file: Path) -> str:
    """The command that takes a ready configuration: train, compare or sweep."""
    return file.parent.name if file.parent.name in FOLDERS else "train"


def summary(file: Path) -> str:
    """What a ready configuration shows: the first sentence of its comment."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    comment = " ".join(line.removeprefix("#").strip() for line in lines)
    return re.split(r"(?<!et al)\. ", comment, maxsplit=1)[0].removesuffix(".") + "."
