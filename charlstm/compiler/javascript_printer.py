"""Prints one time step of a cell as a JavaScript function, for pages that run a model in the browser.

    step(H, x, state, next, parameters, recurrent)

reads ``x.k[u]``, the input side of gate k, with the biases of both sides if only their sum is used; ``state.s[u]``; and
``parameters["NAME.k"][u]``. It writes the new state to ``next.s``, other arrays than those of ``state``. ``recurrent(
gates, v)`` returns the arrays ``U_k v + b'_k`` by gate, without ``b'_k`` where x has it.

The functions ``sigmoid``, ``tanh`` and ``relu`` of a number must be in scope.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from charlstm.cells import Cell
from charlstm.compiler.graph import MATMULS, Node, consumers, ordered, trace
from charlstm.compiler.schedule import matmuls_by_operand

BINARY = {"add": "+", "sub": "-", "mul": "*"}


def javascript_step(cell: Cell, name: str = "step") -> str:
    """The source of the function ``name``."""
    step = trace(cell)
    values = {n: _leaf(n) for n in ordered(step.new_state) if not n.args}
    lines = [
        _unpack("x_", cell.gates, "x"),
        _unpack("s_", cell.state, "state"),
        _unpack("n_", cell.state, "next"),
        *(
            f'const p_{parameter}_{k} = parameters["{parameter}.{k}"];'
            for parameter, entries in cell.parameters.items()
            for k in entries
        ),
    ]
    for number, (operand, matmuls) in enumerate(matmuls_by_operand(cell).items()):
        array = f"s_{operand.label}"
        if operand.op != "state":
            array = f"m_{number}"
            lines.append(f"const {array} = new Float64Array(H);")
            lines += _loop({f"{array}[u]": operand}, values)
        gates = "".join(matmuls)
        lines.append(_unpack("r_", gates, f"recurrent({json.dumps(gates)}, {array})"))
        for k, n in matmuls.items():
            values[n] = f"x_{k}[u] + r_{k}[u]" if n.op == "addmm" else f"r_{k}[u]"
    lines += _loop({f"n_{s}[u]": n for s, n in zip(cell.state, step.new_state, strict=True)}, values)
    body = "\n".join(f"  {line}" for line in lines)
    return f"function {name}(H, x, state, next, parameters, recurrent) {{\n{body}\n}}\n"


def _leaf(n: Node) -> str:
    if n.op == "constant":
        return json.dumps(n.label)
    if n.op == "parameter":
        return "p_{}_{}[u]".format(*n.label)
    return f"{n.op[0].replace('i', 'x')}_{n.label}[u]"


def _unpack(prefix: str, letters: str, source: str) -> str:
    return f"const {{ {', '.join(f'{k}: {prefix}{k}' for k in letters)} }} = {source};"


def _loop(targets: Mapping[str, Node], given: Mapping[Node, str]) -> list[str]:
    """A loop over the units that computes the targets; a value that is used once is not named."""
    users = consumers(targets.values(), given)
    values, lines = dict(given), list[str]()
    for n in users:
        if n in given:
            continue
        assert n.op not in MATMULS
        text = _expression(n, values)
        if len(users[n]) + sum(n is target for target in targets.values()) > 1:
            name = f"v{len(lines)}"
            lines.append(f"  const {name} = {text};")
            text = name
        values[n] = text
    return [
        "for (let u = 0; u < H; u++) {",
        *lines,
        *(f"  {target} = {values[n]};" for target, n in targets.items()),
        "}",
    ]


def _expression(n: Node, values: Mapping[Node, str]) -> str:
    if n.op in BINARY:
        left, right = (f"({values[a]})" if _is_sum_or_product(a, values) else values[a] for a in n.args)
        return f"{left} {BINARY[n.op]} {right}"
    (argument,) = (values[a] for a in n.args)
    return f"-({argument})" if n.op == "neg" else f"{n.op}({argument})"


def _is_sum_or_product(n: Node, values: Mapping[Node, str]) -> bool:
    return (n.op in BINARY or n.op == "addmm") and " " in values[n]
