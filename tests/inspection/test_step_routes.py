"""Lines on a grid: they cross lines of other values, and follow those of the same value."""

from __future__ import annotations

import pytest

from charlstm.inspection.step_routes import Grid

RIGHT, DOWN, UP = (1, 0), (0, 1), (0, -1)


def corridor() -> Grid:
    """A grid of which only the row y = 3 and the columns x = 0, 5 and 10 are free."""
    grid = Grid(10, 6)
    for left, right in ((1, 4), (6, 9)):
        for top, bottom in ((0, 2), (4, 6)):
            grid.block(left, top, right, bottom)
    return grid


def test_lines_of_two_values_cross():
    grid = corridor()
    assert grid.route("a", (0, 3), RIGHT, (10, 3), RIGHT) == [(0, 3), (10, 3)]
    assert grid.route("b", (5, 0), DOWN, (5, 6), DOWN) == [(5, 0), (5, 6)]


def test_a_line_does_not_follow_one_of_another_value():
    grid = corridor()
    grid.route("a", (0, 3), RIGHT, (10, 3), RIGHT)
    with pytest.raises(ValueError, match="no way"):
        grid.route("b", (5, 0), DOWN, (10, 6), DOWN)


def test_a_line_follows_one_of_the_same_value_and_branches():
    grid = corridor()
    grid.route("a", (0, 3), RIGHT, (10, 3), RIGHT)
    assert grid.route("a", (0, 3), RIGHT, (5, 6), DOWN) == [(0, 3), (5, 3), (5, 6)]


def test_a_line_does_not_bend_on_one_of_another_value():
    grid = corridor()
    grid.route("a", (5, 0), DOWN, (5, 6), DOWN)
    grid.blocked.add((6, 3))
    with pytest.raises(ValueError, match="no way"):
        grid.route("b", (0, 3), RIGHT, (5, 1), UP)


def test_a_line_does_not_cross_where_another_value_bends():
    grid = corridor()
    grid.route("a", (0, 3), RIGHT, (5, 6), DOWN)
    with pytest.raises(ValueError, match="no way"):
        grid.route("b", (10, 6), UP, (5, 0), UP)


def test_a_line_goes_around_an_element():
    grid = Grid(10, 6)
    grid.block(4, 2, 6, 6)
    points = grid.route("a", (0, 4), RIGHT, (10, 4), RIGHT)
    assert len(points) == 6
    assert min(y for _, y in points) == 0


def test_a_reserved_point_is_for_one_value():
    grid = corridor()
    grid.reserve((5, 3), "a")
    with pytest.raises(ValueError, match="no way"):
        grid.route("b", (0, 3), RIGHT, (10, 3), RIGHT)
    assert grid.route("a", (0, 3), RIGHT, (10, 3), RIGHT) == [(0, 3), (10, 3)]
