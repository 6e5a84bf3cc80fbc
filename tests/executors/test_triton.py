"""The triton executor: when it runs, its functions, and the cache of plans."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from test_laws import device_of, leaves, make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.compiler.triton_language import PRELUDE
from charlstm.errors import UserError
from charlstm.executors import choose, clear_plan_cache, executors
from charlstm.executors.precision import float32_matmul_precision
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
    """A separate pool that caches two shapes."""
    fresh = Pool(shapes=2, patience=3)
    monkeypatch.setattr(module, "POOL", fresh)
    return fresh


def plans(pool: Pool) -> list[list[bool]]:
    """For each cached shape, whether its plans are busy."""
    return [[plan.busy for plan in cached] for cached in pool._plans.values()]


def test_traced_layers_are_refused_before_anything_is_imported(monkeypatch):
    """torch.compile cannot trace a search for packages in every version of torch."""
    weights, x, _ = make(LSTM, SHAPE, dtype=torch.float32, device=DEVICE)
    monkeypatch.setattr(module, "tracing", lambda *_: "traced")
    monkeypatch.setattr(module, "_not_installed", lambda: pytest.fail("searches for Triton"))
    assert TRITON.refuses(LSTM, weights, x) == "traced"


def test_activations_are_accurate_for_all_arguments():
    ends = torch.tensor([0.0, 1e30, -1e30, torch.inf, -torch.inf, 0.5, -0.5, 88.0, -88.0])
    x = torch.cat([torch.linspace(-12, 12, 983), 10 ** torch.linspace(-35, 2, 32), ends]).to(DEVICE)
    s, t = torch.empty_like(x), torch.empty_like(x)
    functions(FUNCTIONS)["apply"][(1,)](x, s, t, len(x), enable_fp_fusion=False)
    rtol = 2e-6 if DEVICE == "cuda" else 1e-6  # a GPU's exponentials and quotients are less accurate
    torch.testing.assert_close(s.double(), torch.sigmoid(x.double()), rtol=rtol, atol=1e-37)
    torch.testing.assert_close(t.double(), torch.tanh(x.double()), rtol=rtol, atol=0)


def test_nan_propagates_through_relu():
    weights, x, state = make(CELLS["irnn"], SHAPE, dtype=torch.float32, device=DEVICE)
    with torch.no_grad():
        x[1, 0, 0] = torch.nan
    y, _ = TRITON.run(CELLS["irnn"], weights, x, state)
    assert y[1:, 0].isnan().all()
    assert not y[:, 1].isnan().any()


@pytest.mark.parametrize("elements", [1, 127, 129, 100_000, MIN_BLOCKS * MIN_BLOCK, 10**7])
def test_blocks_cover_all_elements_and_fill_the_gpu(elements):
    blocks, block, warps = launch_geometry(elements)
    assert blocks * block >= elements > (blocks - 1) * block
    assert blocks >= MIN_BLOCKS or block == MIN_BLOCK
    assert block == 4 * 32 * warps


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
def test_replayed_calls_are_bit_identical_to_the_first(pool, ids):
    weights, x, state = make(GRU, SHAPE, ids=ids, dtype=torch.float32, device=DEVICE)
    first, *others = (outputs_and_gradients(TRITON, GRU, weights, x, state) for _ in range(4))
    assert plans(pool) == [[False]]
    for actual in others:
        assert all(map(torch.equal, first, actual))


def test_replay_uses_new_weights_inputs_and_states(pool):
    for seed in range(4):
        weights, x, state = make(LSTM, SHAPE, device=DEVICE)
        with torch.no_grad():
            for t in leaves(weights, x, state):
                t.mul_(1 - 0.1 * seed)
        expected = outputs_and_gradients(REFERENCE, LSTM, weights, x, state)
        for f, e in zip(outputs_and_gradients(TRITON, LSTM, weights, x, state), expected, strict=True):
            torch.testing.assert_close(f, e)
    assert plans(pool) == [[False]]


def test_concurrent_passes_of_one_shape_are_independent(pool):
    layers = [make(cell, (2, 2, 5, 5), device=DEVICE) for cell in (LSTM, CELLS["coupled"], LSTM)]
    (lower, x, start), (_, other, _), (upper, _, second) = layers

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


def test_plan_is_released_after_backward_or_with_the_graph(pool):
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


def test_plan_is_released_only_once_per_graph(pool):
    """The previous iteration's graph is freed when the second pass already uses the plan of the first."""
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    inputs = (x.detach(), 0.5 * x.detach())

    def gradients(outputs):
        return [torch.autograd.grad(y.square().sum(), [weights.weight_ih, weights.weight_hh])[1] for y in outputs]

    expected = gradients([REFERENCE.run(GRU, weights, each, state)[0] for each in inputs])
    outputs = []
    for _ in range(4):
        first, _ = TRITON.run(GRU, weights, inputs[0], state)
        outputs[:] = [first]
        second, _ = TRITON.run(GRU, weights, inputs[1], state)
        for actual, e in zip(gradients([first, second]), expected, strict=True):
            torch.testing.assert_close(actual, e)
        outputs.append(second)
    assert plans(pool) == [[False, False]]


