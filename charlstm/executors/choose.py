"""Picks the executor of a layer and says why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from torch import Tensor

from charlstm.cells import Cell
from charlstm.errors import UserError
from charlstm.executors.base import Executor, Weights, product_dtype
from charlstm.executors.library import Library
from charlstm.executors.native import Native
from charlstm.executors.reference import Reference
from charlstm.executors.sequence import Sequence
from charlstm.executors.triton import Triton

LOW_STATE = "keeps the cell state in bfloat16"


@cache
def executors() -> dict[str, Executor]:
    """All executors by name."""
    return {e.name: e for e in (Reference(), Sequence(), Library(), Native(), Triton())}


@dataclass(frozen=True)
class Choice:
    """The executor that runs a layer, why it was taken, and why each other was not."""

    executor: Executor
    reason: str
    others: dict[str, str]


def order(device: str, low: bool, cell: Cell) -> tuple[str, ...]:
    """The executors that ``auto`` takes for a cell, the first willing one; ``low``: with products in bfloat16.

    | device     | float32                                                  | bfloat16           |
    |------------|----------------------------------------------------------|--------------------|
    | NVIDIA GPU | library, triton, sequence                                | triton, sequence   |
    | CPU        | native, library, sequence for the LSTM; native, sequence | native, sequence   |
    | other      | sequence                                                 | sequence           |

    Under bfloat16 ``library`` is never taken, since it rounds the cell state to bfloat16 at every step. On the CPU the
    fastest comes first, as was measured: oneDNN is faster than ``sequence`` for the LSTM alone. Elsewhere the order was
    not measured.
    """
    own = {"cpu": ("native",), "cuda": ("triton",)}.get(device, ())
    if not low and device == "cuda":
        return ("library", *own, "sequence")
    if not low and device == "cpu" and cell.torch == "LSTM":
        return (*own, "library", "sequence")
    return (*own, "sequence")


def choose(requested: str, cell: Cell, weights: Weights, x: Tensor) -> Choice:
    """The first executor in :func:`order` that is willing, or the requested one.

    Raises UserError if the requested one refuses or does not exist.
    """
    known = executors()
    if requested != "auto":
        if requested not in known:
            raise UserError(f"no executor {requested!r}; there are auto, {', '.join(known)}")
        refusal = known[requested].refuses(cell, weights, x)
        if refusal:
            raise UserError(f"executor {requested} cannot run cell {cell.name} here: {refusal}. Use executor: auto")
        return Choice(known[requested], "asked for", {})
    device = weights.weight_hh.device.type
    low = product_dtype(weights.weight_hh) != weights.weight_hh.dtype
    refusals = {name: executor.refuses(cell, weights, x) for name, executor in known.items()}
    taken = next(name for name in order(device, low, cell) if refusals[name] is None)
    first, later = ("fastest", "slower than") if device == "cpu" else ("first", "comes after")
    behind = dict.fromkeys(known, f"{later} {taken} on {device}")
    if low:
        behind["library"] = LOW_STATE
    others = {name: refusals[name] or behind[name] for name in known if name != taken}
    return Choice(known[taken], f"the {first} willing on {device}", others)
