"""Which cells, front ends and depths have which options of the model section, and the defaults of these options."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from charlstm.cells import CELLS, Cell, find
from charlstm.cells.options import Option
from charlstm.config.front_ends import FRONT_ENDS

RESERVOIRS = frozenset(c.base for c in CELLS.values() if c.is_reservoir)
"""The cells without trainable parameters: only the output layer is trained."""


def _options(cell: Cell) -> frozenset[str]:
    options = frozenset(cell.options) | cell.init_options.keys()
    return options | {"washout"} if cell.is_reservoir else options


CELL_OPTIONS: dict[str, frozenset[str]] = {
    base: frozenset().union(*(_options(c) for c in CELLS.values() if c.base == base))
    for base in sorted({c.base for c in CELLS.values()})
}
"""Cell -> the options of the model section that this cell has. They are errors with any other cell."""

FRONT_END_OPTIONS: dict[str, tuple[str, ...]] = {
    option: tuple(name for name, entry in FRONT_ENDS.items() if option in entry.options)
    for option in dict.fromkeys(option for entry in FRONT_ENDS.values() for option in entry.options)
}
"""Option of the model section -> the front ends that have it. It is an error with any other front end."""

DEPTH_OPTIONS = ("residual", "output", "hidden_dropout")
"""The options of the model section that need several layers."""

TRAINED_CELL_OPTIONS = ("weight_drop", "state_dropout", "zoneout_h", "zoneout_c", "init_range")
"""The options of the model section that need a cell whose recurrent weights are trained."""

CELL_STATE = frozenset(c.base for c in CELLS.values() if "c" in c.state)
"""The cells with a cell state c beside the output h."""

CONDITIONAL_OPTIONS = frozenset({*DEPTH_OPTIONS, *TRAINED_CELL_OPTIONS, *FRONT_END_OPTIONS}).union(
    *CELL_OPTIONS.values()
)
"""The options of the model section that only some cells, front ends or depths have."""

INIT_OPTIONS: dict[str, Option] = {name: o for c in CELLS.values() for name, o in c.init_options.items()}
"""The initialization options of the cells; an option left out is null until it takes the default of the cell."""

DEFAULT_EMBEDDING_SIZE = 64


def default_front_end(cell: object) -> str:
    """The front end that a cell has if none is set."""
    return "one_hot" if isinstance(cell, str) and cell in RESERVOIRS else "embedding"


def chosen_cell(settings: Mapping[str, Any]) -> Cell | None:
    """The cell that the fields of a model section select; None if there is no such cell."""
    try:
        return find(settings["cell"], **{name: settings[name] for name in settings if name != "cell"})
    except KeyError:
        return None


def why_no_effect(option: str, settings: Mapping[str, Any]) -> str | None:
    """Why a model option has no effect with these settings of the model section; None if it has one."""
    name, front_end = settings.get("cell"), settings.get("front_end")
    if option in DEPTH_OPTIONS and settings.get("num_layers") == 1:
        return "has no effect with num_layers: 1, only with 2 or more"
    if option == "output" and settings.get("residual"):
        return "has no effect with residual: true: the output of the last layer is then the sum of all layers"
    if option in TRAINED_CELL_OPTIONS and name in RESERVOIRS:
        return f"does not work with cell: {name}, whose recurrent weights are not trained"
    if option == "zoneout_c" and name is not None and name not in CELL_STATE:
        return f"has no effect with cell: {name}, only with {', '.join(sorted(CELL_STATE))}"
    if option == "tie_weights" and settings.get("direction") == "bidirectional":
        return "does not work with direction: bidirectional, whose output layer reads two stacks"
    if option in FRONT_END_OPTIONS and front_end and front_end not in FRONT_END_OPTIONS[option]:
        return f"has no effect with front_end: {front_end}, only with {', '.join(FRONT_END_OPTIONS[option])}"
    owners = [base for base, options in CELL_OPTIONS.items() if option in options]
    if not owners or name is None:
        return None
    if name not in owners:
        return f"has no effect with cell: {name}, only with {', '.join(owners)}"
    cell = chosen_cell(settings)
    if cell and option not in _options(cell):
        variant = ", ".join(f"{key}: {json.dumps(value)}" for key, value in cell.options.items())
        return f"has no effect with cell: {name} and {variant}".replace('"', "")
    for other, needed in INIT_OPTIONS[option].requires.items() if option in INIT_OPTIONS else ():
        if settings.get(other) != needed:
            return f"has no effect without {other}: {needed}"
    return None


def without_idle_options(model: Mapping[str, Any], shared: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """A model section without the options that have no effect in it, except those that are ``kept``.

    ``shared`` has the values of the fields that it leaves out: cell and num_layers.
    """
    cell = str(model.get("cell", shared["cell"]))
    front_end, num_layers = default_front_end(cell), shared["num_layers"]
    settings = {"front_end": front_end, "num_layers": num_layers, **model, "cell": cell}
    return {name: value for name, value in model.items() if name in kept or not why_no_effect(name, settings)}


def without_unset_options(model: BaseModel) -> dict[str, Any]:
    """A model section that several runs share, to be written: a default would count as set when it is read again, an
    error if no run has the option."""
    idle = (CONDITIONAL_OPTIONS | {"front_end"}) - model.model_fields_set
    return {name: value for name, value in model.model_dump().items() if name not in idle}


NULLABLE = INIT_OPTIONS.keys() | {"embedding_size"}
"""The options that may be null, which stands for :func:`default_value`."""


def default_value(option: str, settings: Mapping[str, Any]) -> object:
    """The value of an option that is null or left out, with these settings of the model section."""
    if option == "embedding_size":
        return settings.get("hidden_size") if settings.get("tie_weights") else DEFAULT_EMBEDDING_SIZE
    cell = chosen_cell(settings)
    value = cell.init_options[option].default if cell else None
    return list(value) if isinstance(value, tuple) else value
