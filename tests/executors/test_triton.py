"""What is triton's own: when it runs, its functions, and plans that are used again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import pytest
import torch
from test_laws import device_of, leaves, make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.compiler.triton_language import PRELUDE
from charlstm.errors import UserError
from charlstm.executors import choose, clear_plan_cache, executors
from charlstm.executors.precision import float32_products
from charlstm.executors.triton import executor as module
from charlstm.executors.triton.kernels import MIN_BLOCK, MIN_BLOCKS, functions, launch_geometry
from charlstm.executors.triton.plans import Plan
from charlstm.executors.triton.pool import Pool

pytest.importorskip("triton")
DEVICE = device_of("triton")
GRU, LSTM = CELLS["gru"], CELLS["lstm"]
TRITON, REFERENCE = executors()["triton"], executors()["reference"]
SHAPE = (3, 2, 4, 3)
FUNCTIONS = (
    PRELUDE.format(title="a test")
    + """

@triton.jit
def apply(x, s, t, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(s + at, sigmoid(tl.load(x + at)))
    tl.store(t + at, tanh(tl.load(x + at)))
"""
)


@pytest.fixture
def pool(monkeypatch) -> Pool:
    """A pool of our own, that keeps two shapes."""
    fresh = Pool(shapes=2, patience=3)
    monkeypatch.setattr(module, "POOL", fresh)
    return fresh


def plans(pool: Pool) -> list[list[bool]]:
    """For each shape that is kept, whether its plans are busy."""
    return [[plan.busy for plan in kept] for kept in pool._kept.values()]


def test_activations_keep_all_digits_from_the_smallest_to_the_largest_numbers():
    ends = torch.tensor([0.0, 1e30, -1e30, torch.inf, -torch.inf, 0.5, -0.5, 88.0, -88.0])
    x = torch.cat([torch.linspace(-12, 12, 983), 10 ** torch.linspace(-35, 2, 32), ends]).to(DEVICE)
    s, t = torch.empty_like(x), torch.empty_like(x)
    functions(FUNCTIONS)["apply"][(1,)](x, s, t, len(x), enable_fp_fusion=False)
    near = 2e-6 if DEVICE == "cuda" else 1e-6  # a GPU's exponentials and quotients are rounded less well
    torch.testing.assert_close(s.double(), torch.sigmoid(x.double()), rtol=near, atol=1e-37)
    torch.testing.assert_close(t.double(), torch.tanh(x.double()), rtol=near, atol=0)


def test_what_is_not_a_number_stays_so_and_is_not_hidden_by_a_relu():
    weights, x, state = make(CELLS["irnn"], SHAPE, dtype=torch.float32, device=DEVICE)
    with torch.no_grad():
        x[1, 0, 0] = torch.nan
    y, _ = TRITON.run(CELLS["irnn"], weights, x, state)
    assert y[1:, 0].isnan().all()
    assert not y[:, 1].isnan().any()


@pytest.mark.parametrize("elements", [1, 127, 129, 100_000, MIN_BLOCKS * MIN_BLOCK, 10**7])
def test_blocks_cover_everything_and_there_are_enough_of_them(elements):
    blocks, block, warps = launch_geometry(elements)
    assert blocks * block >= elements > (blocks - 1) * block
    assert blocks >= MIN_BLOCKS or block == MIN_BLOCK
    assert block == 4 * 32 * warps


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
def test_recorded_calls_are_equal_to_the_first_bit_by_bit(pool, ids):
    weights, x, state = make(GRU, SHAPE, ids=ids, dtype=torch.float32, device=DEVICE)
    first, *others = (outputs_and_gradients(TRITON, GRU, weights, x, state) for _ in range(4))
    assert plans(pool) == [[False]]
    for found in others:
        assert all(map(torch.equal, first, found))


def test_new_weights_inputs_and_states_are_seen(pool):
    for seed in range(4):
        weights, x, state = make(LSTM, SHAPE, device=DEVICE)
        with torch.no_grad():
            for t in leaves(weights, x, state):
                t.mul_(1 - 0.1 * seed)
        expected = outputs_and_gradients(REFERENCE, LSTM, weights, x, state)
        for f, e in zip(outputs_and_gradients(TRITON, LSTM, weights, x, state), expected, strict=True):
            torch.testing.assert_close(f, e)
    assert plans(pool) == [[False]]


def test_layers_of_one_shape_and_forward_passes_before_a_backward_pass_do_not_disturb_each_other(pool):
    given = [make(cell, (4, 2, 5, 5), device=DEVICE) for cell in (LSTM, CELLS["coupled"], LSTM)]
    (lower, x, start), (_, other, _), (upper, _, second) = given

    def gradients(executor):
        losses = []
        for inputs in (x, 0.5 * x, x + 1):
            y, _ = executor.run(LSTM, lower, inputs, start)
            z, (last, _) = executor.run(LSTM, upper, y, second)
            losses.append((z * z).sum() + (y * other.detach()).sum() + last.sum())
        backwards = [torch.autograd.grad(loss, [lower.weight_hh, upper.weight_ih, x]) for loss in reversed(losses)]
        return [g for several in backwards for g in several]

    expected = gradients(REFERENCE)
    for _ in range(3):
        for f, e in zip(gradients(TRITON), expected, strict=True):
            torch.testing.assert_close(f, e)
    assert plans(pool) == [[False] * 6]


def test_a_plan_comes_back_after_its_backward_pass_or_when_the_graph_is_dropped(pool):
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    TRITON.run(GRU, weights, x, state)
    y, _ = TRITON.run(GRU, weights, x, state)
    assert plans(pool) == [[True]]
    y.sum().backward(retain_graph=True)
    assert plans(pool) == [[True]]
    y.sum().backward()
    assert plans(pool) == [[False]]
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    y, new = TRITON.run(GRU, weights, x, state)
    assert plans(pool) == [[True]]
    del y, new
    gc.collect()
    assert plans(pool) == [[False]]


def test_a_graph_that_lives_on_after_its_way_back_gives_no_plan_back_again(pool):
    """Between two passes, the plan of the first is already the second's when the variables of the round before die."""
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    inputs = (x.detach(), 0.5 * x.detach())

    def gradients(outputs):
        return [torch.autograd.grad(y.square().sum(), [weights.weight_ih, weights.weight_hh])[1] for y in outputs]

    expected = gradients([REFERENCE.run(GRU, weights, given, state)[0] for given in inputs])
    kept = []
    for _ in range(4):
        first, _ = TRITON.run(GRU, weights, inputs[0], state)
        kept[:] = [first]
        second, _ = TRITON.run(GRU, weights, inputs[1], state)
        for found, e in zip(gradients([first, second]), expected, strict=True):
            torch.testing.assert_close(found, e)
        kept.append(second)
    assert plans(pool) == [[False, False]]


def test_more_passes_than_plans_of_a_shape_are_kept_are_run_all_the_same(pool, monkeypatch):
    monkeypatch.setattr("charlstm.executors.triton.pool.PLANS", 2)
    weights, x, start = make(GRU, (5, 2, 4, 3), device=DEVICE)

    def gradients(executor):
        outputs, state = [], start
        for step in x.split(1):
            y, state = executor.run(GRU, weights, step, state)
            outputs.append(y)
        return torch.autograd.grad(torch.cat(outputs).square().sum(), [weights.weight_hh, x])

    expected = gradients(REFERENCE)
    for _ in range(2):
        for found, e in zip(gradients(TRITON), expected, strict=True):
            torch.testing.assert_close(found, e)
        assert plans(pool) == [[False, False]]


def test_kept_plans_can_be_given_up_and_those_in_use_go_on(pool):
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    expected = outputs_and_gradients(REFERENCE, GRU, weights, x, state)
    TRITON.run(GRU, weights, x, state)
    y, _ = TRITON.run(GRU, weights, x, state)
    plan = weakref.ref(pool._kept[next(iter(pool._kept))][0])
    clear_plan_cache()
    assert plans(pool) == []
    (found,) = torch.autograd.grad(y.sum(), [weights.weight_hh])
    (e,) = torch.autograd.grad(REFERENCE.run(GRU, weights, x, state)[0].sum(), [weights.weight_hh])
    torch.testing.assert_close(found, e)
    gc.collect()
    assert plan() is None
    for f, e in zip(outputs_and_gradients(TRITON, GRU, weights, x, state), expected, strict=True):
        torch.testing.assert_close(f, e)
    assert plans(pool) == [[False]]


def test_outputs_are_nobody_elses_memory(pool):
    weights, x, state = make(LSTM, SHAPE, device=DEVICE)
    kept = []
    with torch.no_grad():
        for scale in (1.0, 2.0, 3.0):
            y, new = TRITON.run(LSTM, weights, x * scale, state)
            kept.append([(t, t.clone()) for t in (y, *new)])
    assert all(torch.equal(t, before) for call in kept for t, before in call)


def test_shapes_that_are_not_used_of_late_make_room(pool):
    def run(steps: int) -> None:
        weights, x, state = make(GRU, (steps, 1, 2, 2), device=DEVICE)
        with torch.no_grad():
            TRITON.run(GRU, weights, x, state)

    def kept() -> list[int]:
        return [shape.steps for shape in pool._kept]

    for steps in (1, 2, 3, 1, 2):
        run(steps)
    assert kept() == [1, 2]
    run(3)
    assert kept() == [1, 2]
    for _ in range(4):
        run(2)
    run(3)
    assert kept() == [2, 3]


def test_without_memory_for_a_plan_the_others_are_given_up(pool, monkeypatch):
    made: list[int] = []

    class Tight(Plan):
        def __init__(self, shape, record):
            if any(kept.steps != shape.steps for kept in pool._kept):
                raise torch.OutOfMemoryError("CUDA out of memory")
            made.append(shape.steps)
            super().__init__(shape, record)

    monkeypatch.setattr("charlstm.executors.triton.pool.Plan", Tight)
    for steps in (2, 2, 2, 5):
        layer = make(GRU, (steps, 1, 2, 2), device=DEVICE)
        with torch.no_grad():
            torch.testing.assert_close(TRITON.run(GRU, *layer)[0], REFERENCE.run(GRU, *layer)[0])
    assert (made, [shape.steps for shape in pool._kept]) == ([2, 2, 5], [5])


def test_a_recording_holds_on_to_how_float32_is_rounded(pool):
    for rounded in (False, True):
        with float32_products(torch.device("cuda"), rounded):
            for _ in range(2):
                TRITON.run(GRU, *make(GRU, SHAPE, device=DEVICE))
    assert [shape.rounded for shape in pool._kept] == ["ieee", "tf32"]


def test_training_after_inference_mode(pool):
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    for _ in range(2):
        with torch.inference_mode():
            TRITON.run(GRU, weights, x, state)
    outputs_and_gradients(TRITON, GRU, weights, x, state)
    with torch.no_grad():
        y, _ = TRITON.run(GRU, weights, x, state)
    torch.testing.assert_close(y, REFERENCE.run(GRU, weights, x, state)[0])


@pytest.mark.skipif(DEVICE == "cuda", reason="it would stop the GPU")
@pytest.mark.parametrize("wrong", [-1, 4])
def test_ids_out_of_range_are_refused(wrong):
    weights, ids, state = make(GRU, SHAPE, ids=True, device=DEVICE)
    ids[1, 0] = wrong
    with pytest.raises(RuntimeError, match="ids must be from 0 to 3"):
        TRITON.run(GRU, weights, ids, state)


def test_it_refuses_with_a_reason(monkeypatch):
    weights, x, _ = make(LSTM, SHAPE, dtype=torch.float16)
    if DEVICE == "cpu":
        assert TRITON.refuses(LSTM, weights, x) == "it has no float16"
        monkeypatch.setattr(module, "_not_installed", lambda: "triton is not installed: pip install triton")
        with pytest.raises(UserError, match="executor triton cannot run cell lstm here: triton is not installed: pip"):
            choose("triton", LSTM, weights, x)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert TRITON.refuses(LSTM, weights, x) == "it runs on NVIDIA GPUs"


def test_on_the_cpu_it_is_never_taken_unasked():
    for cell in CELLS.values():
        weights, x, _ = make(cell, SHAPE)
        choice = choose("auto", cell, weights, x)
        assert choice.executor.name != "triton"
        assert choice.others["triton"]


def test_triton_is_not_loaded_before_it_is_needed():
    code = (
        "import sys, charlstm.cli, charlstm.model\n"
        "from charlstm.executors import executors\n"
        "executors()\n"
        "assert 'triton' not in sys.modules"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
