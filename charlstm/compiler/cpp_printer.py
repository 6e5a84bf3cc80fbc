"""Generates C++ from the stages of a graph.

A stage first computes its matmuls for one tile into ``sums`` and uses them while they are in the cache; then a loop
over the rows and units of the tile does the pointwise operations. The names in the generated code are defined in
:mod:`charlstm.compiler.cpp_loops`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from charlstm.cells import Cell
from charlstm.compiler.graph import Node
from charlstm.compiler.schedule import runs, separate_gates
from charlstm.compiler.stages import Language, Stages

CPP = Language(
    definition="const V {} = {};",
    constant="splat({!r}f)",
    scratch="b.w_{} + at",
    load="load({})",
    store="store({}, {});",
    expressions={
        "add": "{} + {}",
        "sub": "{} - {}",
        "mul": "{} * {}",
        "neg": "-{}",
        "copy": "{}",
        "sigmoid": "sigmoid({})",
        "tanh": "hyperbolic_tangent({})",
        "relu": "rectified({})",
        "sigmoid_backward": "sigmoid_backward({}, {})",
        "relu_backward": "rectified_backward({}, {})",
    },
)
SCALARS = ("T", "B", "H", "threads", "by_rows")
Fields = list[tuple[str, str]]


class Printer:
    """Generates the code of one pass; leaves, reloads and stores are those of :class:`Stages`.

    operands: the address of each matmul operand's rows.
    """

    def __init__(
        self,
        cell: Cell,
        roots: list[Node],
        leaves: Mapping[Node, str],
        reloads: Mapping[Node, str],
        stores: Mapping[Node, list[str]],
        operands: Mapping[Node, str],
    ) -> None:
        self._cell, self._operands = cell, operands
        self._count = 0
        self._matmuls: defaultdict[int, list[str]] = defaultdict(list)
        stages = Stages(roots, leaves, reloads, stores, CPP, self._matmul)
        self.scratch, self._bodies = stages.scratch, stages.bodies

    def _matmul(self, stage: int, n: Node) -> str:
        out = f"sums + {self._count} * ROWS * PANEL"
        self._count += 1
        total = f"load({out} + r * PANEL + j)"
        if n.op == "transposed":
            self._matmuls[stage] += self._transposed_matmul(n, out)
            return total
        gate = self._cell.gates.index(n.label)
        operand = f"{self._operands[n.args[0]]} + row * b.H"
        self._matmuls[stage].append(f"matmul(rows, b.H, {operand}, b.H, {self._panel(n.label)}, false, {out});")
        bias = f"load(b.bias_{'x' if n.op == 'addmm' else 'h'} + {gate} * b.H + unit)"
        return f"{total} + {bias}" + (f" + load(x + {gate} * b.H + unit)" if n.op == "addmm" else "")

    def _transposed_matmul(self, n: Node, out: str) -> list[str]:
        lines: list[str] = []
        separate = separate_gates(self._cell)
        for letter, letters in (("e", separate), ("d", self._cell.gates)):
            in_buffer = [k for k in n.label if (k in separate) == (letter == "e")]
            for run in runs(self._cell.gates, in_buffer):
                stride = f"{len(letters)} * b.H"
                operand = f"b.{letter} + (t * b.B + row) * {stride} + {letters.index(run)} * b.H"
                add = "true" if lines else "false"
                lines.append(
                    f"matmul(rows, {len(run)} * b.H, {operand}, {stride}, {self._panel(run[0])}, {add}, {out});"
                )
        return lines

    def _panel(self, gate: str) -> str:
        return f"b.weights + (panel * {len(self._cell.gates)} + {self._cell.gates.index(gate)}) * b.H * PANEL"

    def source(self, name: str, fields: Fields) -> str:
        """The structure of buffers and the structure of stages that ``run_time_loop`` in runtime.h takes."""
        waits = "".join("1" if self._matmuls[n] else "0" for n in range(len(self._bodies)))
        cases = " ".join(f"case {n}: return stage_{n}(b, t, panel, row, rows, sums);" for n in range(len(self._bodies)))
        arguments = f"const {name}Buffers& b, int64_t t, int64_t panel, int64_t row, int64_t rows, float* sums"
        lines = [
            f"struct {name}Buffers {{",
            f"  int64_t {', '.join(SCALARS)};",
            *(f"  {kind} {field};" for kind, field in fields),
            "};",
            f"struct {name} {{",
            f"  static constexpr int stages = {len(self._bodies)}, matmuls = {self._count};",
            f"  static bool waits(int stage) {{ return \"{waits}\"[stage] == '1'; }}",
            f"  static void run(int stage, {arguments}) {{ switch (stage) {{ {cases} }} }}",
        ]
        for number, body in enumerate(self._bodies):
            lines += [
                f"  static void stage_{number}({arguments.replace('& b', '& buffers')}) {{",
                f"    const {name}Buffers b = buffers;  // a local copy, which no store can alias",
                *(f"    {line}" for line in self._matmuls[number]),
                "    for (int64_t r = 0; r < rows; ++r) {",
            ]
            if any("load(x + " in line for line in body):
                row_index = "b.ids ? b.ids[(t & b.input_mask) * b.B + row + r] : (t & b.input_mask) * b.B + row + r"
                lines.append(f"      const P* x = b.x + ({row_index}) * {len(self._cell.gates)} * b.H;")
            lines += [
                "      for (int64_t j = 0; j < PANEL; j += LANES) {",
                "        const int64_t unit = panel * PANEL + j, at = (row + r) * b.H + unit;",
                *(f"        {line}" for line in body),
                "      }",
                "    }",
                "  }",
            ]
        return "\n".join([*lines, "};", ""])