def test_more_passes_than_cached_plans_still_run(pool, monkeypatch):
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
        for actual, e in zip(gradients(TRITON), expected, strict=True):
            torch.testing.assert_close(actual, e)
        assert plans(pool) == [[False, False]]


def test_clearing_the_cache_does_not_affect_plans_in_use(pool):
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    expected = outputs_and_gradients(REFERENCE, GRU, weights, x, state)
    TRITON.run(GRU, weights, x, state)
    y, _ = TRITON.run(GRU, weights, x, state)
    plan = weakref.ref(pool._plans[next(iter(pool._plans))][0])
    clear_plan_cache()
    assert plans(pool) == []
    (actual,) = torch.autograd.grad(y.sum(), [weights.weight_hh])
    (e,) = torch.autograd.grad(REFERENCE.run(GRU, weights, x, state)[0].sum(), [weights.weight_hh])
    torch.testing.assert_close(actual, e)
    gc.collect()
    assert plan() is None
    for f, e in zip(outputs_and_gradients(TRITON, GRU, weights, x, state), expected, strict=True):
        torch.testing.assert_close(f, e)
    assert plans(pool) == [[False]]


def test_outputs_do_not_share_memory_with_plans(pool):
    weights, x, state = make(LSTM, SHAPE, device=DEVICE)
    outputs = []
    with torch.no_grad():
        for scale in (1.0, 2.0, 3.0):
            y, new = TRITON.run(LSTM, weights, x * scale, state)
            outputs.append([(t, t.clone()) for t in (y, *new)])
    assert all(torch.equal(t, before) for call in outputs for t, before in call)


def test_least_recently_used_shapes_are_evicted(pool):
    def run(steps: int) -> None:
        weights, x, state = make(GRU, (steps, 1, 2, 2), device=DEVICE)
        with torch.no_grad():
            TRITON.run(GRU, weights, x, state)

    def cached_steps() -> list[int]:
        return [shape.steps for shape in pool._plans]

    for steps in (1, 2, 3, 1, 2):
        run(steps)
    assert cached_steps() == [1, 2]
    run(3)
    assert cached_steps() == [1, 2]
    for _ in range(4):
        run(2)
    run(3)
    assert cached_steps() == [2, 3]


def test_out_of_memory_drops_the_other_plans(pool, monkeypatch):
    created: list[int] = []

    class LimitedPlan(Plan):
        def __init__(self, shape, capture, division):
            if any(cached.steps != shape.steps for cached in pool._plans):
                raise torch.OutOfMemoryError("CUDA out of memory")
            created.append(shape.steps)
            super().__init__(shape, capture, division)

    monkeypatch.setattr("charlstm.executors.triton.pool.Plan", LimitedPlan)
    for steps in (2, 2, 2, 5):
        layer = make(GRU, (steps, 1, 2, 2), device=DEVICE)
        with torch.no_grad():
            torch.testing.assert_close(TRITON.run(GRU, *layer)[0], REFERENCE.run(GRU, *layer)[0])
    assert (created, [shape.steps for shape in pool._plans]) == ([2, 2, 5], [5])


def test_float32_precisions_have_separate_plans(pool):
    for rounded in (False, True):
        with float32_matmul_precision(torch.device("cuda"), rounded):
            for _ in range(2):
                TRITON.run(GRU, *make(GRU, SHAPE, device=DEVICE))
    assert [shape.fp32_precision for shape in pool._plans] == ["ieee", "tf32"]


def test_training_works_after_inference_mode(pool):
    weights, x, state = make(GRU, SHAPE, device=DEVICE)
    for _ in range(2):
        with torch.inference_mode():
            TRITON.run(GRU, weights, x, state)
    outputs_and_gradients(TRITON, GRU, weights, x, state)
    with torch.no_grad():
        y, _ = TRITON.run(GRU, weights, x, state)
    torch.testing.assert_close(y, REFERENCE.run(GRU, weights, x, state)[0])


@pytest.mark.skipif(DEVICE == "cuda", reason="a device assert makes the GPU unusable")
@pytest.mark.parametrize("invalid", [-1, 4])
def test_ids_out_of_range_are_an_error(invalid):
    weights, ids, state = make(GRU, SHAPE, ids=True, device=DEVICE)
    ids[1, 0] = invalid
    with pytest.raises(RuntimeError, match="ids must be from 0 to 3"):
        TRITON.run(GRU, weights, ids, state)


def test_refusals_give_a_reason(monkeypatch):
    weights, x, _ = make(LSTM, SHAPE, dtype=torch.float16)
    if DEVICE == "cpu":
        assert TRITON.refuses(LSTM, weights, x) == "it does not support float16"
        monkeypatch.setattr(module, "_not_installed", lambda: "triton is not installed: pip install triton")
        with pytest.raises(UserError, match="executor triton cannot run cell lstm here: triton is not installed: pip"):
            choose("triton", LSTM, weights, x)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert TRITON.refuses(LSTM, weights, x) == "it runs on NVIDIA GPUs"


def test_auto_never_chooses_triton_on_the_cpu():
    for cell in CELLS.values():
        weights, x, _ = make(cell, SHAPE)
        choice = choose("auto", cell, weights, x)
        assert choice.executor.name != "triton"
        assert choice.others["triton"]
