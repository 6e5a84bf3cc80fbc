"""Times of the loops alone: the table, and what is left out. The loops are interpreted, and times are made up."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count

import pytest
import torch

from charlstm.benchmark import loops
from charlstm.benchmark.loops import CUDNN, GRAPH, KERNEL, measure_loops
from charlstm.cells import CELLS
from charlstm.executors.triton.persistent import Division, Tiles

pytest.importorskip("triton")
CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter runs on machines without a GPU")
def test_loops_take_turns_and_medians_count(monkeypatch):
    pytest.importorskip("triton", minversion="3.7")  # see test_persistent.py
    one_program = Tiles(1, 16, 64)
    monkeypatch.setattr(loops, "division_of", lambda _: Division(one_program, one_program))
    numbers, order = count(1), []

    def time(run):
        run()
        order.append(run)
        return next(numbers) * 1e-6

    one = measure_loops(CELLS["lstm"], 64, 3, 2, 3, CPU, time)
    assert list(one.microseconds) == [GRAPH, KERNEL, f"{CUDNN} bfloat16", f"{CUDNN} float16"]
    assert order[:8] == order[8:16] == order[16:]
    # The times of the second of three rounds, of eight each, in two steps.
    assert one.microseconds[GRAPH] == pytest.approx((9 / 2, 10 / 2))
    assert one.microseconds[f"{CUDNN} float16"] == pytest.approx((15 / 2, 16 / 2))
    assert one.to_json()["hidden_size"] == 64
    assert loops.summary(one).startswith("lstm, 64 units, batch 3: graph 4.50 and 5.00, one kernel 5.50 and 6.00, ")

    def wrong(self, *_):
        return [torch.full((1,), float(self.__dict__.setdefault("calls", count()).__next__() % 2))] * len(self.names)

    monkeypatch.setattr(loops.Example, "__call__", wrong)
    one = measure_loops(CELLS["lstm"], 64, 3, 2, 1, CPU, time)
    assert one.left_out[KERNEL].startswith("its results differ from those of the graph: y by ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter runs on machines without a GPU")
def test_what_cannot_run_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(loops, "division_of", lambda _: "the batch is too large")
    one = measure_loops(CELLS["peephole"], 64, 3, 2, 1, CPU, lambda _: 2e-6)
    assert one.left_out == {KERNEL: "the batch is too large"}
    table = loops.rows([one])
    assert table[0] == ["cell", "units", "batch", f"{GRAPH}\nforward, backward", f"{KERNEL}\nforward, backward"]
    assert table[1] == ["peephole", "64", "3", "1.00, 1.00", "–"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_torch_does_not_copy_the_weights_at_each_call(monkeypatch, dtype):
    flattened = []
    monkeypatch.setattr(loops, "flatten_weights", lambda *arguments: flattened.append(arguments))
    loops._torch_passes(CELLS["gru"], 64, 3, 2, CPU, dtype)
    [(cell, layers, weights)] = flattened
    assert (cell.name, layers) == ("gru", 1)
    assert [(list(w.shape), w.dtype) for w in weights] == [(s, dtype) for s in ([192, 64], [192, 64], [192], [192])]


def test_default_sizes_are_those_of_one_layer():
    assert len(loops.default_sizes()) == 20
    assert loops.default_sizes()[0] == (256, 16)


def test_measured_gpu_is_the_current_one(monkeypatch):
    current = [0]

    @contextmanager
    def on(device):
        current.append(device.index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(loops, "measure_loops", lambda *_: current[-1])
    assert [(one, *current) for one in loops.measure_all(["lstm"], [(64, 2, 3)], 1, torch.device("cuda", 1))] == [
        (1, 0)
    ]
