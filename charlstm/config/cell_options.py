"""The fields of the model section that are generated from the options of the cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from charlstm.cells import CELLS
from charlstm.cells.options import Option
from charlstm.config.options import CELL_OPTIONS, INIT_OPTIONS
from charlstm.config.sections import TypeText

Definition = tuple[Any, Any]
"""Annotation and pydantic field, as ``pydantic.create_model`` takes them."""

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_NUMBERS = {int: "whole number", float: "number"}


def cell_fields() -> dict[str, Definition]:
    """The fields that select a variant of a cell, then those of its initialization."""
    variant = {name: _variant_field(name, option) for c in CELLS.values() for name, option in c.option_docs.items()}
    return variant | {name: _init_field(name, option) for name, option in INIT_OPTIONS.items()}


def check_init_option(name: str, value: object) -> None:
    """Check an initialization option. Raises TypeError if no cell has it, ValueError if the value is out of range."""
    if name not in INIT_OPTIONS:
        raise TypeError(f"no cell has an option {name}; there are {', '.join(INIT_OPTIONS)}")
    option = INIT_OPTIONS[name]
    adapter: TypeAdapter[Any] = TypeAdapter(_optional(option), config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        adapter.validate_python(list(value) if isinstance(value, tuple) else value)
    except ValidationError:
        raise ValueError(f"{name}: expected {_type_text(option)}, found {value!r}") from None


def only_for(name: str) -> str:
    """The sentence that lists the cells with an option."""
    *most, last = [base for base, options in CELL_OPTIONS.items() if name in options]
    return f"Only for {', '.join(most)} and {last}." if most else f"Only for {last}."


def _variant_field(name: str, option: Option) -> Definition:
    """A field that allows the values declared by the variants of a cell."""
    values = list(dict.fromkeys(c.options[name] for c in CELLS.values() if name in c.options))
    kind: Any = bool if option.kind is bool else Literal[tuple(value for value in values if value is not None)]
    return (kind | None if None in values else kind), Field(
        option.default, description=f"{option.description} {only_for(name)}"
    )


def _init_field(name: str, option: Option) -> Definition:
    """A field that is null until the cell is known, and then takes the default of the cell."""
    needed = "".join(f" Only with {other}: {value}." for other, value in option.requires.items())
    text = f"{option.description} {_default_text(name)}{needed} {only_for(name)}"
    if option.words or option.pair:
        annotation: Any = Annotated[_optional(option), Field(validate_default=True), TypeText(_type_text(option))]
        return annotation, Field(None, description=text)
    annotation = Annotated[option.kind | None, Field(validate_default=True)]
    return annotation, Field(None, description=text, **_bounds(option))


def _optional(option: Option) -> Any:
    allowed = _value_type(option) | None
    return Annotated[allowed, AfterValidator(_smallest_first)] if option.pair else allowed


def _value_type(option: Option) -> Any:
    kind: Any = option.kind
    if kind is str:
        return Literal[option.words]
    number: Any = Annotated[kind, Field(**_bounds(option))]
    if option.pair:
        pair: Any = Annotated[list[number], Field(min_length=2, max_length=2)]
        return number | pair
    return number | Literal[option.words] if option.words else number


def _type_text(option: Option) -> str:
    if option.pair:
        return f"number from {_number(option.ge)} to {_number(option.le)} | [smallest, largest]"
    if option.kind is str:
        return " | ".join(option.words)
    bounds = [f"{sign} {_number(value)}" for name, sign in _BOUNDS if (value := getattr(option, name)) is not None]
    return " | ".join([f"{_NUMBERS[option.kind]} {' and '.join(bounds)}".rstrip(), *option.words])


def _default_text(name: str) -> str:
    """The default of an option, in words: one value, or one for each cell."""
    values: dict[str, list[str]] = {}
    for base, options in CELL_OPTIONS.items():
        if name in options:
            default = next(
                c.init_options[name].default for c in CELLS.values() if c.base == base and name in c.init_options
            )
            values.setdefault(_format_default(default), []).append(base)
    if len(values) == 1:
        return f"null means {next(iter(values))}."
    return f"null means {', '.join(f'{value} for {_and(bases)}' for value, bases in values.items())}."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _format_default(default: object) -> str:
    if default is None:
        return "as in torch.nn"
    if isinstance(default, tuple):
        return f"[{', '.join(map(_number, default))}]"
    return (
        default if isinstance(default, str) else _number(default) if isinstance(default, float) else json.dumps(default)
    )


def _bounds(option: Option) -> dict[str, Any]:
    return {name: value for name, _ in _BOUNDS if (value := getattr(option, name)) is not None}


def _number(value: float | None) -> str:
    if value is not None and value == int(value):
        return str(int(value))
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def _smallest_first(value: float | list[float] | None) -> float | list[float] | None:
    if isinstance(value, list) and value[0] > value[1]:
        raise ValueError(f"expected [smallest, largest], found {value}. Swap them")
    return value
