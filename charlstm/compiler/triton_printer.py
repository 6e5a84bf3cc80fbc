"""A cell's forward and backward pass as Triton kernels, one per stage, and the matmuls between them.

Names in the generated code; shapes are [T, B, H] unless noted otherwise, P is the compute dtype (that of the matmuls),
all other buffers are in the parameters' dtype:

    x, ids          input sides [T, B, GH], P; or with ids [T, B] the rows of a table [I + 1, GH]
    bias_x, bias_h  biases, [GH]
    s_c             states: before each step and after the last (``ALL`` = -1), or the two latest (1)
    l_h             states that matmuls or the backward pass read and the output, P: T + 1 entries
    v_0 ...         other values that matmuls or the backward pass read, P: all steps (``KEEP`` = -1) or one (0)
    q_0 ...         the result of a matmul: [B, nH], P
    p_NAME, z_NAME  per-unit parameters [n, H] and, summed over time, their gradients [n, B, H]
    y               gradient of the output, P
    g_h             gradient of the state after and before a step, double-buffered: [2, B, H]
    d, e            gradients [T, B, GH] of the input sides and, if a gate needs its recurrent side separately, of the
                    recurrent sides, P
    w_0 ...         scratch: values that a later stage reads; double-buffered, as the next step may start in the same
                    kernel: [2, B, H]

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
    ``last``, and every step starts with ``first``. ``scratch`` counts the buffers w, ``outputs`` gives the gates of
    each buffer q ("": one state).
    """

    source: str
    matmuls: tuple[tuple[Matmul, ...], ...]
    kernels: tuple[Kernel, ...]
    scratch: int
    outputs: Mapping[str, str]
    first: Kernel | None = None
    last: Kernel | None = None


def gate_matmuls(cell: Cell) -> list[tuple[int, str, str]]:
    """The recurrent matmuls of a step, one per run of neighboring gates: stage, run, and the buffer of the operand."""
    step = trace(cell)
    level = levels(step.new_state, _leaf_nodes(step.new_state))
    groups: dict[tuple[int, str], str] = {}
    for n in step.matmuls:
        operand = n.args[0]
        key = level[n], f"l_{operand.label}" if operand.op == "state" else stored_values(cell)[operand]
        groups[key] = groups.get(key, "") + n.label
    return [(stage, run, name) for (stage, name), letters in groups.items() for run in runs(cell.gates, letters)]


@cache
def forward_program(cell: Cell) -> Program:
    """Generate the forward pass, which fills s_, l_ and v_."""
    step = trace(cell)
    nodes = ordered(step.new_state)
    leaves = _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves[n] = _load(f"s_{n.label} + {_time_index(cell, n.label, 't')} * B * H + at")
        elif n.op == "input":
            leaves[n] = (
                _load(f"sides + {_gate_offset(cell, n)}") + " + " + _load(f"bias_x + {_gate_offset(cell, n)} + unit")
            )
    addresses = {n: f"{name} + (t & KEEP) * B * H + at" for n, name in stored_values(cell).items()}
    stores = {n: [f"tl.store({address}, {{}}, mask)"] for n, address in addresses.items()}
    reloads = {n: _load(address) for n, address in addresses.items()}
    for s, n in zip(cell.state, step.new_state, strict=True):
        state_address = f"s_{s} + {_time_index(cell, s, '(t + 1)')} * B * H + at"
        lines = [f"tl.store({state_address}, {{}}, mask)"]
        if s in operand_states(cell):
            lines.append(f"tl.store(l_{s} + (t + 1) * B * H + at, {{}}, mask)")
        stores.setdefault(n, []).extend(lines)
        reloads[n] = _load(state_address)

    matmuls = gate_matmuls(cell)
    stage_matmuls: list[list[Matmul]] = [[] for _ in range(1 + max((stage for stage, _, _ in matmuls), default=0))]
    results: dict[str, str] = {}
    for number, (stage, run, operand) in enumerate(matmuls):
        stage_matmuls[stage].append(Matmul(f"q_{number}", operand, (run,)))
        for index, k in enumerate(run):
            results[k] = _load(f"q_{number} + row * ({len(run)} * H) + {index} * H + unit")

    def load_matmul(stage: int, n: Node) -> str:  # noqa: ARG001
        if n.op == "matmul":
            return f"{results[n.label]} + {_load(f'bias_h + {_gate_offset(cell, n)} + unit')}"
        input_side = (_load(f"sides + {_gate_offset(cell, n)}"), _load(f"bias_x + {_gate_offset(cell, n)} + unit"))
        return f"{results[n.label]} + {' + '.join(input_side)}"

    stages = Stages(step.new_state, leaves, reloads, stores, TRITON, load_matmul)
    printed = [print_kernel(cell, f"stage_{number}", body) for number, body in enumerate(stages.bodies)]
    return Program(
        print_source(f"{cell.name}, forward", [text for _, text in printed]),
        tuple(map(tuple, stage_matmuls)),
        tuple(kernel for kernel, _ in printed),
        stages.scratch,
        {f"q_{number}": run for number, (_, run, _) in enumerate(matmuls)},
    )


