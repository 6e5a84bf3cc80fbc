from __future__ import annotations

from functools import cache, partial

import pytest
import torch

from charlstm.benchmark import BASELINE, CAPTURED, Key, Plan, Size, candidates, captured_run, networks, round_robin
from charlstm.benchmark.captured_run import LAUNCHED, CapturedRun
from charlstm.benchmark.plan import _candidates
from charlstm.benchmark.round_robin import Candidate
from charlstm.cells import CELLS
from charlstm.errors import UserError
from tests.replaying import ReplayedGraph

TINY = Size(1, 4, 2, 3)
CPU = torch.device("cpu")


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_run, "CudaGraph", ReplayedGraph)
    monkeypatch.setattr(networks, "LEARNING_RATE", 1e-2)


def weights_after_training(
    cell: str, size: Size, device: torch.device, executor: str, precision: str, is_captured: bool
) -> list[torch.Tensor]:
    """After LAUNCHED + 3 steps."""
    torch.manual_seed(1)
    make = networks.torch_network if executor == CAPTURED else networks.charlstm_network
    network, dtype = cache(partial(make, CELLS[cell], size, device)), networks.PRECISIONS[precision]
    step = partial(networks.train, network, executor, dtype, size, device, networks.gradient_scaler(dtype, device))
    run = CapturedRun(step, device) if is_captured else step
    # The first call launches several steps; a freed graph is captured again without.
    for n in range(3 if is_captured else LAUNCHED + 3):
        run()
        if isinstance(run, CapturedRun) and n == 1:
            run.free()
    return [p.detach().clone() for p in network().model.parameters()]


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize(
    ("executor", "precision"),
    [(CAPTURED, "float32"), (CAPTURED, "bfloat16"), (CAPTURED, "float16"), ("eager", "float32"), ("eager", "bfloat16")],
)
def test_replayed_steps_equal_launched_ones(executor, precision):
    launched, replayed = (weights_after_training("gru", TINY, CPU, executor, precision, x) for x in (False, True))
    torch.manual_seed(1)
    make = networks.torch_network if executor == CAPTURED else networks.charlstm_network
    for one, other, initial in zip(launched, replayed, make(CELLS["gru"], TINY, CPU).model.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
        assert not torch.equal(initial, one)


def test_what_cannot_be_captured_is_left_out(monkeypatch):
    class Failing:
        def __init__(self, *_, **__):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(captured_run, "CudaGraph", Failing)
    with pytest.raises(UserError, match=r"^its training step cannot be captured in a CUDA graph: oper.*ing$"):
        CapturedRun(lambda: None, CPU)()


def test_on_a_gpu_all_but_the_plain_loop_are_captured():
    chosen, _ = _candidates(Plan(["lstm", "peephole"], device=torch.device("cuda")), "training", TINY)
    for key, candidate in chosen.items():
        (run,) = candidate.run.args
        assert isinstance(run, CapturedRun) == (key.executor != BASELINE), key
    torchs = {key for key in chosen if key.executor in candidates.TORCH}
    precisions = ("float32", "bfloat16", "float16")
    assert torchs == {Key("lstm", executor, precision) for executor in candidates.TORCH for precision in precisions}
    assert Key("peephole", "triton", "bfloat16") in chosen
    assert not any(key.precision == "float16" for key in chosen.keys() - torchs)


def test_graphs_are_captured_outside_of_the_measured_time(monkeypatch):
    captures, is_timed = [], [False]

    class Graph(ReplayedGraph):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            captures.append(is_timed[0])

    def timed(*arguments):
        is_timed[0] = True
        try:
            return one_turn(*arguments)
        finally:
            is_timed[0] = False

    one_turn = round_robin._turn
    monkeypatch.setattr(captured_run, "CudaGraph", Graph)
    monkeypatch.setattr(round_robin, "_turn", timed)
    count = torch.zeros(1)
    run = CapturedRun(lambda: count.add_(1), CPU)
    list(round_robin.round_robin({"a": Candidate(run, 1.0, run.free)}, 2, 0.0, warm_up_runs=3, untimed_runs=2))
    assert captures == [False] * 3  # in the warm-up, and at the beginning of each turn
    assert count == LAUNCHED + 3 + 2 * 3


def test_no_memory_for_the_graph_is_no_failure_of_the_capture(monkeypatch):
    class Failing:
        def __init__(self, *_, **__):
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                raise RuntimeError("the capture failed before")

    monkeypatch.setattr(captured_run, "CudaGraph", Failing)
    with pytest.raises(torch.OutOfMemoryError):
        CapturedRun(lambda: None, CPU)()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_that_fails_leaves_the_network_to_the_next(precision):
    network = cache(partial(networks.torch_network, CELLS["gru"], TINY, CPU))
    dtype = networks.PRECISIONS[precision]
    failing, working = (
        partial(networks.train, network, BASELINE, dtype, TINY, CPU, networks.gradient_scaler(dtype, CPU))
        for _ in range(2)
    )
    optimizer = network().optimizer

    def fail():
        raise RuntimeError("not permitted")

    step, optimizer.step = optimizer.step, fail
    with pytest.raises(RuntimeError, match="not permitted"):
        failing()
    optimizer.step = step
    assert not {"grad_scale", "found_inf"} & vars(optimizer).keys()
    before = [p.clone() for p in network().model.parameters()]
    working()
    assert all(not torch.equal(p, old) for p, old in zip(network().model.parameters(), before, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_captured_steps_equal_launched_ones_on_a_gpu(monkeypatch, cell, precision):
    monkeypatch.setattr(networks, "LEARNING_RATE", 1e-2)
    for executor in (CAPTURED, *(["triton"] if precision != "float16" else [])):
        arguments = cell, Size(1, 128, 16, 20), torch.device("cuda"), executor, precision
        launched, captured = (weights_after_training(*arguments, is_captured) for is_captured in (False, True))
        torch.testing.assert_close(captured, launched, rtol=1e-3, atol=1e-4)
