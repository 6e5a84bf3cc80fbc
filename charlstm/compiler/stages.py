"""Distributes a graph over stages and generates the code of each, in any language.

A stage ends at the next recurrent matmul: a matmul reads all units of its operand, a pointwise operation only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from charlstm.compiler.graph import MATMULS, Node, ordered
from charlstm.compiler.loops import Buffer, Loop, Place


@dataclass(frozen=True)
class Language:
    """Templates of a programming language.

    definition, constant    of a name by an expression; of a number
    expressions             an operator applied to names
    addresses               of a value [B, H], by the layout of its buffer
    masks                   the expression of each mask of a step's index; those that are missing mask nothing
    load, store, add        at an address; ``add`` adds to the stored value
    registers               names that hold a "carry" buffer's values: loaded in the first stage only, and stored
    """

    definition: str
    constant: str
    expressions: Mapping[str, str]
    addresses: Mapping[str, str]
    masks: Mapping[str, str]
    load: str
    store: str
    add: str
    registers: tuple[str, str] | None = None

    def address(self, place: Place, layout: str = "") -> str:
        buffer, t = place.buffer, "(t + 1)" if place.after else "t"
        return self.addresses[layout or buffer.layout].format(
            buffer=buffer.name,
            t=f"({t} & {self.masks[place.mask]})" if place.mask in self.masks else t,
            index=buffer.letters.index(place.letter),
            count=len(buffer.letters),
        )

    def load_sum(self, places: Iterable[Place]) -> str:
        return " + ".join(
            self.registers[0].format(p.buffer.letters)
            if self.registers and p.buffer.layout == "carry"
            else self.load.format(self.address(p))
            for p in places
        )

    def store_to(self, place: Place) -> str:
        """A line to format with the name of the value."""
        if self.registers and place.buffer.layout == "carry":
            return self.registers[1].format(place.buffer.letters, "{}")
        return (self.add if place.buffer.layout == "sum" else self.store).format(self.address(place), "{}")


class Stages:
    """The nodes of one step of a loop, each in the first stage that can compute it.

    matmul: emits a matmul at the start of the stage of the given number, and returns the load of its result.

    Attributes:
        bodies: the lines of each stage; a value is loaded at its first use.
        scratch: the scratch buffers, one for each value without another buffer that a later stage reads.
    """

    def __init__(self, loop: Loop, language: Language, matmul: Callable[[int, Node], str]) -> None:
        leaves = {n: language.load_sum(places) for n, places in loop.loads.items()}
        stores = {n: [language.store_to(place) for place in places] for n, places in loop.stores.items()}
        first_stage_only = {n for n in leaves if language.registers and n.op == "gradient"}
        level = levels(loop.roots, leaves)
        users = [n for n in level if n.op not in MATMULS]
        loads = {n: language.load_sum([place]) for n, place in loop.reloads.items()}
        loads |= {n: load for n, load in leaves.items() if n not in first_stage_only}
        later = {a for n in users for a in n.args if level.get(a, level[n]) < level[n] and a not in loads}
        crossing = {
            n: Place(Buffer(f"w_{number}", "scratch")) for number, n in enumerate(n for n in level if n in later)
        }
        self.scratch = [place.buffer for place in crossing.values()]
        loads |= {n: language.load_sum([place]) for n, place in crossing.items()}
        first = loads | {n: leaves[n] for n in first_stage_only}
        count = max(level.values(), default=0) + 1
        stages = [_Stage(loads if number else first, language) for number in range(count)]
        for n, number in level.items():
            stage = stages[number]
            if n not in leaves:
                stage.define(n, matmul(number, n) if n.op in MATMULS else stage.apply(n))
            lines = [*stores.get(n, ()), *([language.store_to(crossing[n])] if n in crossing else ())]
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
