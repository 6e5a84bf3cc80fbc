"""Fields of the model section made from what the cells declare: their types, ranges and documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from charlstm.cells import CELLS
from charlstm.cells.options import Option
from charlstm.config.options import CELL_OPTIONS, START_OPTIONS
from charlstm.config.sections import Reads

Definition = tuple[Any, Any]
"""Annotation and pydantic field, as ``pydantic.create_model`` takes them."""

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_NUMBERS = {int: "whole number", float: "number"}


def cell_fields() -> dict[str, Definition]:
    """The fields that choose among the cells of a base, then those of their initialisation."""
    chosen = {name: _choice(name, option) for c in CELLS.values() for name, option in c.option_docs.items()}
    return chosen | {name: _initial(name, option) for name, option in START_OPTIONS.items()}


def check_start_option(name: str, value: object) -> None:
    """Raise TypeError where no cell has this option of its initialisation, ValueError for a value outside its range."""
    if name not in START_OPTIONS:
        raise TypeError(f"no cell has an option {name}; there are {', '.join(START_OPTIONS)}")
    option = START_OPTIONS[name]
    adapter: TypeAdapter[Any] = TypeAdapter(_optional(option), config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        adapter.validate_python(list(value) if isinstance(value, tuple) else value)
    except ValidationError:
        raise ValueError(f"{name}: expected {_type_text(option)}, found {value!r}") from None


def only_for(name: str) -> str:
    """The sentence that says which cells have an option."""
    *most, last = [base for base, options in CELL_OPTIONS.items() if name in options]
    return f"Only for {', '.join(most)} and {last}." if most else f"Only for {last}."


def _choice(name: str, option: Option) -> Definition:
    """A field whose allowed values are those that cells of one base declare."""
    values = list(dict.fromkeys(c.options[name] for c in CELLS.values() if name in c.options))
    kind: Any = bool if option.kind is bool else Literal[tuple(value for value in values if value is not None)]
    return (kind | None if None in values else kind), Field(
        option.default, description=f"{option.description} {only_for(name)}"
    )


def _initial(name: str, option: Option) -> Definition:
    """A field that is null until the cell is known, whose default it then takes."""
    needed = "".join(f" Only with {other}: {value}." for other, value in option.requires.items())
    text = f"{option.description} {_left_out(name)}{needed} {only_for(name)}"
    if option.words or option.pair:
        annotation: Any = Annotated[_optional(option), Field(validate_default=True), Reads(_type_text(option))]
        return annotation, Field(None, description=text)
    annotation = Annotated[option.kind | None, Field(validate_default=True)]
    return annotation, Field(None, description=text, **_bounds(option))


def _optional(option: Option) -> Any:
    allowed = _value_type(option) | None
    return Annotated[allowed, AfterValidator(_smallest_first)] if option.pair else allowed


def _value_type(option: Option) -> Any:
    kind: Any = option.kind
    number: Any = Annotated[kind, Field(**_bounds(option))]
    if option.pair:
        pair: Any = Annotated[list[number], Field(min_length=2, max_length=2)]
        return number | pair
    return number | Literal[option.words] if option.words else number


def _type_text(option: Option) -> str:
    if option.pair:
        return f"number from {_number(option.ge)} to {_number(option.le)} | [smallest, largest]"
    bounds = [f"{sign} {_number(value)}" for name, sign in _BOUNDS if (value := getattr(option, name)) is not None]
    return " | ".join([f"{_NUMBERS[option.kind]} {' and '.join(bounds)}".rstrip(), *option.words])


def _left_out(name: str) -> str:
    """What leaving an option out means: one value, or that of each cell."""
    values: dict[str, list[str]] = {}
    for base, options in CELL_OPTIONS.items():
        if name in options:
            default = next(
                c.init_options[name].default for c in CELLS.values() if c.base == base and name in c.init_options
            )
            values.setdefault(_shown(default), []).append(base)
    if len(values) == 1:
        return f"Left out: {next(iter(values))}."
    return f"Left out: {', '.join(f'{value} for {_and(bases)}' for value, bases in values.items())}."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shown(default: object) -> str:
    if default is None:
        return "as in torch.nn"
    if isinstance(default, tuple):
        return f"[{', '.join(map(_number, default))}]"
    return _number(default) if isinstance(default, float) else json.dumps(default)


def _bounds(option: Option) -> dict[str, Any]:
    return {name: value for name, _ in _BOUNDS if (value := getattr(option, name)) is not None}


def _number(value: float | None) -> str:
    if value is not None and value == int(value):
        return str(int(value))
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def _smallest_first(value: float | list[float] | None) -> float | list[float] | None:
    if isinstance(value, list) and value[0] > value[1]:
        raise ValueError(f"expected [smallest, largest], found {value}. Turn them round")
    return value
