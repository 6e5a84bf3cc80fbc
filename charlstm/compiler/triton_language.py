"""How a stage is written in Triton's language; what the names mean is said in
:mod:`charlstm.compiler.triton_printer`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from charlstm.cells import Cell
from charlstm.compiler.stages import Language

TRITON = Language(
    definition="{} = {}",
    constant="{!r}",
    scratch="w_{} + (t & 1) * B * H + at",
    load="tl.load({}, mask)",
    store="tl.store({}, {}, mask)",
    expressions={
        "add": "{} + {}",
        "sub": "{} - {}",
        "mul": "{} * {}",
        "neg": "-{}",
        "copy": "{}",
        "sigmoid": "sigmoid({})",
        "tanh": "tanh({})",
        "relu": "tl.where({0} < 0, 0.0, {0})",
        "sigmoid_backward": "{0} * ({1} * (1 - {1}))",
        "relu_backward": "tl.where({1} <= 0, 0.0, {0})",
    },
)
PRELUDE = '''"""{title}"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(a):
    e = tl.exp(-tl.abs(a))  # at most 1, so nothing overflows
    return tl.where(a < 0, e, 1.0) / (1 + e)


@triton.jit
def tanh(a):
    far = tl.abs(a) >= 0.5
    e = tl.exp(-2 * tl.abs(a))
    b = tl.where(far, 0.0, a)
    z = b * b
    over = b * (135135 + z * (17325 + z * (378 + z)))  # Lambert's continued fraction, where 1 - e would lose digits
    under = 135135 + z * (62370 + z * (3150 + z * 28))
    return tl.where(far, tl.where(a < 0, e - 1, 1 - e), over) / tl.where(far, 1 + e, under)
'''
INDICES = """    t = t.to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < B * H
    row = at // H
    unit = at % H"""
INPUT_ADDRESS = """    if ids is None:
        sides = x + t * (B * ROW) + row * ROW + unit
    else:
        symbol = tl.load(ids + t * B + row, mask, 0)
        sides = x + tl.max_constancy(symbol, [SAME]) * ROW + unit""".replace("ROW", "({gates} * H)")
BUFFER = re.compile(r"\b(?:[slqvwzpg]_\w+|bias_[xh]|[xyde]|ids)\b")
CONSTANTS = ("H", "BLOCK", "SAME", "KEEP", "ALL", "EXACT")


@dataclass(frozen=True)
class Kernel:
    """A function of the printed source and the buffers that it takes, in this order."""

    name: str
    buffers: tuple[str, ...]


def print_kernel(cell: Cell, name: str, body: list[str]) -> tuple[Kernel, str]:
    """A kernel of which the lines of ``body`` are the work, and its source."""
    opening = [INDICES]
    if any(re.search(r"\bsides\b", line) for line in body):
        opening.append(INPUT_ADDRESS.format(gates=len(cell.gates)))
    buffers = sorted({b for line in (*opening[1:], *body) for b in BUFFER.findall(line)})
    arguments = ", ".join(["t", "B", *buffers, *(f"{c}: tl.constexpr" for c in CONSTANTS)])
    lines = [
        '@triton.jit(do_not_specialize=["t"])',
        f"def {name}({arguments}):",
        *opening,
        *(f"    {line}" for line in body),
    ]
    return Kernel(name, tuple(buffers)), "\n".join(lines)


def print_source(title: str, kernels: list[str]) -> str:
    """A whole module."""
    return "\n\n\n".join([PRELUDE.format(title=title).rstrip(), *kernels]) + "\n"


PROBE = print_source("a trial", ["@triton.jit\ndef trial(x):\n    tl.store(x, tanh(tl.load(x)))"])
