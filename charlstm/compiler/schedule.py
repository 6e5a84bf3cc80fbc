"""Turns a graph into a list of instructions, with matmuls and sums fused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from charlstm.cells import Cell
from charlstm.compiler.derivative import Derivative, differentiate
from charlstm.compiler.graph import ACTIVATIONS, Node, consumers, ordered, trace


@dataclass(frozen=True)
class Instruction:
    """``operation`` applied to ``reads`` gives ``results``.

    In addition to the operators of the graph there are ``addcmul`` and ``subcmul`` (a, b, c: a + b c and a - b c),
    ``addmm`` and ``matmul`` for a run of neighboring gates (one read, a result for each gate in ``gates``), and
    ``transposed`` with an optional last read, which is added to the sum.
    """

    operation: str
    results: tuple[Node, ...]
    reads: tuple[Node, ...]
    gates: str = ""


def runs(gates: str, chosen: Iterable[str]) -> list[str]:
    """The chosen gates as runs of neighboring gates: ``runs("ifgo", "igo") == ["i", "go"]``."""
    indices = sorted(gates.index(k) for k in chosen)
    grouped = groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])
    return ["".join(gates[index] for _, index in group) for _, group in grouped]


def select(
    cell: Cell, roots: Sequence[Node], available: Collection[Node], unfused: Collection[Node]
) -> list[Instruction]:
    """Instructions that compute the roots from the available nodes; nodes in ``unfused`` get a separate instruction."""
    users = consumers(roots, available)
    order = [n for n in users if n not in available]
    not_fusible = {*unfused, *roots}

    def can_fuse(n: Node, user: Node) -> bool:
        return n in order and n not in not_fusible and users[n] == [user]

    fused: set[Node] = set()
    for n in order:
        if n.op in ("add", "sub") and not any(a.op == "constant" for a in n.args):
            candidates = [a for a in reversed(n.args) if a.op == "transposed" and n.op == "add"]
            candidates += [a for a in reversed(n.args) if a.op == "mul" and (n.op == "add" or a is n.args[1])]
            for a in candidates:
                if can_fuse(a, n) and n.args[0] is not n.args[1] and not any(b.op == "constant" for b in a.args):
                    fused.add(a)
                    break

    instructions: list[Instruction] = []
    done: set[Node] = set()
    for n in order:
        if n in fused or n in done or n.op == "constant":
            continue
        part = next((a for a in n.args if a in fused), None)
        other = tuple(a for a in n.args if a is not part)
        if n.op in ("addmm", "matmul"):
            same = {m.label: m for m in order if m.op == n.op and m.args == n.args}
            for run in runs(cell.gates, same):
                instructions.append(Instruction(n.op, tuple(same[k] for k in run), n.args, run))
            done.update(same.values())
        elif part is None:
            instructions.append(Instruction(n.op, (n,), n.args, n.label if n.op == "transposed" else ""))
        elif part.op == "transposed":
            instructions.append(Instruction("transposed", (n,), (*part.args, *other), part.label))
        else:
            instructions.append(Instruction(f"{n.op}cmul", (n,), (*other, *part.args)))
    return instructions


@cache
def matmuls_by_operand(cell: Cell) -> dict[Node, dict[str, Node]]:
    """The recurrent matmuls of a step, by operand and gate, in an order in which they can be computed."""
    groups: dict[Node, dict[str, Node]] = {}
    for n in trace(cell).matmuls:
        groups.setdefault(n.args[0], {})[n.label] = n
    return {operand: {k: by_gate[k] for k in cell.gates if k in by_gate} for operand, by_gate in groups.items()}


@cache
def separate_gates(cell: Cell) -> str:
    """The gates that need their recurrent side separately from their input side."""
    separate = {n.label for n in trace(cell).matmuls if n.op == "matmul"}
    return "".join(k for k in cell.gates if k in separate)


@cache
def summed_gates(cell: Cell) -> str:
    """The gates that use only the sum of both sides."""
    summed = {n.label for n in trace(cell).matmuls if n.op == "addmm"}
    return "".join(k for k in cell.gates if k in summed)


def backward_roots(derivative: Derivative) -> list[Node]:
    """All nodes that one backward step computes."""
    return [
        *derivative.recurrent.values(),
        *derivative.inputs.values(),
        *derivative.parameters.values(),
        *derivative.state,
    ]


@cache
def saved_for_backward(cell: Cell) -> frozenset[Node]:
    """The forward values that are saved for the backward pass, in addition to the states.

    Activations, and the results and operands of matmuls; all other arithmetic is cheap and recomputed.
    """
    derivative = differentiate(cell)
    step = derivative.forward
    forward = set(ordered(step.new_state))
    saved = {n.args[0] for n in step.matmuls if n.args[0].args or n.args[0].op == "input"}
    visited: set[Node] = set()
    stack = backward_roots(derivative)
    while stack:
        n = stack.pop()
        if n in visited or n in saved or n in step.new_state:
            continue
        visited.add(n)
        if n in forward and (n.op in ACTIVATIONS or n.op in ("addmm", "matmul", "input")):
            saved.add(n)
        else:
            stack.extend(n.args)
    return frozenset(saved - set(step.new_state))
