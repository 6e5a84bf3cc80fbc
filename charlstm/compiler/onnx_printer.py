"""Prints one time step of a cell as a list of ONNX operators, all of opset 17.

Names of the values:

    x_k             [B, H] input side of gate k, with the biases of both sides if only their sum is used
    s_h, n_h        [B, H] state before and after the step
    p_NAME_k        [H] a per-unit parameter
    u_KS, b_KS      [H, nH], [nH] transposed recurrent weights and bias b' of the gates KS, without b' where x has it
    r_k             [B, H] recurrent side of gate k
    v_0 ...         [B, H] other values
    constant_0 ...  numbers
"""

from __future__ import annotations

from dataclasses import dataclass, field

from charlstm.cells import Cell
from charlstm.compiler.graph import MATMULS, Node, ordered, trace
from charlstm.compiler.schedule import matmuls_by_operand

OPERATORS = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "neg": "Neg",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
}


@dataclass(frozen=True)
class Operator:
    """An operator on named values; ``axis`` of a Split."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axis: int | None = None


@dataclass(frozen=True)
class OnnxStep:
    """The operators of a step, its constants by name, and the gates of each recurrent matmul."""

    operators: list[Operator] = field(default_factory=list)
    constants: dict[str, float] = field(default_factory=dict)
    matmuls: list[str] = field(default_factory=list)


def onnx_step(cell: Cell) -> OnnxStep:
    """The operators that compute ``n_s`` for each part s of the state."""
    step, printed = trace(cell), OnnxStep()
    values: dict[Node, str] = {}

    def compute(root: Node) -> str:
        for n in ordered([root], values):
            if n not in values:
                values[n] = _print(n, values, printed)
        return values[root]

    def compute_for_each_text(root: Node) -> str:
        """As ``compute``, with a row for each text even if the value depends on parameters alone."""
        name = compute(root)
        if any(n.op in ("input", "state") for n in ordered([root])):
            return name
        shape, rows = f"{name}_shape", f"{name}_rows"
        printed.operators.append(Operator("Shape", (f"s_{cell.state[0]}",), (shape,)))
        printed.operators.append(Operator("Expand", (name, shape), (rows,)))
        values[root] = rows
        return rows

    for operand, matmuls in matmuls_by_operand(cell).items():
        gates, operand_name = "".join(matmuls), compute_for_each_text(operand)
        printed.matmuls.append(gates)
        sides = tuple(f"r_{k}" for k in gates)
        product = sides[0] if len(sides) == 1 else f"r_{gates}_all"
        printed.operators.append(Operator("Gemm", (operand_name, f"u_{gates}", f"b_{gates}"), (product,)))
        if len(sides) > 1:
            printed.operators.append(Operator("Split", (product,), sides, axis=-1))
        for k, n in matmuls.items():
            values[n] = f"r_{k}"
            if n.op == "addmm":
                values[n] = f"a_{k}"
                printed.operators.append(Operator("Add", (f"x_{k}", f"r_{k}"), (f"a_{k}",)))
    for s, n in zip(cell.state, step.new_state, strict=True):
        printed.operators.append(Operator("Identity", (compute_for_each_text(n),), (f"n_{s}",)))
    return printed


def _print(n: Node, values: dict[Node, str], printed: OnnxStep) -> str:
    """Print the operator of a node, if it has one, and return the name of its value."""
    assert n.op not in MATMULS
    if n.op == "constant":
        name = f"constant_{len(printed.constants)}"
        printed.constants[name] = n.label
    elif n.op == "parameter":
        name = "p_{}_{}".format(*n.label)
    elif n.op in ("input", "state"):
        name = f"{'x' if n.op == 'input' else 's'}_{n.label}"
    else:
        name = f"v_{len(printed.operators)}"
        printed.operators.append(Operator(OPERATORS[n.op], tuple(values[a] for a in n.args), (name,)))
    return name
