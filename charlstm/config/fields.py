"""Introspection of configuration models: fields by path, their types and documentation, JSON Schema."""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from charlstm.config.schema import Config
from charlstm.config.sections import TypeText

_SIGNS = (
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.Le, "le", "<="),
)
_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true | false", type(None): "null"}


@dataclass(frozen=True)
class FieldDoc:
    """The documentation of one field.

    `section` is dotted, and empty at the top level; `default` is in YAML, or "required".
    """

    section: str
    name: str
    type: str
    default: str
    documentation: str

    @property
    def path(self) -> str:
        """The dotted name that ``--set`` takes."""
        return f"{self.section}.{self.name}" if self.section else self.name


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, without metadata; another annotation is its only member."""
    return tuple(get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in _members(annotation))


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def choices(field: FieldInfo) -> list[str]:
    """The words that a field allows; empty if it is not a choice of words."""
    literals = [kind for kind in alternatives(field.annotation) if get_origin(kind) is Literal]
    return [str(value) for kind in literals for value in get_args(kind)]


def section_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section; None for any other field."""
    for kind in alternatives(field.annotation):
        if _is_model(kind):
            return kind
    return None


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    # In Python 3.10 list[int] is an instance of type, too.
    return get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, BaseModel)


def find_section(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model of the section at `path`, which may be an item of a list; None if there is no such section."""
    section: type[BaseModel] | None = model
    items: type[BaseModel] | None = None
    for part in path:
        if isinstance(part, int):
            section, items = items, None
            continue
        field = section.model_fields.get(part) if section else None
        section = section_model(field) if field else None
        items = _item_model(field) if field else None
    return section


def _item_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of the items of a field that is a list of sections."""
    (item,) = get_args(field.annotation) if get_origin(field.annotation) is list else (None,)
    return item if _is_model(item) else None


def find_field(model: type[BaseModel], path: Sequence[str | int]) -> FieldInfo | None:
    """The field at `path`; None if there is no such field."""
    section = find_section(model, path[:-1]) if path else None
    return section.model_fields.get(str(path[-1])) if section else None


def iter_fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field that is not itself a section, with its path, in declared order."""
    for name, field in model.model_fields.items():
        section = section_model(field)
        if section is None:
            yield (*path, name), field
        else:
            yield from iter_fields(section, (*path, name))


def type_text(field: FieldInfo) -> str:
    """The type and range of a field as the user reads them: ``rnn | lstm | gru``, ``whole number >= 1``."""
    kinds = [kind for kind in alternatives(field.annotation) if kind is not type(None)]
    explicit = [item.text for item in _metadata(field) if isinstance(item, TypeText)]
    if explicit:
        text = explicit[0]
    elif section_model(field):
        text = "section"
    else:
        text = " | ".join(_PLAIN.get(kind) or " | ".join(choices(field)) or _container(kind) for kind in kinds)
        bounds = [
            f"{sign} {_number(getattr(item, attribute))}"
            for item in _metadata(field)
            for kind, attribute, sign in _SIGNS
            if isinstance(item, kind)
        ]
        text = f"{text} {' and '.join(bounds)}" if bounds else text
    return f"{text} | null" if len(kinds) < len(alternatives(field.annotation)) else text


def _container(kind: Any) -> str:
    if get_origin(kind) is not list:
        return "mapping"
    (member,) = alternatives(get_args(kind)[0])
    return f"list of {_PLAIN[member]}s" if member in _PLAIN else "list"


def describe_fields(model: type[BaseModel] = Config) -> list[FieldDoc]:
    """Every field of a configuration file with its type, default and documentation, in declared order."""
    return [
        FieldDoc(".".join(path[:-1]), path[-1], type_text(field), _default(model, path), str(field.description))
        for path, field in iter_fields(model)
    ]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """The metadata of a field, then that of the members of its union (``Annotated[...] | None``)."""
    yield from field.metadata
    for kind in _members(field.annotation):
        yield from getattr(kind, "__metadata__", ())


def is_decided_by_others(field: FieldInfo) -> bool:
    """Whether the default of a field is null, which stands for a value that depends on other fields."""
    return not field.is_required() and field.get_default() is None and "null means" in str(field.description)


def _default(model: type[BaseModel], path: tuple[str, ...]) -> str:
    own, field = find_field(model, path), find_field(model, path[:1])
    if own is not None and is_decided_by_others(own):
        return "null"
    if field is None or (field.is_required() and len(path) == 1):
        return "required"
    section = section_model(field)
    if section is not None and field.is_required():
        return _default(section, path[1:])
    value: Any = field.get_default()
    if section is not None and value is None and len(path) > 1:
        return _default(section, path[1:])
    for name in path[1:]:
        value = getattr(value, name)
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w-]+", value) else "'" + value.replace("'", "''") + "'"
    return _number(value) if isinstance(value, float) else json.dumps(value)


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
