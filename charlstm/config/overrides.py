"""Overriding fields by dotted names: with ``--set``, in the arms of a comparison, in a memory experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from charlstm.config.fields import find_section
from charlstm.config.reader import MAX_DEPTH, has_surrogate
from charlstm.config.schema import Config
from charlstm.config.wording import Loc, Problem, dotted


@dataclass(frozen=True)
class Assignment:
    """A field of a run's configuration, ``("training", "batch_size")``, its new value, and the keys that set it."""

    loc: Loc
    value: Any
    keys: Loc


def parse_field_name(name: str) -> Loc:
    """``training.batch_size`` as its parts. Raises ValueError if it cannot be the name of a field."""
    loc = tuple(name.strip().split("."))
    if not all(loc) or len(loc) > MAX_DEPTH or has_surrogate(name):
        raise ValueError("write it as section.field, for example model.hidden_size")
    return loc


def iter_assignments(changes: Mapping[str, Any], above: Loc = (), keys: Loc = ()) -> Iterator[Assignment | Problem]:
    """The fields that a mapping sets, by dotted names, nested sections or both, and its invalid field names.

    The fields of a section are set one by one; an empty section changes nothing.
    """
    for key, value in changes.items():
        try:
            loc = (*above, *parse_field_name(str(key)))
        except ValueError as error:
            yield Problem((*above, key), str(error))
            continue
        section = find_section(Config, loc)
        if isinstance(value, dict) and (value or section):
            yield from iter_assignments(value, loc, (*keys, key))
        elif value is not None or not section:
            yield Assignment(loc, value, (*keys, key))


def with_value(data: Any, loc: Loc, value: Any, depth: int = 0) -> Any:
    """A copy of plain data with the value at ``loc``; missing sections are created, and a mapping replaces the value
    that this key has. A key with dots, such as ``training.learning_rate`` in an arm, stands for as many parts of
    ``loc``, and a mapping that has such keys gets another one. Raises LookupError if a part of ``loc`` before the last
    is not a section."""
    if depth == len(loc):
        return value
    if data is not None and not isinstance(data, dict):
        raise LookupError(f"{dotted(loc[:depth])} is not a section: it has no field {dotted(loc[depth:])}")
    section = data or {}
    ends = range(len(loc), depth + 1, -1)
    is_new_field = loc[depth] not in section and find_section(Config, (str(loc[depth]),)) is not None
    new = len(loc) if is_new_field and any(map(_is_dotted_field, section)) else depth + 1
    end = next((end for end in ends if ".".join(map(str, loc[depth:end])) in section), new)
    key = loc[depth] if end == depth + 1 else ".".join(map(str, loc[depth:end]))
    return {**section, key: with_value(section.get(key), loc, value, end)}


def _is_dotted_field(key: object) -> bool:
    """Whether a key is like ``training.learning_rate``; the name of an arm may have dots, too."""
    section, _, field = str(key).partition(".")
    return bool(field and find_section(Config, (section,)))


class Overridden(NamedTuple):
    """Settings after changes, the keys of the changes that set each field, and the problems of the changes."""

    settings: dict[str, Any]
    origin: dict[Loc, Loc]
    problems: list[Problem]


def override(settings: dict[str, Any], changes: Mapping[str, Any]) -> Overridden:
    """A copy of plain settings with the changes of a mapping; see :func:`iter_assignments`."""
    origin: dict[Loc, Loc] = {}
    problems: list[Problem] = []
    for assignment in iter_assignments(changes):
        if isinstance(assignment, Problem):
            problems.append(assignment)
            continue
        loc = assignment.loc
        if loc in origin:
            problems.append(Problem(loc, "set twice"))
        origin[loc] = assignment.keys
        try:
            settings = with_value(settings, loc, assignment.value)
        except LookupError as error:
            problems.append(Problem(loc, str(error.args[0])))
    return Overridden(settings, origin, problems)
