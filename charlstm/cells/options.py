"""What a cell lets a configuration choose: one :class:`Option` for each field that it adds to the model section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Option:
    """A field of the model section that only some cells have. ``charlstm config``, the JSON Schema, the checks of a
    configuration and the initialisation all read it.

    default      the value where the field is left out; it also says the type: bool, int, float or text. None is that of
                 a number and leaves a parameter as in torch.nn
    description  what it does, in a sentence or two; default and cells are added to it
    gt, ge, lt, le   bounds of a number: above, at least, below, at most
    words        words allowed in place of a number
    pair         whether [smallest, largest] is allowed in place of a number
    requires     other option -> the value that it must have for this one to have an effect
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
        """The same option of a cell for which leaving it out means something else."""
        return replace(self, default=default)


FORGET_BIAS = Option(
    1.0,
    "Initial bias of the forget gate, for the gru that of the update gate; above 0 lets the cell remember from the "
    "beginning (Gers et al. 2000; Jozefowicz et al. 2015). chrono: log u, with u drawn for each unit between 1 and "
    "chrono_length - 1 characters, and the input gate's at -log u (Tallec & Ollivier 2018).",
    ge=-1000,
    le=1000,
    words=("chrono",),
)
CHRONO_LENGTH = Option(
    100,
    "The longest memory in characters that forget_bias: chrono gives a unit to start with.",
    ge=3,
    le=2**31,
    requires={"forget_bias": "chrono"},
)
FORGET_GATE_OPTIONS = {"forget_bias": FORGET_BIAS, "chrono_length": CHRONO_LENGTH}
"""The options of every cell with a forget gate."""
