"""A cell's forward and backward pass as Triton kernels, one per stage, and the matmuls between them.

The buffers are those of :mod:`charlstm.compiler.loops`, in which e holds the recurrent sides of all gates if any is
separate, and

    ids             [T, B], if the rows of x are symbols
    q_0 ...         the result of a matmul: [B, nH], P
    w_0 ...         scratch, double-buffered, as the next step may start in the same kernel: [2, B, H]

``after_h`` and ``before_h`` are the gradients of a state after and before the step, within one kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.graph import Node
from charlstm.compiler.loops import Buffer, Place, backward_loop, forward_loop, gradient_buffers
from charlstm.compiler.schedule import runs
from charlstm.compiler.stages import Stages
from charlstm.compiler.triton_language import TRITON, Kernel, print_kernel, print_source


@dataclass(frozen=True)
class Matmul:
    """``out`` = the sum over runs of gates of U_run v for a single operand v, or of U_run^T d_run (``transposed``)."""

    out: str
    operand: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """The stages of one step of a pass.

    A stage runs its matmuls, then its kernel. In the backward pass, step T - 1 starts with ``first`` instead of the
    first stage's kernel, and step 0 ends, after the last stage's matmuls, with ``last``; in all other steps the kernel
    of the last stage is fused into the first stage of the next step computed. Without recurrent matmuls there is no
    ``last``, and every step starts with ``first``. ``buffers`` are q and w.
    """

    source: str
    matmuls: tuple[tuple[Matmul, ...], ...]
    kernels: tuple[Kernel, ...]
    buffers: tuple[Buffer, ...]
    first: Kernel | None = None
    last: Kernel | None = None


@cache
def forward_program(cell: Cell) -> Program:
    """Generate the forward pass, which fills s_, l_ and v_."""
    loop = forward_loop(cell, joined=True)
    outputs = [Buffer(f"q_{at}", "gate result", m.run, compute_dtype=True) for at, m in enumerate(loop.matmuls)]
    results = {k: Place(q, k) for q in outputs for k in q.letters}
    stage_of: dict[str, int] = {}

    def load_matmul(stage: int, n: Node) -> str:
        stage_of[n.label] = stage
        return TRITON.load_sum([results[n.label], *loop.addends[n]])

    stages = Stages(loop, TRITON, load_matmul)
    stage_matmuls: list[list[Matmul]] = [[] for _ in stages.bodies]
    for q, m in zip(outputs, loop.matmuls, strict=True):
        stage_matmuls[stage_of[m.run[0]]].append(Matmul(q.name, m.place.buffer.name, (m.run,)))
    printed = [print_kernel(cell, f"stage_{number}", body) for number, body in enumerate(stages.bodies)]
    return Program(
        print_source(f"{cell.name}, forward", [text for _, text in printed]),
        tuple(map(tuple, stage_matmuls)),
        tuple(kernel for kernel, _ in printed),
        (*outputs, *stages.scratch),
    )


@cache
def backward_program(cell: Cell) -> Program:
    """Generate the backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    loop = backward_loop(cell, joined=True)
    d, e = gradient_buffers(cell, joined=True)
    outputs: list[Buffer] = []
    matmuls: list[tuple[int, Matmul]] = []

    def add_matmul(stage: int, n: Node) -> str:
        q = Buffer(f"q_{len(outputs)}", "state result", compute_dtype=True)
        outputs.append(q)
        matmuls.append((stage, Matmul(q.name, (e if e.letters else d).name, tuple(runs(cell.gates, n.label)))))
        return TRITON.load_sum([Place(q)])

    stages = Stages(loop, TRITON, add_matmul)
    stage_matmuls = [[m for at, m in matmuls if at == stage] for stage in range(len(stages.bodies))]
    head, *middle, tail = stages.bodies if len(stages.bodies) > 1 else [*stages.bodies, []]
    in_registers = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in tail)]
    first = print_kernel(cell, "first", [*_load_carried(cell, head), *head, *_store_carried(cell, head)])
    middle_kernels = [
        print_kernel(cell, f"stage_{n}", [*body, *_store_carried(cell, body)]) for n, body in enumerate(middle, start=1)
    ]
    if not tail:
        return Program(print_source(f"{cell.name}, backward", [first[1]]), ((),), (first[0],), (), first[0])
    fused = [
        "t += 1",
        *tail,
        *(f"after_{s} = before_{s}" for s in in_registers),
        "t -= 1",
        *_load_carried(cell, head, in_registers),
        *head,
        *_store_carried(cell, head),
    ]
    every = [print_kernel(cell, "stage_0", fused), *middle_kernels]
    last = print_kernel(cell, "last", [*tail, *_store_carried(cell, tail)])
    return Program(
        print_source(f"{cell.name}, backward", [first[1], *(text for _, text in every), last[1]]),
        tuple(map(tuple, stage_matmuls)),
        tuple(kernel for kernel, _ in every),
        (*outputs, *stages.scratch),
        first[0],
        last[0],
    )


def _load_carried(cell: Cell, body: list[str], in_registers: list[str] | None = None) -> list[str]:
    """Load the gradients that the next step left in a buffer."""
    used = [s for s in cell.state if any(re.search(rf"\bafter_{s}\b", line) for line in body)]
    return [
        f"after_{s} = tl.load(g_{s} + ((t + 1) & 1) * B * H + at, mask)" for s in used if s not in (in_registers or ())
    ]


def _store_carried(cell: Cell, body: list[str]) -> list[str]:
    computed = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in body)]
    return [f"tl.store(g_{s} + (t & 1) * B * H + at, before_{s}, mask)" for s in computed]
