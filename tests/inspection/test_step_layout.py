"""The diagram of a step, for every cell and for invented ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from charlstm.cells import CELLS, Cell, cell
from charlstm.cells.base import relu, sigmoid, tanh
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.inspection.step_elements import Elements
from charlstm.inspection.step_equations import equations
from charlstm.inspection.step_labels import HALF_HEIGHT, HALF_WIDTH
from charlstm.inspection.step_layout import PORT, Layout, Shape, step_layout, unit_steps


def invented() -> list[Cell]:
    """Cells unlike those of the package; not registered."""

    @cell(gates="fn", state="h")
    def minimal(x, r, h):
        f = sigmoid(x.f + r.f)
        n = tanh(x.n + r.of(f * h).n)
        return (1 - f) * h + f * n

    @cell(gates="abcd", state="hm", parameters={"scale": "u"})
    def two_belts(x, r, h, m, scale):
        a = sigmoid(0.5 - x.a + r.a * scale.u)
        m = a * m + (1 - a) * tanh(x.b + r.b)
        c = sigmoid(x.c + r.c + m)
        return 0.5 * h + c * tanh(m) * sigmoid(m + h), m + x.d + r.d

    @cell(gates="ab", state="hcm")
    def exchanged(x, r, h, c, m):
        return relu(x.a + r.a) - c, -h * sigmoid(x.b + r.b), m

    @cell(gates="abcdefgi", state="h")
    def chain(x, r, h):
        s = sigmoid(x.a + r.a)
        for k in "bcdefgi":
            s = s * sigmoid(x[k] + r[k])
        return s * s + h

    @cell(gates="ab", state="h", parameters={"decay_logit": "d"})
    def nested(x, r, h, p):
        inner = tanh(x.a + r.of(sigmoid(p.d) * h).a)
        return sigmoid(p.d) * h + tanh(x.b + r.of(inner).b)

    cells = [minimal, two_belts, exchanged, chain, nested]
    for declared in cells:
        del CELLS[declared.name]
    return cells


@pytest.fixture(scope="module", params=[*CELLS.values(), *invented()], ids=lambda c: c.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    """The diagram of a step of each cell. Read only."""
    return step_layout(trace(request.param))


def rectangles(layout: Layout) -> list[tuple[float, float, float, float]]:
    """Center and half sizes of all elements and ports."""
    return [(s.x, s.y, s.half_width, s.half_height) for s in layout.shapes] + [(p.x, p.y, *PORT) for p in layout.ports]


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return abs(a[0] - b[0]) < a[2] + b[2] and abs(a[1] - b[1]) < a[3] + b[3]


def read(node: Node, layout: Layout) -> Iterator[Node | None]:
    """What the element of a node reads, from the graph alone: values of other elements, the old state, None for x."""
    for a in node.args:
        if a.op == "state" or a in layout.elements.by_node:
            yield a
        else:
            yield from read(a, layout)
    if node.op in ("input", "addmm"):
        yield None


def test_nothing_overlaps(layout):
    boxes = rectangles(layout)
    labels = [(label.x, label.y, HALF_WIDTH, HALF_HEIGHT) for label in layout.labels]
    assert not [pair for pair in combinations([*boxes, *labels], 2) if overlap(*pair)]
    for x, y, half_width, half_height in [*boxes, *labels]:
        assert 0 <= x - half_width <= x + half_width <= layout.width
        assert 0 <= y - half_height <= y + half_height <= layout.height


def test_lines_of_different_values_only_cross(layout):
    owner: dict[frozenset[tuple[int, int]], Node | None] = {}
    passing: dict[tuple[int, int], set[Node | None]] = {}
    for wire in layout.wires:
        for step in unit_steps(wire.points):
            assert owner.setdefault(frozenset(step), wire.node) is wire.node
            for point in step:
                passing.setdefault(point, set()).add(wire.node)
    for wire in layout.wires:
        for corner in wire.points:
            assert len(passing[corner]) == 1, "a bend or an end on another line reads as a branch"


def test_no_line_runs_through_an_element(layout):
    boxes = rectangles(layout)
    for wire in layout.wires:
        inner = [b for _, b in unit_steps(wire.points)][:-1]
        assert not [p for p in inner if any(overlap((*p, 0.5, 0.5), box) for box in boxes)]


def test_lines_connect_what_the_graph_connects(layout):
    shapes = {s.element.node: s for s in layout.shapes}
    expected = {(a, n) for n in shapes for a in read(n, layout)} | {(n, None) for n in layout.elements.step.new_state}
    assert {(w.node, w.reader) for w in layout.wires} == expected
    on_border = {n: _border(s) for n, s in shapes.items()}
    for wire in layout.wires:
        if wire.node in on_border:
            assert wire.points[0] in on_border[wire.node]
        if wire.reader is not None:
            assert wire.points[-1] in on_border[wire.reader]


def _border(s: Shape) -> set[tuple[int, int]]:
    w, h = s.half_width, s.half_height
    across = {(s.x + dx, s.y + dy) for dx in range(-w, w + 1) for dy in (-h, h)}
    return across | {(s.x + dx, s.y + dy) for dx in (-w, w) for dy in range(-h, h + 1)}


def test_every_node_is_shown(layout):
    shown = set(layout.elements.by_node) | {p.node for p in layout.ports}
    for shape in layout.shapes:
        if shape.element.argument is not None:
            shown.add(shape.element.argument)
    numbered = {label.node for label in layout.labels}
    for node in ordered(layout.elements.step.new_state):
        inside = {u for u in shown if u is not None and node in u.args}
        assert node in shown or node.op == "constant" or inside, f"{node} is neither drawn nor part of what is drawn"
        assert node in numbered or node not in layout.elements.by_node, f"{node} has no number"


def test_equations_name_each_value_once(layout):
    written = equations(layout.elements)
    names = [e.name for e in written]
    assert len(set(names)) == len(names)
    defined = {e.node for e in written}
    assert {n for n in layout.elements.step.new_state if n.op != "state"} <= defined
    for k, equation in enumerate(written):
        used = {t.node for t in equation.tokens if t.node in defined} - {equation.node}
        assert used <= {e.node for e in written[:k]}, f"{equation} uses what follows it"


@pytest.mark.parametrize(
    ("name", "belts"),
    [("lstm", {"c": 2}), ("gru", {"h": 2}), ("lstm_no_forget_gate", {"c": 1}), ("leaky", {"h": 2}), ("rnn", {})],
)
def test_state_runs_along_the_top_as_on_a_belt(name, belts):
    layout = step_layout(trace(CELLS[name]))
    assert {s: len(path) - 1 for s, path in layout.elements.belts.items()} == belts
    for path in layout.elements.belts.values():
        on_belt = [s for n in path for s in layout.shapes if s.element.node is n]
        assert len({s.y for s in on_belt}) == 1
        assert [s.x for s in on_belt] == sorted(s.x for s in on_belt)
        assert all(s.y > on_belt[0].y for s in layout.shapes if s not in on_belt)


@pytest.mark.parametrize(
    ("name", "valves", "others"),
    [("lstm", 3, 0), ("gru", 3, 0), ("esn", 2, 0), ("leaky", 2, 0), ("peephole", 3, 3), ("lstm_no_output_gate", 2, 0)],
)
def test_products_with_a_gate_are_valves(name, valves, others):
    kinds = [e.kind for e in Elements(trace(CELLS[name])).by_node.values()]
    assert (kinds.count("valve"), kinds.count("times")) == (valves, others)


def test_equations_read_as_in_the_papers():
    assert [str(e) for e in equations(Elements(trace(CELLS["peephole"])))] == [
        "f = σ(W_f x_t + b_f + U_f h_t−1 + b′_f + p_f ⊙ c_t−1)",
        "i = σ(W_i x_t + b_i + U_i h_t−1 + b′_i + p_i ⊙ c_t−1)",
        "g = tanh(W_g x_t + b_g + U_g h_t−1 + b′_g)",
        "c_t = f ⊙ c_t−1 + i ⊙ g",
        "o = σ(W_o x_t + b_o + U_o h_t−1 + b′_o + p_o ⊙ c_t)",
        "h_t = o ⊙ tanh(c_t)",
    ]
    assert [str(e) for e in equations(Elements(trace(CELLS["gru"])))][2:] == [
        "n = tanh(W_n x_t + b_n + r ⊙ (U_n h_t−1 + b′_n))",
        "h_t = (1 − z) ⊙ n + z ⊙ h_t−1",
    ]
