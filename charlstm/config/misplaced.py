"""Errors for a text, an address or the configuration of another command, given in place of a configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.errors import UserError
from charlstm.paths import command

SUFFIXES = (".yaml", ".yml", ".json")
_COMMENTS = rb"""(?:\xef\xbb\xbf)?(?:[ \t]*(?:\#[^\n]*|---[ \t]*)?\r?\n)*"""
_SECTION = re.compile(
    _COMMENTS + rb"""[ \t{]*["']?(?:name|corpus|model|training|arms|experiments|base|space)["']?\s*:(?:\s|$)"""
)
"""The beginning of a configuration: comments, then a section or the name."""


_FIELDS = {"space": "sweep", "arms": "compare", "experiments": "compare"}
"""Fields that only the files of one command have."""
_OF_RUNS = {"name", "corpus", "model", "training"}
_NAMES = {"train": "the configuration of a run", "compare": "a comparison", "sweep": "a sweep"}
_MISSING = {"compare": "arms", "sweep": "space"}


def is_configuration(path: Path, content: bytes) -> bool:
    """Whether the file is a configuration by its suffix or its first lines, not a text to train on."""
    return path.suffix.lower() in SUFFIXES or not content.strip() or _SECTION.match(content) is not None


def reject_text(path: Path, content: bytes) -> None:
    """Raise UserError for a text to train on, where a configuration is expected."""
    if not is_configuration(path, content):
        raise UserError(
            f"{path}: this is a text, not a configuration. To train on it:  {command('train', path)}  "
            f"To write a configuration for it:  {command('init', path)}"
        )


def reject_address(path: Path) -> None:
    """Raise UserError for a path that is a URL."""
    if match := re.match(r"(https?|ftp):/+", str(path)):
        address = f"{match[1]}://{str(path)[match.end() :]}"
        raise UserError(
            f"{address} is an address, not a configuration file. If it is a text, download it: curl -fLO "
            f"{shlex.quote(address)}. Then: {command('train', path.name)}"
        )


def reject_other_command(path: Path, data: Mapping[str, Any], expected: str) -> None:
    """Raise UserError for the configuration of another command than that expected: train, compare or sweep."""
    otherwise = "train" if data.keys() <= _OF_RUNS else expected
    actual = next((name for field, name in _FIELDS.items() if field in data), otherwise)
    if actual != expected:
        reason = f"has no {_MISSING[expected]}: it is" if actual == "train" else "is"
        raise UserError(f"{path} {reason} {_NAMES[actual]}. To run it:  {command(actual, path)}")
