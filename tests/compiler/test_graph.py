"""Tracing a cell into a graph: what is joined, what stays apart, what is refused."""

# ruff: noqa: ARG005  (the arguments of equations are given)

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from charlstm.cells import CELLS, Cell
from charlstm.cells.base import sigmoid, tanh
from charlstm.compiler.cpp_loops import backward_loop
from charlstm.compiler.graph import Graph, trace
from charlstm.compiler.schedule import runs, separate_gates, summed_gates
from charlstm.compiler.torch_printer import backward_code, forward_code


def made(equations: Any, gates: str = "ab", state: str = "h") -> Cell:
    return Cell("made", equations, gates, state)


def products(cell: Cell) -> list[tuple[str, str]]:
    return [(n.op, n.label) for n in trace(cell).products]


def test_a_sum_of_both_sides_becomes_one_accumulated_product():
    assert products(made(lambda x, r, h: tanh(x.a + r.a) * sigmoid(r.b + x.b))) == [("gate", "a"), ("gate", "b")]


def test_a_sum_that_is_used_twice_is_still_one_product():
    def equations(x, r, h):
        s = x.a + r.a
        return tanh(s) * sigmoid(s)

    assert products(made(equations, "a")) == [("gate", "a")]


@pytest.mark.parametrize(
    "equations",
    [
        lambda x, r, h: tanh(x.a + r.a * h),
        lambda x, r, h: tanh(x.a + r.a) + r.a,
        lambda x, r, h: tanh(x.a + r.a) + x.a,
        lambda x, r, h: tanh(x.a - r.a),
        lambda x, r, h: (x.a + r.a) * (x.a + 2 * r.a),
    ],
)
def test_a_gate_that_needs_more_than_the_sum_stays_apart(equations):
    cell = made(equations, "a")
    assert products(cell) == [("product", "a")]
    assert (separate_gates(cell), summed_gates(cell)) == ("a", "")


def test_a_side_that_is_a_new_state_too_stays_apart():
    cell = made(lambda x, r, h, c: (tanh(x.a + r.a), x.a), "a", "hc")
    assert products(cell) == [("product", "a")]


def test_sides_of_different_gates_are_not_joined():
    assert products(made(lambda x, r, h: tanh(x.a + r.b))) == [("product", "b")]


def test_a_second_stage_comes_after_the_gate_that_it_reads():
    cell = CELLS["gru_reset_before"]
    assert sorted(products(cell)) == [("gate", "n"), ("gate", "r"), ("gate", "z")]
    source = forward_code(cell).source
    assert source.index("'rz')") < source.index("sigmoid(a_r") < source.index("'n')")
    assert separate_gates(CELLS["gru"]) == "n"
    assert separate_gates(cell) == ""


def test_neighbouring_gates_with_one_operand_are_one_product():
    assert forward_code(CELLS["lstm"]).products == (("ifgo", "s_h[t]"),)
    assert [run for run, _ in forward_code(CELLS["gru"]).products] == ["rz", "n"]
    assert backward_code(CELLS["lstm"]).source.count("transposed(") == 1


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [("rnn", (2, 0), (5, 1)), ("lstm", (9, 1), (17, 3)), ("gru", (9, 1), (14, 2)), ("peephole", (12, 1), (23, 3))],
)
def test_a_step_takes_few_operations_and_little_scratch(name, forward, backward):
    """Products join the sums that they go into, and a value takes the place of one that is used no more."""
    for code, (operations, scratch) in ((forward_code, forward), (backward_code, backward)):
        found = code(CELLS[name])
        assert sum(line.startswith("        ") for line in found.source.splitlines()) == operations
        assert sum(place.startswith("w_") for place in found.names) == scratch


def test_no_product_is_made_for_a_gradient_that_is_stopped():
    for name, count in (("lstm", 1), ("lstm_no_cell_gradient", 1), ("lstm_no_hidden_gradient", 0)):
        assert backward_code(CELLS[name]).source.count("transposed(") == count
        assert backward_loop(CELLS[name]).source.count("product(") == count
    second_stage = replace(CELLS["gru_reset_before"], stop_gradient="h")  # r learns from what the product reads
    source = backward_code(second_stage).source
    assert source.count("transposed(") == source.count("(d_n[t], 'n')") == 1


def test_two_products_of_one_gate_are_refused():
    cell = made(lambda x, r, h: tanh(x.a + r.a) + r.of(h * h).a, "a")
    with pytest.raises(TypeError, match="made: a gate may have one recurrent product"):
        trace(cell)


@pytest.mark.parametrize("new", [lambda x, r, h: (h, h), lambda x, r, h: 0.0, lambda x, r, h: ()])
def test_a_new_state_that_is_not_as_declared_is_refused(new):
    with pytest.raises(TypeError, match=r"cell made must return its new state \(h\)"):
        trace(made(new))


def test_an_unknown_gate_is_an_error():
    with pytest.raises(KeyError):
        trace(made(lambda x, r, h: x.z))


def test_the_same_operation_on_the_same_values_is_one_node():
    graph = Graph()
    a, b = graph.node("state", "a"), graph.node("state", "b")
    assert a + b is a + b
    assert a + b is not b + a
    assert 2 * a is 2.0 * a
    assert a is not b


def test_runs():
    assert runs("ifgo", "igo") == ["i", "go"]
    assert runs("ifgo", "ogfi") == ["ifgo"]
    assert runs("ifgo", "") == []
