"""The backward pass of one time step, derived from its graph (reverse mode)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.graph import Node, StepGraph, ordered, trace


@dataclass(frozen=True)
class Derivative:
    """Gradients of one time step, as nodes over the forward values and ``gradient s``, the gradient of the new state s.

    inputs      gate -> gradient of its input side
    recurrent   gate -> gradient of its recurrent side (the same node if the gate uses only the sum); a separate node
                for each gate, so that those of neighboring gates can be stored next to each other for one matmul
    state       gradient of each part of the old state; zero for those in ``stop_gradient``
    parameters  (name, entry) -> gradient of a per-unit parameter in this step, still [B, H]
    """

    forward: StepGraph
    inputs: dict[str, Node]
    recurrent: dict[str, Node]
    state: tuple[Node, ...]
    parameters: dict[tuple[str, str], Node]


@cache
def differentiate(cell: Cell) -> Derivative:
    """Derive the backward pass of a cell's equations."""
    forward = trace(cell)
    graph = forward.graph
    terms: dict[Node, list[Node]] = {}
    transposed: dict[Node, dict[str, Node]] = {}
    inputs: dict[str, Node] = {}
    recurrent: dict[str, Node] = {}
    state: dict[str, Node] = {}
    parameters: dict[tuple[str, str], Node] = {}

    def add_term(node: Node, gradient: Node) -> None:
        terms.setdefault(node, []).append(gradient)

    for s, n in zip(cell.state, forward.new_state, strict=True):
        add_term(n, graph.node("gradient", s))
    for n in reversed(ordered(forward.new_state)):
        total = _sum(terms.get(n, []))
        if n in transposed:
            gates = "".join(k for k in cell.gates if k in transposed[n])
            through_matmuls = graph.node("transposed", gates, *(transposed[n][k] for k in gates))
            total = through_matmuls if total is None else total + through_matmuls
        g, args = _require(total), n.args  # every node here is an ancestor of the new state
        if n.op == "add":
            add_term(args[0], g)
            add_term(args[1], g)
        elif n.op == "sub":
            add_term(args[0], g)
            add_term(args[1], -g)
        elif n.op == "mul":
            add_term(args[0], g * args[1])
            add_term(args[1], g * args[0])
        elif n.op == "neg":
            add_term(args[0], -g)
        elif n.op == "tanh":
            add_term(args[0], g - (g * n) * n)
        elif n.op in ("sigmoid", "relu"):
            add_term(args[0], graph.node(f"{n.op}_backward", None, g, n))
        elif n.op in ("matmul", "addmm"):
            if g.op == "gradient" or g in recurrent.values():
                g = graph.node("copy", n.label, g)
            transposed.setdefault(args[0], {})[n.label] = g
            recurrent[n.label] = g
            if n.op == "addmm":
                inputs[n.label] = g
        elif n.op == "input":
            inputs[n.label] = g
        elif n.op == "state" and n.label not in cell.stop_gradient:
            state[n.label] = g
        elif n.op == "parameter" and n.label[0] not in cell.per_step:
            parameters[n.label] = g
    return Derivative(forward, inputs, recurrent, tuple(state.get(s, graph.lift(0)) for s in cell.state), parameters)


def _sum(terms: list[Node]) -> Node | None:
    """The sum of the terms; negated terms come last, as subtractions."""
    plus = [t for t in terms if t.op != "neg"]
    minus = [t.args[0] for t in terms if t.op == "neg"]
    if not plus:
        return -_require(_sum(minus)) if minus else None
    total = plus[0]
    for t in plus[1:]:
        total = total + t
    for t in minus:
        total = total - t
    return total


def _require(n: Node | None) -> Node:
    assert n is not None
    return n