@cache
def backward_program(cell: Cell) -> Program:
    """Generate the backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    derivative = differentiate(cell)
    step = derivative.forward
    roots = backward_roots(derivative)
    leaves = {
        n: _load(f"{v} + t * B * H + at") for n, v in stored_values(cell).items() if n in saved_for_backward(cell)
    }
    buffers = {s: f"{'l' if s in operand_states(cell) else 's'}_{s}" for s in cell.state}
    for s, n in zip(cell.state, step.new_state, strict=True):
        leaves[n] = _load(f"{buffers[s]} + (t + 1) * B * H + at")
    nodes = ordered(roots, leaves)
    leaves |= _parameters(cell, nodes)
    gradients = [n for n in nodes if n.op == "gradient"]
    for n in nodes:
        if n.op == "state":
            leaves.setdefault(n, _load(f"{buffers[n.label]} + t * B * H + at"))
    for n in gradients:
        leaves[n] = f"after_{n.label}" + (f" + {_load('y + t * B * H + at')}" if n.label == cell.state[0] else "")
    stores: dict[Node, list[str]] = {}

    def add_store(line: str, n: Node) -> None:
        stores.setdefault(n, []).append(line)

    def store_gate(letter: str, k: str) -> str:
        columns = f"row * ({len(cell.gates)} * H) + {cell.gates.index(k)} * H + unit"
        return f"tl.store({letter} + t * (B * ({len(cell.gates)} * H)) + {columns}, {{}}, mask)"

    if separate_gates(cell):
        for k, n in derivative.recurrent.items():
            add_store(store_gate("e", k), n)
    for k in cell.gates:
        add_store(store_gate("d", k), derivative.inputs.get(k, step.graph.lift(0)))
    for s, n in zip(cell.state, derivative.state, strict=True):
        add_store(f"before_{s} = {{}}", n)
    for (name, k), n in derivative.parameters.items():
        address = f"z_{name} + {cell.parameters[name].index(k)} * B * H + at"
        add_store(f"tl.store({address}, tl.load({address}, mask) + {{}}, mask)", n)

    stage_matmuls: list[list[Matmul]] = [[] for _ in range(1 + max(levels(roots, leaves).values(), default=0))]
    outputs: dict[str, str] = {}

    def add_matmul(stage: int, n: Node) -> str:
        out = f"q_{len(outputs)}"
        outputs[out] = ""
        stage_matmuls[stage].append(Matmul(out, recurrent_gradient_buffer(cell), tuple(runs(cell.gates, n.label))))
        return _load(f"{out} + at")

    stages = Stages(roots, leaves, {}, stores, TRITON, add_matmul, first_stage_only=gradients)
    head, *middle, tail = stages.bodies if len(stages.bodies) > 1 else [*stages.bodies, []]
    in_registers = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in tail)]
    carry_over = [_carry_over(s) for s in in_registers]
    first = print_kernel(cell, "first", [*_load_carried(cell, head), *head, *_store_carried(cell, head)])
    middle_kernels = [
        print_kernel(cell, f"stage_{n}", [*body, *_store_carried(cell, body)]) for n, body in enumerate(middle, start=1)
    ]
    if not tail:
        return Program(print_source(f"{cell.name}, backward", [first[1]]), ((),), (first[0],), 0, {}, first[0])
    fused = [
        "t += 1",
        *tail,
        *carry_over,
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


def _load(address: str) -> str:
    return f"tl.load({address}, mask).to(PARAM_DTYPE)"


def _gate_offset(cell: Cell, n: Node) -> str:
    return f"{cell.gates.index(n.label)} * H"


def _time_index(cell: Cell, state: str, step: str) -> str:
    return f"({step} & {'ALL' if state in backward_states(cell) else '1'})"


def _carry_over(state: str) -> str:
    return f"after_{state} = before_{state}"


def _load_carried(cell: Cell, body: list[str], in_registers: list[str] | None = None) -> list[str]:
    """Load the gradients that the next step left in a buffer."""
    used = [s for s in cell.state if any(re.search(rf"\bafter_{s}\b", line) for line in body)]
    return [
        f"after_{s} = tl.load(g_{s} + ((t + 1) & 1) * B * H + at, mask)" for s in used if s not in (in_registers or ())
    ]


def _store_carried(cell: Cell, body: list[str]) -> list[str]:
    computed = [s for s in cell.state if any(line.startswith(f"before_{s} = ") for line in body)]
    return [f"tl.store(g_{s} + (t & 1) * B * H + at, before_{s}, mask)" for s in computed]
