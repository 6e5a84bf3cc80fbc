"""The time loop as one kernel, on an NVIDIA GPU; skipped without one."""

from __future__ import annotations

import pytest
import torch

from charlstm.cells import CELLS
from charlstm.executors.precision import float32_matmul_precision
from charlstm.executors.triton import choice, trial
from charlstm.executors.triton.persistent import Division, Tiles, gave_up_flag
from charlstm.executors.triton.plans import Plan, Shape

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
SIZES = [(32, 256), (16, 512), (20, 192)]


def shape_of(name: str, size: tuple[int, int], dtype: torch.dtype, steps: int, training: bool = True) -> Shape:
    device = torch.device("cuda", torch.cuda.current_device())
    stream = torch.cuda.current_stream(device).cuda_stream
    return Shape(CELLS[name], steps, *size, 65, dtype, torch.float32, training, device, stream, "tf32")


def division_of(shape: Shape) -> Division:
    division = choice.division_of(shape)
    if isinstance(division, str):
        pytest.skip(division)
    return division


def assert_agree(shape: Shape, division: Division) -> None:
    """The results of kernels are those of a graph."""
    run, graph = trial.Example(shape), Plan(shape, True)
    both = (run(plan, graph) for plan in (graph, Plan(shape, True, division)))
    assert trial.differing(run.names, *both, trial.TOLERANCES[shape.compute_dtype]) == ""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_one_kernel_agrees_with_a_graph_of_many(name, size, dtype):
    shape = shape_of(name, size, dtype, 50)
    division = division_of(shape)
    with float32_matmul_precision(shape.device, tf32=True):
        assert_agree(shape, division)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_one_kernel_is_bit_identical_each_time(name):
    shape = shape_of(name, (32, 256), torch.bfloat16, 300)
    division = division_of(shape)
    run, plan = trial.Example(shape), Plan(shape, True, division)
    first, *others = ([t.clone() for t in run(plan)] for _ in range(20))
    assert all(bool(t.isfinite().all()) for t in first)
    for other in others:
        assert all(map(torch.equal, first, other))


def test_program_that_waits_in_vain_gives_up(monkeypatch):
    """All but one of a group are there."""
    monkeypatch.setattr("charlstm.executors.triton.persistent.PATIENCE", 1000)
    shape = shape_of("lstm", (32, 256), torch.bfloat16, 8)
    division = division_of(shape)
    whole = division.forward
    plan = Plan(shape, False, Division(Tiles(whole.programs // 2 - 1, whole.rows, whole.units)))
    trial.Example(shape)(plan)
    assert bool(gave_up_flag(shape.device))
    assert choice.refuse_kernels_that_gave_up()
    assert not bool(gave_up_flag(shape.device))


@pytest.mark.parametrize("passes", ["forward", "backward"])
def test_kernel_of_one_pass_beside_a_graph_of_the_other(passes):
    shape = shape_of("gru_reset_before", (32, 256), torch.bfloat16, 50)
    division = Division(**{passes: getattr(division_of(shape), passes)})
    assert_agree(shape, division)


def test_measurement_of_both_loops():
    shape = shape_of("lstm", (32, 256), torch.bfloat16, trial.STEPS)
    measured = trial.trial_in_process(shape, division_of(shape))
    assert measured.get("agree") is True, measured
    for seconds in (*measured["kernel"], *measured["graph"]):
        assert 0 < seconds < 1e-2  # other tests use the GPU, too
