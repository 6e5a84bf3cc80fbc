"""Right-angled lines between points of a grid, around obstacles, so that lines of different values only cross."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

Point: TypeAlias = tuple[int, int]
Direction: TypeAlias = tuple[int, int]

STEP, OWN_STEP, NEAR, BEND, CROSSING = 1.0, 0.3, 1.5, 4.0, 7.0
"""Costs of a step of one grid unit, of one along a line of the same value, of one next to an element or another line,
of a bend, and of a crossing."""
DIRECTIONS: tuple[Direction, ...] = ((1, 0), (0, -1), (0, 1), (-1, 0))


@dataclass
class Grid:
    """The points that lines may use, with what already lies there.

    ``blocked`` are points inside of elements; ``near`` costs more; ``horizontal`` and ``vertical`` have for each point
    the value whose line passes it in that direction, ``reserved`` the only value whose lines may pass it.
    """

    width: int
    height: int
    blocked: set[Point] = field(default_factory=set)
    near: set[Point] = field(default_factory=set)
    horizontal: dict[Point, object] = field(default_factory=dict)
    vertical: dict[Point, object] = field(default_factory=dict)
    reserved: dict[Point, object] = field(default_factory=dict)

    def block(self, left: int, top: int, right: int, bottom: int) -> None:
        """Block a rectangle, its border included."""
        self.blocked |= {(x, y) for x in range(left, right + 1) for y in range(top, bottom + 1)}
        margin = {(x, y) for x in range(left - 1, right + 2) for y in range(top - 1, bottom + 2)}
        self.near |= margin

    def reserve(self, point: Point, value: object) -> None:
        """Keep the lines of other values away from the end of a line."""
        self.reserved[point] = value

    def route(self, value: object, start: Point, leave: Direction, end: Point, arrive: Direction) -> list[Point]:
        """The cheapest line from ``start``, leaving in one direction, to ``end``, arriving in another, as its corners.

        Both ends lie on the border of elements. Raises ValueError if there is no way.
        """
        first = (start[0] + leave[0], start[1] + leave[1])
        last = (end[0] - arrive[0], end[1] - arrive[1])
        path = [start, end] if first == end else [start, *self._search(value, first, leave, last, arrive), end]
        self._claim(value, path)
        return _corners(path)

    def _search(self, value: object, start: Point, leave: Direction, end: Point, arrive: Direction) -> list[Point]:
        queue: list[tuple[float, int, Point, Direction]] = [(0.0, 0, start, leave)]
        best: dict[tuple[Point, Direction], float] = {(start, leave): 0.0}
        previous: dict[tuple[Point, Direction], tuple[Point, Direction]] = {}
        while queue:
            cost, number, point, direction = heapq.heappop(queue)
            here = (point, direction)
            if cost > best[here]:
                continue
            if point == end and direction == arrive:
                return _back(previous, here, start)
            for turn in DIRECTIONS:
                if turn == (-direction[0], -direction[1]):
                    continue
                is_bend = turn != direction
                following = point if is_bend else (point[0] + turn[0], point[1] + turn[1])
                step = BEND if is_bend else self._step(value, point, following, turn)
                if step is None or cost + step >= best.get((following, turn), float("inf")):
                    continue
                best[following, turn] = cost + step
                previous[following, turn] = here
                heapq.heappush(queue, (cost + step, number + 1, following, turn))
        raise ValueError(f"no way for a line from {start} to {end}")

    def _step(self, value: object, point: Point, following: Point, direction: Direction) -> float | None:
        x, y = following
        if not (0 <= x <= self.width and 0 <= y <= self.height) or following in self.blocked:
            return None
        if self.reserved.get(following, value) != value:
            return None
        along, across = (self.horizontal, self.vertical) if direction[1] == 0 else (self.vertical, self.horizontal)
        if following in along or point in along:
            if along.get(following, value) != value or along.get(point, value) != value:
                return None
            if following in along and point in along:
                return OWN_STEP
        cost = STEP + (NEAR if following in self.near else 0)
        if across.get(following, value) != value:
            cost += CROSSING
        for distance in (-2, -1, 1, 2):
            beside = (x + distance * direction[1], y + distance * direction[0])
            cost += NEAR / abs(distance) * (along.get(beside, value) != value)
        return cost

    def _claim(self, value: object, path: list[Point]) -> None:
        for a, b in pairwise(path):
            owner = self.horizontal if a[1] == b[1] else self.vertical
            for x in range(min(a[0], b[0]), max(a[0], b[0]) + 1):
                for y in range(min(a[1], b[1]), max(a[1], b[1]) + 1):
                    owner[x, y] = value


def _back(
    previous: dict[tuple[Point, Direction], tuple[Point, Direction]], state: tuple[Point, Direction], start: Point
) -> list[Point]:
    path = [state[0]]
    while state in previous:
        state = previous[state]
        path.append(state[0])
    assert path[-1] == start
    return list(dict.fromkeys(reversed(path)))


def _corners(path: Iterable[Point]) -> list[Point]:
    """A path without the points on straight lines between others."""
    corners: list[Point] = []
    for point in path:
        if len(corners) >= 2 and (
            corners[-2][0] == corners[-1][0] == point[0] or corners[-2][1] == corners[-1][1] == point[1]
        ):
            corners.pop()
        corners.append(point)
    return corners
