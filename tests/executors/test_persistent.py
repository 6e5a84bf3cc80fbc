"""The time loop as one kernel: every cell against the reference, with one program and with several."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_invented_cells import outputs_and_gradients as outputs_and_existing_gradients
from test_laws import make, outputs_and_gradients
from test_random_cells import random_cell

pytest.importorskip("triton", minversion="3.7")  # the interpreter of 3.6 cannot loop over an argument with NumPy 2
if torch.cuda.is_available():
    pytest.skip("the interpreter runs on machines without a GPU", allow_module_level=True)

import triton.language as tl
from programs import side_by_side
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from charlstm.cells import CELLS
from charlstm.cells.base import sigmoid
from charlstm.compiler.persistent_printer import persistent_backward, persistent_forward
from charlstm.compiler.persistent_products import supports_size
from charlstm.executors import executors
from charlstm.executors.triton import choice, trial
from charlstm.executors.triton import executor as module
from charlstm.executors.triton.kernels import functions
from charlstm.executors.triton.persistent import Division, Limits, Tiles, gave_up_flags, tiles
from charlstm.executors.triton.plans import Plan, Shape
from charlstm.executors.triton.pool import Pool
from charlstm.model.state_dropout import StateDropout
from charlstm.model.zoneout import Zoneout

TRITON, REFERENCE = executors()["triton"], executors()["reference"]
H100 = Limits(processors=132, shared_bytes=232_448)
A100 = Limits(processors=108, shared_bytes=166_912)


@pytest.fixture
def divided(monkeypatch):
    """Makes triton run its loops as kernels that are divided in this way. Returns the plans that are made."""
    plans = []

    def divide(division):
        class DividedPlan(Plan):
            def __init__(self, shape, capture, _):
                super().__init__(shape, capture, Division(division, division) if shape.training else Division())
                plans.append(self)

        monkeypatch.setattr(module, "POOL", Pool())
        monkeypatch.setattr("charlstm.executors.triton.pool.Plan", DividedPlan)
        return plans

    return divide


MASKED = {
    "state dropout": StateDropout(CELLS["lstm"], 0.2).training_cell,
    "state dropout before": StateDropout(CELLS["gru_reset_before"], 0.2).training_cell,
    "zoneout": Zoneout(CELLS["lstm"], {"h": 0.2, "c": 0.3}).training_cell,
}
"""Cells that are made of others and read values of each step."""


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("cell", [*CELLS.values(), *MASKED.values()], ids=lambda cell: cell.name)
def test_every_cell_in_one_program_equals_the_reference(divided, cell, ids):
    plans = divided(Tiles(1, 16, 64))
    weights, x, state = make(cell, (5, 3, 64, 7), ids=ids, dtype=torch.float32)
    actual, expected = (outputs_and_gradients(e, cell, weights, x, state) for e in (TRITON, REFERENCE))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4 * float(e.detach().abs().max()))
    assert len(plans) == 1


def kernels(cell, hidden_size, parts=4):
    return [print_(cell, hidden_size, parts, True) for print_ in (persistent_forward, persistent_backward)]


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "peephole", "rnn", "leaky", *MASKED])
@pytest.mark.parametrize(("batch", "hidden_size"), [(20, 64), (3, 192), (17, 128)], ids=str)
def test_programs_that_meet_equal_the_reference(divided, name, batch, hidden_size):
    """Two groups of four programs, one of twelve, whose sums have several chunks, and two of eight with eight parts."""
    cell, count = {**CELLS, **MASKED}[name], -(-batch // 16) * hidden_size // 16
    parts = 8 if hidden_size == 128 else 4
    divided(Tiles(count, 16, 16, parts))
    weights, x, state = make(cell, (4, batch, hidden_size, 5), ids=True, dtype=torch.float32)
    with torch.no_grad():
        weights.weight_hh.mul_(0.3)
    with ExitStack() as stack:
        programs = [
            stack.enter_context(side_by_side(kernel.source, count)) for kernel in kernels(cell, hidden_size, parts)
        ]
        actual = outputs_and_gradients(TRITON, cell, weights, x, state)
    expected = outputs_and_gradients(REFERENCE, cell, weights, x, state)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4 * float(e.detach().abs().max()))
    stages = 2 if name in ("gru_reset_before", "state dropout before") else 1
    assert [p.barriers for p in programs] == [4 * stages * count] * 2


@pytest.fixture
def bfloat16_products(monkeypatch):
    """The interpreter multiplies the bits of bfloat16 numbers as integers."""
    create_dot = InterpreterBuilder.create_dot

    def numbers(t):
        if t.dtype.scalar != tl.bfloat16:
            return t
        return TensorHandle((t.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    monkeypatch.setattr(
        InterpreterBuilder, "create_dot", lambda self, a, b, *rest: create_dot(self, numbers(a), numbers(b), *rest)
    )


@pytest.mark.usefixtures("bfloat16_products")
def test_masks_of_each_step_and_operands_in_bfloat16(divided):
    cell = Zoneout(CELLS["lstm"], {"h": 0.2, "c": 0.3}).training_cell
    divided(Tiles(1, 16, 64))
    weights, x, state = make(CELLS["lstm"], (5, 3, 64, 7), dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(5, 3, 128, generator=generator).lt(0.3).float()
    weights = type(weights)(
        *(weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh), {"zoneout": masks}
    )
    y, _ = REFERENCE.run(cell, weights, x, state)
    (expected,) = torch.autograd.grad(y.square().sum(), weights.weight_hh)
    for enabled, tolerance in ((False, 1e-4), (True, 0.05)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y, _ = TRITON.run(cell, weights, x, state)
        (actual,) = torch.autograd.grad(y.float().square().sum(), weights.weight_hh)
        assert torch.linalg.norm(actual - expected) < tolerance * torch.linalg.norm(expected)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "peephole"])
def test_program_that_gave_up_leaves_no_number(divided, monkeypatch, name):
    """So that nobody goes on with wrong results, whichever of them is used and whether or not the flag is read."""
    plans, cell = divided(Tiles(1, 16, 64)), CELLS[name]
    weights, x, state = make(cell, (4, 3, 64, 5), dtype=torch.float32)
    forward, backward = (functions(kernel.source) for kernel in kernels(cell, 64))
    monkeypatch.setitem(backward, "wait", lambda _counter, _goal, patience: patience * 0)
    results = outputs_and_gradients(TRITON, cell, weights, x, state)
    outputs, gradients = results[: 1 + len(state)], results[1 + len(state) :]
    assert all(t.isfinite().all() for t in outputs)
    assert all(t.isnan().all() for t in gradients)
    assert any(gave_up_flags())
    assert choice.refuse_kernels_that_gave_up()
    monkeypatch.setitem(forward, "wait", lambda _counter, _goal, patience: patience * 0)
    y, last = TRITON.run(cell, weights, x, state)
    assert all(t.isnan().all() for t in (y, *last))
    assert all(t[-1].isnan().all() for name, t in plans[-1].buffers.items() if name.startswith(trial.SAVED))
    assert choice.refuse_kernels_that_gave_up()
    assert not choice.refuse_kernels_that_gave_up()


def test_programs_fit_on_the_gpu_at_the_same_time():
    assert tiles(32, 256, 4, 2, H100) == Tiles(32, 16, 16, 8)
    assert tiles(32, 192, 4, 2, H100) == Tiles(24, 16, 16, 4)
    assert tiles(128, 256, 4, 2, H100) == Tiles(128, 16, 16, 8)
    assert tiles(64, 512, 4, 2, H100) == Tiles(128, 16, 16, 8)
    assert tiles(64, 512, 4, 2, A100) == Tiles(64, 32, 16, 4)
    assert "shared memory" in tiles(32, 1024, 4, 2, A100)
    assert "too large" in tiles(128, 1024, 4, 2, H100)
    assert tiles(16, 1024, 4, 2, A100) == Tiles(64, 16, 16, 4)
    assert "shared memory" in tiles(16, 1024, 4, 4, H100)
    assert "too large" in tiles(1024, 512, 4, 2, H100)
    assert [size for size in (32, 64, 96, 100, 128, 192, 768) if supports_size(size)] == [64, 128, 192, 768]
    assert [size for size in (64, 128, 192, 768) if supports_size(size, 8)] == [128, 768]


def test_derivative_that_jumps_does_not_make_a_difference():
    """The backward passes start from the same values, whatever a rounding in the forward pass has changed."""
    shape = Shape(CELLS["irnn"], 8, 16, 64, 5, torch.float32, torch.float32, True, torch.device("cpu"), 0, "ieee")

    class Rounding(Plan):
        def forward(self, *arguments):
            results = super().forward(*arguments)
            for name in ("s_h", "l_h"):
                self.buffers[name].sub_(0.05)
            return results

    graph, kernel = Plan(shape, False), Rounding(shape, False)
    run = trial.Example(shape)
    expected = run(graph, graph)
    assert len(expected) == len(run.names)
    assert all(trial.difference(a, b) <= 1e-4 for a, b in zip(expected, run(kernel, graph), strict=True))
    assert not all(trial.difference(a, b) <= 0.05 for a, b in zip(expected, run(kernel), strict=True))


def test_results_agree_up_to_rounding():
    a = torch.tensor([1.0, -4.0])
    assert trial.difference(a, a + 0.1) <= 0.05
    assert trial.difference(a, a + 0.3) > 0.05
    assert math.isnan(trial.difference(a, torch.tensor([1.0, torch.nan])))
    assert trial.difference(0 * a, 0 * a) == 0
    assert trial.difference(0 * a, a) == math.inf


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ([1.0, 1.0, 1.0], None),
        ([1.0, 2.0], "from those of the CUDA graph: y by 1, h by 1"),
        ([1.0, 1.0, 1.5], "from one time to the next: y by 0.5, h by 0.5"),
    ],
)
def test_results_that_differ_say_from_what(monkeypatch, values, differs):
    """Of a size whose results differ no times are kept."""
    shape = Shape(CELLS["rnn"], 8, 16, 64, 5, torch.float32, torch.float32, True, torch.device("cpu"), 0, "ieee")
    answers = iter(values)
    monkeypatch.setattr(trial, "gpu_seconds", lambda _: 16.0)
    monkeypatch.setattr(trial.Example, "__call__", lambda self, *_: [torch.tensor(next(answers))] * len(self.names))
    result = trial.compare_loops(shape, Division())
    if differs is None:
        assert result == {"graph": [2.0, 2.0], "kernel": [2.0, 2.0], "agree": True}
    else:
        assert result.keys() == {"agree", "differs"}
        assert result["agree"] is False
        assert result["differs"].startswith(differs)


def test_seconds_are_those_of_the_gpu(monkeypatch):
    """It is busy until all is launched."""
    order = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            order.append("event")

        def synchronize(self):
            order.append("wait")

        def elapsed_time(self, _):
            return 3.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda _: order.append("busy"))
    assert trial.gpu_seconds(lambda: order.append("run")) == 3e-3
    assert order == ["busy", "event", "run", "event", "wait"]


def restore(shape, passes):
    choice.restore_loops({"one_kernel_loops": {choice._size(shape): passes}})


@pytest.fixture
def shape():
    """That of a layer on a GPU which is not there."""
    device = torch.device("cuda", 0)
    return Shape(CELLS["lstm"], 64, 32, 256, 65, torch.bfloat16, torch.float32, True, device, 0, "tf32")


@pytest.fixture
def measured(monkeypatch):
    """Makes trials on an absent H100 return these results. Returns the list of those that were asked for."""
    asked = []
    for name, empty in (("_kernels", {}), ("_restored", set()), ("_refused", {}), ("_unmeasured", {}), ("_facts", {})):
        monkeypatch.setattr(choice, name, empty)
    monkeypatch.setattr(choice.Limits, "of", lambda _: H100)
    monkeypatch.setattr(choice, "gave_up_flag", lambda _: None)
    monkeypatch.delenv("CHARLSTM_MEASURE")
    for name, value in (("is_current_stream_capturing", False), ("get_device_name", "NVIDIA H100")):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)

    def results(**result):
        def answer(*_):
            asked.append(result)
            if not result:
                raise trial.TrialError("out of memory")
            return result

        monkeypatch.setattr(choice, "trial_in_process", answer)
        monkeypatch.setattr(choice, "cached_measurement", lambda _name, _facts, measure: measure())
        return asked

    return results


FASTER = {"graph": [1e-5, 1e-5], "kernel": [8e-6, 8e-6], "agree": True}
TILES = Tiles(32, 16, 16, 8)


LAYER = "loop over time of lstm, 256 units, batch 32"
MEASURING = f"measuring the {LAYER}, as one kernel and as CUDA graphs, once for this machine"
GRAPHS = f"{LAYER}: forward CUDA graph, backward CUDA graph"


def test_faster_kernels_with_the_same_results_are_chosen_once(measured, shape, caplog):
    caplog.set_level("INFO", "charlstm")
    asked = measured(**FASTER)
    assert choice.choose_division(shape) == (TILES, TILES) == choice.choose_division(replace(shape, steps=7))
    assert len(asked) == 1
    assert choice.loop_facts() == {"one_kernel_loops": {choice._size(shape): ("forward", "backward")}}
    chosen = f"{LAYER}: forward one kernel, backward one kernel: the faster on this machine"
    assert caplog.messages == [MEASURING, chosen]


@pytest.mark.parametrize("times", [[8e-6, 1.1e-5], [9.9e-6, 8e-6]], ids=["forward", "backward"])
def test_each_pass_has_the_faster_loop(measured, shape, times, caplog):
    measured(**{**FASTER, "kernel": times})
    caplog.set_level("INFO", "charlstm")
    assert choice.choose_division(shape) == ((TILES, None) if times[0] < times[1] else (None, TILES))
    loops = (
        "forward one kernel, backward CUDA graph" if times[0] < times[1] else "forward CUDA graph, backward one kernel"
    )
    assert caplog.messages[-1] == f"{LAYER}: {loops}: the faster on this machine"


def test_masked_cells_are_measured_too(measured, shape):
    asked = measured(**FASTER)
    rates = Zoneout(CELLS["lstm"], {"h": 0.2, "c": 0.3}).cell
    for cell in (*MASKED.values(), rates):
        assert choice.choose_division(replace(shape, cell=cell)) == (TILES, TILES)
    assert len(asked) == len(choice.loop_facts()["one_kernel_loops"]) == len(MASKED) + 1


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({**FASTER, "kernel": [9.9e-6, 9.8e-6]}, None),
        (
            {"agree": False, "differs": "from one time to the next: y by 0.3"},
            "results differ from one time to the next: y",
        ),
        ({"error": "an illegal memory access was encountered"}, "illegal memory access"),
        ({}, "not measured: out of memory"),
        ({"graph": 3, "agree": True}, None),
        ({"graph": [1e-5, 1e-5], "kernel": [8e-6, 8e-6]}, None),
    ],
    ids=["hardly faster", "other results", "failed", "no memory", "damaged", "not compared"],
)
def test_other_kernels_are_not_chosen(measured, shape, caplog, result, reason):
    caplog.set_level("INFO", "charlstm")
    asked = measured(**result)
    assert choice.choose_division(shape) == choice.choose_division(shape) == (None, None)
    assert len(asked) == 1
    refused = [*choice.loop_facts().get("refused_one_kernel_loops", {}).values()]
    assert [reason in text for text in refused] == ([True] if reason else [])
    assert caplog.messages == [MEASURING, f"{GRAPHS}: {(refused or ['the faster on this machine'])[0]}"]


def test_size_is_measured_again_where_trials_are_made_in_another_way(measured, shape, monkeypatch):
    measured(**FASTER)
    keys = []
    monkeypatch.setattr(choice, "cached_measurement", lambda _, facts, measure: keys.append(facts) or measure())
    for method in (trial.METHOD, (1, 2)):
        monkeypatch.setattr(choice, "METHOD", method)
        choice._kernels.clear()
        choice.choose_division(shape)
    assert keys[0] != keys[1]


def test_what_cannot_be_a_kernel_is_not_measured(measured, shape, monkeypatch, caplog):
    caplog.set_level("INFO", "charlstm")
    asked = measured(**FASTER)
    changes = [
        {"hidden_size": 100},
        {"batch": 4096},
        {"cell": replace(CELLS["lstm"], name="other")},
        {"cell": random_cell(1)},
        {"training": False},
        {"steps": 1},
        {"device": torch.device("cpu")},
        {"compute_dtype": torch.float32, "fp32_precision": "ieee"},
    ]
    assert [choice.choose_division(replace(shape, **change)) for change in changes] == [(None, None)] * len(changes)
    assert "multiple of 64" in choice.division_of(replace(shape, hidden_size=100))
    others = (text.partition("CUDA graph, backward CUDA graph: ")[2] for text in caplog.messages)
    assert [*others] == [
        "the number of units is not a multiple of 64",
        "the batch is too large for all programs to run at the same time",
        *["no other process can make the cell"] * 2,
        "tensor cores multiply numbers in float32 only as TF32",
    ]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert choice.choose_division(shape) == (None, None)
    assert not asked


def test_without_measurements_the_loops_are_graphs_and_remain_so(measured, shape, monkeypatch):
    """Also where the run is resumed with measurements; and a run that was stopped with kernels goes on with them."""
    asked = measured(**FASTER)
    monkeypatch.setenv("CHARLSTM_MEASURE", "0")
    assert choice.choose_division(shape) == (None, None)
    assert choice.loop_facts() == {"one_kernel_loops": {choice._size(shape): ()}}
    restore(shape, ["backward"])
    assert choice.choose_division(shape) == (None, TILES)
    restore(shape, [])
    monkeypatch.delenv("CHARLSTM_MEASURE")
    assert choice.choose_division(shape) == (None, None)
    assert not asked


def test_choice_of_an_early_version_is_left_out(measured):
    choice.restore_loops({"one_kernel_loops": {"lstm, 32 x 256, symbols, bfloat16, tf32": True}})
    assert choice.loop_facts() == {}


def test_gpus_are_measured_apart(measured, shape, monkeypatch):
    asked = measured(**FASTER)
    for name in ("NVIDIA H100", "NVIDIA L4"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        choice.choose_division(shape)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("result", "chosen"),
    [
        ({**FASTER, "kernel": [2e-5, 2e-5]}, (TILES, None)),
        ({}, (TILES, None)),
        ({**FASTER, "agree": False}, (None, None)),
        ({"error": "no kernel image"}, (None, None)),
    ],
    ids=["slower here", "unknown", "other results", "failed"],
)
def test_restored_kernels_are_tested_and_not_measured(measured, shape, caplog, result, chosen):
    """The run goes on with the loops that it was stopped with, if they work here."""
    asked = measured(**result)
    restore(shape, ["forward"])
    caplog.set_level("INFO", "charlstm")
    assert choice.choose_division(shape) == choice.choose_division(shape) == chosen
    assert len(asked) == 1
    loops = f"{LAYER}: forward one kernel, backward CUDA graph: as when the run began"
    assert (caplog.messages[1] == loops) == (chosen == (TILES, None))
    restore(shape, [])
    assert choice.choose_division(shape) == choice.choose_division(shape) == (None, None)
    assert caplog.messages[2:] == [f"{GRAPHS}: {choice._refused.get(choice._size(shape), 'as when the run began')}"]
    assert len(asked) == 1


def test_kernel_that_gave_up_is_not_used_again(measured, shape, monkeypatch):
    measured(**FASTER)
    choice.choose_division(shape)
    stored = []
    monkeypatch.setattr(choice, "gave_up_flags", lambda: [torch.ones(1, dtype=torch.int32)])
    monkeypatch.setattr(choice, "store_measurement", lambda *arguments: stored.append(arguments[-1]))
    assert choice.refuse_kernels_that_gave_up()
    assert choice.choose_division(shape) == (None, None)
    assert stored == [{"error": choice.GAVE_UP}]


def test_trial_that_fails_leaves_its_reason(shape, monkeypatch):
    """The other process finds no GPU. If it ends without a word, nothing is known about the kernel."""
    result = trial.trial_in_process(shape, Division(TILES, None))
    assert list(result) == ["error"]
    assert any(word in result["error"].lower() for word in ("cuda", "nvidia"))
    monkeypatch.setattr(trial, "COMMAND", "raise ImportError('no such module')")
    with pytest.raises(trial.TrialError, match=r"^ImportError: no such module$"):
        trial.trial_in_process(shape, Division(TILES, None))


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "state dropout"])
def test_example_has_finite_results_of_every_kind(name):
    cell = {**CELLS, **MASKED}[name]
    shape = Shape(cell, 3, 2, 64, 5, torch.float32, torch.float32, True, torch.device("cpu"), 0, "ieee")
    divisions = Division(), Division(Tiles(1, 16, 64), Tiles(1, 16, 64))
    graph, kernel = ([t.clone() for t in trial.Example(shape)(Plan(shape, False, each))] for each in divisions)
    assert len(graph) == 1 + 2 * len(cell.state) + 1
    assert all(trial.difference(a, b) <= 1e-4 for a, b in zip(graph, kernel, strict=True))


def test_cell_with_five_gates_in_one_matmul(divided):
    """Their tiles are cut out of one of eight gates' width."""

    def equations(x, r, h):
        a, b, c, d, e = (sigmoid(x[k] + r[k]) for k in "abcde")
        return a * h + b * c - d * e

    cell = replace(CELLS["rnn"], name="five", base="five", gates="abcde", equations=equations, torch=None)
    divided(Tiles(1, 16, 64))
    weights, x, state = make(cell, (4, 3, 64, 5), dtype=torch.float32)
    actual, expected = (outputs_and_gradients(e, cell, weights, x, state) for e in (TRITON, REFERENCE))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4 * float(e.detach().abs().max()))


