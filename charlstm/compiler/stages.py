"""Distributes a graph over stages and generates the code of each, in any language.

A stage ends at the next recurrent matmul: a matmul reads all units of its operand, a pointwise operation only one.
Also lists the values that the generated loops store for the next step and for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.derivative import differentiate
from charlstm.compiler.graph import MATMULS, Node, ordered, trace
from charlstm.compiler.schedule import backward_roots, saved_for_backward


@dataclass(frozen=True)
class Language:
    """Templates: the definition of a name, a constant, an operator applied to names, and the scratch buffer (by its
    number), the load and the store of a value that a later stage reads."""

    definition: str
    constant: str
    expressions: Mapping[str, str]
    scratch: str
    load: str
    store: str


class Stages:
    """The nodes of one step of a pass, each in the first stage that can compute it.

    leaves    the loads of the inputs; those in ``first_stage_only`` can be loaded in the first stage only
    reloads   the loads of values that are stored in a buffer anyway, for stages after the one that computes them
    stores    lines to format with the name of a value once it is computed
    matmul    emits a matmul at the start of the stage of the given number, and returns the load of its result

    Attributes:
        bodies: the lines of each stage; a value is loaded at its first use.
        scratch: the number of scratch buffers, one for each other value that a later stage reads.
    """

    def __init__(
        self,
        roots: Iterable[Node],
        leaves: Mapping[Node, str],
        reloads: Mapping[Node, str],
        stores: Mapping[Node, list[str]],
        language: Language,
        matmul: Callable[[int, Node], str],
        first_stage_only: Collection[Node] = (),
    ) -> None:
        level = levels(roots, leaves)
        users = [n for n in level if n.op not in MATMULS]
        loads = {n: load for n, load in {**reloads, **leaves}.items() if n not in first_stage_only}
        later = {a for n in users for a in n.args if level.get(a, level[n]) < level[n] and a not in loads}
        crossing = {n: language.scratch.format(number) for number, n in enumerate(n for n in level if n in later)}
        self.scratch = len(crossing)
        loads |= {n: language.load.format(address) for n, address in crossing.items()}
        first = loads | {n: leaves[n] for n in first_stage_only}
        count = max(level.values(), default=0) + 1
        stages = [_Stage(loads if number else first, language) for number in range(count)]
        for n, number in level.items():
            stage = stages[number]
            if n not in leaves:
                stage.define(n, matmul(number, n) if n.op in MATMULS else stage.apply(n))
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
    """The stage of each ancestor of the roots except constants, in topological order."""
    level: dict[Node, int] = {}
    for n in ordered(roots, leaves):
        argument_levels = [level[a] for a in n.args if a in level]
        if n.op == "constant":
            continue
        if n in leaves:
            level[n] = 0
        elif n.op in MATMULS and n.args[0].op != "state":
            level[n] = max(argument_levels) + 1
        else:
            level[n] = 0 if n.op in MATMULS else max(argument_levels, default=0)
    return level


@cache
def operand_states(cell: Cell) -> str:
    """The letters of the states that have a copy in the compute dtype: matmul operands and the output."""
    operands = {n.args[0].label for n in trace(cell).matmuls if n.args[0].op == "state"} | {cell.state[0]}
    return "".join(s for s in cell.state if s in operands)


@cache
def backward_states(cell: Cell) -> str:
    """The letters of the states of which the backward pass reads the values of all steps in the parameters' dtype."""
    step = trace(cell)
    new = dict(zip(step.new_state, cell.state, strict=True))
    order = ordered(backward_roots(differentiate(cell)), {*saved_for_backward(cell), *new})
    read = {new.get(n) or n.label for n in order if n in new or n.op == "state"}
    return "".join(s for s in cell.state if s in read and s not in operand_states(cell))


@cache
def stored_values(cell: Cell) -> dict[Node, str]:
    """The values other than states that matmuls or the backward pass read, and their buffers' names: ``v_0`` ..."""
    step = trace(cell)
    read = {p.args[0] for p in step.matmuls if p.args[0].op != "state"}
    chosen = [n for n in ordered(step.new_state) if n in saved_for_backward(cell) or n in read]
    return {n: f"v_{number}" for number, n in enumerate(chosen)}
