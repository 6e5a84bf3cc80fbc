"""The loop over time of a cell's forward and backward pass, described once for all printers and executors.

A step loads values from buffers, runs its recurrent matmuls, computes its roots and stores values. The input sides of
all steps are computed before the forward loop, the gradients of the weights after the backward loop, which starts at
step T - 1. P is the compute dtype (that of matmul operands):

    x, bias_x, bias_h   input sides [T, B, GH], P, or with ids the rows of a table [I + 1, GH]; biases [GH]
    s_c                 states: before each step and after the last, or the latest two
    l_h                 states that matmuls read and the output, P; also read by the backward pass
    v_0 ...             other values that matmuls or the backward pass read, P: all steps or the latest
    p_NAME, z_NAME      per-unit parameters [nH] and, summed over time, their gradients [n, B, H]; or the parameters of
                        each step [T, B, nH], without gradients
    y                   gradient of the output [T, B, H], P
    g_h                 gradient of the state after and before a step [2, B, H]
    d, e                gradients of the input sides [T, B, GH] and of the separate recurrent sides [T, B, nH], P
    w_0 ...             scratch: values that a later stage of the same step reads
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch

from charlstm.cells import Cell
from charlstm.compiler.derivative import differentiate
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.compiler.schedule import backward_roots, runs, saved_for_backward, separate_gates


@dataclass(frozen=True)
class Buffer:
    """A buffer of a loop.

    layout         which dimensions it has: see :meth:`shape`; "input" is x
    letters        the n gates, or entries of a parameter
    mask           how many steps a "step" buffer holds: the index of a step is masked by that of :func:`masks`
    compute_dtype  whether it is in the compute dtype, instead of the weights' dtype
    """

    name: str
    layout: str
    letters: str = ""
    mask: str = ""
    compute_dtype: bool = False

    def shape(self, steps: int, batch: int, hidden_size: int, training: bool) -> tuple[int, ...]:
        n, mask = len(self.letters), {**masks(training), "pair": 1}.get(self.mask, -1)
        entries = steps + (self.mask in ("state", "operand")) if mask < 0 else mask + 1
        return {
            "step": (entries, batch, hidden_size),
            "gate": (steps, batch, n * hidden_size),
            "output": (steps, batch, hidden_size),
            "unit": (n * hidden_size,),
            "carry": (2, batch, hidden_size),
            "sum": (n, batch, hidden_size),  # over time: a store adds
            "scratch": (2, batch, hidden_size),
            "gate result": (batch, n * hidden_size),
            "state result": (batch, hidden_size),
        }[self.layout]


def masks(training: bool) -> dict[str, int]:
    """The masks of a step's index, by which buffers hold all steps (-1) or as many as the next step needs."""
    return {"value": -1 if training else 0, "state": -1 if training else 1, "operand": -1}


@dataclass(frozen=True)
class Place:
    """A value [B, H] in a buffer: of step t, or t + 1 if ``after``; of one of the buffer's letters."""

    buffer: Buffer
    letter: str = ""
    after: bool = False
    mask: str = ""


@dataclass(frozen=True)
class RecurrentMatmul:
    """``U_run v``, for a run of neighboring gates; ``gradient`` is the buffer of the gradients of their recurrent
    sides, from which and from v the gradient of U_run is one matmul after the loop."""

    run: str
    operand: Node
    place: Place
    gradient: Buffer


@dataclass(frozen=True)
class Loop:
    """One pass: the nodes that a step computes, and the places from and to which it loads and stores them.

    loads    leaves, each the sum of its places
    addends  for each forward matmul, the places whose values are added to its result
    stores   each node's places
    reloads  a place from which a later stage can load a node that is stored anyway
    inputs, outputs    the buffers that it only reads, and all others except scratch
    """

    roots: tuple[Node, ...]
    loads: Mapping[Node, tuple[Place, ...]]
    addends: Mapping[Node, tuple[Place, ...]]
    stores: Mapping[Node, tuple[Place, ...]]
    reloads: Mapping[Node, Place]
    matmuls: tuple[RecurrentMatmul, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]


