"""Errors for a text or an address given in place of a configuration, with the configuration to write."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from charlstm.errors import UserError

SUFFIXES = (".yaml", ".yml", ".json")
_SECTION = re.compile(rb"""^[ \t{]*["']?(?:corpus|model|training|arms|experiments)["']?\s*:""", re.MULTILINE)
_TEXT_WITH_NULS = (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")  # UTF-16 and compressed files, with NULs
_PLAIN = re.compile(r"[A-Za-z_/.][\w./-]*")


def suggest_config(source: str, stem: str) -> str:
    """The configuration to write for a text or a name of the catalog, and the command that uses it."""
    value = source if _PLAIN.fullmatch(source) else json.dumps(source, ensure_ascii=False)
    file = shlex.quote(f"{stem}.yaml")
    return (
        f"Write these three lines into {file}, then: charlstm train {file}\n"
        f"corpus: {{source: {value}}}\n"
        "model: {hidden_size: 256}\n"
        "training: {budget: {minutes: 3}}"
    )


def reject_text(path: Path, content: bytes) -> None:
    """Raise UserError for a text to train on: a file without the suffix or any section of a configuration."""
    if path.suffix.lower() not in SUFFIXES and content.strip() and not _SECTION.search(content):
        if b"\0" in content[:4096] and not content.startswith(_TEXT_WITH_NULS):
            raise UserError(f"{path}: this is neither a configuration nor a text. Name a configuration in YAML")
        raise UserError(f"{path}: this is a text, not a configuration. {suggest_config(str(path), path.stem)}")


def reject_address(path: Path) -> None:
    """Raise UserError for a path that is a URL."""
    if match := re.match(r"(https?|ftp):/+", str(path)):
        address = f"{match[1]}://{str(path)[match.end() :]}"
        raise UserError(
            f"{address} is an address, not a configuration file. If it is a text, download it: curl -fLO "
            f"{shlex.quote(address)}. {suggest_config(path.name, path.stem)}"
        )
