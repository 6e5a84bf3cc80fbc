"""Print a cell's graph as C++: for each step a few stages, each a loop over the rows and units of one tile.

A stage ends where the next recurrent product begins: a product needs all units of what it reads, other operations only
their own. The products of a stage are made for one tile, into ``sums``, and used while they are in the cache.

Names in the printed code; shapes are [T, B, H] with H padded to whole panels, P is the type of product operands:

    x, bias_x, bias_h   input sides [T, B, GH], or of one step (``input_mask`` = 0), or with ids rows of a table
                        [I + 1, GH]; biases [GH], float
    weights             packed recurrent weights
    s_c                 states, float: before each step and after the last, or the two latest (``all_c`` = 1)
    l_h                 states that products read and the output, P: T + 1 entries or two (``low_mask`` = 1); the way
                        back reads them too
    v_0 ...             further values that products or the way back read, P: all steps or one (``keep`` = 0)
    p_NAME, z_NAME      per-unit parameters [n, H] and, summed over time, their gradients [n, B, H], float
    y                   gradient of the output, P, with its strides ``y_t`` and ``y_b``
    g_h                 gradient of the state after a step and before it, by turns, float: [2, B, H]
    d, e                gradients [T, B, nH] of the input sides and of the separate recurrent sides, P
    w_0 ...             what a later stage of the same step reads, float: [B, H]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.executors.derivative import differentiate
from charlstm.executors.graph import PRODUCTS, Node, ordered, trace
from charlstm.executors.schedule import backward_roots, kept, runs, separate_gates

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


@dataclass(frozen=True)
class Loop:
    """One printed loop: its structure's fields, of eight bytes each, and the buffers of the values of all steps."""

    source: str
    fields: tuple[str, ...]
    values: Mapping[Node, str]


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


class _Printer:
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


def operand_states(cell: Cell) -> str:
    """The letters of the states that have a copy for products: those that products read, and the output."""
    found = {n.args[0].label for n in trace(cell).products() if n.args[0].op == "state"} | {cell.state[0]}
    return "".join(s for s in cell.state if s in found)


def read_states(cell: Cell) -> str:
    """The letters of the states of which the way back reads the exact values of all steps."""
    step = trace(cell)
    new = dict(zip(step.new_state, cell.state, strict=True))
    order = ordered(backward_roots(differentiate(cell)), {*kept(cell), *new})
    found = {new.get(n) or n.label for n in order if n in new or n.op == "state"}
    return "".join(s for s in cell.state if s in found and s not in operand_states(cell))


def _parameters(cell: Cell, nodes: list[Node]) -> dict[Node, str]:
    return {
        n: f"load(b.p_{n.label[0]} + {cell.parameters[n.label[0]].index(n.label[1])} * b.H + unit)"
        for n in nodes
        if n.op == "parameter"
    }


@cache
def forward_loop(cell: Cell) -> Loop:
    """The way forward: fills s_, l_ and v_."""
    step = trace(cell)
    nodes = ordered(step.new_state)
    leaves = _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves[n] = f"load(b.s_{n.label} + (t & b.all_{n.label}) * b.B * b.H + at)"
        elif n.op == "input":
            unit = f"{cell.gates.index(n.label)} * b.H + unit"
            leaves[n] = f"load(x + {unit}) + load(b.bias_x + {unit})"
    read = {p.args[0] for p in step.products()}
    chosen = [n for n in nodes if n in kept(cell) or (n in read and n.op != "state")]
    values = {n: f"v_{number}" for number, n in enumerate(chosen)}
    places = {n: f"b.{name} + (t & b.keep) * b.B * b.H" for n, name in values.items()}
    stores = {n: [f"store({place} + at, {{}});"] for n, place in places.items()}
    reloads = {n: f"load({place} + at)" for n, place in places.items()}
    for s, n in zip(cell.state, step.new_state, strict=True):
        exact = f"b.s_{s} + ((t + 1) & b.all_{s}) * b.B * b.H + at"
        lines = [f"store({exact}, {{}});"]
        if s in operand_states(cell):
            lines.append(f"store(b.l_{s} + ((t + 1) & b.low_mask) * b.B * b.H + at, {{}});")
        stores.setdefault(n, []).extend(lines)
        reloads[n] = f"load({exact})"
    operands = {n: f"b.l_{n.label} + (t & b.low_mask) * b.B * b.H" for n in read if n.op == "state"} | places
    printer = _Printer(cell, list(step.new_state), leaves, reloads, stores, operands)
    fields: Fields = [
        ("const P*", "x"),
        ("const int64_t*", "ids"),
        ("const P*", "weights"),
        ("const float*", "bias_x"),
        ("const float*", "bias_h"),
        ("int64_t", "keep"),
        ("int64_t", "input_mask"),
        ("int64_t", "low_mask"),
        *((kind, letter + s) for s in cell.state for kind, letter in (("float*", "s_"), ("int64_t", "all_"))),
        *(("P*", f"l_{s}") for s in operand_states(cell)),
        *(("P*", name) for name in values.values()),
        *(("const float*", f"p_{name}") for name in cell.parameters),
        *(("float*", f"w_{number}") for number in range(printer.scratch)),
    ]
    return Loop(printer.source("Forward", fields), (*NUMBERS, *(name for _, name in fields)), values)


