"""A cell's forward and backward pass as C++ structures of stages, and their buffers.

Names in the generated code; shapes are [T, B, H] with H padded to whole panels, P is the compute dtype (that of matmul
operands):

    x, bias_x, bias_h   input sides [T, B, GH], or of one step (``input_mask`` = 0), or with ids rows of a table
                        [I + 1, GH]; biases [GH], float
    weights             packed recurrent weights
    s_c                 states, float: before each step and after the last, or the two latest (``all_c`` = 1)
    l_h                 states that matmuls read and the output, P: T + 1 entries or two (``state_mask`` = 1); also read
                        by the backward pass
    v_0 ...             other values that matmuls or the backward pass read, P: all steps or one (``value_mask`` = 0)
    p_NAME, z_NAME      per-unit parameters [n, H] and, summed over time, their gradients [n, B, H], float
    y                   gradient of the output, P, with its strides ``y_t`` and ``y_b``
    g_h                 gradient of the state after and before a step, double-buffered, float: [2, B, H]
    d, e                gradients [T, B, nH] of the input sides and of the separate recurrent sides, P
    w_0 ...             scratch: values that a later stage of the same step reads, float: [B, H]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from charlstm.cells import Cell
from charlstm.compiler.cpp_printer import SCALARS, Fields, Printer
from charlstm.compiler.derivative import differentiate
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.compiler.schedule import backward_roots, saved_for_backward, separate_gates
from charlstm.compiler.stages import backward_states, operand_states, stored_values


@dataclass(frozen=True)
class Loop:
    """The C++ of one pass, the fields of its buffer structure (eight bytes each), and the buffers of stored values."""

    source: str
    fields: tuple[str, ...]
    values: Mapping[Node, str]


def _parameters(cell: Cell, nodes: list[Node]) -> dict[Node, str]:
    return {
        n: f"load(b.p_{n.label[0]} + {cell.parameters[n.label[0]].index(n.label[1])} * b.H + unit)"
        for n in nodes
        if n.op == "parameter"
    }


@cache
def forward_loop(cell: Cell) -> Loop:
    """Generate the forward pass, which fills s_, l_ and v_."""
    step = trace(cell)
    nodes = ordered(step.new_state)
    leaves = _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves[n] = f"load(b.s_{n.label} + (t & b.all_{n.label}) * b.B * b.H + at)"
        elif n.op == "input":
            unit = f"{cell.gates.index(n.label)} * b.H + unit"
            leaves[n] = f"load(x + {unit}) + load(b.bias_x + {unit})"
    values = stored_values(cell)
    addresses = {n: f"b.{name} + (t & b.value_mask) * b.B * b.H" for n, name in values.items()}
    stores = {n: [f"store({address} + at, {{}});"] for n, address in addresses.items()}
    reloads = {n: f"load({address} + at)" for n, address in addresses.items()}
    for s, n in zip(cell.state, step.new_state, strict=True):
        state_address = f"b.s_{s} + ((t + 1) & b.all_{s}) * b.B * b.H + at"
        lines = [f"store({state_address}, {{}});"]
        if s in operand_states(cell):
            lines.append(f"store(b.l_{s} + ((t + 1) & b.state_mask) * b.B * b.H + at, {{}});")
        stores.setdefault(n, []).extend(lines)
        reloads[n] = f"load({state_address})"
    states = {p.args[0] for p in step.matmuls if p.args[0].op == "state"}
    operands = {n: f"b.l_{n.label} + (t & b.state_mask) * b.B * b.H" for n in states} | addresses
    printer = Printer(cell, list(step.new_state), leaves, reloads, stores, operands)
    fields: Fields = [
        ("const P*", "x"),
        ("const int64_t*", "ids"),
        ("const P*", "weights"),
        ("const float*", "bias_x"),
        ("const float*", "bias_h"),
        ("int64_t", "value_mask"),
        ("int64_t", "input_mask"),
        ("int64_t", "state_mask"),
        *((kind, letter + s) for s in cell.state for kind, letter in (("float*", "s_"), ("int64_t", "all_"))),
        *(("P*", f"l_{s}") for s in operand_states(cell)),
        *(("P*", name) for name in values.values()),
        *(("const float*", f"p_{name}") for name in cell.parameters),
        *(("float*", f"w_{number}") for number in range(printer.scratch)),
    ]
    return Loop(printer.source("Forward", fields), (*SCALARS, *(name for _, name in fields)), values)


@cache
def backward_loop(cell: Cell) -> Loop:
    """Generate the backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    derivative = differentiate(cell)
    step = derivative.forward
    roots = backward_roots(derivative)
    values = {n: name for n, name in stored_values(cell).items() if n in saved_for_backward(cell)}
    leaves = {n: f"load(b.{name} + t * b.B * b.H + at)" for n, name in values.items()}
    buffers = {s: f"b.{'l' if s in operand_states(cell) else 's'}_{s}" for s in cell.state}
    for s, n in zip(cell.state, step.new_state, strict=True):
        leaves[n] = f"load({buffers[s]} + (t + 1) * b.B * b.H + at)"
    nodes = ordered(roots, leaves)
    leaves |= _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves.setdefault(n, f"load({buffers[n.label]} + t * b.B * b.H + at)")
        elif n.op == "gradient":
            leaves[n] = f"load(b.g_{n.label} + ((t + 1) & 1) * b.B * b.H + at)"
            if n.label == cell.state[0]:
                leaves[n] += " + load(b.y + t * b.y_t + (row + r) * b.y_b + unit)"
    separate = separate_gates(cell)
    stores: dict[Node, list[str]] = {}

    def add_store(address: str, n: Node) -> None:
        stores.setdefault(n, []).append(f"store({address}, {{}});")

    def gradient_address(letter: str, letters: str, k: str) -> str:
        return f"b.{letter} + ((t * b.B + row + r) * {len(letters)} + {letters.index(k)}) * b.H + unit"

    for k, n in derivative.recurrent.items():
        if k in separate:
            add_store(gradient_address("e", separate, k), n)
    zero = step.graph.lift(0)
    for k in cell.gates:
        add_store(gradient_address("d", cell.gates, k), derivative.inputs.get(k, zero))
    for s, n in zip(cell.state, derivative.state, strict=True):
        add_store(f"b.g_{s} + (t & 1) * b.B * b.H + at", n)
    for (name, k), n in derivative.parameters.items():
        address = f"b.z_{name} + {cell.parameters[name].index(k)} * b.B * b.H + at"
        stores.setdefault(n, []).append(f"store({address}, load({address}) + {{}});")
    printer = Printer(cell, roots, leaves, {}, stores, {})
    fields: Fields = [
        ("const P*", "weights"),
        ("const P*", "y"),
        ("int64_t", "y_t"),
        ("int64_t", "y_b"),
        *(("const float*", f"s_{s}") for s in cell.state),
        *(("const P*", f"l_{s}") for s in operand_states(cell)),
        *(("const P*", name) for name in values.values()),
        *(("const float*", f"p_{name}") for name in cell.parameters),
        *(("float*", f"z_{name}") for name in cell.parameters),
        *(("float*", f"g_{s}") for s in cell.state),
        ("P*", "d"),
        ("P*", "e"),
        *(("float*", f"w_{number}") for number in range(printer.scratch)),
    ]
    return Loop(printer.source("Backward", fields), (*SCALARS, *(name for _, name in fields)), values)


def saved_bytes_per_unit(cell: Cell, dtype: torch.dtype) -> int:
    """Bytes that a training step saves for each unit of each character, with matmuls in ``dtype``."""
    compute_buffers = len(operand_states(cell)) + len(stored_values(cell)) + len(cell.gates) + len(separate_gates(cell))
    return compute_buffers * dtype.itemsize + 4 * len(backward_states(cell))
