"""Configuration files: YAML to checked, frozen models and back. The only user of yaml.

What is read is YAML 1.2's core schema without anchors and tags: only ``true`` and ``false`` are booleans,
``1e-4`` is a number, ``1:30`` and ``010`` stay text. Every problem is reported with its line, all at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from charlstm.config.compare import CompareConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.config.fields import FieldDoc, describe_fields, json_schema
from charlstm.config.memory import MemoryConfig
from charlstm.config.options import CELL_OPTIONS
from charlstm.config.problems import Document, located, place_line, problems_of
from charlstm.config.schema import Config, ModelConfig, ModelOptions
from charlstm.config.sections import BudgetConfig, TrainingConfig
from charlstm.config.text import read_text, resolve
from charlstm.config.wording import Loc, Problem, dotted, printable
from charlstm.errors import UserError

__all__ = [
    "CELL_OPTIONS",
    "BudgetConfig",
    "CompareConfig",
    "Config",
    "CorpusConfig",
    "Document",
    "FieldDoc",
    "MemoryConfig",
    "ModelConfig",
    "ModelOptions",
    "TrainingConfig",
    "describe_fields",
    "dump_yaml",
    "json_schema",
    "load_compare",
    "load_comparison",
    "load_config",
    "parse_config",
    "read_yaml",
    "validate",
]

MAX_DEPTH = 20
MAX_TOLD = 40
"""Problems that are listed at once."""

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the configuration of a run; `overrides` are ``section.field=value``, as ``--set`` takes them.

    Raises:
        UserError: everything that is wrong, one line each, with file and line (or the override).
    """
    return validate(Config, read_yaml(path), overrides)