@cache
def backward_loop(cell: Cell) -> Loop:
    """The way back: fills d, e and z_, and leaves the gradients of the first state in g_."""
    derivative = differentiate(cell)
    step = derivative.forward
    roots = backward_roots(derivative)
    values = {n: place for n, place in forward_loop(cell).values.items() if n in kept(cell)}
    leaves = {n: f"load(b.{place} + t * b.B * b.H + at)" for n, place in values.items()}
    stacks = {s: f"b.{'l' if s in operand_states(cell) else 's'}_{s}" for s in cell.state}
    for s, n in zip(cell.state, step.new_state, strict=True):
        leaves[n] = f"load({stacks[s]} + (t + 1) * b.B * b.H + at)"
    nodes = ordered(roots, leaves)
    leaves |= _parameters(cell, nodes)
    for n in nodes:
        if n.op == "state":
            leaves.setdefault(n, f"load({stacks[n.label]} + t * b.B * b.H + at)")
        elif n.op == "gradient":
            leaves[n] = f"load(b.g_{n.label} + ((t + 1) & 1) * b.B * b.H + at)"
            if n.label == cell.state[0]:
                leaves[n] += " + load(b.y + t * b.y_t + (row + r) * b.y_b + unit)"
    separate = separate_gates(cell)
    stores: dict[Node, list[str]] = {}

    def into(place: str, n: Node) -> None:
        stores.setdefault(n, []).append(f"store({place}, {{}});")

    def gradient(letter: str, letters: str, k: str) -> str:
        return f"b.{letter} + ((t * b.B + row + r) * {len(letters)} + {letters.index(k)}) * b.H + unit"

    for k, n in derivative.recurrent.items():
        if k in separate:
            into(gradient("e", separate, k), n)
    zero = step.graph.lift(0)
    for k in cell.gates:
        into(gradient("d", cell.gates, k), derivative.inputs.get(k, zero))
    for s, n in zip(cell.state, derivative.state, strict=True):
        into(f"b.g_{s} + (t & 1) * b.B * b.H + at", n)
    for (name, k), n in derivative.parameters.items():
        place = f"b.z_{name} + {cell.parameters[name].index(k)} * b.B * b.H + at"
        stores.setdefault(n, []).append(f"store({place}, load({place}) + {{}});")
    printer = _Printer(cell, roots, leaves, {}, stores, {})
    fields: Fields = [
        ("const P*", "weights"),
        ("const P*", "y"),
        ("int64_t", "y_t"),
        ("int64_t", "y_b"),
        *(("const float*", f"s_{s}") for s in cell.state),
        *(("const P*", f"l_{s}") for s in operand_states(cell)),
        *(("const P*", place) for place in values.values()),
        *(("const float*", f"p_{name}") for name in cell.parameters),
        *(("float*", f"z_{name}") for name in cell.parameters),
        *(("float*", f"g_{s}") for s in cell.state),
        ("P*", "d"),
        ("P*", "e"),
        *(("float*", f"w_{number}") for number in range(printer.scratch)),
    ]
    return Loop(printer.source("Backward", fields), (*NUMBERS, *(name for _, name in fields)), values)
