"""The matmuls of a persistent kernel: their weights, which are loaded once, and the products of a step.

A program computes a tile of ROWS rows and UNITS units from all units of the operand. The sum is divided into parts, one
or two for each warp, and these into chunks: warps that divided such a small tile would load the same operands, and wait
for one product after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from charlstm.cells import Cell
from charlstm.compiler.loops import Place, RecurrentMatmul
from charlstm.compiler.schedule import runs
from charlstm.compiler.triton_language import TRITON

MIN_PARTS = 4
"""Parts of a sum that are computed side by side, at least."""
MIN_ROWS = 16
"""Rows of a program, at least, as of a product on tensor cores."""
MAX_CHUNK = 256
"""Elements of a sum in one product, at most."""
MIN_CHUNK = 16
"""Elements of a sum in one product, at least: Triton's products have no fewer."""


def chunk(total: int) -> int:
    """The largest power of two that divides ``total``, at most `MAX_CHUNK`."""
    return min(total & -total, MAX_CHUNK)


def supports_size(hidden_size: int, parts: int = MIN_PARTS) -> bool:
    """Whether all sums can be divided into parts of chunks of at least `MIN_CHUNK`."""
    return hidden_size % (parts * MIN_CHUNK) == 0


@dataclass(frozen=True)
class Product:
    """A matmul: the lines that load its weights before the loop, and those of a step that leave its results in
    ``product_`` names. ``gates``: those whose weights are held, and such that fill up a tile."""

    weights: list[str]
    lines: list[str]
    gates: int


def gate_product(cell: Cell, m: RecurrentMatmul, hidden_size: int, parts: int) -> Product:
    """The results ``product_k`` of a run of gates, [ROWS, UNITS] each, from all units of the operand.

    Columns of different gates alternate, so that a warp has all gates of its units.
    """
    count = len(m.run)
    width = 1 << (count - 1).bit_length()
    per_part = hidden_size // parts
    size = chunk(per_part)
    is_used = "" if width == count else f", column % {width} < {count}, 0"
    weight_row = f"({cell.gates.index(m.run[0])} + column % {width}) * H + first_unit + column // {width}"
    operand = f"{m.place.buffer.name} + {_index(m.place)} * B * H + rows[None, :, None] * H"
    total = f"total_{m.run}"
    weights, lines = [f"column = tl.arange(0, {width} * UNITS)[None, None, :]"], []
    for number in range(per_part // size):
        k, name = _elements(per_part, number, size), f"weight_{m.run}_{number}"
        weights.append(_load(f"weight + ({weight_row}) * H + {k.format(':, None')}", is_used, name))
        lines += _dot(total, name, f"{operand} + {k.format('None, :')}", is_first=number == 0)
    lines += _sum_of_parts(total, f"{width} * UNITS", parts)
    names = [f"product_{k}" for k in m.run] + [f"unused_{number}" for number in range(width - count)]
    if width > 1:
        lines.append(f"{total} = {total}.reshape(ROWS, UNITS{', 2' * (width.bit_length() - 1)})")
    return Product(weights, [*lines, *_split(total, names)], width)


def _elements(per_part: int, number: int, size: int) -> str:
    """The indices of a chunk's elements in each part of a sum, for two more dimensions."""
    return f"(part * {per_part} + {number * size} + tl.arange(0, {size})[None, {{}}])"


def _sum_of_parts(total: str, width: str, parts: int) -> list[str]:
    """The sum of a tile [parts, ROWS, width] over its parts, in pairs: ``tl.sum`` would leave copies of the result in
    all warps, which would all compute the same from there on."""
    bits = parts.bit_length() - 1
    return [
        f"{total} = tl.permute({total}, (1, 2, 0)).reshape(ROWS, {width}{', 2' * bits})",
        *[f"even, odd = tl.split({total})", f"{total} = even + odd"] * bits,
    ]


def _split(tile: str, names: list[str]) -> list[str]:
    """A tile [ROWS, UNITS, 2, ..., 2] of alternating gates as a tile for each."""
    if len(names) == 1:
        return [f"{names[0]} = {tile}"]
    even, odd = f"{tile}_0", f"{tile}_1"
    return [f"{even}, {odd} = tl.split({tile})", *_split(even, names[::2]), *_split(odd, names[1::2])]


def transposed_product(
    name: str, gates: str, letters: str, buffer: str, label: str, hidden_size: int, parts: int
) -> Product:
    """``name`` [ROWS, UNITS], the sum over gates k of U_k^T d_k; the buffer has the gradients of gates ``letters``."""
    weights: list[str] = []
    lines: list[str] = []
    for run in runs(gates, label):
        per_part = len(run) * hidden_size // parts
        size = chunk(per_part)
        for number in range(per_part // size):
            k = _elements(per_part, number, size)
            weight = f"weight_{name}_{run}_{number}"
            unit = "(first_unit + tl.arange(0, UNITS))[None, None, :]"
            row = f"{gates.index(run[0])} * H + {k.format(':, None')}"
            weights.append(_load(f"weight + ({row}) * H + {unit}", "", weight))
            width = f"({len(letters)} * H)"
            address = (
                f"{buffer} + t * (B * {width}) + rows[None, :, None] * {width} + {letters.index(run[0])} * H + "
                f"{k.format('None, :')}"
            )
            lines += _dot(name, weight, address, is_first=not lines)
    return Product(weights, [*lines, *_sum_of_parts(name, "UNITS", parts)], len(label))


def _load(address: str, mask: str, name: str) -> str:
    return f"{name} = rounded(tl.load({address}{mask}), PRECISION)"


def _dot(total: str, weight: str, address: str, is_first: bool) -> list[str]:
    """Add a chunk's product to ``total``. What other programs have written is read past the cache of the processor."""
    accumulator = "" if is_first else f", {total}"
    return [
        f'operand = rounded(tl.load({address}, in_batch[None, :, None], 0, cache_modifier=".cg"), PRECISION)',
        f"{total} = tl.dot(operand, {weight}{accumulator}, input_precision=PRECISION)",
    ]


def _index(place: Place) -> str:
    return f"(t & {TRITON.masks[place.mask]})" if place.mask in TRITON.masks else "t"
