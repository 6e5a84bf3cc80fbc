"""The pointwise operations of one step of a persistent kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from charlstm.compiler.graph import MATMULS, Node
from charlstm.compiler.loops import Loop
from charlstm.compiler.triton_language import TRITON

LANGUAGE = replace(TRITON, load="tl.load({}, mask, 0).to(PARAM_DTYPE)", registers=None)
LOAD = re.compile(r"tl\.load\((.+?), mask, 0\)\.to\(PARAM_DTYPE\)")


class PointwiseStep:
    """The pointwise operations of one step. One program computes all stages for its units, so they share names.

    ``shared`` are the buffers that matmuls read. ``loads`` are the loads of each step, by name, and ``constants`` those
    that are the same in all steps. Each stage has the lines up to the last store to a shared buffer, and the others.
    """

    def __init__(self, loop: Loop, shared: set[str]) -> None:
        self._loop, self._shared = loop, shared
        self.names: dict[Node, str] = {}
        self.registers: dict[str, str] = {}
        self.loads: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.stages: list[tuple[list[str], list[str]]] = []

    def compute(self, level: Mapping[Node, int], matmul: Callable[[Node], str]) -> None:
        for number in range(max(level.values(), default=0) + 1):
            lines: list[tuple[str, bool]] = []
            deferred: list[str] = []
            for n in [n for n in level if level[n] == number]:
                if n not in self.names:
                    lines.append((self._define(n, matmul), False))
                self._store(n, lines, deferred)
            if number == 0:
                for n in self._loop.stores:
                    if n not in level:
                        self._store(n, lines, deferred)
            last = max((at for at, (_, is_shared) in enumerate(lines) if is_shared), default=len(lines) - 1)
            text = [line for line, _ in lines]
            self.stages.append((text[: last + 1], [*text[last + 1 :], *deferred]))

    def _define(self, n: Node, matmul: Callable[[Node], str]) -> str:
        if n in self._loop.loads:
            expression = self._hoist(LANGUAGE.load_sum(p for p in self._loop.loads[n] if p.buffer.layout != "carry"))
            terms = [self.registers[n.label]] if n.op == "gradient" else []
            expression = " + ".join([*terms, *([expression] if expression else [])])
        elif n.op in MATMULS:
            expression = self._hoist(matmul(n))
        else:
            expression = LANGUAGE.expressions[n.op].format(*(self._use(a) for a in n.args))
        self.names[n] = f"n{len(self.names)}"
        return f"{self.names[n]} = {expression}"

    def _use(self, n: Node) -> str:
        return LANGUAGE.constant.format(n.label) if n.op == "constant" else self.names[n]

    def _hoist(self, expression: str) -> str:
        """The expression with names in place of its loads."""

        def name(match: re.Match[str]) -> str:
            is_constant = not re.search(r"\b(t|sides)\b", match[1])
            known, letter = (self.constants, "k") if is_constant else (self.loads, "p")
            for name, load in known.items():
                if load == match[0]:
                    return name
            known[f"{letter}{len(known)}"] = match[0]
            return f"{letter}{len(known) - 1}"

        return LOAD.sub(name, expression)

    def _store(self, n: Node, lines: list[tuple[str, bool]], deferred: list[str]) -> None:
        for place in self._loop.stores.get(n, ()):
            buffer, value = place.buffer, self._use(n)
            if buffer.layout == "carry":
                lines.append((f"before_{buffer.letters} = zeros + {value}", False))
            elif buffer.layout == "sum":
                lines.append((f"sum_{buffer.name}_{buffer.letters.index(place.letter)} += {value}", False))
            elif buffer.name in self._shared:
                lines.append((LANGUAGE.store_to(place).format(value), True))
            else:
                deferred.append(LANGUAGE.store_to(place).format(value))
