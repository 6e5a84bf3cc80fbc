from __future__ import annotations

from functools import cache, partial

import pytest
import torch

from charlstm.benchmark import BASELINE, CAPTURED, Key, Plan, Size, candidates, captured_run, networks
from charlstm.benchmark.captured_run import LAUNCHED, CapturedRun
from charlstm.benchmark.plan import _candidates
from charlstm.cells import CELLS
from charlstm.errors import UserError
from tests.replaying import ReplayedGraph

TINY = Size(1, 4, 2, 3)
CPU = torch.device("cpu")


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_run, "CudaGraph", ReplayedGraph)
    monkeypatch.setattr(networks, "LEARNING_RATE", 1e-2)


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize(
    ("executor", "precision"),
    [(CAPTURED, "float32"), (CAPTURED, "bfloat16"), (CAPTURED, "float16"), ("eager", "float32"), ("eager", "bfloat16")],
)
def test_replayed_steps_equal_launched_ones(executor, precision):
    make = networks.torch_network if executor == CAPTURED else networks.charlstm_network
    weights = []
    for is_captured in (False, True):
        torch.manual_seed(1)
        network = cache(partial(make, CELLS["gru"], TINY, CPU))
        step = partial(networks.train, network, executor, precision, TINY, CPU)
        run = CapturedRun(step, CPU) if is_captured else step
        # The first call launches several steps; a freed graph is captured again without.
        for n in range(3 if is_captured else LAUNCHED + 3):
            run()
            if is_captured and n == 1:
                run.free()
        weights.append([p.clone() for p in network().model.parameters()])
    torch.manual_seed(1)
    initial = [*make(CELLS["gru"], TINY, CPU).model.parameters()]
    for launched, replayed, first in zip(*weights, initial, strict=True):
        torch.testing.assert_close(replayed, launched, rtol=0, atol=0)
        assert not torch.equal(first, launched)


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
