"""Where the number of each value is written in a step's diagram: beside its line, clear of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from charlstm.compiler.graph import Node
from charlstm.inspection.step_routes import Grid, Point

if TYPE_CHECKING:
    from charlstm.inspection.step_layout import Wire

HALF_WIDTH, HALF_HEIGHT = 1.6, 0.6
BESIDE, ABOVE = 2.1, 0.8
"""Distance of a number's center from a vertical and from a horizontal line, in grid units."""


def place_labels(wires: Sequence[Wire], grid: Grid) -> dict[Node, tuple[float, float]]:
    """The center of the number of each value that has a line: near to where the line begins."""
    lines: dict[Node, list[Wire]] = {}
    for wire in wires:
        if wire.node is not None:
            lines.setdefault(wire.node, []).append(wire)
    placed: dict[Node, tuple[float, float]] = {}
    for node, own in sorted(lines.items(), key=lambda item: min(_length(w.points) for w in item[1])):
        candidates = (c for wire in own for c in _candidates(wire.points))
        _, x, y = min((distance + _clutter(x, y, grid, placed), x, y) for distance, x, y in candidates)
        placed[node] = (x, y)
    return placed


def _length(points: Sequence[Point]) -> int:
    return sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(points))


def _candidates(points: Sequence[Point]) -> Iterator[tuple[float, float, float]]:
    """(cost of the distance from the start, x, y) at every half unit along a line, on either side."""
    walked = 0.0
    for (ax, ay), (bx, by) in pairwise(points):
        length = abs(ax - bx) + abs(ay - by)
        for half in range(1, 2 * length):
            part = half / 2 / length
            x, y = ax + part * (bx - ax), ay + part * (by - ay)
            cost = 0.15 * (walked + half / 2)
            if ay == by:
                yield cost, x, y - ABOVE
                yield cost + 0.4, x, y + ABOVE
            else:
                yield cost, x + BESIDE, y
                yield cost + 0.4, x - BESIDE, y
        walked += length


def _clutter(x: float, y: float, grid: Grid, placed: dict[Node, tuple[float, float]]) -> float:
    """The cost of what a number here would cover."""
    cost = 0.0
    for px in range(int(x - HALF_WIDTH), int(x + HALF_WIDTH) + 2):
        for py in range(int(y - HALF_HEIGHT), int(y + HALF_HEIGHT) + 2):
            if abs(px - x) > HALF_WIDTH or abs(py - y) > HALF_HEIGHT:
                continue
            cost += 100 * ((px, py) in grid.blocked) + 5 * ((px, py) in grid.horizontal or (px, py) in grid.vertical)
    for ox, oy in placed.values():
        if abs(ox - x) < 2 * HALF_WIDTH and abs(oy - y) < 2 * HALF_HEIGHT:
            cost += 100
    inside = HALF_WIDTH <= x <= grid.width - HALF_WIDTH and HALF_HEIGHT <= y <= grid.height - HALF_HEIGHT
    return cost if inside else cost + 1000
