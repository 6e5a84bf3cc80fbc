"""Tracing a cell into a graph: which sums are fused, which sides stay separate, which equations are errors."""

# ruff: noqa: ARG005  (equations have a fixed signature)

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from charlstm.cells import CELLS, Cell
from charlstm.cells.base import sigmoid, tanh
from charlstm.compiler import cpp_printer
from charlstm.compiler.graph import Graph, trace
from charlstm.compiler.loops import forward_loop, gradient_buffers, saved_bytes_per_unit
from charlstm.compiler.schedule import runs, saved_for_backward, separate_gates, summed_gates
from charlstm.compiler.torch_printer import backward_code, forward_code


def make_cell(equations: Any, gates: str = "ab", state: str = "h") -> Cell:
    return Cell("example", equations, gates, state)


def matmuls(cell: Cell) -> list[tuple[str, str]]:
    return [(n.op, n.label) for n in trace(cell).matmuls]


def test_sum_of_both_sides_becomes_one_accumulated_matmul():
    assert matmuls(make_cell(lambda x, r, h: tanh(x.a + r.a) * sigmoid(r.b + x.b))) == [("addmm", "a"), ("addmm", "b")]


def test_sum_used_twice_is_still_one_matmul():
    def equations(x, r, h):
        s = x.a + r.a
        return tanh(s) * sigmoid(s)

    assert matmuls(make_cell(equations, "a")) == [("addmm", "a")]


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
def test_sides_used_outside_the_sum_stay_separate(equations):
    cell = make_cell(equations, "a")
    assert matmuls(cell) == [("matmul", "a")]
    assert (separate_gates(cell), summed_gates(cell)) == ("a", "")


def test_side_that_is_also_a_new_state_stays_separate():
    cell = make_cell(lambda x, r, h, c: (tanh(x.a + r.a), x.a), "a", "hc")
    assert matmuls(cell) == [("matmul", "a")]


def test_sides_of_different_gates_are_not_fused():
    assert matmuls(make_cell(lambda x, r, h: tanh(x.a + r.b))) == [("matmul", "b")]


def test_second_matmul_comes_after_the_gate_it_reads():
    cell = CELLS["gru_reset_before"]
    assert sorted(matmuls(cell)) == [("addmm", "n"), ("addmm", "r"), ("addmm", "z")]
    source = forward_code(cell).source
    assert source.index("'rz')") < source.index("sigmoid(a_r") < source.index("'n')")
    assert separate_gates(CELLS["gru"]) == "n"
    assert separate_gates(cell) == ""


def test_neighboring_gates_with_one_operand_are_one_matmul():
    (matmul,) = forward_loop(CELLS["lstm"]).matmuls
    assert (matmul.run, matmul.place.buffer.name, matmul.gradient.name) == ("ifgo", "l_h", "d")
    assert forward_code(CELLS["lstm"]).source.count("accumulate(a_ifgo[t], s_h[t], 'ifgo')") == 1
    assert [(m.run, m.gradient.name) for m in forward_loop(CELLS["gru"]).matmuls] == [("rz", "d"), ("n", "e")]
    assert [m.run for m in forward_loop(CELLS["gru"], joined=True).matmuls] == ["rzn"]
    assert backward_code(CELLS["lstm"]).source.count("transposed(") == 1


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [("rnn", (2, 0), (5, 1)), ("lstm", (9, 1), (17, 3)), ("gru", (9, 1), (14, 2)), ("peephole", (12, 1), (23, 3))],
)
def test_steps_need_few_operations_and_scratch_buffers(name, forward, backward):
    """Matmuls are fused with the sums that read them, and buffers are reused."""
    for code, (operations, scratch) in ((forward_code, forward), (backward_code, backward)):
        printed = code(CELLS[name])
        assert sum(line.startswith("        ") for line in printed.source.splitlines()) == operations
        assert sum(buffer.startswith("w_") for buffer in printed.names) == scratch


def test_values_that_other_saved_values_suffice_for_are_not_saved():
    def new_state(x, r, h, c):
        c = 0.5 * c + (x.a + r.a)
        return tanh(x.b + r.b) * c, c

    def operand(x, r, h):
        v = 0.5 * h + (x.a + r.a)
        return tanh(x.b + r.of(v).b) * v

    assert [n.op for n in saved_for_backward(make_cell(new_state, state="hc"))] == ["tanh"]
    assert sorted(n.op for n in saved_for_backward(make_cell(operand))) == ["add", "tanh"]


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_before", "peephole"])
def test_saved_bytes_are_those_of_the_buffers(name):
    cell, dtype = CELLS[name], torch.bfloat16

    def size(steps: int) -> int:
        return sum(
            math.prod(b.shape(steps, 2, 3, training=True)) * (dtype.itemsize if b.compute_dtype else 4)
            for b in (*forward_loop(cell).outputs, *gradient_buffers(cell))
        )

    assert saved_bytes_per_unit(cell, dtype) * 10 * 2 * 3 == size(110) - size(100)


def test_stopped_gradients_need_no_matmul():
    for name, count in (("lstm", 1), ("lstm_no_cell_gradient", 1), ("lstm_no_hidden_gradient", 0)):
        assert backward_code(CELLS[name]).source.count("transposed(") == count
        assert cpp_printer.backward_code(CELLS[name]).source.count("matmul(") == count
    second_stage = replace(CELLS["gru_reset_before"], stop_gradient="h")  # r gets its gradient through the operand
    source = backward_code(second_stage).source
    assert source.count("transposed(") == source.count("(d_n[t], 'n')") == 1


def test_two_matmuls_of_one_gate_are_an_error():
    cell = make_cell(lambda x, r, h: tanh(x.a + r.a) + r.of(h * h).a, "a")
    with pytest.raises(TypeError, match="example: a gate may have one recurrent matmul"):
        trace(cell)


@pytest.mark.parametrize("new", [lambda x, r, h: (h, h), lambda x, r, h: 0.0, lambda x, r, h: ()])
def test_new_state_that_differs_from_declaration_is_an_error(new):
    with pytest.raises(TypeError, match=r"cell example must return its new state \(h\)"):
        trace(make_cell(new))


def test_unknown_gate_is_an_error():
    with pytest.raises(KeyError):
        trace(make_cell(lambda x, r, h: x.z))


def test_same_operation_on_same_arguments_is_one_node():
    graph = Graph()
    a, b = graph.node("state", "a"), graph.node("state", "b")
    assert a + b is a + b
    assert a + b is not b + a
    assert 2 * a is 2.0 * a
    assert a is not b


def test_runs_group_neighboring_gates():
    assert runs("ifgo", "igo") == ["i", "go"]
    assert runs("ifgo", "ogfi") == ["ifgo"]
    assert runs("ifgo", "") == []