@cache
def forward_loop(cell: Cell, joined: bool = False) -> Loop:
    """The forward pass, which fills s_, l_ and v_; ``joined`` as for :func:`gradient_buffers`."""
    step = trace(cell)
    nodes = ordered(step.new_state)
    x = Buffer("x", "input", cell.gates, compute_dtype=True)
    bias_x, bias_h = (Buffer(name, "unit", cell.gates) for name in ("bias_x", "bias_h"))
    states, operands, values = state_buffers(cell), operand_buffers(cell), value_buffers(cell)
    loads = _parameter_loads(cell, nodes)
    addends: dict[Node, tuple[Place, ...]] = {}
    for n in nodes:
        if n.op == "state":
            loads[n] = (_at(states[n.label]),)
        elif n.op == "input":
            loads[n] = Place(x, n.label), Place(bias_x, n.label)
        elif n.op == "addmm":
            addends[n] = Place(x, n.label), Place(bias_x, n.label)
        elif n.op == "matmul":
            addends[n] = (Place(bias_h, n.label),)
    reloads = {n: _at(b) for n, b in values.items()}
    stores = [*reloads.items()]
    places = {m.args[0]: _at(operands[m.args[0].label]) for m in step.matmuls if m.args[0].op == "state"} | reloads
    for s, n in zip(cell.state, step.new_state, strict=True):
        stores += [(n, _at(b[s], after=True)) for b in (states, operands) if s in b]
        reloads[n] = _at(states[s], after=True)
    groups: dict[tuple[Node, Buffer], str] = {}
    d, e = gradient_buffers(cell, joined)
    for m in step.matmuls:
        key = m.args[0], e if m.label in e.letters else d
        groups[key] = groups.get(key, "") + m.label
    matmuls = (
        RecurrentMatmul(run, operand, places[operand], gradient)
        for (operand, gradient), letters in groups.items()
        for run in runs(cell.gates, letters)
    )
    inputs = (x, bias_x, bias_h, *parameter_buffers(cell).values())
    outputs = (*states.values(), *operands.values(), *values.values())
    return Loop(step.new_state, loads, addends, _grouped(stores), reloads, tuple(matmuls), inputs, outputs)


