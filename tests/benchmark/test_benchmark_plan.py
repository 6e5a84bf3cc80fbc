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
    round_robin,
)
from charlstm.benchmark.plan import _field
from charlstm.benchmark.round_robin import Speed
from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors.cuda_graph import CudaGraph
from charlstm.executors.triton.pool import Pool
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import training_multiply_adds

TINY = Size(1, 4, 2, 3)


def test_size_is_read_and_written():
    assert Size.parse("2x512,64,100") == Size(2, 512, 64, 100)
    assert str(Size(2, 512, 64, 100)) == "2x512,64,100"
    assert Size(2, 512, 64, 100).net == "2x512"


@pytest.mark.parametrize("text", ["", "512", "1x512", "1x512,64", "1x512,64,64,1", "1,512,64", "axb,1,1", "1x5.5,1,1"])
def test_no_size(text):
    with pytest.raises(UserError, match=re.escape(f"{text!r} is no size: write LAYERSxUNITS,BATCH,STEPS")):
        Size.parse(text)


@pytest.mark.parametrize("text", ["0x1,1,1", "1x0,1,1", "1x1,-1,1", "1x1,1,0"])
def test_size_of_nothing(text):
    with pytest.raises(UserError, match="at least 1"):
        Size.parse(text)


def test_the_default_plan():
    parts = Plan().parts()
    trained = [str(size) for what, size in parts if what == "training"]
    sampled = [(size.net, size.batch) for what, size in parts if what == "sampling"]
    assert trained == ["1x256,32,64", "2x512,64,100", "1x1024,32,128"]
    assert sampled == [(net, texts) for net in ("1x256", "1x512", "2x512", "1x1024") for texts in (1, 64)]


def test_plans_of_the_users_making():
    plan = Plan(sizes=[TINY, Size(1, 4, 9, 9)], texts=[7])
    assert [what for what, _ in plan.parts()] == ["training", "training", "sampling"]
    assert plan.parts()[2][1].batch == 7
    assert [what for what, _ in Plan(training=False).parts()] == ["sampling"] * 8
    assert len(Plan(quick=True).parts()) == 3
    assert len(Plan(quick=True, sizes=[TINY], sampling=False).parts()) == 1


def test_ratios(made_up):
    ratios = [made_up.ratio(r, "float32") for r in made_up.results]
    assert ratios == [1.0, 4.0, 1.5, 2.0, 3.0]
    assert [made_up.ratio(r, "bfloat16") for r in made_up.results] == [0.25, 1.0, 0.375, 0.5, 0.75]
    assert [made_up.share_of_peak(r) for r in made_up.results] == [0.25, 0.5, 0.375, 0.5, 0.375]
    # of our fastest LSTM in float32; there is none in bfloat16
    assert [made_up.work_to_own_lstm(r) for r in made_up.results] == [0.5, None, 0.75, 1.0, 0.75]


def test_json_has_every_figure_under_a_name_that_stays(made_up):
    found = json.loads(json.dumps(made_up.to_json(), allow_nan=False))
    assert found["what"] == "training"
    assert [found[name] for name in ("layers", "units", "batch", "steps", "rounds")] == [1, 256, 32, 64, 5]
    assert found["peak_multiply_adds_per_second"]["float32"] == {"median": 8000, "lowest": 7200, "highest": 8800}
    assert found["results"][4] == {
        "cell": "gru",
        "executor": "cpp",
        "precision": "float32",
        "characters_per_second": {"median": 300.0, "lowest": 270.0, "highest": pytest.approx(330.0)},
        "to_nn_lstm_float32": 3.0,
        "to_nn_lstm_bfloat16": 0.75,
        "multiply_adds_per_character": 10.0,
        "share_of_peak": 0.375,
        "multiply_adds_per_second_to_own_lstm": 0.75,
    }
    assert found["left_out"] == [{"cell": "gru", "executor": "vendor", "precision": "float32", "reason": "no"}]


def run(plan: Plan) -> list[Measurement]:
    return [event for event in measure(plan) if isinstance(event, Measurement)]


@pytest.mark.usefixtures("short_turns")
def test_training_of_every_cell():
    names = [BASELINE, "eager", "vendor"]
    (found,) = run(Plan(sizes=[TINY], executors=names, rounds=2, sampling=False))
    keys = [r.key for r in found.results]
    assert keys == [
        Key(cell, name, precision)
        for cell, declared in CELLS.items()
        for name in names
        if name == "eager" or declared.torch
        for precision in ("float32", "bfloat16")
    ]
    assert {key.cell for key in found.left_out} == {cell for cell, declared in CELLS.items() if not declared.torch}
    assert {key.executor for key in found.left_out} == {"vendor"}
    assert all(0 < r.speed.lowest <= r.speed.median <= r.speed.highest for r in found.results)
    assert found.peaks.keys() == {"float32", "bfloat16"}
    assert found.rounds == 2


