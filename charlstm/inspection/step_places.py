"""Where each element of a step's diagram is placed: columns from left to right, rows from top to bottom.

The belts (:attr:`Elements.belts`) are the top rows. Below them is a row for functions of a belt's value, a row for
products and sums, and a row of boxes, which read the lines that run below them. An element stands above the box that
it reads if that place is free, and else in a new column.
"""

from __future__ import annotations

from dataclasses import dataclass

from charlstm.compiler.graph import Node
from charlstm.inspection.step_elements import Element, Elements


@dataclass(frozen=True)
class Place:
    """Column and row of an element."""

    column: int
    row: int


class Places:
    """The places of all elements.

    ``hanging``, ``middle`` and ``boxes`` are the numbers of the rows below the belts.
    """

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self._belt_row = {n: row for row, path in enumerate(elements.belts.values()) for n in path[1:]}
        self.hanging = len(elements.belts)
        self.middle, self.boxes = self.hanging + 1, self.hanging + 2
        self.of: dict[Node, Place] = {}
        self._used: set[tuple[int, int]] = set()
        self._belt_end: dict[int, int] = {}
        for path in elements.belts.values():
            for node in path[1:]:
                self._place(node)
        for new in elements.step.new_state:
            self._place(new)

    @property
    def columns(self) -> int:
        """The number of columns."""
        return max((p.column for p in self.of.values()), default=0) + 1

    def feeds_box(self, node: Node) -> bool:
        """Whether only boxes, and what feeds them, read an element off the belts."""
        users = self._elements.users(node)
        return (
            node not in self._elements.on_belt
            and node not in self._elements.step.new_state
            and bool(users)
            and all(u.kind == "box" or self.feeds_box(u.node) for u in users)
        )

    def _place(self, node: Node) -> None:
        if node in self.of or node not in self._elements.by_node:
            return
        element = self._elements.by_node[node]
        for source in sorted(self._sources(element), key=self._urgency):
            self._place(source)
        if node in self.of:
            return
        place = self._belt_place(element) if node in self._belt_row else self._off_belt_place(element)
        self.of[node] = place
        self._used.add((place.column, place.row))

    def _sources(self, element: Element) -> list[Node]:
        """The elements that it reads, a gate before what it multiplies."""
        inputs = sorted(element.inputs, key=lambda i: i.role != "gate")
        return [i.source for i in inputs if i.source in self._elements.by_node]

    def _urgency(self, node: Node) -> int:
        """Order of placement: the belt, then what reads boxes that are placed, then what needs new boxes, then what
        reads a belt."""
        if node in self._belt_row:
            return 0
        element = self._elements.by_node[node]
        if any(i.source in self._elements.on_belt for i in element.inputs) and element.kind != "box":
            return 3
        return 2 if element.kind == "box" or any(s not in self.of for s in self._sources(element)) else 1

    def _belt_place(self, element: Element) -> Place:
        """On the belt above the element that it reads from below, if that is to the right of the belt so far."""
        row = self._belt_row[element.node]
        end = self._belt_end.get(row, -1)
        below = [self.of[s] for s in self._sources(element) if s in self.of and s not in self._belt_row]
        column = next((p.column for p in below if p.column > end and self._rise(p, row)), None)
        if column is None:
            column = self._new_column(end)
        self._belt_end[row] = column
        return Place(column, row)

    def _off_belt_place(self, element: Element) -> Place:
        if element.kind in ("box", "parameter") or self.feeds_box(element.node):
            return Place(self._next_box(element.node), self.boxes)
        sources = [self.of[s] for s in self._sources(element) if s in self.of]
        from_belt = [p for p in sources if p.row < self.hanging]
        if from_belt and len(sources) == 1:
            last = self.columns - 1
            is_free = not {(last, self.hanging), (last, self.middle)} & self._used
            return Place(last if is_free else self._new_column(), self.hanging)
        below = max((p for p in sources if p.row == self.boxes), key=lambda p: p.column, default=None)
        if below is not None and self._rise(below, self.middle):
            return Place(below.column, self.middle)
        return Place(self._new_column(), self.middle)

    def _rise(self, start: Place, row: int) -> bool:
        """Reserve the way up from a place to a row in the same column; False if it is taken."""
        way = [(start.column, r) for r in range(row, start.row)]
        if any(w in self._used for w in way):
            return False
        self._used.update(way)
        return True

    def _next_box(self, node: Node) -> int:
        """The next column of the row of boxes; a new one if the element's value needs the way up."""
        if not self.feeds_box(node):
            return self._new_column()
        return max((p.column for p in self.of.values() if p.row == self.boxes), default=-1) + 1

    def _new_column(self, after: int = -1) -> int:
        return max([after, *(p.column for p in self.of.values())], default=-1) + 1
