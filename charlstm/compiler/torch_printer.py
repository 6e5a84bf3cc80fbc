"""Generates Python from a cell's graph: a loop over time of torch operations that write into given buffers.

Names in the generated code, lists over time unless noted otherwise:

    a_k, d_k    [B, H] gate k in the buffers [T, B, GH] of forward values and of input-side gradients;
                a run of neighboring gates has one name (``a_rz``)
    q_k, e_k    [B, H] the recurrent side of k and its gradient, if the cell uses more than the sum of both sides
    s_h, s_c    [B, H] the states before each step and after the last: T + 1 entries
    v_0 ...     [B, H] other values saved for the backward pass
    w_0 ...     [B, H] scratch, not a list
    g_h, n_h    [B, H] gradient of the state after and before a step, swapped after each step; not lists
    y           [B, H] gradient of the output
    p_NAME_k    [H] a per-unit parameter; z_NAME_k [B, H] its gradient, summed over time; not lists, except for p of
                parameters that have a value for each step

A value without further use frees its buffer for the next one, so an activation overwrites its argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from charlstm.cells import Cell
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.compiler.loops import Place, backward_loop
from charlstm.compiler.schedule import Instruction, runs, saved_for_backward, select

ATEN = torch.ops.aten
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{op: getattr(torch, op) for op in ("add", "sub", "mul", "neg", "sigmoid", "tanh", "clamp_min", "addcmul")},
    "sigmoid_backward": ATEN.sigmoid_backward.grad_input,
    "relu_backward": ATEN.threshold_backward.grad_input,
}
TEMPLATES = {
    "copy": "{out}.copy_({0})",
    "add": "add({0}, {1}, out={out})",
    "sub": "sub({0}, {1}, out={out})",
    "mul": "mul({0}, {1}, out={out})",
    "neg": "neg({0}, out={out})",
    "addcmul": "addcmul({0}, {1}, {2}, out={out})",
    "subcmul": "addcmul({0}, {1}, {2}, value=-1, out={out})",
    "sigmoid": "sigmoid({0}, out={out})",
    "tanh": "tanh({0}, out={out})",
    "relu": "clamp_min({0}, 0, out={out})",
    "sigmoid_backward": "sigmoid_backward({0}, {1}, grad_input={out})",
    "relu_backward": "relu_backward({0}, {1}, 0, grad_input={out})",
}
NAME = re.compile(r"\b(?:[adqesvwgnpz]_\w+|y|accumulate|matmul|transposed)\b")


@dataclass(frozen=True)
class Code:
    """A generated loop: ``function(T, buffers)`` with a buffer for each of ``names``.

    ``locations`` tells where each node's value is (``s_h[t]``, ``v_0[t]``).
    """

    source: str
    function: Callable[[int, Mapping[str, Any]], list[Any]]
    names: frozenset[str]
    locations: Mapping[Node, str]


class _BufferAllocator:
    """Assigns each value of a step a buffer, and reuses the buffers of values without further use."""

    def __init__(
        self,
        instructions: list[Instruction],
        assigned: dict[Node, str],
        save: frozenset[Node],
        live_out: list[Node],
    ) -> None:
        self.of = dict(assigned)
        self._save = save
        self._last_use = {n: at for at, i in enumerate(instructions) for n in i.reads}
        self._last_use |= dict.fromkeys(live_out, len(instructions))
        self._reusable = {n for i in instructions for n in i.results} | {n for n in assigned if n.op == "input"}
        self._values = self._scratch = 0
        self._free: list[str] = []

    def assign(self, at: int, instruction: Instruction, target: str | None) -> str:
        (result,) = instruction.results
        dying = [n for n in dict.fromkeys(instruction.reads) if self._is_last_use(n, at)]
        location = target or self._find_buffer(result, [] if instruction.operation == "transposed" else dying)
        self.of[result] = location
        self._free += [p for p in (self.of[n] for n in dying) if p.startswith("w_") and p != location]
        return location

    def _is_last_use(self, n: Node, at: int) -> bool:
        return n in self._reusable and n not in self._save and self._last_use[n] == at

    def _find_buffer(self, result: Node, dying: list[Node]) -> str:
        for location in (self.of[n] for n in dying):
            if location[0] in "aq" or (location[0] == "w" and result not in self._save):
                return location
        if result in self._save:
            self._values += 1
            return f"v_{self._values - 1}[t]"
        if self._free:
            return self._free.pop()
        self._scratch += 1
        return f"w_{self._scratch - 1}"


def _leaves(cell: Cell, roots: list[Node]) -> dict[Node, str]:
    names = {"state": "s_{}[t]", "input": "a_{}[t]", "gradient": "g_{}"}
    leaves: dict[Node, str] = {}
    for n in ordered(roots):
        if n.op in names:
            leaves[n] = names[n.op].format(n.label)
        elif n.op in ("parameter", "accumulator"):
            leaves[n] = "{}_{}_{}".format(n.op[0].replace("a", "z"), *n.label)
            if n.op == "parameter" and n.label[0] in cell.per_step:
                leaves[n] += "[t]"
        elif n.op == "constant":
            leaves[n] = f"constant[{n.label!r}]"
    return leaves


def _print(
    cell: Cell,
    roots: list[Node],
    assigned: dict[Node, str],
    targets: dict[Node, str],
    save: frozenset[Node],
) -> tuple[list[str], dict[Node, str]]:
    instructions = select(cell, roots, assigned, save | set(targets))
    allocator = _BufferAllocator(instructions, assigned, save, roots)
    lines: list[str] = []
    for at, instruction in enumerate(instructions):
        operation = instruction.operation
        if operation in ("addmm", "matmul"):
            letter, call = ("a", "accumulate") if operation == "addmm" else ("q", "matmul")
            operand = allocator.of[instruction.reads[0]]
            lines.append(f"{call}({letter}_{instruction.gates}[t], {operand}, {instruction.gates!r})")
            allocator.of |= {n: f"{letter}_{n.label}[t]" for n in instruction.results}
            continue
        reads = [allocator.of[n] for n in instruction.reads]
        out = allocator.assign(at, instruction, targets.get(instruction.results[0]))
        if operation == "transposed":
            lines.append(_transposed(cell, instruction, reads, out))
        else:
            lines.append(TEMPLATES[operation].format(*reads, out=out))
    return lines, allocator.of


def _transposed(cell: Cell, instruction: Instruction, reads: list[str], out: str) -> str:
    gates = instruction.gates
    base = reads[len(gates)] if len(reads) > len(gates) else "None"
    buffers: dict[str, str] = {}
    for k, location in zip(gates, reads, strict=False):
        buffers[location[0]] = buffers.get(location[0], "") + k
    terms = [f"({letter}_{run}[t], {run!r})" for letter, ks in buffers.items() for run in runs(cell.gates, ks)]
    return f"transposed({out}, {base}, {', '.join(terms)})"


@cache
def forward_code(cell: Cell) -> Code:
    """Generate the forward loop, which fills s_ and overwrites the input sides in a_ with the values to save."""
    step = trace(cell)
    roots = list(step.new_state)
    targets = {n: f"s_{s}[t + 1]" for s, n in zip(cell.state, step.new_state, strict=True)}
    lines, locations = _print(cell, roots, _leaves(cell, roots), targets, saved_for_backward(cell))
    ends = [(f"s_{s}[t + 1]", n) for s, n in zip(cell.state, roots, strict=True)]
    lines += [f"{end}.copy_({locations[n]})" for end, n in ends if locations[n] != end]
    return _compile(f"{cell.name}_forward", "range(T)", lines, "[]", locations)


def _location(place: Place) -> str:
    """Where the backward loop stores a value."""
    name, letters = place.buffer.name, place.buffer.letters
    return {"carry": f"n_{letters}", "sum": f"{name}_{place.letter}"}.get(
        place.buffer.layout, f"{name}_{place.letter}[t]"
    )


@cache
def backward_code(cell: Cell) -> Code:
    """Generate the backward loop, which fills d_, e_ and z_, and returns the gradients of the initial state."""
    loop, step = backward_loop(cell), trace(cell)
    stores = [(n, place) for n, places in loop.stores.items() for place in places]
    added = [(n, place) for n, place in stores if place.buffer.layout == "sum"]
    sums = {_location(p): step.graph.node("accumulator", (p.buffer.name[2:], p.letter)) + n for n, p in added}
    roots = [n for n in loop.roots if n not in dict(added)] + list(sums.values())
    forward = forward_code(cell).locations
    assigned = _leaves(cell, [*roots, *loop.stores])
    assigned |= {n: forward[n] for n in ordered(roots) if n in saved_for_backward(cell)}
    assigned |= {n: f"s_{s}[t + 1]" for s, n in zip(cell.state, step.new_state, strict=True)}
    destinations = [(_location(place), n) for n, place in stores if (n, place) not in added]
    targets = {n: location for location, n in sums.items()}
    for location, n in destinations:
        if n not in assigned:
            targets.setdefault(n, location)
    lines, locations = _print(cell, roots, assigned, targets, frozenset(assigned))
    output = cell.state[0]
    lines.insert(0, f"add(g_{output}, y[t], out=g_{output})")
    lines += [f"{location}.copy_({locations[n]})" for location, n in destinations if locations[n] != location]
    after, before = ([f"{letter}_{s}" for s in cell.state] for letter in "gn")
    lines.append(f"{', '.join(after + before)} = {', '.join(before + after)}")
    return _compile(f"{cell.name}_backward", "range(T - 1, -1, -1)", lines, f"[{', '.join(after)}]", locations)


def _compile(
    name: str,
    steps: str,
    lines: list[str],
    result: str,
    locations: Mapping[Node, str],
) -> Code:
    names = sorted({n for line in lines for n in NAME.findall(re.sub(r"'\w+'", "", line))})
    source = "\n".join(
        [
            f"def {name}(T, buffers):",
            f"    [{', '.join(names)}] = (buffers[name] for name in {names})",
            f"    for t in {steps}:",
            *(f"        {line}" for line in lines),
            f"    return {result}",
            "",
        ]
    )
    constants = {n.label: _constant(n.label) for n in locations if n.op == "constant"}
    namespace: dict[str, Any] = {**OPERATIONS, "constant": constants}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return Code(source, namespace[name], frozenset(names), locations)


def _constant(value: float) -> torch.Tensor:
    """A number as a tensor that combines with any dtype and device: in float32, which every device has, if lossless."""
    in_float64 = torch.tensor(value, dtype=torch.float64)
    in_float32 = in_float64.to(torch.float32)
    return in_float32 if in_float32 == in_float64 else in_float64
