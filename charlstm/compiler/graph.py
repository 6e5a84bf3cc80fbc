"""A cell's equations as a graph of symbols, traced once, from which the derivative and all code are generated.

Operators:

    input k            input side of gate k
    matmul k (v)       recurrent side of gate k: U_k v + b'_k
    addmm k (v)        their sum, if the equations use only the sum: one accumulated matmul
    state s, parameter (name, k), gradient s, constant x
    add, sub, mul, neg, sigmoid, tanh, relu
    sigmoid_backward, relu_backward (g, y)    g times the derivative, by the function's value y
    copy k (v)      another copy of v, for gate k
    transposed (k ...) (d_k ...)    sum over k of U_k^T d_k
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from charlstm.cells import Cell
from charlstm.cells.values import ByLetter

ACTIVATIONS = {"sigmoid", "tanh", "relu"}
MATMULS = {"matmul", "addmm", "transposed"}


@dataclass(frozen=True, eq=False)
class Node:
    """One value of shape [B, H] (a parameter: [H]; a constant: a number), compared by identity."""

    graph: Graph
    op: str
    label: Any
    args: tuple[Node, ...]

    def _binary(self, op: str, left: Node | float, right: Node | float) -> Node:
        return self.graph.node(op, None, self.graph.lift(left), self.graph.lift(right))

    def __add__(self, other: Node | float) -> Node:
        return self._binary("add", self, other)

    def __radd__(self, other: Node | float) -> Node:
        return self._binary("add", other, self)

    def __sub__(self, other: Node | float) -> Node:
        return self._binary("sub", self, other)

    def __rsub__(self, other: Node | float) -> Node:
        return self._binary("sub", other, self)

    def __mul__(self, other: Node | float) -> Node:
        return self._binary("mul", self, other)

    def __rmul__(self, other: Node | float) -> Node:
        return self._binary("mul", other, self)

    def __neg__(self) -> Node:
        return self.graph.node("neg", None, self)

    def sigmoid(self) -> Node:
        return self.graph.node("sigmoid", None, self)

    def tanh(self) -> Node:
        return self.graph.node("tanh", None, self)

    def relu(self) -> Node:
        return self.graph.node("relu", None, self)

    def __repr__(self) -> str:
        label = "" if self.label is None else f" {self.label}"
        return f"({self.op}{label}{''.join(f' {a!r}' for a in self.args)})"


class Graph:
    """Creates nodes; the same operator on the same arguments is the same node."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}

    def node(self, op: str, label: Any = None, *args: Node) -> Node:
        key = (op, label, *map(id, args))
        if key not in self._nodes:
            self._nodes[key] = Node(self, op, label, args)
        return self._nodes[key]

    def lift(self, value: Node | float) -> Node:
        return value if isinstance(value, Node) else self.node("constant", float(value))


class _Entries(ByLetter):
    """One node per letter."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes

    def __getitem__(self, key: str) -> Node:
        return self._nodes[key]


class _RecurrentSide(_Entries):
    def __init__(self, graph: Graph, gates: str, operand: Node) -> None:
        super().__init__({k: graph.node("matmul", k, operand) for k in gates})
        self._graph, self._gates = graph, gates

    def of(self, operand: Node) -> _RecurrentSide:
        return _RecurrentSide(self._graph, self._gates, operand)


@dataclass(frozen=True)
class StepGraph:
    """The graph of one time step of a cell: the new state, as nodes."""

    cell: Cell
    graph: Graph
    new_state: tuple[Node, ...]

    @cached_property
    def matmuls(self) -> list[Node]:
        """The recurrent matmuls, in topological order."""
        return [n for n in ordered(self.new_state) if n.op in MATMULS]


@cache
def trace(cell: Cell) -> StepGraph:
    """Run the cell's equations once on symbols.

    Raises TypeError if a gate has two recurrent matmuls in one step, or the new state is not as declared.
    """
    graph = Graph()
    x = _Entries({k: graph.node("input", k) for k in cell.gates})
    state = [graph.node("state", s) for s in cell.state]
    parameters = [
        _Entries({k: graph.node("parameter", (name, k)) for k in entries}) for name, entries in cell.parameters.items()
    ]
    new = tuple(cell.step(x, _RecurrentSide(graph, cell.gates, state[0]), *state, *parameters))
    if len(new) != len(cell.state) or not all(isinstance(n, Node) for n in new):
        raise TypeError(f"cell {cell.name} must return its new state ({', '.join(cell.state)})")
    new = _join_sums(graph, new)
    matmuls = [n.label for n in ordered(new) if n.op in MATMULS]
    if len(set(matmuls)) != len(matmuls):
        raise TypeError(f"cell {cell.name}: a gate may have one recurrent matmul in a step; there are {matmuls}")
    return StepGraph(cell, graph, new)


def _join_sums(graph: Graph, roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """Replace ``x.k + r.k`` by one accumulated matmul if neither is used elsewhere."""
    users = consumers(roots)

    def is_sum(n: Node) -> bool:
        return (
            n.op == "add"
            and {a.op for a in n.args} == {"input", "matmul"}
            and n.args[0].label == n.args[1].label
            and all(users[a] == [n] and a not in roots for a in n.args)
        )

    rewritten: dict[Node, Node] = {}
    for n in ordered(roots):
        args = tuple(rewritten[a] for a in n.args)
        if is_sum(n):
            matmul = next(a for a in args if a.op == "matmul")
            rewritten[n] = graph.node("addmm", matmul.label, *matmul.args)
        else:
            rewritten[n] = graph.node(n.op, n.label, *args)
    return tuple(rewritten[n] for n in roots)


def ordered(roots: Iterable[Node], given: Collection[Node] = ()) -> list[Node]:
    """All ancestors of the roots in topological order, without those that only the given nodes need."""
    visited: dict[Node, None] = {}

    def visit(n: Node) -> None:
        if n not in visited:
            for a in () if n in given else n.args:
                visit(a)
            visited[n] = None

    for root in roots:
        visit(root)
    return list(visited)


def consumers(roots: Iterable[Node], given: Collection[Node] = ()) -> dict[Node, list[Node]]:
    """For each ancestor of the roots, the nodes that use it."""
    users: dict[Node, list[Node]] = {n: [] for n in ordered(roots, given)}
    for n in users:
        for a in () if n in given else n.args:
            if n not in users[a]:
                users[a].append(n)
    return users
