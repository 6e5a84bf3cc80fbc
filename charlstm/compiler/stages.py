"""Distribute a graph over stages and write each as lines of code, in whatever language.

A stage ends where the next recurrent product begins: a product needs all units of what it reads, other operations only
their own. Here too is what the printed loops keep from step to step, and for the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.derivative import differentiate
from charlstm.compiler.graph import PRODUCTS, Node, ordered, trace
from charlstm.compiler.schedule import backward_roots, saved_for_backward


@dataclass(frozen=True)
class Language:
    """How things are written: the definition of a name, a number, an operator applied to names, and the place (by its
    number), the reading and the writing of a value that crosses to a later stage."""

    definition: str
    constant: str
    expressions: Mapping[str, str]
    scratch: str
    load: str
    store: str


class Stages:
    """The nodes of one direction of one step, each in the first stage that can compute it.

    leaves    how to load what is given; those in ``fleeting`` can be loaded in the first stage only
    reloads   what a later stage than the one that computes it finds in a buffer anyway
    stores    lines that take the name of a value once it is there
    product   makes a product that begins the stage of the given number, and says how to load what comes out

    Attributes:
        bodies: the lines of each stage; a value is loaded at its first use.
        scratch: how many values cross to a later stage in a place of their own.
    """

    def __init__(
        self,
        roots: Iterable[Node],
        leaves: Mapping[Node, str],
        reloads: Mapping[Node, str],
        stores: Mapping[Node, list[str]],
        language: Language,
        product: Callable[[int, Node], str],
        fleeting: Collection[Node] = (),
    ) -> None:
        level = levels(roots, leaves)
        users = [n for n in level if n.op not in PRODUCTS]
        loads = {n: load for n, load in {**reloads, **leaves}.items() if n not in fleeting}
        later = {a for n in users for a in n.args if level.get(a, level[n]) < level[n] and a not in loads}
        crossing = {n: language.scratch.format(number) for number, n in enumerate(n for n in level if n in later)}
        self.scratch = len(crossing)
        loads |= {n: language.load.format(place) for n, place in crossing.items()}
        first = loads | {n: leaves[n] for n in fleeting}
        count = max(level.values(), default=0) + 1
        stages = [_Stage(loads if number else first, language) for number in range(count)]
        for n, number in level.items():
            stage = stages[number]
            if n not in leaves:
                stage.define(n, product(number, n) if n.op in PRODUCTS else stage.apply(n))
            lines = [*stores.get(n, ()), *([language.store.format(crossing[n], "{}")] if n in crossing else ())]
            stage.body += [line.format(stage.use(n)) for line in lines]
        for n, lines in stores.items():
            if n not in level:
                stages[0].body += [line.format(stages[0].use(n)) for line in lines]
        self.bodies = [stage.body for stage in stages]


class _Stage:
    def __init__(self, loads: Mapping[Node, str], language: Language) -> None:
        self.body: list[str] = []
        self._loads, self._language = loads, language
        self._names: dict[Node, str] = {}

    def use(self, n: Node) -> str:
        if n.op == "constant":
            return self._language.constant.format(n.label)
        if n not in self._names:
            self.define(n, self._loads[n])
        return self._names[n]

    def apply(self, n: Node) -> str:
        return self._language.expressions[n.op].format(*(self.use(a) for a in n.args))

    def define(self, n: Node, expression: str) -> None:
        self._names[n] = f"n{len(self._names)}"
        self.body.append(self._language.definition.format(self._names[n], expression))


def levels(roots: Iterable[Node], leaves: Collection[Node]) -> dict[Node, int]:
    """The stage of every node that the roots need, arguments before their users; constants have none."""
    level: dict[Node, int] = {}
    for n in ordered(roots, leaves):
        below = [level[a] for a in n.args if a in level]
        if n.op == "constant":
            continue
        if n in leaves:
            level[n] = 0
        elif n.op in PRODUCTS and n.args[0].op != "state":
            level[n] = max(below) + 1
        else:
            level[n] = 0 if n.op in PRODUCTS else max(below, default=0)
    return level


@cache
def operand_states(cell: Cell) -> str:
    """The letters of the states that have a copy for products: those that products read, and the output."""
    found = {n.args[0].label for n in trace(cell).products if n.args[0].op == "state"} | {cell.state[0]}
    return "".join(s for s in cell.state if s in found)


@cache
def backward_states(cell: Cell) -> str:
    """The letters of the states of which the way back reads the exact values of all steps."""
    step = trace(cell)
    new = dict(zip(step.new_state, cell.state, strict=True))
    order = ordered(backward_roots(differentiate(cell)), {*saved_for_backward(cell), *new})
    found = {new.get(n) or n.label for n in order if n in new or n.op == "state"}
    return "".join(s for s in cell.state if s in found and s not in operand_states(cell))


@cache
def stored_values(cell: Cell) -> dict[Node, str]:
    """The values beside the states that products or the way back read, and the names of their buffers: ``v_0`` ..."""
    step = trace(cell)
    read = {p.args[0] for p in step.products if p.args[0].op != "state"}
    chosen = [n for n in ordered(step.new_state) if n in saved_for_backward(cell) or n in read]
    return {n: f"v_{number}" for number, n in enumerate(chosen)}
