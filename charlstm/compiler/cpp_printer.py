"""Generates C++ from the stages of a loop.

A stage first computes its matmuls for one tile into ``sums`` and uses them while they are in the cache; then a loop
over the rows and units of the tile does the pointwise operations. H is padded to whole panels; ``weights`` are packed
into panels, and all buffers in the weights' dtype are float. In addition to the buffers of
:mod:`charlstm.compiler.loops` there are the masks of a step's index, for the buffers that they are named after
(``input_mask`` = 0: x holds one step), and the strides ``y_t`` and ``y_b`` of y.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.graph import Node
from charlstm.compiler.loops import Loop, backward_loop, forward_loop, gradient_buffers
from charlstm.compiler.schedule import runs
from charlstm.compiler.stages import Language, Stages

CPP = Language(
    definition="const V {} = {};",
    constant="splat({!r}f)",
    addresses={
        "input": "x + {index} * b.H + unit",
        "unit": "b.{buffer} + {index} * b.H + unit",
        "step": "b.{buffer} + {t} * b.B * b.H + at",
        "carry": "b.{buffer} + {t} * b.B * b.H + at",
        "gate": "b.{buffer} + (({t} * b.B + row + r) * {count} + {index}) * b.H + unit",
        "sum": "b.{buffer} + {index} * b.B * b.H + at",
        "output": "b.{buffer} + {t} * b.y_t + (row + r) * b.y_b + unit",
        "scratch": "b.{buffer} + at",
        "operand rows": "b.{buffer} + {t} * b.B * b.H + row * b.H",
    },
    masks={"value": "b.value_mask", "state": "b.state_mask", "operand": "b.operand_mask", "pair": "1"},
    load="load({})",
    store="store({0}, {1});",
    add="store({0}, load({0}) + {1});",
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


@dataclass(frozen=True)
class Code:
    """The C++ of a loop, and the fields of its buffer structure, eight bytes each."""

    source: str
    fields: tuple[str, ...]


@cache
def forward_code(cell: Cell) -> Code:
    """The forward pass."""
    masks = ("value_mask", "state_mask", "operand_mask", "input_mask")
    return _Printer(cell, forward_loop(cell)).code("Forward", masks, ["const int64_t* ids"])


@cache
def backward_code(cell: Cell) -> Code:
    """The backward pass."""
    return _Printer(cell, backward_loop(cell)).code("Backward", ("y_t", "y_b"), [])


class _Printer:
    def __init__(self, cell: Cell, loop: Loop) -> None:
        self._cell, self._loop = cell, loop
        self._operands = {m.operand: m.place for m in loop.matmuls}
        self._count = 0
        self._matmuls: defaultdict[int, list[str]] = defaultdict(list)
        stages = Stages(loop, CPP, self._matmul)
        self._scratch, self._bodies = stages.scratch, stages.bodies

    def _matmul(self, stage: int, n: Node) -> str:
        out = f"sums + {self._count} * ROWS * PANEL"
        self._count += 1
        total = f"load({out} + r * PANEL + j)"
        if n.op == "transposed":
            self._matmuls[stage] += self._transposed_matmul(n, out)
            return total
        operand = CPP.address(self._operands[n.args[0]], "operand rows")
        self._matmuls[stage].append(f"matmul(rows, b.H, {operand}, b.H, {self._panel(n.label)}, false, {out});")
        # The recurrent bias first: float addition is not associative, and results are to stay equal bit for bit.
        return f"{total} + {CPP.load_sum(reversed(self._loop.addends[n]))}"

    def _transposed_matmul(self, n: Node, out: str) -> list[str]:
        lines: list[str] = []
        d, e = gradient_buffers(self._cell)
        for buffer, gates in ((e, set(e.letters)), (d, set(d.letters) - set(e.letters))):
            for run in runs(self._cell.gates, gates & set(n.label)):
                stride = f"{len(buffer.letters)} * b.H"
                operand = f"b.{buffer.name} + (t * b.B + row) * {stride} + {buffer.letters.index(run)} * b.H"
                add = "true" if lines else "false"
                lines.append(
                    f"matmul(rows, {len(run)} * b.H, {operand}, {stride}, {self._panel(run[0])}, {add}, {out});"
                )
        return lines

    def _panel(self, gate: str) -> str:
        return f"b.weights + (panel * {len(self._cell.gates)} + {self._cell.gates.index(gate)}) * b.H * PANEL"

    def code(self, name: str, scalars: tuple[str, ...], pointers: list[str]) -> Code:
        """The structure of buffers and the structure of stages that ``run_time_loop`` in runtime.h takes."""
        integers, pointers = [*SCALARS, *scalars], [*pointers, "const P* weights"]
        for buffer in (*self._loop.inputs, *self._loop.outputs, *self._scratch):
            constant = "const " if buffer in self._loop.inputs else ""
            pointers.append(f"{constant}{'P' if buffer.compute_dtype else 'float'}* {buffer.name}")
        waits = "".join("1" if self._matmuls[n] else "0" for n in range(len(self._bodies)))
        cases = " ".join(f"case {n}: return stage_{n}(b, t, panel, row, rows, sums);" for n in range(len(self._bodies)))
        arguments = f"const {name}Buffers& b, int64_t t, int64_t panel, int64_t row, int64_t rows, float* sums"
        lines = [
            f"struct {name}Buffers {{",
            f"  int64_t {', '.join(integers)};",
            *(f"  {pointer};" for pointer in pointers),
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
        return Code("\n".join([*lines, "};", ""]), (*integers, *(pointer.split("* ")[1] for pointer in pointers)))
