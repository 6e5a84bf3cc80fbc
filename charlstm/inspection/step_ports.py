"""At which side of an element each line of a step's diagram arrives and leaves."""

from __future__ import annotations

from charlstm.compiler.graph import Node
from charlstm.inspection.step_elements import Element, Elements, Input
from charlstm.inspection.step_places import Place, Places
from charlstm.inspection.step_routes import Direction

LEFT, RIGHT, TOP, BOTTOM = (-1, 0), (1, 0), (0, -1), (0, 1)
Side = Direction
End = tuple[Side, int]
"""A side, and the position on it: grid units from its middle."""


class Ports:
    """``inputs[node][k]`` is where the k-th input of the element of a node arrives; ``output[node]`` is where its value
    leaves."""

    def __init__(self, elements: Elements, places: Places) -> None:
        self._elements, self._places = elements, places
        self.inputs: dict[Node, list[End]] = {}
        self.output: dict[Node, Side] = {}
        for node, element in elements.by_node.items():
            ends = self._box_inputs(element) if element.kind == "box" else self._other_inputs(element)
            self.inputs[node] = ends
            self.output[node] = self._output_side(node, {side for side, _ in ends})

    def _box_inputs(self, element: Element) -> list[End]:
        """x and what a matrix multiplies arrive from below, all else, and what stands beside the box, from the left."""
        is_left = [i.role == "term" or self._is_beside(i) for i in element.inputs]
        left = [i for i, flag in zip(element.inputs, is_left, strict=True) if flag]
        below = [i for i, flag in zip(element.inputs, is_left, strict=True) if not flag]
        return [
            (LEFT, _spread(left.index(i), len(left))) if flag else (BOTTOM, _spread(below.index(i), len(below)))
            for i, flag in zip(element.inputs, is_left, strict=True)
        ]

    def _is_beside(self, read: Input) -> bool:
        return read.source in self._places.of and self._places.of[read.source].row == self._places.boxes

    def _other_inputs(self, element: Element) -> list[End]:
        sides: dict[int, Side] = {}
        place = self._places.of[element.node]
        spare = [TOP, BOTTOM] if place.row == self._places.boxes else [BOTTOM, TOP]
        order = sorted(range(len(element.inputs)), key=lambda k: element.inputs[k].role == "gate")
        for k in order:
            preferred = self._side_towards(element, element.inputs[k].source, place)
            sides[k] = next(s for s in (preferred, *spare, RIGHT, LEFT) if s not in sides.values())
        return [(sides[k], 0) for k in range(len(element.inputs))]

    def _side_towards(self, element: Element, source: Node | None, place: Place) -> Side:
        belts = self._elements.belts.values()
        if source is not None and any(source in path and element.node in path for path in belts):
            return LEFT
        if source not in self._places.of:
            is_on_belt = source in self._elements.on_belt and not self._is_multiplied(source)
            return TOP if is_on_belt else BOTTOM
        other = self._places.of[source]
        if element.node in self._elements.on_belt:
            return BOTTOM if other.row > place.row else TOP
        if other.row < self._places.hanging or other.column == place.column:
            return TOP if other.row < place.row else BOTTOM
        return LEFT if other.column < place.column else RIGHT

    def _is_multiplied(self, source: Node | None) -> bool:
        """Whether a matrix multiplies it, so that it passes below all boxes."""
        inputs = (i for e in self._elements.by_node.values() for i in e.inputs)
        return any(i.source is source and i.role == "matmul" for i in inputs)

    def _output_side(self, node: Node, taken: set[Side]) -> Side:
        place, users = self._places.of[node], self._elements.users(node)
        if node in self._elements.on_belt:
            return RIGHT
        is_new_state = node in self._elements.step.new_state
        where = [self._places.of[u.node] for u in users]
        if place.row == self._places.boxes and RIGHT not in taken:
            if is_new_state or (where and all(p.row == place.row for p in where) and self._is_next(place, where)):
                return RIGHT
            if self._elements.by_node[node].kind not in ("box", "parameter") and TOP in taken:
                return RIGHT
            if TOP not in taken:
                return TOP
        if TOP not in taken and any(p.column == place.column and p.row < place.row for p in where):
            return TOP
        if BOTTOM not in taken and any(p.column == place.column and p.row > place.row for p in where):
            return BOTTOM
        return next(s for s in (RIGHT, TOP, BOTTOM, LEFT) if s not in taken)

    def _is_next(self, place: Place, users: list[Place]) -> bool:
        """Whether the only user is the next element in the row."""
        return [p.column for p in users] == [place.column + 1]


def _spread(index: int, count: int) -> int:
    return 2 * index - (count - 1) if count < 3 else index - count // 2