@pytest.mark.usefixtures("short_turns")
def test_the_lstm_of_torch_always_takes_part():
    (found,) = run(Plan(["gru"], ["eager"], ["float32"], [TINY], rounds=1, sampling=False))
    assert {r.key for r in found.results} == {Key("gru", "eager", "float32"), Key("lstm", BASELINE, "float32")}
    (found,) = run(Plan(["gru"], ["eager"], ["bfloat16"], [TINY], rounds=1, sampling=False))
    base = [Key("lstm", BASELINE, precision) for precision in ("float32", "bfloat16")]
    assert {r.key for r in found.results} == {Key("gru", "eager", "bfloat16"), *base}
    assert all(r.key.precision in found.peaks for r in found.results)


@pytest.mark.usefixtures("short_turns")
def test_sampling(monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.CHARACTERS", 5)
    events = list(measure(Plan(["peephole"], sizes=[TINY], texts=[1, 3], rounds=1, training=False)))
    one, three = (event for event in events if isinstance(event, Measurement))
    own = [Key("peephole", "charlstm", precision) for precision in ("float32", "bfloat16")]
    assert [r.key for r in one.results] == [Key("lstm", BASELINE, "float32"), *own]
    assert (one.size.batch, three.size.batch) == (1, 3)
    assert one.title == "sampling 1x4, one text"
    assert three.title == "sampling 1x4, 3 texts side by side"
    assert three.to_json()["characters"] == 5
    places = {(e.number, e.parts, e.title) for e in events if isinstance(e, Progress)}
    assert places == {(1, 2, one.title), (2, 2, three.title)}


def test_a_training_step_is_one_of_the_whole_network_and_counts_all_its_characters():
    torch.manual_seed(1)
    found, multiply_adds = candidates.training(TINY, ["gru"], [BASELINE, "eager"], ["float32"])
    assert all(contender.amount == TINY.batch * TINY.steps for contender in found.values())
    model = LanguageModel(candidates._model_config(CELLS["gru"], TINY), candidates.VOCABULARY)
    assert multiply_adds["gru"] * 6 == pytest.approx(training_multiply_adds(model, TINY.batch, TINY.steps))


def test_training_steps_change_every_weight_of_ours_and_of_torchs(monkeypatch):
    made = []

    def remember(original):
        def make(*arguments):
            made.append(original(*arguments))
            return made[-1]

        return make

    monkeypatch.setattr(candidates, "_own_model", remember(candidates._own_model))
    monkeypatch.setattr(candidates, "_torch_model", remember(candidates._torch_model))
    found, _ = candidates.training(TINY, ["gru"], [BASELINE, "eager", "reference"], ["float32"])
    for contender in found.values():
        contender.run()
    before = [{name: p.clone() for name, p in model.state_dict().items()} for model in made]
    assert len(made) == 2
    for contender in found.values():
        contender.run()
    for model, old in zip(made, before, strict=True):
        assert all(not torch.equal(p, old[name]) for name, p in model.state_dict().items())


@pytest.mark.usefixtures("short_turns")
def test_quick_keeps_to_its_time(monkeypatch):
    limits = []

    def by_turns(field, rounds, turn_seconds, limit, **_):
        limits.append(limit)
        yield from ()

    monkeypatch.setattr("charlstm.benchmark.plan.round_robin", by_turns)
    list(measure(Plan(quick=True)))
    assert len(limits) == 3
    assert sum(limits) < 40
    limits.clear()
    list(measure(Plan(["lstm"], sizes=[TINY], training=True, sampling=False)))
    assert limits == [float("inf")]


def test_median_is_what_is_compared():
    speed = Speed(median([1.0, 2.0, 9.0]), 1.0, 9.0)
    measured = Measurement("training", TINY, [Result(Key("lstm", BASELINE, "float32"), speed, 1.0)], {}, {}, 3)
    assert measured.ratio(measured.results[0], "float32") == 1.0
    assert measured.ratio(measured.results[0], "bfloat16") is None
    assert measured.share_of_peak(measured.results[0]) is None
    assert measured.work_to_own_lstm(measured.results[0]) is None


def test_a_gpu_has_sizes_of_its_own():
    gpu = Plan(device=torch.device("cuda"))
    assert [str(size) for what, size in gpu.parts() if what == "training"] == [
        *("1x512,64,128", "2x1024,128,128", "3x2048,128,128")
    ]
    assert {size.net for what, size in gpu.parts() if what == "sampling"} == {"1x512", "2x1024", "3x2048"}
    assert {size.net for _, size in Plan(device=torch.device("cuda"), quick=True).parts()} == {"1x512"}
    assert len(Plan(device=torch.device("mps"), training=False).parts()) == 8


@pytest.mark.usefixtures("short_turns")
def test_every_time_that_is_taken_is_taken_after_a_wait(monkeypatch):
    """As on a device that does its work behind the back of the one that gives it."""
    given, waits = [0], [0]

    def wait():
        waits[0] += 1
        given[0] = 0

    monkeypatch.setattr("charlstm.benchmark.plan.waiting", lambda _: wait)
    monkeypatch.setattr("charlstm.benchmark.plan.warm_up", lambda _: 3)
    (found,) = run(Plan(["lstm"], ["eager"], ["float32"], [TINY], rounds=4, sampling=False))
    contenders_that_ran = len(found.results) + 2  # two matrix products
    assert waits[0] == contenders_that_ran * (2 + 4)


@pytest.mark.skipif(find_spec("triton") is None or torch.cuda.is_available(), reason="needs interpreted kernels")
@pytest.mark.usefixtures("short_turns")
def test_no_recording_is_made_while_the_clock_runs(monkeypatch):
    """Contenders of more shapes than are kept, on what shares them as on a GPU."""
    ticking, made = [False], []

    class Noted(CudaGraph):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(ticking[0])

    def timed(*arguments):
        ticking[0] = True
        speed = one_turn(*arguments)
        ticking[0] = False
        return speed

    pool, one_turn = Pool(shapes=1), round_robin._turn
    monkeypatch.setattr("charlstm.executors.triton.plans.CudaGraph", Noted)
    monkeypatch.setattr("charlstm.executors.triton.executor.POOL", pool)
    monkeypatch.setattr(round_robin, "_turn", timed)
    for name in ("warm_up", "before_turn", "after_turn"):
        gpu = getattr(environment, name)(torch.device("cuda"))
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", lambda _, gpu=gpu: gpu)
    cells, rounds = ["gru", "rnn"], 2
    (found,) = run(Plan(cells, ["triton"], ["float32"], [TINY], rounds=rounds, sampling=False))
    assert {r.key.cell for r in found.results if r.key.executor == "triton"} == {*cells}
    assert made == [False] * 2 * len(cells) * (1 + rounds)  # the way forward and back
    assert not pool._kept


@pytest.mark.usefixtures("short_turns")
def test_one_that_does_not_fit_is_left_out_and_leaves_nothing_behind(monkeypatch):
    step = candidates._step
    networks = []

    def full(network, executor, precision, size, device):
        if executor == "eager" and precision == "float32":
            networks.append(network)
            monkeypatch.setattr(candidates.F, "cross_entropy", out_of_memory)
        try:
            step(network, executor, precision, size, device)
        finally:
            monkeypatch.setattr(candidates.F, "cross_entropy", cross_entropy)

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    cross_entropy = candidates.F.cross_entropy
    monkeypatch.setattr(candidates, "_step", full)
    (found,) = run(Plan(["gru"], ["eager", "vendor"], sizes=[TINY], rounds=1, sampling=False))
    assert found.left_out == {Key("gru", "eager", "float32"): NO_MEMORY}
    assert Key("gru", "eager", "bfloat16") in {r.key for r in found.results}
    assert all(p.grad is None for p in networks[0]().model.parameters())


def test_float32_is_tf32_on_a_gpu_while_it_is_measured(monkeypatch):
    seen, before = [], torch.backends.cuda.matmul.fp32_precision

    def by_turns(*_, **__):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        yield from ()

    monkeypatch.setattr("charlstm.benchmark.plan.round_robin", by_turns)
    monkeypatch.setattr("charlstm.benchmark.plan.notes", lambda _: [])
    monkeypatch.setattr("charlstm.benchmark.plan.products", lambda *_: {})
    for device in ("cuda", "cpu"):
        list(measure(Plan(["lstm"], sizes=[TINY], sampling=False, device=torch.device(device))))
    assert seen == ["tf32", before]
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.parametrize(("device", "absent"), [("cpu", "triton"), ("cuda", "cpp")])
def test_an_executor_of_another_device_takes_part_only_if_asked_for(monkeypatch, device, absent):
    asked = []

    def field(_size, _cells, executors, *_):
        asked.append(set(executors))
        return {}, {}

    monkeypatch.setattr("charlstm.benchmark.plan.training", field)
    plan = Plan(["lstm"], sizes=[TINY], sampling=False, device=torch.device(device))
    for executors in (None, [absent]):
        _field(replace(plan, executors=executors), "training", TINY)
    assert asked[1] == {BASELINE, "cpp", "triton", "eager", "vendor"} - {absent}
    assert asked[3] == {absent}
