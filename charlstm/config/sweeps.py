"""Reads sweep files, with the configuration that they are based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlstm.config.document import Document
from charlstm.config.misplaced import reject_other_command
from charlstm.config.reader import read_yaml
from charlstm.config.ready import command_of, ready_configs
from charlstm.errors import UserError

if TYPE_CHECKING:
    from charlstm.config.sweep import SweepConfig


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file; `overrides` are ``field=value``, as ``--set`` takes them.

    Raises UserError: all problems, one line each, with file and line; those of the base first.
    """
    document = read_yaml(path)
    reject_other_command(path, document.data, "sweep")
    from charlstm.config.sweep import SweepConfig  # the models take longer to build than most refusals
    from charlstm.config.validation import given_value, validate

    base = given_value(document, overrides, "base")
    return validate(SweepConfig, _with_base(document, path, base), overrides)


def _with_base(document: Document, path: Path, name: object) -> Document:
    """The document with the sections of its base, where it does not change them."""
    from charlstm.config.schema import Config
    from charlstm.config.sweep import SET_BY_SWEEP
    from charlstm.config.validation import validate

    if not isinstance(name, str):
        return document
    line = document.lines.get(("base",)) if name == document.data.get("base") else None
    file = _find(name, path, line)
    base = read_yaml(file)
    validate(Config, base)
    shared = {section: fields for section, fields in base.data.items() if section != "name" and fields is not None}
    corpus = shared["corpus"]
    shared["corpus"] = {**corpus, "source": _beside(file, corpus["source"])}
    for field in SET_BY_SWEEP:
        if "training" in shared:
            shared["training"] = {key: value for key, value in shared["training"].items() if key != field}
    return Document(document.name, _merged(shared, document.data), document.lines, document.problems)


def _find(name: str, path: Path, line: int | None) -> Path:
    """The file of a base. Raises UserError."""
    beside = path.parent / Path(name).expanduser()
    if beside.is_file():
        return beside
    ready = ready_configs()
    if name in ready and command_of(ready[name]) == "train":
        return ready[name]
    place = f"{path}:{line}" if line else str(path)
    raise UserError(
        f"{place}: base: there is no file {beside} and no ready configuration {name}:  charlstm config list"
    )


def _beside(file: Path, source: Any) -> Any:
    """The source with paths relative to the folder of the file, where there are such files."""
    if isinstance(source, list):
        return [_beside(file, part) for part in source]
    beside = file.parent / source
    return str(beside) if beside.exists() else source


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the changes; the fields of a mapping are merged, those of the budget replace it as a whole."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key != "budget":
            merged[key] = _merged(old, value)
        elif value is not None or key not in merged:
            merged[key] = value
    return merged
