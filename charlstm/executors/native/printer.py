"""Distribute a graph over stages and print them as C++.

A stage ends where the next recurrent product begins: a product needs all units of what it reads, other operations only
their own. The products of a stage are made for one tile, into ``sums``, and used while they are in the cache; then a
loop over the rows and units of the tile does the rest. What the names mean is said in
:mod:`charlstm.executors.native.loops`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from charlstm.cells import Cell
from charlstm.executors.graph import PRODUCTS, Node, ordered
from charlstm.executors.schedule import runs, separate_gates

EXPRESSIONS = {
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
}
NUMBERS = ("T", "B", "H", "threads", "by_rows")
Fields = list[tuple[str, str]]


class _Stage:
    """The lines of one stage: its products, then the body of its loop. A value is loaded at its first use."""

    def __init__(self, loads: Mapping[Node, str]) -> None:
        self.products: list[str] = []
        self.body: list[str] = []
        self._loads = loads
        self._names: dict[Node, str] = {}

    def use(self, n: Node) -> str:
        if n.op == "constant":
            return f"splat({n.label!r}f)"
        if n not in self._names:
            self.define(n, self._loads[n])
        return self._names[n]

    def define(self, n: Node, expression: str) -> None:
        self._names[n] = f"n{len(self._names)}"
        self.body.append(f"const V {self._names[n]} = {expression};")


class Printer:
    """Distributes the nodes of one direction over stages.

    leaves   how to load what is given; reloads, what a later stage finds in a buffer anyway; stores, lines that take
    the name of a value once it is there. Values that cross to a later stage otherwise get a buffer ``w_``.
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
        self._loads = {**reloads, **leaves}
        order = [n for n in ordered(roots, leaves) if n.op != "constant"]
        level = self._levels(order, leaves)
        crossing = self._cross(order, level)
        self.scratch = len(crossing)
        self.count = 0
        self.stages = [_Stage(self._loads) for _ in range(max(level.values(), default=0) + 1)]
        for n in order:
            stage = self.stages[level[n]]
            if n not in leaves:
                stage.define(n, self._expression(stage, n))
            stage.body += [line.format(stage.use(n)) for line in (*stores.get(n, ()), *crossing.get(n, ()))]
        for n, lines in stores.items():
            if n not in level:
                self.stages[0].body += [line.format(self.stages[0].use(n)) for line in lines]

    def _levels(self, order: list[Node], leaves: Collection[Node]) -> dict[Node, int]:
        level: dict[Node, int] = {}
        for n in order:
            below = [level[a] for a in n.args if a in level]
            if n in leaves:
                level[n] = 0
            elif n.op in PRODUCTS and n.args[0].op != "state":
                level[n] = max(below) + 1
            else:
                level[n] = 0 if n.op in PRODUCTS else max(below, default=0)
        return level

    def _cross(self, order: list[Node], level: Mapping[Node, int]) -> dict[Node, list[str]]:
        users = [n for n in order if n.op not in PRODUCTS]
        later = {a for n in users for a in n.args if level.get(a, level[n]) < level[n] and a not in self._loads}
        places = {n: f"b.w_{number} + at" for number, n in enumerate(n for n in order if n in later)}
        self._loads |= {n: f"load({place})" for n, place in places.items()}
        return {n: [f"store({place}, {{}});"] for n, place in places.items()}

    def _expression(self, stage: _Stage, n: Node) -> str:
        if n.op not in PRODUCTS:
            return EXPRESSIONS[n.op].format(*(stage.use(a) for a in n.args))
        to = f"sums + {self.count} * ROWS * PANEL"
        self.count += 1
        total = f"load({to} + r * PANEL + j)"
        if n.op == "transposed":
            stage.products += self._transposed(n, to)
            return total
        gate = self._cell.gates.index(n.label)
        operand = f"{self._operands[n.args[0]]} + row * b.H"
        stage.products.append(f"product(rows, b.H, {operand}, b.H, {self._panel(n.label)}, false, {to});")
        bias = f"load(b.bias_{'x' if n.op == 'gate' else 'h'} + {gate} * b.H + unit)"
        return f"{total} + {bias}" + (f" + load(x + {gate} * b.H + unit)" if n.op == "gate" else "")

    def _transposed(self, n: Node, to: str) -> list[str]:
        lines: list[str] = []
        separate = separate_gates(self._cell)
        for letter, letters in (("e", separate), ("d", self._cell.gates)):
            mine = [k for k in n.label if (k in separate) == (letter == "e")]
            for run in runs(self._cell.gates, mine):
                stride = f"{len(letters)} * b.H"
                at = f"b.{letter} + (t * b.B + row) * {stride} + {letters.index(run)} * b.H"
                add = "true" if lines else "false"
                lines.append(f"product(rows, {len(run)} * b.H, {at}, {stride}, {self._panel(run[0])}, {add}, {to});")
        return lines

    def _panel(self, gate: str) -> str:
        return f"b.weights + (panel * {len(self._cell.gates)} + {self._cell.gates.index(gate)}) * b.H * PANEL"

    def source(self, name: str, fields: Fields) -> str:
        """The structure of buffers and the structure of stages, as ``walk`` in runtime.h takes them."""
        waits = "".join("1" if stage.products else "0" for stage in self.stages)
        cases = " ".join(f"case {n}: return stage_{n}(b, t, panel, row, rows, sums);" for n in range(len(self.stages)))
        arguments = f"const {name}Buffers& b, int64_t t, int64_t panel, int64_t row, int64_t rows, float* sums"
        lines = [
            f"struct {name}Buffers {{",
            f"  int64_t {', '.join(NUMBERS)};",
            *(f"  {kind} {field};" for kind, field in fields),
            "};",
            f"struct {name} {{",
            f"  static constexpr int stages = {len(self.stages)}, products = {self.count};",
            f"  static bool waits(int stage) {{ return \"{waits}\"[stage] == '1'; }}",
            f"  static void run(int stage, {arguments}) {{ switch (stage) {{ {cases} }} }}",
        ]
        for number, stage in enumerate(self.stages):
            lines += [
                f"  static void stage_{number}({arguments.replace('& b', '& buffers')}) {{",
                f"    const {name}Buffers b = buffers;  // a copy, which no store can change",
                *(f"    {line}" for line in stage.products),
                "    for (int64_t r = 0; r < rows; ++r) {",
            ]
            if any("load(x + " in line for line in stage.body):
                at = "b.ids ? b.ids[(t & b.input_mask) * b.B + row + r] : (t & b.input_mask) * b.B + row + r"
                lines.append(f"      const P* x = b.x + ({at}) * {len(self._cell.gates)} * b.H;")
            lines += [
                "      for (int64_t j = 0; j < PANEL; j += LANES) {",
                "        const int64_t unit = panel * PANEL + j, at = (row + r) * b.H + unit;",
                *(f"        {line}" for line in stage.body),
                "      }",
                "    }",
                "  }",
            ]
        return "\n".join([*lines, "};", ""])
