"""The matmuls of a persistent kernel: their weights, which are loaded once, and the products of a step.

A program computes a tile of ROWS rows and UNITS units from all units of the operand, in chunks of the sum. A matmul
whose tile is less than four gates wide is split into `PARTS` along the sum, for different warps, which would else
compute the same product.
"""

from __future__ import annotations

from dataclasses import dataclass

from charlstm.cells import Cell
from charlstm.compiler.loops import Place, RecurrentMatmul
from charlstm.compiler.schedule import runs
from charlstm.compiler.triton_language import TRITON

PARTS = 4
"""Parts of a sum that are computed side by side, by different warps."""
MAX_CHUNK = 256
"""Elements of a sum in one product, at most."""
MIN_CHUNK = 16
"""Elements of a sum in one product, at least: Triton's products have no fewer."""


def chunk(total: int) -> int:
    """The largest power of two that divides ``total``, at most `MAX_CHUNK`."""
    return min(total & -total, MAX_CHUNK)


def supports_size(hidden_size: int) -> bool:
    """Whether all sums can be divided into chunks of at least `MIN_CHUNK`."""
    return hidden_size % (PARTS * MIN_CHUNK) == 0


@dataclass(frozen=True)
class Product:
    """A matmul: the lines that load its weights before the loop, and those of a step that leave its results in
    ``product_`` names."""

    weights: list[str]
    lines: list[str]
    gates: int


def gate_product(cell: Cell, m: RecurrentMatmul, hidden_size: int) -> Product:
    """The results ``product_k`` of a run of gates, [ROWS, UNITS] each, from all units of the operand.

    Columns of different gates alternate, so that a warp has all gates of its units.
    """
    count = len(m.run)
    width = 1 << (count - 1).bit_length()
    parts = 1 if width >= PARTS else PARTS
    size = chunk(hidden_size // parts)
    is_used = "" if width == count else f", column % {width} < {count}, 0"
    weight_row = f"({cell.gates.index(m.run[0])} + column % {width}) * H + first_unit + column // {width}"
    column = f"tl.arange(0, {width} * UNITS)"
    operand = f"{m.place.buffer.name} + {_index(m.place)} * B * H"
    total = f"total_{m.run}"
    weights, lines = [], []
    for number in range(hidden_size // parts // size):
        k, name = f"({number * size} + tl.arange(0, {size}))", f"weight_{m.run}_{number}"
        if parts == 1:
            weights += [
                f"column = {column}[None, :]",
                _load(f"weight + ({weight_row}) * H + {k}[:, None]", is_used, name),
            ]
            address, batch = f"{operand} + rows[:, None] * H + {k}[None, :]", "in_batch[:, None]"
        else:
            k = f"(part * (H // {PARTS}) + {number * size} + tl.arange(0, {size})[None, {{}}])"
            weights += [
                f"column = {column}[None, None, :]",
                _load(f"weight + ({weight_row}) * H + {k.format(':, None')}", is_used, name),
            ]
            address = f"{operand} + rows[None, :, None] * H + {k.format('None, :')}"
            batch = "in_batch[None, :, None]"
        lines += _dot(total, name, address, batch, is_first=number == 0)
    if parts > 1:
        lines.append(f"{total} = tl.sum({total}, 0)")
    names = [f"product_{k}" for k in m.run] + [f"unused_{number}" for number in range(width - count)]
    if width > 1:
        lines.append(f"{total} = {total}.reshape(ROWS, UNITS{', 2' * (width.bit_length() - 1)})")
    return Product(weights, [*lines, *_split(total, names)], count)


def _split(tile: str, names: list[str]) -> list[str]:
    """A tile [ROWS, UNITS, 2, ..., 2] of alternating gates as a tile for each."""
    if len(names) == 1:
        return [f"{names[0]} = {tile}"]
    even, odd = f"{tile}_0", f"{tile}_1"
    return [f"{even}, {odd} = tl.split({tile})", *_split(even, names[::2]), *_split(odd, names[1::2])]


def transposed_product(name: str, gates: str, letters: str, buffer: str, label: str, hidden_size: int) -> Product:
    """``name`` [ROWS, UNITS], the sum over gates k of U_k^T d_k; the buffer has the gradients of gates ``letters``."""
    weights: list[str] = []
    lines: list[str] = []
    for run in runs(gates, label):
        total = len(run) * hidden_size // PARTS
        size = chunk(total)
        for number in range(total // size):
            k = f"(part * {total} + {number * size} + tl.arange(0, {size})[None, {{}}])"
            weight = f"weight_{name}_{run}_{number}"
            unit = "(first_unit + tl.arange(0, UNITS))[None, None, :]"
            row = f"{gates.index(run[0])} * H + {k.format(':, None')}"
            weights.append(_load(f"weight + ({row}) * H + {unit}", "", weight))
            width = f"({len(letters)} * H)"
            address = (
                f"{buffer} + t * (B * {width}) + rows[None, :, None] * {width} + {letters.index(run[0])} * H + "
                f"{k.format('None, :')}"
            )
            lines += _dot(name, weight, address, "in_batch[None, :, None]", is_first=not lines)
    return Product(weights, [*lines, f"{name} = tl.sum({name}, 0)"], len(label))


def _load(address: str, mask: str, name: str) -> str:
    return f"{name} = tl.load({address}{mask})"


def _dot(total: str, weight: str, address: str, batch: str, is_first: bool) -> list[str]:
    """Add a chunk's product to ``total``. What other programs have written is read past the cache of the processor."""
    accumulator = "" if is_first else f", {total}"
    return [
        f'operand = tl.load({address}, {batch}, 0, cache_modifier=".cg")',
        f"{total} = tl.dot(operand, {weight}{accumulator}, input_precision=PRECISION)",
    ]


def _index(place: Place) -> str:
    return f"(t & {TRITON.masks[place.mask]})" if place.mask in TRITON.masks else "t"
