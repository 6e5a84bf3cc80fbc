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


def choose(requested: str, cell: Cell, weights: Weights, x: Tensor) -> Choice:
    """The fastest executor that is willing, or the requested one.

    On a GPU ``library`` (cuDNN) comes first, then ``triton``, on the CPU ``native``. Without a compiler the LSTM in
    float32 is faster on ``library`` (oneDNN), the others on ``sequence``; under bfloat16 oneDNN would keep the cell
    state in bfloat16 too.

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
    if device == "cpu":
        library_first = cell.torch == "LSTM" and not low
        portable = ["library", "sequence"] if library_first else ["sequence", "library"]
        order = ["native", *portable, "reference", "triton"]  # triton could only be interpreted
    else:
        order = ["library", "triton", "sequence", "native", "reference"]
    others: dict[str, str] = {}
    for place, name in enumerate(order):
        refusal = known[name].refuses(cell, weights, x)
        if refusal is None:
            for slower in order[place + 1 :]:
                others[slower] = known[slower].refuses(cell, weights, x) or f"slower than {name} on {device}"
            if device == "cpu" and low and "library" in others and cell.torch:
                others["library"] = "keeps the cell state in bfloat16 on the CPU"
            return Choice(known[name], f"the fastest willing on {device}", others)
        others[name] = refusal
    raise AssertionError("reference refuses nothing")
