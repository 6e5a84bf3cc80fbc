"""Which options of the model section belong to which cell, and what they mean where they are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from charlstm.cells import CELLS, Cell, find
from charlstm.cells.options import Option
from charlstm.config.front_ends import FRONT_ENDS

RESERVOIRS = frozenset(c.base for c in CELLS.values() if c.reservoir)
"""The cells of which nothing learns: only the readout does."""


def _options(cell: Cell) -> frozenset[str]:
    found = frozenset(cell.options) | cell.init_options.keys()
    return found | {"washout"} if cell.reservoir else found


CELL_OPTIONS: dict[str, frozenset[str]] = {
    base: frozenset().union(*(_options(c) for c in CELLS.values() if c.base == base))
    for base in sorted({c.base for c in CELLS.values()})
}
"""Cell -> the options of the model section that belong to this cell. Every other cell refuses them."""

FRONT_END_OPTIONS: dict[str, tuple[str, ...]] = {
    option: tuple(name for name, entry in FRONT_ENDS.items() if option in entry.options)
    for option in dict.fromkeys(option for entry in FRONT_ENDS.values() for option in entry.options)
}
"""Option of the model section -> the front ends that have it. Every other front end refuses it."""

CONDITIONAL_OPTIONS = frozenset({"residual", *FRONT_END_OPTIONS}).union(*CELL_OPTIONS.values())
"""The options of the model section that only some cells, front ends or depths have."""

START_OPTIONS: dict[str, Option] = {name: o for c in CELLS.values() for name, o in c.init_options.items()}
"""The options of the cells' initialisation: null, where left out, until the cell says what they are."""

DEFAULT_EMBEDDING_SIZE = 64


def default_front_end(cell: object) -> str:
    """The front end where it is left out."""
    return "one_hot" if isinstance(cell, str) and cell in RESERVOIRS else "embedding"


def chosen_cell(settings: Mapping[str, Any]) -> Cell | None:
    """The cell that the fields of a model section ask for; None where they ask for none."""
    try:
        return find(settings["cell"], **{name: settings[name] for name in settings if name != "cell"})
    except KeyError:
        return None


def why_no_effect(option: str, settings: Mapping[str, Any]) -> str | None:
    """Why a model option changes nothing beside these settings of the model section; None where it does."""
    name, front_end = settings.get("cell"), settings.get("front_end")
    if option == "residual" and settings.get("num_layers") == 1:
        return "has no effect with num_layers: 1, only with 2 or more"
    if option in FRONT_END_OPTIONS and front_end and front_end not in FRONT_END_OPTIONS[option]:
        return f"has no effect with front_end: {front_end}, only with {', '.join(FRONT_END_OPTIONS[option])}"
    owners = [base for base, options in CELL_OPTIONS.items() if option in options]
    if not owners or name is None:
        return None
    if name not in owners:
        return f"has no effect with cell: {name}, only with {', '.join(owners)}"
    cell = chosen_cell(settings)
    if cell and option not in _options(cell):
        given = ", ".join(f"{key}: {json.dumps(value)}" for key, value in cell.options.items())
        return f"has no effect with cell: {name} and {given}".replace('"', "")
    for other, needed in START_OPTIONS[option].requires.items() if option in START_OPTIONS else ():
        if settings.get(other) != needed:
            return f"has no effect without {other}: {needed}"
    return None


NULLS = START_OPTIONS.keys() | {"embedding_size"}
"""The options that may be null, which means what :func:`default_value` says."""


def default_value(option: str, settings: Mapping[str, Any]) -> object:
    """What an option means beside these settings where it is null or left out."""
    if option == "embedding_size":
        return DEFAULT_EMBEDDING_SIZE
    cell = chosen_cell(settings)
    value = cell.init_options[option].default if cell else None
    return list(value) if isinstance(value, tuple) else value