@cache
def backward_loop(cell: Cell, joined: bool = False) -> Loop:
    """The backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    derivative = differentiate(cell)
    step = derivative.forward
    roots = tuple(backward_roots(derivative))
    values = {n: b for n, b in value_buffers(cell).items() if n in saved_for_backward(cell)}
    states, operands = state_buffers(cell), operand_buffers(cell)
    read = states | operands
    y = Buffer("y", "output", compute_dtype=True)
    trained = {name: letters for name, letters in cell.parameters.items() if name not in cell.per_step}
    z = {name: Buffer(f"z_{name}", "sum", letters) for name, letters in trained.items()}
    g = {s: Buffer(f"g_{s}", "carry", s, "pair") for s in cell.state}
    d, e = gradient_buffers(cell, joined)
    loads: dict[Node, tuple[Place, ...]] = {n: (Place(b),) for n, b in values.items()}
    loads |= {n: (Place(read[s], after=True),) for s, n in zip(cell.state, step.new_state, strict=True)}
    nodes = ordered(roots, loads)
    loads |= _parameter_loads(cell, nodes)
    for n in nodes:
        if n.op == "state":
            loads.setdefault(n, (Place(read[n.label]),))
        elif n.op == "gradient":
            loads[n] = (_at(g[n.label], after=True), *([Place(y)] if n.label == cell.state[0] else []))
    zero = step.graph.lift(0)
    stores = [
        *((n, Place(e, k)) for k, n in derivative.recurrent.items() if k in e.letters),
        *((derivative.inputs.get(k, zero), Place(d, k)) for k in cell.gates),
        *((n, _at(g[s])) for s, n in zip(cell.state, derivative.state, strict=True)),
        *((n, Place(z[name], k)) for (name, k), n in derivative.parameters.items()),
    ]
    inputs = (y, *states.values(), *operands.values(), *values.values(), *parameter_buffers(cell).values())
    outputs = (*z.values(), *g.values(), d, e)
    return Loop(roots, loads, {}, _grouped(stores), {}, (), inputs, outputs)


def gradient_buffers(cell: Cell, joined: bool = False) -> tuple[Buffer, Buffer]:
    """The buffers d and e; with ``joined``, e holds the recurrent sides of all gates if any is separate, so that one
    matmul can read neighboring gates."""
    separate = separate_gates(cell)
    e_letters = cell.gates if joined and separate else separate
    return Buffer("d", "gate", cell.gates, "", True), Buffer("e", "gate", e_letters, "", True)


@cache
def state_buffers(cell: Cell) -> dict[str, Buffer]:
    """The states in the weights' dtype: all steps of those that the backward pass reads from them."""
    step = trace(cell)
    new = dict(zip(step.new_state, cell.state, strict=True))
    order = ordered(backward_roots(differentiate(cell)), {*saved_for_backward(cell), *new})
    read = {new.get(n) or n.label for n in order if n in new or n.op == "state"} - operand_buffers(cell).keys()
    return {s: Buffer(f"s_{s}", "step", mask="state" if s in read else "pair") for s in cell.state}


@cache
def operand_buffers(cell: Cell) -> dict[str, Buffer]:
    """The states that have a copy in the compute dtype: matmul operands and the output."""
    operands = {n.args[0].label for n in trace(cell).matmuls if n.args[0].op == "state"} | {cell.state[0]}
    return {s: Buffer(f"l_{s}", "step", "", "operand", True) for s in cell.state if s in operands}


@cache
def value_buffers(cell: Cell) -> dict[Node, Buffer]:
    """The values other than states that matmuls or the backward pass read."""
    step = trace(cell)
    read = {p.args[0] for p in step.matmuls if p.args[0].op != "state"}
    chosen = [n for n in ordered(step.new_state) if n in saved_for_backward(cell) or n in read]
    return {n: Buffer(f"v_{number}", "step", "", "value", True) for number, n in enumerate(chosen)}


def parameter_buffers(cell: Cell) -> dict[str, Buffer]:
    """The per-unit parameters, and those of each step."""
    layouts = {name: "gate" if name in cell.per_step else "unit" for name in cell.parameters}
    return {name: Buffer(f"p_{name}", layouts[name], letters) for name, letters in cell.parameters.items()}


def saved_bytes_per_unit(cell: Cell, dtype: torch.dtype) -> int:
    """Bytes that a training step saves for each unit of each character, with matmuls in ``dtype``."""
    compute_buffers = len(operand_buffers(cell)) + len(value_buffers(cell))
    compute_buffers += len(cell.gates) + len(separate_gates(cell))
    return compute_buffers * dtype.itemsize + 4 * sum(b.mask == "state" for b in state_buffers(cell).values())


def _at(buffer: Buffer, after: bool = False) -> Place:
    return Place(buffer, after=after, mask=buffer.mask)


def _parameter_loads(cell: Cell, nodes: Iterable[Node]) -> dict[Node, tuple[Place, ...]]:
    buffers = parameter_buffers(cell)
    return {n: (Place(buffers[n.label[0]], n.label[1]),) for n in nodes if n.op == "parameter"}


def _grouped(stores: Iterable[tuple[Node, Place]]) -> dict[Node, tuple[Place, ...]]:
    groups: dict[Node, tuple[Place, ...]] = {}
    for n, place in stores:
        groups[n] = (*groups.get(n, ()), place)
    return groups
