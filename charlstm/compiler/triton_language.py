"""The Triton templates of a stage; the names in them are defined in :mod:`charlstm.compiler.triton_printer`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from charlstm.cells import Cell
from charlstm.compiler.stages import Language

TRITON = Language(
    definition="{} = {}",
    constant="{!r}",
    addresses={
        "input": "sides + {index} * H",
        "unit": "{buffer} + {index} * H + unit",
        "step": "{buffer} + {t} * B * H + at",
        "carry": "{buffer} + {t} * B * H + at",
        "gate": "{buffer} + {t} * (B * ({count} * H)) + row * ({count} * H) + {index} * H + unit",
        "sum": "{buffer} + {index} * B * H + at",
        "output": "{buffer} + {t} * B * H + at",
        "scratch": "{buffer} + ({t} & 1) * B * H + at",
        "gate result": "{buffer} + row * ({count} * H) + {index} * H + unit",
        "state result": "{buffer} + at",
    },
    masks={"value": "VALUE_MASK", "state": "STATE_MASK", "pair": "1"},
    load="tl.load({}, mask).to(PARAM_DTYPE)",
    store="tl.store({0}, {1}, mask)",
    add="tl.store({0}, tl.load({0}, mask) + {1}, mask)",
    registers=("after_{}", "before_{} = {}"),
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
    is_far = tl.abs(a) >= 0.5
    e = tl.exp(-2 * tl.abs(a))
    b = tl.where(is_far, 0.0, a)
    z = b * b
    # Lambert's continued fraction, where 1 - e would lose digits
    numerator = b * (135135 + z * (17325 + z * (378 + z)))
    denominator = 135135 + z * (62370 + z * (3150 + z * 28))
    return tl.where(is_far, tl.where(a < 0, e - 1, 1 - e), numerator) / tl.where(is_far, 1 + e, denominator)
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
CONSTANTS = ("H", "BLOCK", "SAME", "VALUE_MASK", "STATE_MASK", "PARAM_DTYPE")


@dataclass(frozen=True)
class Kernel:
    """A function of the generated source and the buffers that it takes, in this order."""

    name: str
    buffers: tuple[str, ...]


def print_kernel(cell: Cell, name: str, body: list[str]) -> tuple[Kernel, str]:
    """A kernel with this body, and its source."""
    header = [INDICES]
    if any(re.search(r"\bsides\b", line) for line in body):
        header.append(INPUT_ADDRESS.format(gates=len(cell.gates)))
    buffers = sorted({b for line in (*header[1:], *body) for b in BUFFER.findall(line)})
    arguments = ", ".join(["t", "B", *buffers, *(f"{c}: tl.constexpr" for c in CONSTANTS)])
    lines = [
        '@triton.jit(do_not_specialize=["t"])',
        f"def {name}({arguments}):",
        *header,
        *(f"    {line}" for line in body),
    ]
    return Kernel(name, tuple(buffers)), "\n".join(lines)


def print_source(title: str, kernels: list[str]) -> str:
    """The source of a module."""
    return "\n\n\n".join([PRELUDE.format(title=title).rstrip(), *kernels]) + "\n"


PROBE = print_source("a probe", ["@triton.jit\ndef probe(x):\n    tl.store(x, tanh(tl.load(x)))"])
