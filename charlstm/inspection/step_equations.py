"""A cell's equations as text, from their graph: one line for each gate, candidate, and part of the new state.

``_`` starts a subscript: ``h_t−1``, ``W_f``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charlstm.compiler.graph import ACTIVATIONS, Node, ordered
from charlstm.inspection.step_elements import LINEAR, SYMBOLS, Elements

SUM, PRODUCT, ATOM = range(3)
"""How tightly an expression binds."""


@dataclass(frozen=True)
class Token:
    """A piece of an equation: an operator or a bracket, or if it has a ``node``, a value.

    ``is_operand`` tells that an operator precedes it, so that a negative number in its place needs brackets.
    """

    text: str
    node: Node | None = None
    is_operand: bool = False


@dataclass(frozen=True)
class Equation:
    """``name`` = the tokens; its value is that of ``node``."""

    name: str
    node: Node
    tokens: tuple[Token, ...]

    def __str__(self) -> str:
        return f"{self.name} = {''.join(t.text for t in self.tokens)}"


def equations(elements: Elements) -> list[Equation]:
    """The equations of a step, each after those that it needs."""
    writer = _Writer(elements)
    return [
        Equation(elements.name(n), n, tuple(writer.definition(n)))
        for n in ordered(reversed(elements.step.new_state))
        if writer.is_defined(n)
    ]


class _Writer:
    def __init__(self, elements: Elements) -> None:
        self._elements = elements

    def is_defined(self, node: Node) -> bool:
        """Whether a node has an equation; all others are written out where they are used."""
        return node.op not in ("state", "parameter") and bool(self._elements.name(node))

    def definition(self, node: Node) -> Iterator[Token]:
        """The right side of the equation of a node."""
        if node.op in LINEAR:
            yield Token(self._linear(node), node)
        elif node.op in ACTIVATIONS:
            yield Token(f"{SYMBOLS[node.op]}(")
            yield from self._argument(node.args[0])
            yield Token(")")
        else:
            yield from self._elementwise(node)

    def _argument(self, node: Node) -> Iterator[Token]:
        """The argument of a function; of a parameter its full name."""
        return (
            iter([Token(node.label[0].replace("_", " "), node)]) if node.op == "parameter" else self._expression(node)
        )

    def _expression(self, node: Node, binding: int = SUM, is_operand: bool = False) -> Iterator[Token]:
        name = self._elements.name(node)
        if node.op == "constant":
            yield Token(f"{node.label:g}")
        elif name:
            yield Token(name, node, is_operand)
        elif node.op in LINEAR:
            text = self._linear(node)
            yield Token(f"({text})" if binding > SUM else text, node, is_operand)
        elif node.op in ACTIVATIONS:
            yield from self.definition(node)
        elif (PRODUCT if node.op in ("mul", "neg") else SUM) < binding:
            yield Token("(")
            yield from self._elementwise(node)
            yield Token(")")
        else:
            yield from self._elementwise(node)

    def _elementwise(self, node: Node) -> Iterator[Token]:
        if node.op == "neg":
            yield Token("−")
            yield from self._expression(node.args[0], ATOM, True)
            return
        left, right = node.args
        sign = {"add": " + ", "sub": " − ", "mul": " ⊙ "}[node.op]
        yield from self._expression(left, PRODUCT if node.op == "mul" else SUM)
        yield Token(sign)
        yield from self._expression(right, {"add": SUM, "sub": PRODUCT, "mul": ATOM}[node.op], True)

    def _linear(self, node: Node) -> str:
        k = node.label
        x = f"W_{k} x_t + b_{k}"
        if node.op == "input":
            return x
        operand = "".join(t.text for t in self._expression(node.args[0]))
        recurrent = f"U_{k} {operand if self._elements.name(node.args[0]) else f'({operand})'} + b′_{k}"
        return f"{x} + {recurrent}" if node.op == "addmm" else recurrent
