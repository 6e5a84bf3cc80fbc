"""A YAML reader that returns plain data with line numbers: tags and anchors are errors, and depth is limited."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from charlstm.config.document import Document
from charlstm.config.text import read_text, resolve
from charlstm.config.wording import Loc, Problem, printable
from charlstm.errors import UserError

MAX_DEPTH = 20

DIFFERENT_IN_LIBYAML = {"\t", "\ufeff", "?"}
"""Characters that libyaml accepts in places where PyYAML's own parser does not."""


def read_yaml(path: Path) -> Document:
    """Read a YAML file into plain data with line numbers.

    Raises:
        UserError: the file is missing, not UTF-8, not YAML, empty, or not a mapping.
    """
    document = parse(read_text(path), str(path))
    if document.data is None:
        raise UserError(f"{path}: the file is empty; it needs at least a corpus section")
    if not isinstance(document.data, dict):
        raise UserError(
            f"{path}:1: expected sections such as 'model:' at the top level of the file, not a list or text"
        )
    return document


def with_former_defaults(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a run recorded, with the values of fields that did not exist then: before there was
    ``model.unigram_bias``, it was false."""
    model = mapping.get("model")
    return {**mapping, "model": {"unigram_bias": False, **model}} if isinstance(model, Mapping) else {**mapping}


def read_recorded(path: Path) -> Document:
    """Read the file of the configuration that a run recorded; see :func:`with_former_defaults`.

    Raises UserError as :func:`read_yaml` does.
    """
    document = read_yaml(path)
    return replace(document, data=with_former_defaults(document.data))


def read_unchecked(path: Path) -> dict[str, Any]:
    """The plain data of a configuration that this program has written, faster than `load_config`, but not validated.
    Raises UserError if the file cannot be read, or is not a YAML mapping."""
    data = parse(read_text(path), str(path)).data
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected sections such as 'model:'")
    return data


def parse(text: str, name: str, with_lines: bool = True) -> Document:
    """One YAML document as plain data. Raises UserError if the text is not valid YAML."""
    libyaml = getattr(yaml, "CSafeLoader", None)
    if libyaml and not DIFFERENT_IN_LIBYAML & set(text):
        try:
            return _read(text, name, libyaml)  # many times faster, but its messages say less
        except (yaml.YAMLError, _UnreadableError, ValueError, OverflowError):
            pass
    try:
        return _read(text, name, yaml.SafeLoader)
    except _UnreadableError as unreadable:
        line, message = unreadable.line, str(unreadable)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        tab = "found character '\\t'" in str(error.problem)
        message = "YAML does not allow a tab here: use spaces" if tab else f"not valid YAML: {error.problem}"
        message += f" (column {mark.column + 1})" if mark else ""
        message += ". A text that starts with * needs quotes" if "scanning an alias" in str(error.context) else ""
    except (ValueError, OverflowError):
        # PyYAML does not catch the errors of chr() and int() for an escape or a version that is out of range.
        escape = re.search(r"\\U(?!000|0010)[0-9a-fA-F]{8}", text)
        line = text.count("\n", 0, escape.start()) + 1 if escape else 1
        message = "not valid YAML: an escape or a number that is out of range"
    raise UserError(f"{name}:{line}: {message}" if with_lines else f"{name}: {message}")


def _read(text: str, name: str, loader: Any) -> Document:
    reader = _Reader()
    data = reader.read(yaml.parse(text, Loader=loader))
    return Document(name, data, reader.lines, tuple(reader.problems))


class _UnreadableError(Exception):
    """Valid YAML that this reader does not support."""

    def __init__(self, event: yaml.Event, message: str) -> None:
        super().__init__(message)
        self.line = _line_of(event)


class _Reader:
    """Builds plain data from YAML events."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self.problems: list[tuple[int, Problem]] = []

    def read(self, events: Iterator[yaml.Event]) -> Any:
        data: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _UnreadableError(event, "a second document begins here ('---'); a file may contain only one")
            elif isinstance(event, yaml.NodeEvent):
                data = self._node(event, events, ())
        return data

    def _problem(self, event: yaml.Event, loc: Loc, message: str) -> None:
        self.problems.append((_line_of(event), Problem(loc, message)))

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], loc: Loc) -> Any:
        self.lines.setdefault(loc, _line_of(event))
        self._check_decoration(event, loc)
        if isinstance(event, yaml.ScalarEvent):
            text: str = event.value
            if has_surrogate(text):
                self._problem(event, loc, "a lone surrogate is not a character: write the character itself")
                return None
            return text if event.style else resolve(text)
        if len(loc) >= MAX_DEPTH:
            raise _UnreadableError(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, (*loc, len(items))))
            return items
        return self._mapping(events, loc) if isinstance(event, yaml.MappingStartEvent) else None

    def _mapping(self, events: Iterator[yaml.Event], loc: Loc) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or has_surrogate(event.value):
                raise _UnreadableError(event, "a key must be plain text")
            key: str = event.value
            key_loc = (*loc, key)
            self._check_decoration(event, key_loc)
            if key in mapping:
                self._problem(event, key_loc, f"duplicate key, first on line {self.lines[key_loc]}")
            self.lines.setdefault(key_loc, _line_of(event))
            # The first value of a duplicate key is used, and its line.
            mapping.setdefault(key, self._node(next(events), events, key_loc))
        return mapping

    def _check_decoration(self, event: yaml.Event, loc: Loc) -> None:
        advice = "which is not supported: "
        if isinstance(event, yaml.AliasEvent):
            advice += "write out the value, or put a text that starts with * in quotes"
            self._problem(event, loc, f"*{event.anchor} is a YAML alias, {advice}")
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor is not None:
                self._problem(event, loc, f"&{event.anchor} is a YAML anchor, {advice}remove it")
            if event.tag is not None:
                tag = printable(event.tag.replace("tag:yaml.org,2002:", "!!"))
                self._problem(event, loc, f"{tag} is a YAML tag, {advice}remove it")


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