def test_parameter_that_no_equation_reads_has_a_gradient_of_zero(divided):
    cell = replace(CELLS["peephole"], name="idle", equations=lambda x, r, h, c, _: (x.i + r.i + 0 * c, 0.5 * c + h))
    divided(Tiles(1, 16, 64))
    weights, x, state = make(cell, (4, 3, 64, 5), dtype=torch.float32)
    *_, weight_peephole, _, _, _ = outputs_and_gradients(TRITON, cell, weights, x, state)
    assert weight_peephole.shape == (3 * 64,)
    assert not weight_peephole.any()


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True], ids=["one program", "several"])
def test_random_cells_equal_the_reference(divided, several):
    batch, division = (20, Tiles(8, 16, 16)) if several else (3, Tiles(1, 16, 64))
    divided(division)
    for seed in range(0, 200, 5):
        cell = random_cell(seed)
        weights, x, state = make(cell, (3, batch, 64, 2), bias=seed % 3 > 0, ids=seed % 2 == 0, dtype=torch.float32)
        with torch.no_grad():
            weights.weight_hh.mul_(0.3)
        with ExitStack() as stack:
            for kernel in kernels(cell, 64) if several else ():
                stack.enter_context(side_by_side(kernel.source, division.programs))
            actual = outputs_and_existing_gradients(TRITON, cell, weights, x, state)
        expected = outputs_and_existing_gradients(REFERENCE, cell, weights, x, state)
        for a, e in zip(actual, expected, strict=True):
            assert torch.linalg.norm(a - e) <= 1e-4 * torch.linalg.norm(e) + 1e-5, f"seed {seed}"
