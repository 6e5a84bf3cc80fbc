"""A cell's way forward and way back as Triton kernels, one a stage, and the products between them.

Names in the printed code; shapes are [T, B, H] unless said otherwise, P is the type of the products:

    x, ids          input sides [T, B, GH], P; or with ids [T, B] the rows of a table [I + 1, GH]
    bias_x, bias_h  biases, [GH]
    s_c             states: before each step and after the last (``ALL`` = -1), or the two latest (1)
    l_h             states that products or the way back read and the output, P: T + 1 entries
    v_0 ...         further values that products or the way back read, P: all steps (``KEEP`` = -1) or one (0)
    q_0 ...         what came out of a product: [B, nH], P
    p_NAME, z_NAME  per-unit parameters [n, H] and, summed over time, their gradients [n, B, H]
    y               gradient of the output, P
    g_h             gradient of the state after a step and before it, by turns: [2, B, H]
    d, e            gradients [T, B, GH] of the input sides and, where a gate needs its recurrent side apart, of the
                    recurrent sides, P
    w_0 ...         what a later stage reads; by turns, as the next step may begin in the same kernel: [2, B, H]

``after_h`` and ``before_h`` are the gradients of a state after and before the step, within one kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.derivative import differentiate
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.compiler.schedule import backward_roots, runs, saved_for_backward, separate_gates
from charlstm.compiler.stages import Stages, backward_states, levels, operand_states, stored_values
from charlstm.compiler.triton_language import TRITON, Kernel, print_kernel, print_source


@dataclass(frozen=True)
class Matmul:
    """``out`` = the sum over runs of gates of U_run v for the one operand v, or of U_run^T d_run (``transposed``)."""

    out: str
    operand: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """One direction: what is done in each step, stage by stage.

    A stage is its products, then its kernel. On the way back ``first`` begins the last step, in the place of the first
    stage's kernel, and ``last``, after the last stage's products, ends the first step; the last stage of all other
    steps has no kernel of its own. Without recurrent products there is no ``last``, and ``first`` begins every step.
    ``scratch`` counts the buffers w, ``outputs`` gives the gates of each buffer q ("": one state).
    """

    source: str
    products: tuple[tuple[Matmul, ...], ...]
    kernels: tuple[Kernel, ...]
    scratch: int
    outputs: Mapping[str, str]
    first: Kernel | None = None
    last: Kernel | None = None


def gate_matmuls(cell: Cell) -> list[tuple[int, str, str]]:
    """The recurrent products of a step, [runs of neighbouring gates]: stage, run, and the buffer of the operand."""
    step = trace(cell)
    level = levels(step.new_state, _leaf_nodes(step.new_state))
    groups: dict[tuple[int, str], str] = {}
    for n in step.products:
        operand = n.args[0]
        key = level[n], f"l_{operand.label}" if operand.op == "state" else stored_values(cell)[operand]
        groups[key] = groups.get(key, "") + n.label
    return [(stage, run, name) for (stage, name), letters in groups.items() for run in runs(cell.gates, letters)]


@cache
def forward_program(cell: Cell) -> Program:
    """The way forward: fills s_, l_ and v_."""
    step = trace(cell)
    nodes = ordered(step.new_state)
    leaves = _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves[n] = _load(f"s_{n.label} + {_time_index(cell, n.label, 't')} * B * H + at")
        elif n.op == "input":
            leaves[n] = _load(f"sides + {_gate_offset(cell, n)}") + " + " + _load(f"bias_x + {_gate_offset(cell, n)} + unit")
    places = {n: f"{name} + (t & KEEP) * B * H + at" for n, name in stored_values(cell).items()}
    stores = {n: [f"tl.store({place}, {{}}, mask)"] for n, place in places.items()}
    reloads = {n: _load(place) for n, place in places.items()}
    for s, n in zip(cell.state, step.new_state, strict=True):
        exact = f"s_{s} + {_time_index(cell, s, '(t + 1)')} * B * H + at"
        lines = [f"tl.store({exact}, {{}}, mask)"]
        if s in operand_states(cell):
            lines.append(f"tl.store(l_{s} + (t + 1) * B * H + at, {{}}, mask)")
        stores.setdefault(n, []).extend(lines)
        reloads[n] = _load(exact)

    made = gate_matmuls(cell)
    products: list[list[Matmul]] = [[] for _ in range(1 + max((stage for stage, _, _ in made), default=0))]
    results: dict[str, str] = {}
    for number, (stage, run, operand) in enumerate(made):
        products[stage].append(Matmul(f"q_{number}", operand, (run,)))
        for place, k in enumerate(run):
            results[k] = _load(f"q_{number} + row * ({len(run)} * H) + {place} * H + unit")

    def product(stage: int, n: Node) -> str:  # noqa: ARG001
        if n.op == "product":
            return f"{results[n.label]} + {_load(f'bias_h + {_gate_offset(cell, n)} + unit')}"
        given = (_load(f"sides + {_gate_offset(cell, n)}"), _load(f"bias_x + {_gate_offset(cell, n)} + unit"))
        return f"{results[n.label]} + {' + '.join(given)}"

    stages = Stages(step.new_state, leaves, reloads, stores, TRITON, product)
    printed = [print_kernel(cell, f"stage_{number}", body) for number, body in enumerate(stages.bodies)]
    return Program(
        print_source(f"{cell.name}, forward", [text for _, text in printed]),
        tuple(map(tuple, products)),
        tuple(kernel for kernel, _ in printed),
        stages.scratch,
        {f"q_{number}": run for number, (_, run, _) in enumerate(made)},
    )


@cache
def backward_program(cell: Cell) -> Program:
    """The way back: fills d, e and z_, and leaves the gradients of the first state in g_."""
    derivative = differentiate(cell)
    step = derivative.forward
    roots = backward_roots(derivative)
    leaves = {
        n: _load(f"{v} + t * B * H + at") for n, v in stored_values(cell).items() if n in saved_for_backward(cell)
    }
    stacks = {s: f"{'l' if s in operand_states(cell) else 's'}_{s}" for s in cell.state}
    for s, n in zip(cell.state, step.new_state, strict=True):
        leaves[n] = _load(f"{stacks[s]} + (t + 1) * B * H + at")
    nodes = ordered(roots, leaves)
    leaves |= _parameters(cell, nodes)
    gradients = [n for n in nodes if n.op == "gradient"]
    for n in nodes:
        if n.op == "state":
            leaves.setdefault(n, _load(f"{stacks[n.label]} + t * B * H + at"))
    for n in gradients:
        leaves[n] = f"after_{n.label}" + (f" + {_load('y + t * B * H + at')}" if n.label == cell.state[0] else "")
    stores: dict[Node, list[str]] = {}

    def into(line: str, n: Node) -> None:
        stores.setdefault(n, []).append(line)

    def gate(letter: str, k: str) -> str:
        columns = f"row * ({len(cell.gates)} * H) + {cell.gates.index(k)} * H + unit"
        return f"tl.store({letter} + t * (B * ({len(cell.gates)} * H)) + {columns}, {{}}, mask)"

    if separate_gates(cell):
        for k, n in derivative.recurrent.items():
            into(gate("e", k), n)
    for k in cell.gates:
        into(gate("d", k), derivative.inputs.get(k, step.graph.lift(0)))
    for s, n in zip(cell.state, derivative.state, strict=True):
        into(f"before_{s} = {{}}", n)
    for (name, k), n in derivative.parameters.items():
        place = f"z_{name} + {cell.parameters[name].index(k)} * B * H + at"
        into(f"tl.store({place}, tl.load({place}, mask) + {{}}, mask)", n)

    products: list[list[Matmul]] = [[] for _ in range(1 + max(levels(roots, leaves).values(), default=0))]
    outputs: dict[str, str] = {}

    def product(stage: int, n: Node) -> str:
        out = f"q_{len(outputs)}"
        outputs[out] = ""
        products[stage].append(Matmul(out, recurrent_gradient_buffer(cell), tuple(runs(cell.gates, n.label))))
        return _load(f"{out} + at")

    stages = Stages(roots, leaves, {}, stores, TRITON, product, fleeting=gradients)
    head, *middle, tail = stages.bodies if len(stages.bodies) > 1 else [*stages.bodies, []]
    joined = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in tail)]
    carried = [_carry_over(s) for s in joined]
    first = print_kernel(cell, "first", [*_load_carried(cell, head), *head, *_store_carried(cell, head)])
    between = [
        print_kernel(cell, f"stage_{n}", [*body, *_store_carried(cell, body)]) for n, body in enumerate(middle, start=1)
    ]
    if not tail:
        return Program(print_source(f"{cell.name}, backward", [first[1]]), ((),), (first[0],), 0, {}, first[0])
    both = ["t += 1", *tail, *carried, "t -= 1", *_load_carried(cell, head, joined), *head, *_store_carried(cell, head)]
    every = [print_kernel(cell, "stage_0", both), *between]
    last = print_kernel(cell, "last", [*tail, *_store_carried(cell, tail)])
    return Program(
        print_source(f"{cell.name}, backward", [first[1], *(text for _, text in every), last[1]]),
        tuple(map(tuple, products)),
        tuple(kernel for kernel, _ in every),
        stages.scratch,
        outputs,
        first[0],
        last[0],
    )


def recurrent_gradient_buffer(cell: Cell) -> str:
    """The buffer with the gradients of the recurrent sides of all gates that have one."""
    return "e" if separate_gates(cell) else "d"


def _leaf_nodes(roots: tuple[Node, ...]) -> set[Node]:
    return {n for n in ordered(roots) if n.op in ("state", "input", "parameter")}


def _parameters(cell: Cell, nodes: list[Node]) -> dict[Node, str]:
    return {
        n: _load(f"p_{n.label[0]} + {cell.parameters[n.label[0]].index(n.label[1])} * H + unit")
        for n in nodes
        if n.op == "parameter"
    }


def _load(place: str) -> str:
    return f"tl.load({place}, mask).to(EXACT)"


def _gate_offset(cell: Cell, n: Node) -> str:
    return f"{cell.gates.index(n.label)} * H"


def _time_index(cell: Cell, state: str, step: str) -> str:
    return f"({step} & {'ALL' if state in backward_states(cell) else '1'})"


def _carry_over(state: str) -> str:
    return f"after_{state} = before_{state}"


def _load_carried(cell: Cell, body: list[str], joined: list[str] | None = None) -> list[str]:
    """The gradients that come from the step after this one by way of a buffer."""
    used = [s for s in cell.state if any(re.search(rf"\bafter_{s}\b", line) for line in body)]
    return [f"after_{s} = tl.load(g_{s} + ((t + 1) & 1) * B * H + at, mask)" for s in used if s not in (joined or ())]


def _store_carried(cell: Cell, body: list[str]) -> list[str]:
    made = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in body)]
    return [f"tl.store(g_{s} + (t & 1) * B * H + at, before_{s}, mask)" for s in made]
