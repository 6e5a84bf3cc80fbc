"""Fields set by dotted names: with ``--set``, by the arms of a comparison, by an experiment on memory."""

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
    """A field of a run's configuration, ``("training", "batch_size")``, its value, and the keys that said so."""

    loc: Loc
    value: Any
    keys: Loc


def field_of(name: str) -> Loc:
    """``training.batch_size`` as its parts. Raises ValueError for what cannot be the name of a field."""
    loc = tuple(name.strip().split("."))
    if not all(loc) or len(loc) > MAX_DEPTH or has_surrogate(name):
        raise ValueError("write it as section.field, for example model.hidden_size")
    return loc


def assignments(changes: Mapping[str, Any], above: Loc = (), keys: Loc = ()) -> Iterator[Assignment | Problem]:
    """The fields that a mapping sets, by dotted names, nested sections or both, and the names that cannot be fields.

    A section adds to what is set already; one that is left empty changes nothing.
    """
    for key, value in changes.items():
        try:
            loc = (*above, *field_of(str(key)))
        except ValueError as error:
            yield Problem((*above, key), str(error))
            continue
        section = find_section(Config, loc)
        if isinstance(value, dict) and (value or section):
            yield from assignments(value, loc, (*keys, key))
        elif value is not None or not section:
            yield Assignment(loc, value, (*keys, key))


def assigned(data: Any, loc: Loc, value: Any, depth: int = 0) -> Any:
    """A copy of plain data with the value at ``loc``, where a mapping replaces what was there; sections that are
    missing are made. Raises LookupError where something else than a section is in the way."""
    if depth == len(loc):
        return value
    if data is not None and not isinstance(data, dict):
        raise LookupError(f"{dotted(loc[:depth])} is no section: it has no field {dotted(loc[depth:])}")
    section = data or {}
    return {**section, loc[depth]: assigned(section.get(loc[depth]), loc, value, depth + 1)}


class Overridden(NamedTuple):
    """Settings with changes, which keys of the changes set which field, and what is wrong with the changes."""

    settings: dict[str, Any]
    origin: dict[Loc, Loc]
    problems: list[Problem]


def override(settings: dict[str, Any], changes: Mapping[str, Any]) -> Overridden:
    """A copy of plain settings with the changes of a mapping, see :func:`assignments`."""
    origin: dict[Loc, Loc] = {}
    problems: list[Problem] = []
    for one in assignments(changes):
        if isinstance(one, Problem):
            problems.append(one)
            continue
        if one.loc in origin:
            problems.append(Problem(one.loc, "set twice"))
        origin[one.loc] = one.keys
        try:
            settings = assigned(settings, one.loc, one.value)
        except LookupError as error:
            problems.append(Problem(one.loc, str(error.args[0])))
    return Overridden(settings, origin, problems)
