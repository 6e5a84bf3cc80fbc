from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from statistics import median

import pytest
import torch

from charlstm.benchmark import (
    BASELINE,
    CAPTURED,
    NO_MEMORY,
    Key,
    Measurement,
    Plan,
    Progress,
    Result,
    Size,
    candidates,
    environment,
    measure,
    networks,
    round_robin,
)
from charlstm.benchmark.plan import _candidates
from charlstm.benchmark.round_robin import Speed
from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors.cuda_graph import CudaGraph
from charlstm.executors.triton.pool import Pool
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import training_multiply_adds

TINY = Size(1, 4, 2, 3)


def test_size_is_parsed_and_formatted():
    assert Size.parse("2x512,64,100") == Size(2, 512, 64, 100)
    assert str(Size(2, 512, 64, 100)) == "2x512,64,100"
    assert Size(2, 512, 64, 100).net == "2x512"


@pytest.mark.parametrize("text", ["", "512", "1x512", "1x512,64", "1x512,64,64,1", "1,512,64", "axb,1,1", "1x5.5,1,1"])
def test_malformed_size_is_refused(text):
    with pytest.raises(UserError, match=re.escape(f"{text!r} is not a size: write LAYERSxHIDDEN,BATCH,STEPS")):
        Size.parse(text)


@pytest.mark.parametrize("text", ["0x1,1,1", "1x0,1,1", "1x1,-1,1", "1x1,1,0"])
def test_size_with_zero_is_refused(text):
    with pytest.raises(UserError, match="at least 1"):
        Size.parse(text)


def test_default_plan():
    parts = Plan().parts()
    trained = [str(size) for workload, size in parts if workload == "training"]
    sampled = [(size.net, size.batch) for workload, size in parts if workload == "sampling"]
    assert trained == ["1x256,32,64", "2x512,64,100", "1x1024,32,128"]
    assert sampled == [(net, texts) for net in ("1x256", "1x512", "2x512", "1x1024") for texts in (1, 64)]


def test_plan_with_given_sizes():
    plan = Plan(sizes=[TINY, Size(1, 4, 9, 9)], texts=[7])
    assert [workload for workload, _ in plan.parts()] == ["training", "training", "sampling"]
    assert plan.parts()[2][1].batch == 7
    assert [workload for workload, _ in Plan(training=False).parts()] == ["sampling"] * 8
    assert len(Plan(quick=True).parts()) == 3
    assert len(Plan(quick=True, sizes=[TINY], sampling=False).parts()) == 1


def test_ratios_and_utilization(example):
    ratios = [example.ratio(r, "float32") for r in example.results]
    assert ratios == [1.0, 4.0, 1.5, 2.0, 3.0]
    assert [example.ratio(r, "bfloat16") for r in example.results] == [0.25, 1.0, 0.375, 0.5, 0.75]
    assert [example.utilization(r) for r in example.results] == [0.25, 0.5, 0.375, 0.5, 0.375]
    # ratios to the fastest charlstm LSTM in float32; bfloat16 has none
    assert [example.ratio_to_fastest_lstm(r) for r in example.results] == [0.5, None, 0.75, 1.0, 0.75]


def test_json_has_every_metric_under_a_stable_name(example):
    record = json.loads(json.dumps(example.to_json(), allow_nan=False))
    assert record["workload"] == "training"
    assert [record[name] for name in ("layers", "hidden_size", "batch", "steps", "rounds")] == [1, 256, 32, 64, 5]
    assert record["peak_multiply_adds_per_second"]["float32"] == {"median": 8000, "lowest": 7200, "highest": 8800}
    assert record["results"][4] == {
        "cell": "gru",
        "executor": "cpp",
        "precision": "float32",
        "characters_per_second": {"median": 300.0, "lowest": 270.0, "highest": pytest.approx(330.0)},
        "ratio_to_nn_lstm_float32": 3.0,
        "ratio_to_nn_lstm_bfloat16": 0.75,
        "multiply_adds_per_character": 10.0,
        "utilization": 0.375,
        "multiply_adds_ratio_to_fastest_lstm": 0.75,
    }
    assert record["left_out"] == [{"cell": "gru", "executor": "vendor", "precision": "float32", "reason": "no"}]


def run(plan: Plan) -> list[Measurement]:
    return [event for event in measure(plan) if isinstance(event, Measurement)]


@pytest.mark.usefixtures("short_turns")
def test_every_cell_is_measured_in_training():
    names = [BASELINE, "eager", "vendor"]
    (measurement,) = run(Plan(sizes=[TINY], executors=names, rounds=2, sampling=False))
    keys = [r.key for r in measurement.results]
    assert keys == [
        Key(cell, name, precision)
        for cell, declared in CELLS.items()
        for name in names
        if name == "eager" or declared.torch
        for precision in ("float32", "bfloat16")
    ]
    assert {key.cell for key in measurement.left_out} == {
        cell for cell, declared in CELLS.items() if not declared.torch
    }
    assert {key.executor for key in measurement.left_out} == {"vendor"}
    assert all(0 < r.speed.lowest <= r.speed.median <= r.speed.highest for r in measurement.results)
    assert measurement.peaks.keys() == {"float32", "bfloat16"}
    assert measurement.rounds == 2