def load_compare(path: Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison file; errors as in `load_config`, those of an arm at the line of the arm."""
    return validate(CompareConfig, read_yaml(path), overrides)


def load_comparison(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> CompareConfig | MemoryConfig:
    """Read a file of either kind: one with ``experiments`` compares memories. ``quick``: with what its `quick` changes,
    before the overrides.

    Raises UserError as `load_compare` does, and for a file that has no quick form.
    """
    document = read_yaml(path)
    shorter = document.data.get("quick") or []
    if quick and not (isinstance(shorter, list) and shorter and all(isinstance(change, str) for change in shorter)):
        raise UserError(f"{path} has no quick form: quick is to be a list of changes, such as seeds=2")
    if "experiments" not in document.data:
        return load_compare(path, overrides)
    return validate(MemoryConfig, document, [*shorter, *overrides] if quick else overrides)


def parse_config(mapping: Mapping[str, Any], place: str) -> Config:
    """Check a configuration given as plain data; `place` says in errors where it came from.

    Raises:
        UserError: everything that is wrong, one line each.
    """
    return validate(Config, Document(place, dict(mapping)))


def read_yaml(path: Path) -> Document:
    """Read a YAML file into plain data with line numbers.

    Raises:
        UserError: there is no such file, it is no UTF-8 text, no YAML, empty, or no mapping.
    """
    document = _parse(read_text(path), str(path))
    if document.data is None:
        raise UserError(f"{path}: the file is empty: it needs at least a corpus section")
    if not isinstance(document.data, dict):
        raise UserError(
            f"{path}:1: expected sections such as 'model:' at the top level of the file, not a list or text"
        )
    return document


def validate(model: type[Model], document: Document, overrides: Sequence[str] = ()) -> Model:
    """Check a document against a model, after the overrides (``section.field=value``) are put in, in order.

    A mapping in an override replaces what was there.

    Raises:
        UserError: everything that is wrong, one line each, ordered by line.
    """
    data = document.data
    lines: list[tuple[float, str]] = [
        (line, place_line(f"{document.name}:{line}", problem.loc, problem.message))
        for line, problem in document.problems
    ]
    overridden: dict[Loc, str] = {}
    for override in overrides:
        place = f"--set {printable(override, 120)}"
        try:
            loc, value = _read_override(override, place)
            data = _replaced(data, loc, value)
        except UserError as error:
            lines.extend((float("inf"), line) for line in str(error).splitlines())
            continue
        except LookupError as error:
            lines.append((float("inf"), f"{place}: {error.args[0]}"))
            continue
        overridden = {old: text for old, text in overridden.items() if old[: len(loc)] != loc}
        overridden[loc] = place
    try:
        checked = model.model_validate(data)
    except ValidationError as error:
        # What could not be read, or was given twice, has no value to judge.
        unread = {problem.loc for _, problem in document.problems}
        for problem in problems_of(error, model):
            if problem.loc not in unread:
                lines.append(located(problem, document, overridden))
    if lines:
        told = list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0])))
        more = ["and more of the kind: mend these first"] if len(told) > MAX_TOLD else []
        raise UserError("\n".join(told[:MAX_TOLD] + more))
    return checked


def dump_yaml(config: BaseModel) -> str:
    """The configuration as YAML, every field in declared order; `load_config` reads an equal one from it.

    Options without effect for the chosen cell are left out.
    """
    text: str = yaml.dump(
        config.model_dump(mode="json"),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return text


def _read_override(override: str, place: str) -> tuple[Loc, Any]:
    name, sign, text = override.partition("=")
    loc = tuple(name.strip().split("."))
    if not sign or not all(loc) or len(loc) > MAX_DEPTH or _has_surrogate(name):
        raise UserError(f"{place}: write it as section.field=value, for example --set model.hidden_size=512")
    document = _parse(text, place, lined=False)
    if document.problems:
        raise UserError("\n".join(f"{place}: {problem.message}" for _, problem in document.problems))
    return loc, document.data


def _replaced(data: Any, loc: Loc, value: Any, depth: int = 0) -> Any:
    """A copy of `data` with `value` at `loc`. Raises LookupError where a plain value is in the way."""
    if depth == len(loc):
        return value
    if data is not None and not isinstance(data, dict):
        raise LookupError(f"{dotted(loc[:depth])} is no section: it has no field {dotted(loc[depth:])}")
    section = data or {}
    return {**section, loc[depth]: _replaced(section.get(loc[depth]), loc, value, depth + 1)}


def _parse(text: str, name: str, lined: bool = True) -> Document:
    """One YAML document as plain data. Raises UserError where the text is no YAML."""
    reader = _Reader()
    try:
        data = reader.read(yaml.parse(text, Loader=yaml.SafeLoader))
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
        # PyYAML lets through what chr() and int() say of an escape or a version out of range.
        escape = re.search(r"\\U(?!000|0010)[0-9a-fA-F]{8}", text)
        line = text.count("\n", 0, escape.start()) + 1 if escape else 1
        message = "not valid YAML: an escape or a number that is out of range"
    else:
        return Document(name, data, reader.lines, tuple(reader.problems))
    raise UserError(f"{name}:{line}: {message}" if lined else f"{name}: {message}")


class _UnreadableError(Exception):
    """Valid YAML that is not read any further."""

    def __init__(self, event: yaml.Event, message: str) -> None:
        super().__init__(message)
        self.line = _line_of(event)


class _Reader:
    """Builds plain data from YAML events: no tag is ever applied, nothing is shared, depth is bounded."""

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
                    raise _UnreadableError(event, "a second document begins ('---'): a file holds one")
            elif isinstance(event, yaml.NodeEvent):
                data = self._node(event, events, ())
        return data

    def _problem(self, event: yaml.Event, loc: Loc, message: str) -> None:
        self.problems.append((_line_of(event), Problem(loc, message)))

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], loc: Loc) -> Any:
        self.lines.setdefault(loc, _line_of(event))
        self._refuse_decoration(event, loc)
        if isinstance(event, yaml.ScalarEvent):
            text: str = event.value
            if _has_surrogate(text):
                self._problem(event, loc, "half a surrogate pair is no character: write the character itself")
                return None
            return resolve(text) if event.style is None else text
        if len(loc) >= MAX_DEPTH:
            raise _UnreadableError(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, (*loc, len(items))))
            return items
        return self._mapping(events, loc) if isinstance(event, yaml.MappingStartEvent) else None

    def _mapping(self, events: Iterator[yaml.Event], loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or _has_surrogate(event.value):
                raise _UnreadableError(event, "a key must be plain text")
            key: str = event.value
            place = (*loc, key)
            self._refuse_decoration(event, place)
            if key in found:
                self._problem(event, place, f"given twice, first on line {self.lines[place]}")
            self.lines.setdefault(place, _line_of(event))
            # Of a key given twice the first value stays, as its line does.
            found.setdefault(key, self._node(next(events), events, place))
        return found

    def _refuse_decoration(self, event: yaml.Event, loc: Loc) -> None:
        advice = "which is not used here: "
        if isinstance(event, yaml.AliasEvent):
            advice += "write the value out, or put a text that starts with * in quotes"
            self._problem(event, loc, f"*{event.anchor} is a YAML alias, {advice}")
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor is not None:
                self._problem(event, loc, f"&{event.anchor} is a YAML anchor, {advice}take it out")
            if event.tag is not None:
                tag = printable(event.tag.replace("tag:yaml.org,2002:", "!!"))
                self._problem(event, loc, f"{tag} is a YAML tag, {advice}take it out")


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 readers both read it back as the same text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        plain = resolve(text) is text and text.isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
