"""The elements of a step's diagram, and what each reads, from the graph of a cell's equations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from charlstm.compiler.graph import ACTIVATIONS, Node, StepGraph, consumers

Kind = Literal["box", "parameter", "valve", "times", "sum", "function"]
Role = Literal["x", "matmul", "term", "flow", "gate"]

LINEAR = {"input", "matmul", "addmm"}
ELEMENTWISE = {"add", "sub", "mul", "neg"}
MATRICES = {"input": "W_", "matmul": "U_"}
SYMBOLS = {"sigmoid": "σ", "tanh": "tanh", "relu": "relu"}


@dataclass(frozen=True)
class Input:
    """What an element reads: the value of a node, or if ``source`` is None the input x."""

    source: Node | None
    role: Role


@dataclass(frozen=True)
class Element:
    """One element of the diagram.

    Attributes:
        kind: ``box``: a sum with matrix products, and its function; ``parameter``: a trained number per unit;
            ``valve``: a product with a factor in 0 .. 1; ``times``: any other product; ``sum``: a sum or difference;
            ``function``: a function of one value.
        node: the value that leaves it.
        name: its variable, such as ``f`` or ``h_t``; empty if the equations do not name it.
        text: what is written in it.
        argument: the node that the function of a box is applied to.
        inputs: what it reads.
    """

    kind: Kind
    node: Node
    name: str
    text: str
    argument: Node | None
    inputs: tuple[Input, ...]


class Elements:
    """The elements of a step, by the node whose value leaves each."""

    def __init__(self, step: StepGraph) -> None:
        self.step, self.cell = step, step.cell
        self._users = consumers(step.new_state)
        self.by_node: dict[Node, Element] = {}
        for new in step.new_state:
            self._add(new)

    @cached_property
    def belts(self) -> dict[str, list[Node]]:
        """For each part of the state that passes the step by sums and products of units alone: the nodes on its way
        from the old value to the new one, both included."""
        paths = {s: _elementwise_path(new, s) for s, new in zip(self.cell.state, self.step.new_state, strict=True)}
        return {s: path for s, path in paths.items() if path}

    @cached_property
    def on_belt(self) -> set[Node]:
        """All nodes of :attr:`belts`."""
        return {n for path in self.belts.values() for n in path}

    def users(self, node: Node) -> list[Element]:
        """The elements that read a node."""
        return [e for e in self.by_node.values() if any(i.source is node for i in e.inputs)]

    def name(self, node: Node) -> str:
        """The variable of a node, such as ``c_t−1`` or ``f``; empty if the equations do not name it."""
        if node.op == "state":
            return f"{node.label}_t−1"
        if node in self.step.new_state:
            return f"{self.cell.state[self.step.new_state.index(node)]}_t"
        if node.op == "parameter":
            return self.parameter_name(node)
        return self.by_node[node].name if node in self.by_node else ""

    def parameter_name(self, node: Node) -> str:
        """``a`` for the entry a of a parameter; ``p_f`` for an entry that belongs to the gate or state f."""
        name, entry = node.label
        return f"{name.removeprefix('weight_')[0]}_{entry}" if entry in self.cell.gates + self.cell.state else entry

    def _add(self, node: Node) -> None:
        if node in self.by_node or node.op in ("state", "constant"):
            return
        element = self._element(node)
        self.by_node[node] = element
        for source in element.inputs:
            if source.source is not None:
                self._add(source.source)

    def _element(self, node: Node) -> Element:
        if node.op in ACTIVATIONS:
            return self._activation(node)
        if node.op in LINEAR:
            name, text = (self._letter(node), "linear") if node.op == "addmm" else ("", MATRICES[node.op] + node.label)
            return Element("box", node, name, text, None, self._linear_inputs([node]))
        if node.op == "parameter":
            return Element("parameter", node, self.parameter_name(node), "", None, ())
        return self._elementwise(node)

    def _activation(self, node: Node) -> Element:
        (argument,) = node.args
        symbol = SYMBOLS[node.op]
        if argument.op == "parameter":
            return Element("parameter", node, self.parameter_name(argument), symbol, argument, ())
        terms = self._terms(argument, node)
        linear = [t for t in terms if t.op in LINEAR and len(self._users[t]) == 1]
        if not linear:
            return Element("function", node, "", symbol, argument, (Input(argument, "term"),))
        others = tuple(Input(t, "term") for t in terms if t not in linear)
        name = self.name(node) or self._letter(*linear)
        return Element("box", node, name, symbol, argument, (*self._linear_inputs(linear), *others))

    def _terms(self, node: Node, user: Node) -> list[Node]:
        """The terms of a sum that only one node uses; the node itself if it is no such sum."""
        if node.op != "add" or self._users[node] != [user] or node in self.on_belt or node in self.step.new_state:
            return [node]
        return [t for a in node.args for t in self._terms(a, node)]

    def _letter(self, *linear: Node) -> str:
        letter = "".join(dict.fromkeys(str(n.label) for n in linear))
        return f"{letter}\N{COMBINING TILDE}" if letter in self.cell.state else letter

    def _linear_inputs(self, linear: list[Node]) -> tuple[Input, ...]:
        operands = dict.fromkeys(a for n in linear for a in n.args)
        x = (Input(None, "x"),) if any(n.op in ("input", "addmm") for n in linear) else ()
        return (*(Input(a, "matmul") for a in operands), *x)

    def _elementwise(self, node: Node) -> Element:
        sign = {"add": "+", "sub": "−", "neg": "−", "mul": "×"}[node.op]
        for i, a in enumerate(node.args):
            if a.op == "constant" or (node.op == "mul" and self._is_weight(a)):
                number = f"{a.label:g}" if a.op == "constant" else self.parameter_name(a)
                text = f"{number}{sign}" if i == 0 and node.op == "sub" else f"{sign}{number}"
                others = [b for j, b in enumerate(node.args) if j != i]
                kind: Kind = "times" if node.op == "mul" else "sum"
                return Element(kind, node, "", text, None, tuple(Input(b, "flow") for b in others))
        if node.op != "mul":
            return Element("sum", node, "", sign, None, tuple(Input(a, "term") for a in node.args))
        gate = next((a for a in node.args if self._is_gate(a) and a not in self.on_belt), None)
        if gate is None:
            return Element("times", node, "", sign, None, tuple(Input(a, "flow") for a in node.args))
        flow = node.args[1 - node.args.index(gate)]
        return Element("valve", node, "", sign, None, (Input(flow, "flow"), Input(gate, "gate")))

    def _is_weight(self, node: Node) -> bool:
        """Whether it is a parameter that multiplies one value and is no gate, as the weight of a peephole."""
        return node.op == "parameter" and len(self._users[node]) == 1 and not self._is_gate(node)

    def _is_gate(self, node: Node) -> bool:
        """Whether its values lie in 0 .. 1 by the operators alone, or the equations also use 1 minus it."""
        if any(u.op == "sub" and u.args[0].label == 1 and u.args[1] is node for u in self._users[node]):
            return True
        if node.op == "sub" and node.args[0].label == 1:
            return self._is_gate(node.args[1])
        return node.op == "sigmoid" or (node.op == "mul" and all(self._is_gate(a) for a in node.args))


def _elementwise_path(node: Node, letter: str) -> list[Node]:
    """The shortest way of sums and products from the state ``letter`` to a node; empty if there is none."""
    if node.op == "state":
        return [node] if node.label == letter else []
    if node.op not in ELEMENTWISE:
        return []
    paths = [path for a in node.args if (path := _elementwise_path(a, letter))]
    return [*min(paths, key=len), node] if paths else []