@pytest.mark.usefixtures("short_turns")
def test_torch_lstm_is_always_measured():
    (measurement,) = run(Plan(["gru"], ["eager"], ["float32"], [TINY], rounds=1, sampling=False))
    assert {r.key for r in measurement.results} == {Key("gru", "eager", "float32"), Key("lstm", BASELINE, "float32")}
    (measurement,) = run(Plan(["gru"], ["eager"], ["bfloat16"], [TINY], rounds=1, sampling=False))
    base = [Key("lstm", BASELINE, precision) for precision in ("float32", "bfloat16")]
    assert {r.key for r in measurement.results} == {Key("gru", "eager", "bfloat16"), *base}
    assert all(r.key.precision in measurement.peaks for r in measurement.results)


@pytest.mark.usefixtures("short_turns")
def test_sampling_is_measured_per_number_of_texts(monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.CHARACTERS", 5)
    events = list(measure(Plan(["peephole"], sizes=[TINY], texts=[1, 3], rounds=1, training=False)))
    one, three = (event for event in events if isinstance(event, Measurement))
    ours = [Key("peephole", "charlstm", precision) for precision in ("float32", "bfloat16")]
    assert [r.key for r in one.results] == [Key("lstm", BASELINE, "float32"), *ours]
    assert (one.size.batch, three.size.batch) == (1, 3)
    assert one.title == "sampling 1x4, one text"
    assert three.title == "sampling 1x4, 3 texts in parallel"
    assert three.to_json()["characters"] == 5
    parts = {(e.number, e.parts, e.title) for e in events if isinstance(e, Progress)}
    assert parts == {(1, 2, one.title), (2, 2, three.title)}


def test_training_step_counts_all_characters():
    torch.manual_seed(1)
    steps, multiply_adds = candidates.training(TINY, ["gru"], [BASELINE, "eager"], ["float32"])
    assert all(candidate.amount == TINY.batch * TINY.steps for candidate in steps.values())
    model = LanguageModel(networks.model_config(CELLS["gru"], TINY), networks.VOCABULARY)
    assert multiply_adds["gru"] * 6 == pytest.approx(training_multiply_adds(model, TINY.batch, TINY.steps))


def test_training_steps_change_every_weight(monkeypatch):
    models = []

    def recording(make):
        def call(*arguments):
            models.append(make(*arguments))
            return models[-1]

        return call

    for name in ("charlstm_model", "torch_model"):
        monkeypatch.setattr(networks, name, recording(getattr(networks, name)))
    steps, _ = candidates.training(TINY, ["gru"], [BASELINE, "eager", "reference"], ["float32"])
    for candidate in steps.values():
        candidate.run()
    before = [{name: p.clone() for name, p in model.state_dict().items()} for model in models]
    assert len(models) == 2
    for candidate in steps.values():
        candidate.run()
    for model, old in zip(models, before, strict=True):
        assert all(not torch.equal(p, old[name]) for name, p in model.state_dict().items())


@pytest.mark.usefixtures("short_turns")
def test_quick_plan_limits_its_time(monkeypatch):
    limits = []

    def fake_round_robin(candidates, rounds, turn_seconds, limit, **_):
        limits.append(limit)
        yield from ()

    monkeypatch.setattr("charlstm.benchmark.plan.round_robin", fake_round_robin)
    list(measure(Plan(quick=True)))
    assert len(limits) == 3
    assert sum(limits) < 40
    limits.clear()
    list(measure(Plan(["lstm"], sizes=[TINY], training=True, sampling=False)))
    assert limits == [float("inf")]


def test_ratios_are_those_of_medians():
    speed = Speed(median([1.0, 2.0, 9.0]), 1.0, 9.0)
    measurement = Measurement("training", TINY, [Result(Key("lstm", BASELINE, "float32"), speed, 1.0)], {}, {}, 3)
    assert measurement.ratio(measurement.results[0], "float32") == 1.0
    assert measurement.ratio(measurement.results[0], "bfloat16") is None
    assert measurement.utilization(measurement.results[0]) is None
    assert measurement.ratio_to_fastest_lstm(measurement.results[0]) is None


def test_gpu_has_other_default_sizes():
    gpu = Plan(device=torch.device("cuda"))
    assert [str(size) for workload, size in gpu.parts() if workload == "training"] == [
        *("1x512,64,128", "2x1024,128,128", "3x2048,128,128")
    ]
    assert {size.net for workload, size in gpu.parts() if workload == "sampling"} == {"1x512", "2x1024", "3x2048"}
    assert {size.net for _, size in Plan(device=torch.device("cuda"), quick=True).parts()} == {"1x512"}
    assert len(Plan(device=torch.device("mps"), training=False).parts()) == 8


@pytest.mark.usefixtures("short_turns")
def test_clock_is_only_read_after_synchronizing(monkeypatch):
    """As an asynchronous device needs it."""
    waits = [0]

    def wait():
        waits[0] += 1

    monkeypatch.setattr("charlstm.benchmark.plan.synchronizer", lambda _: wait)
    monkeypatch.setattr("charlstm.benchmark.plan.warm_up_runs", lambda _: 3)
    (measurement,) = run(Plan(["lstm"], ["eager"], ["float32"], [TINY], rounds=4, sampling=False))
    count = len(measurement.results) + 2  # two matrix products
    assert waits[0] == count * (2 + 4)


@pytest.mark.skipif(find_spec("triton") is None or torch.cuda.is_available(), reason="needs interpreted kernels")
@pytest.mark.usefixtures("short_turns")
def test_no_cuda_graph_is_captured_while_timed(monkeypatch):
    """With candidates of more shapes than the shared pool holds."""
    timing, captures = [False], []

    class RecordedGraph(CudaGraph):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            captures.append(timing[0])

    def timed(*arguments):
        timing[0] = True
        speed = one_turn(*arguments)
        timing[0] = False
        return speed

    pool, one_turn = Pool(shapes=1), round_robin._turn
    monkeypatch.setattr("charlstm.executors.triton.plans.CudaGraph", RecordedGraph)
    monkeypatch.setattr("charlstm.executors.triton.executor.POOL", pool)
    monkeypatch.setattr(round_robin, "_turn", timed)
    for name in ("warm_up_runs", "untimed_runs", "cleanup"):
        gpu = getattr(environment, name)(torch.device("cuda"))
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", lambda _, gpu=gpu: gpu)
    cells, rounds = ["gru", "rnn"], 2
    (measurement,) = run(Plan(cells, ["triton"], ["float32"], [TINY], rounds=rounds, sampling=False))
    assert {r.key.cell for r in measurement.results if r.key.executor == "triton"} == {*cells}
    assert captures == [False] * 2 * len(cells) * (1 + rounds)  # forward and backward pass
    assert not pool._plans


@pytest.mark.usefixtures("short_turns")
def test_candidate_out_of_memory_is_left_out(monkeypatch):
    step, made = networks.train, []

    def full(network, executor, dtype, *rest):
        if executor == "eager" and dtype == torch.float32:
            made.append(network)
            monkeypatch.setattr(networks.F, "cross_entropy", out_of_memory)
        try:
            step(network, executor, dtype, *rest)
        finally:
            monkeypatch.setattr(networks.F, "cross_entropy", cross_entropy)

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    cross_entropy = networks.F.cross_entropy
    monkeypatch.setattr(candidates, "train", full)
    (measurement,) = run(Plan(["gru"], ["eager", "vendor"], sizes=[TINY], rounds=1, sampling=False))
    assert measurement.left_out == {Key("gru", "eager", "float32"): NO_MEMORY}
    assert Key("gru", "eager", "bfloat16") in {r.key for r in measurement.results}
    assert all(p.grad is None for p in made[0]().model.parameters())


def test_float32_uses_tf32_on_a_gpu_while_measured(monkeypatch):
    seen, before = [], torch.backends.cuda.matmul.fp32_precision

    def fake_round_robin(*_, **__):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        yield from ()

    monkeypatch.setattr("charlstm.benchmark.plan.round_robin", fake_round_robin)
    monkeypatch.setattr("charlstm.benchmark.plan.notes", lambda _: [])
    monkeypatch.setattr("charlstm.benchmark.plan.matmuls", lambda *_: {})
    for device in ("cuda", "cpu"):
        list(measure(Plan(["lstm"], sizes=[TINY], sampling=False, device=torch.device(device))))
    assert seen == ["tf32", before]
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.parametrize(("device", "absent"), [("cpu", "triton"), ("cuda", "cpp")])
def test_executor_of_another_device_needs_a_request(monkeypatch, device, absent):
    requested = []

    def fake_training(_size, _cells, executors, *_):
        requested.append(set(executors))
        return {}, {}

    monkeypatch.setattr("charlstm.benchmark.plan.training", fake_training)
    plan = Plan(["lstm"], sizes=[TINY], sampling=False, device=torch.device(device))
    for executors in (None, [absent]):
        _candidates(replace(plan, executors=executors), "training", TINY)
    torchs = {BASELINE, CAPTURED} if device == "cuda" else {BASELINE}
    assert requested[1] == torchs | {"cpp", "triton", "eager", "vendor"} - {absent}
    assert requested[3] == {absent}
