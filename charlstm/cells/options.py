"""The options of cells: one :class:`Option` for each field that a cell adds to the model section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Option:
    """A field of the model section that only some cells have. ``charlstm config``, the JSON Schema, the validation of a
    configuration and the initialization all read it.

    default      the value if the field is missing; it also determines the type: bool, int, float or str. None is the
                 default of a number and leaves a parameter as in torch.nn
    description  what it does, in a sentence or two; the default and the cells are appended
    gt, ge, lt, le   bounds of a number, as in pydantic
    words        strings allowed in place of a number; all allowed strings, if the default is one
    pair         whether [smallest, largest] is allowed in place of a number
    requires     other option -> the value that it must have for this option to have an effect
    """

    default: Any
    description: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    words: tuple[str, ...] = ()
    pair: bool = False
    requires: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> type:
        """bool, int, float or str."""
        return float if self.default is None or self.pair else type(self.default)

    def with_default(self, default: object) -> Option:
        """The same option with another default."""
        return replace(self, default=default)


FORGET_BIAS = Option(
    None,
    "Initial bias of the forget gate, in the gru of the update gate; above 0 the cell remembers from the start of "
    "training (Gers et al. 2000; Jozefowicz et al. 2015), but an lstm with 1 learned texts more slowly. chrono: log "
    "u, with u drawn for each unit between 1 and chrono_length - 1 characters, and -log u for the input gate (Tallec & "
    "Ollivier 2018).",
    ge=-1000,
    le=1000,
    words=("chrono",),
)
CHRONO_LENGTH = Option(
    100,
    "The longest initial memory of a unit with forget_bias: chrono, in characters.",
    ge=3,
    le=2**31,
    requires={"forget_bias": "chrono"},
)
FORGET_GATE_OPTIONS = {"forget_bias": FORGET_BIAS, "chrono_length": CHRONO_LENGTH}
"""The options of every cell with a forget gate."""

RECURRENT_INIT = Option(
    "uniform",
    "Initialization of the recurrent weights. uniform: as in torch.nn, between plus and minus 1 / sqrt(hidden_size), "
    "with a spectral radius of about 0.6, or between plus and minus init_range. orthogonal: a random "
    "orthogonal matrix for each gate, which preserves the norm of the state (Saxe et al. 2014; Henaff et al. 2016).",
    words=("uniform", "orthogonal"),
)
RECURRENT_OPTIONS = {"recurrent_init": RECURRENT_INIT}
"""The options of every cell whose recurrent weights are trained and have no initializer of their own."""
