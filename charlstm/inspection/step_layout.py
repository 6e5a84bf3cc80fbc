"""The layout of a step's diagram, for any cell, from the graph of its equations.

State that passes by sums and products alone runs along the top from left to right, as on a conveyor belt; everything
else hangs below it. Lines of different values cross at right angles and never overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from charlstm.compiler.graph import Node, StepGraph
from charlstm.inspection.step_elements import Element, Elements, Role
from charlstm.inspection.step_labels import place_labels
from charlstm.inspection.step_places import Places
from charlstm.inspection.step_ports import LEFT, RIGHT, TOP, End, Ports
from charlstm.inspection.step_routes import Direction, Grid, Point

Line: TypeAlias = tuple[Node | None, Node | None, Role, Point, Direction, Point, Direction]
"""Value, reader, role; where it starts and the direction in which it leaves, where it ends and in which it arrives."""

UNIT = 16
"""Pixels per grid unit."""
COLUMN, MARGIN, ROW = 10, 11, 5
HALF_SIZES = {"box": (3, 2), "parameter": (3, 2), "valve": (1, 1), "times": (1, 1), "sum": (1, 1), "function": (2, 1)}
PORT = (3, 1)


@dataclass(frozen=True)
class Shape:
    """An element at its place: center and half of width and height, in grid units.

    ``flow`` is the direction in which what a valve multiplies enters it.
    """

    element: Element
    x: int
    y: int
    half_width: int
    half_height: int
    flow: Direction


@dataclass(frozen=True)
class Port:
    """A labeled end of the diagram: the state before (``old``) or after (``new``) the step, or ``x``; its center."""

    kind: str
    name: str
    node: Node | None
    x: int
    y: int


@dataclass(frozen=True)
class Wire:
    """A line from where a value is computed to an element that reads it, or to a port, as its corners.

    ``node`` is the value, None for x; ``reader`` the node of the element, None for a port. A line with the role ``x``
    or ``matmul`` carries the values of all units.
    """

    node: Node | None
    reader: Node | None
    role: Role
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Label:
    """Where the number of a value is written: its center."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """A diagram in grid units."""

    elements: Elements
    width: int
    height: int
    shapes: list[Shape]
    ports: list[Port]
    wires: list[Wire]
    labels: list[Label]

    @property
    def junctions(self) -> list[tuple[Node | None, Point]]:
        """The points at which a line branches, each with the value."""
        steps: dict[tuple[Node | None, Point], set[Point]] = {}
        for wire in self.wires:
            for a, b in unit_steps(wire.points):
                steps.setdefault((wire.node, a), set()).add(b)
                steps.setdefault((wire.node, b), set()).add(a)
        return [key for key, neighbors in steps.items() if len(neighbors) > 2]


def unit_steps(points: tuple[Point, ...]) -> Iterator[tuple[Point, Point]]:
    """The steps of one grid unit along a line given by its corners."""
    for (ax, ay), (bx, by) in pairwise(points):
        dx, dy = (bx > ax) - (bx < ax), (by > ay) - (by < ay)
        for k in range(abs(bx - ax) + abs(by - ay)):
            yield (ax + k * dx, ay + k * dy), (ax + (k + 1) * dx, ay + (k + 1) * dy)


def step_layout(step: StepGraph) -> Layout:
    """Lay out the diagram of a traced step."""
    return _Builder(Elements(step)).layout()


class _Builder:
    def __init__(self, elements: Elements) -> None:
        self.elements, self.places = elements, Places(elements)
        self.sides = Ports(elements, self.places)
        used = sorted({p.row for p in self.places.of.values()} | set(range(self.places.hanging)))
        self.row_y = {row: 3 + ROW * k + (row == self.places.boxes) for k, row in enumerate(used)}
        boxes = self.row_y.get(self.places.boxes, 3)
        self.bus_y = {
            s: boxes + ROW + 2 + 2 * k for k, s in enumerate(s for s in elements.cell.state if s not in elements.belts)
        }
        self.bottom = max([boxes + ROW + 1, *self.bus_y.values()]) + 5
        self.width = 2 * MARGIN + COLUMN * (self.places.columns - 1) + 2
        self.shapes = {node: self._shape(element) for node, element in elements.by_node.items()}
        self.ports = list(self._ports())

    def layout(self) -> Layout:
        """Route all lines and place the numbers."""
        grid = Grid(self.width, self.bottom + 1)
        for shape in self.shapes.values():
            grid.block(*_rectangle(shape.x, shape.y, shape.half_width, shape.half_height))
        for port in self.ports:
            grid.block(*_rectangle(port.x, port.y, *PORT))
        lines = sorted(self._lines(), key=self._priority)
        for node, _, _, start, leave, end, arrive in lines:
            grid.reserve((start[0] + leave[0], start[1] + leave[1]), node)
            grid.reserve((end[0] - arrive[0], end[1] - arrive[1]), node)
        wires = [Wire(n, reader, role, tuple(grid.route(n, *ends))) for n, reader, role, *ends in lines]
        labels = [Label(n, x, y) for n, (x, y) in place_labels(wires, grid).items()]
        return Layout(self.elements, self.width, self.bottom + 2, [*self.shapes.values()], self.ports, wires, labels)

    def _priority(self, line: Line) -> tuple[int, int]:
        node, reader, role, start, _, end, _ = line
        on_belt = {node, reader} <= self.elements.on_belt or (node in self.elements.on_belt and reader is None)
        straight = start[0] == end[0] or start[1] == end[1]
        rank = 0 if on_belt else 3 if role in ("x", "matmul") else 1 if straight else 2
        return rank, abs(start[0] - end[0]) + abs(start[1] - end[1])

    def _shape(self, element: Element) -> Shape:
        place = self.places.of[element.node]
        half_width, half_height = HALF_SIZES[element.kind]
        if element.kind in ("times", "sum") and len(element.text) > 2:
            half_width = 2
        sides = self.sides.inputs[element.node]
        flow = next((s for i, (s, _) in zip(element.inputs, sides, strict=True) if i.role != "gate"), LEFT)
        x = MARGIN + 1 + COLUMN * place.column
        return Shape(element, x, self.row_y[place.row], half_width, half_height, flow)

    def _ports(self) -> Iterator[Port]:
        rows = {s: self.row_y[k] for k, s in enumerate(self.elements.belts)} | self.bus_y
        sources = (i.source for e in self.elements.by_node.values() for i in e.inputs)
        old = {n.label: n for n in sources if n is not None and n.op == "state"}
        for s, new in zip(self.elements.cell.state, self.elements.step.new_state, strict=True):
            if s in old or new.op == "state":
                yield Port("old", f"{s}_t−1", old.get(s, new), PORT[0], rows[s])
            yield Port("new", f"{s}_t", new, self.width - PORT[0], rows[s])
        readers = [e for e in self.elements.by_node.values() if any(i.source is None for i in e.inputs)]
        if readers:
            x = min(self._end(e, k)[0][0] for e in readers for k, i in enumerate(e.inputs) if i.source is None)
            yield Port("x", "x_t", None, x, self.bottom)

    def _lines(self) -> Iterator[Line]:
        for node, element in self.elements.by_node.items():
            for k, read in enumerate(element.inputs):
                end, side = self._end(element, k)
                yield (read.source, node, read.role, *self._start(read.source), end, (-side[0], -side[1]))
        for port in self.ports:
            if port.kind == "new":
                yield (port.node, None, "term", *self._start(port.node), (port.x - PORT[0], port.y), RIGHT)

    def _start(self, node: Node | None) -> tuple[Point, Direction]:
        if node in self.shapes:
            shape, side = self.shapes[node], self.sides.output[node]
            return _border(shape, (side, 0)), side
        port = next(p for p in self.ports if p.node is node and p.kind != "new")
        return ((port.x, port.y - PORT[1]), TOP) if node is None else ((port.x + PORT[0], port.y), RIGHT)

    def _end(self, element: Element, k: int) -> tuple[Point, Direction]:
        end = self.sides.inputs[element.node][k]
        return _border(self.shapes[element.node], end), end[0]


def _border(shape: Shape, end: End) -> Point:
    (dx, dy), offset = end
    return shape.x + dx * shape.half_width + (offset if dx == 0 else 0), shape.y + dy * shape.half_height + (
        offset if dy == 0 else 0
    )


def _rectangle(x: int, y: int, half_width: int, half_height: int) -> tuple[int, int, int, int]:
    return x - half_width, y - half_height, x + half_width, y + half_height
