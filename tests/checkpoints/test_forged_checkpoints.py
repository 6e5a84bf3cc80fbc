"""Forged checkpoints with a valid checksum: every reader refuses them before reading their tensors."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import resource
import shutil
import struct
import time

import pytest
import torch

import charlstm
from charlstm.checkpoints import format
from charlstm.checkpoints.format import load_checkpoint, pack
from charlstm.checkpoints.header import METADATA_KEY
from charlstm.errors import UserError
from charlstm.generation import infill
from charlstm.model import LanguageModel
from charlstm.runs.directory import RunDirectory
from charlstm.training.trainer import Trainer

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def forge(tmp_path, tiny_run):
    """Writes a copy of the run whose only checkpoint has these changes; returns the file. None deletes an entry."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    file = folder / "checkpoints" / "last.safetensors"
    for path in file.parent.iterdir():
        if path != file:
            path.unlink()

    def write(tensors=None, header=None):
        old_tensors, old_header = load_checkpoint(file)
        table = with_changes(old_tensors, tensors or {})
        for key, value in (header or {}).items():
            *parents, last = key.split(".")
            functools.reduce(dict.__getitem__, parents, old_header)[last] = value
        file.write_bytes(b"".join(pack(table, old_header)))
        return file

    return write


def with_changes(table, changes):
    return {name: value for name, value in {**table, **changes}.items() if value is not None}


def refusals(file, corpus, only_to_train=False):
    """The error messages of loading the file, loading its run, and resuming it, or of resuming alone."""
    directory = RunDirectory(file.parent.parent)
    loads = [lambda: charlstm.load(file), lambda: charlstm.load(directory.path)]
    if only_to_train:
        with pytest.raises(TypeError):  # not refused: it gets to the replaced `_fill`
            loads[0]()
        loads = []
    messages = []
    for use in (*loads, lambda: Trainer(directory.config(), corpus, directory).resume()):
        with pytest.raises(UserError) as refusal:
            use()
        messages.append(str(refusal.value))
    assert all(str(file) in text for text in messages)
    return messages


H, V = 16, 16
LAYOUTS = {
    "exp_avg without shape": {"optimizer.head.weight.exp_avg": torch.zeros(())},
    "exp_avg of another shape": {"optimizer.head.weight.exp_avg": torch.zeros(1, 1)},
    "exp_avg of another dtype": {"optimizer.head.bias.exp_avg": torch.zeros(V, dtype=torch.float64)},
    "exp_avg missing": {"optimizer.head.bias.exp_avg": None},
    "step of a weight's shape": {"optimizer.head.bias.step": torch.zeros(V)},
    "step an integer": {"optimizer.head.bias.step": torch.tensor(3)},
    "of another optimizer": {"optimizer.head.bias.momentum_buffer": torch.zeros(V)},
    "of an unknown weight": {"optimizer.tail.exp_avg": torch.zeros(3)},
    "weight of another shape": {"model.head.bias": torch.zeros(V + 1)},
    "weight in another precision": {"model.head.bias": torch.zeros(V, dtype=torch.float16)},
    "weight missing": {"model.head.bias": None},
    "unexpected weight": {"model.tail.bias": torch.zeros(3)},
    "state of other streams": {"state.0": torch.zeros(1, 3, H)},
    "unexpected state": {"state.2": torch.zeros(1, 4, H)},
    "RNG state missing": {"random.cpu": None},
    "RNG state of floats": {"random.cpu": torch.zeros(5056)},
    "RNG state too long": {"random.cuda": torch.zeros(1 << 17, dtype=torch.uint8)},
    "RNG state of an unknown device": {"random.tea": torch.zeros(16, dtype=torch.uint8)},
    "of an unknown part": {"tea": torch.zeros(3)},
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_wrong_layout_is_refused_before_reading_tensors(case, forge, corpus, monkeypatch):
    file = forge(LAYOUTS[case])
    monkeypatch.setattr(format, "_fill", None)
    name = next(iter(LAYOUTS[case]))
    only_to_train = name.startswith("optimizer.")  # nothing else reads them
    assert all(name in text for text in refusals(file, corpus, only_to_train))


HEADERS = [
    ("counters.sum_count", -64), ("counters.sum_count", 0), ("counters.sum_nats", 1e300), ("counters.sum_nats", NAN),
    ("counters.recorded_characters", 10**400), ("counters.recorded_characters", 10**12),
    ("counters.recorded_seconds", 1e9), ("counters.seconds", INF), ("counters.seconds", -1.0),
    ("counters.kept_step", 10**6), ("counters.kept_seconds", 1e9), ("counters.kept_epochs", -1.0),
    ("counters.best_nats", None), ("counters.best_nats", NAN), ("counters.best_step", 10**6), ("counters.tea", 1),
    ("counters.evaluations_without_improvement", -1), ("counters.evaluations_without_improvement", 10**9),
    ("schedule.reductions", -1), ("schedule.reductions", 10**400), ("schedule", {"reductions": 0}),
    ("streams.epoch", 10**15), ("streams.position", -1), ("streams.batch_size", 0), ("streams.batch_size", 10**9),
    ("streams", {"epoch": 0, "position": 0}), ("versions", {}), ("threads", 0), ("parameters", 10**400),
    ("parameters", -1), ("device", "x" * 10_000), ("executors", ["x"] * 10_000), ("streams.batch_size", 5),
    ("config.model.kernel_sizes", [1] * 1000), ("vocabulary", '{"kind": "characters", "symbols": [["a"], ["b"]]}'),
    ("vocabulary", '{"kind": "characters", "symbols": {"a": 1}}'),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), HEADERS, ids=lambda value: str(value)[:40])
def test_header_values_out_of_range_are_refused(key, value, forge, corpus, monkeypatch):
    file = forge(header={"counters.sum_nats": 3.0, "counters.sum_count": 2, key: value})
    monkeypatch.setattr(format, "_fill", None)
    assert all(len(text) < 1000 for text in refusals(file, corpus))


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["model.head.bias", "optimizer.head.bias.exp_avg", "state.0"])
def test_nan_and_infinity_are_refused(name, number, forge, corpus, tiny_run):
    tensor = load_checkpoint(tiny_run / "checkpoints" / "last.safetensors")[0][name]
    tensor.view(-1)[-1] = number
    messages = refusals(forge({name: tensor}), corpus)
    assert all(f"'{name}' contains NaN or infinity" in text for text in messages)


@pytest.mark.parametrize("kind", ["step", "exp_avg_sq"])
def test_negative_optimizer_state_is_refused(kind, forge, corpus, tiny_run):
    name = f"optimizer.head.bias.{kind}"
    tensor = load_checkpoint(tiny_run / "checkpoints" / "last.safetensors")[0][name]
    directory = RunDirectory(forge({name: -1 - tensor}).parent.parent)
    with pytest.raises(UserError, match="is negative"):
        Trainer(directory.config(), corpus, directory).resume()


def test_generation_refuses_too_large_weights(forge, tiny_run):
    weights = {
        name: torch.where(t > 0, 3e38, -3e38)
        for name, t in load_checkpoint(tiny_run / "checkpoints" / "last.safetensors")[0].items()
        if name.startswith("model.")
    }
    run = charlstm.load(forge(weights))
    with pytest.raises(UserError, match="because its weights are too large"):
        run.generate("the", 10)


@pytest.mark.parametrize("gaps", ["the _at", "the c__", "the ____"])
def test_infilling_refuses_too_large_weights(gaps, make_config, corpus):
    config = make_config({"direction": "bidirectional"})
    model = LanguageModel(config.model, corpus.vocabulary.size).eval()
    for p in model.parameters():
        p.data = torch.where(torch.arange(p.numel()).view_as(p) % 2 > 0, 3e38, -3e38)
    with pytest.raises(UserError, match="because its weights are too large"):
        infill(model, corpus.vocabulary, gaps)


def test_valid_checkpoint_is_loaded_in_place_of_a_forged_one(forge, tiny_run, caplog):
    file = forge({"model.head.weight": torch.zeros(())})
    shutil.copy(tiny_run / "checkpoints" / "previous.safetensors", file.with_name("previous.safetensors"))
    (file.with_name("best.safetensors")).mkdir()
    assert charlstm.load(file.parent.parent).header["counters"]["step"] == 60
    assert caplog.text.count("loaded previous.safetensors") == 2


@pytest.mark.parametrize("change", [{"header": {"counters.tea": 1}}, {"tensors": {"model.tea": torch.zeros(1)}}])
def test_older_checkpoint_is_not_used_in_place_of_one_of_another_version(forge, tiny_run, corpus, change):
    change["header"] = {**change.get("header", {}), "versions.charlstm": "99.0"}
    file = forge(**change)
    shutil.copy(tiny_run / "checkpoints" / "previous.safetensors", file.with_name("previous.safetensors"))
    before = file.read_bytes()
    for text in refusals(file, corpus):
        assert text.startswith(f"{file}: written by charlstm '99.0', and this is {charlstm.__version__}: ")
        assert "tea" in text
    assert file.read_bytes() == before


def test_unexpected_large_tensor_is_not_read(forge, tiny_run):
    file = forge()
    original = file.read_bytes()
    (length,) = struct.unpack("<Q", original[:8])
    outer, size = json.loads(original[8 : 8 + length]), 5 << 30
    begin = len(original) - 8 - length
    outer["model.huge"] = {"dtype": "U8", "shape": [size], "data_offsets": [begin, begin + size]}
    raw = json.dumps(outer, separators=(",", ":")).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw + original[8 + length :])
        out.truncate(8 + len(raw) + begin + size)
    before = time.process_time()
    with pytest.raises(UserError, match=r"'model\.huge' is uint8"):
        charlstm.load(file)
    assert time.process_time() - before < 1


BOMBS = {
    "names of the header": lambda inner: (inner[:-1] + "," + '"n":1,' * 4_000_000 + '"m":1}', ""),
    "names of the counters": lambda inner: (inner.replace('"counters": {', '"counters": {' + '"n":1,' * 300_000), ""),
    "numbers of a list": lambda inner: (inner[:-1] + ',"x":[' + "1.5," * 5_000_000 + "1]}", ""),
    "texts of a list": lambda inner: (inner[:-1] + ',"x":[' + '"a\\\\",' * 2_000_000 + "1]}", ""),
    "tensors": lambda inner: (inner, '"n":1,' * 4_000_000),
    "names of the metadata": lambda inner: (inner, '"x":{' + '"n":1,' * 4_000_000 + '"m":1},'),
    "symbols": lambda inner: (
        json.dumps(
            json.loads(inner) | {"vocabulary": '{"kind":"characters","symbols":[' + '"a",' * 3_000_000 + '"b"]}'}
        ),
        "",
    ),
}


@pytest.mark.parametrize("tensor_bytes", [0, 1 << 20], ids=["few tensors", "many tensors"])
@pytest.mark.parametrize("case", BOMBS)
@pytest.mark.few(5)
def test_header_bomb_takes_little_time_and_memory(case, tensor_bytes, forge):
    file = forge({"model.large": torch.zeros(tensor_bytes, dtype=torch.uint8)} if tensor_bytes else {})
    original = file.read_bytes()
    (length,) = struct.unpack("<Q", original[:8])
    outer = json.loads(original[8 : 8 + length])
    inner, front = BOMBS[case](outer["__metadata__"][METADATA_KEY])
    outer["__metadata__"] = {METADATA_KEY: inner, "checksum": "0" * 64}
    raw = ("{" + front + json.dumps(outer, separators=(",", ":"))[1:]).encode()
    head = struct.pack("<Q", len(raw)) + raw
    digest = hashlib.sha256(head + original[8 + length :]).hexdigest()
    head = head.replace(b'"checksum":"' + b"0" * 64, b'"checksum":"' + digest.encode())
    file.write_bytes(head + original[8 + length :])
    size = file.stat().st_size
    del raw, head, inner, front, outer
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError, match=r"last\.safetensors: "):
        charlstm.load(file)
    assert time.process_time() - start < 2  # half of that on an idle machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * size / 1024


def test_checkpoint_of_another_cell_is_refused(make_config, make_trainer, tiny_run, tmp_path):
    trainer = make_trainer(make_config({"cell": "gru", "hidden_size": 16, "executor": "eager"}, budget={"steps": 1}))
    list(trainer.run())
    run = tmp_path / "mixed"
    shutil.copytree(tiny_run, run)
    for name in ("best", "last"):
        shutil.copy(trainer.directory.last, run / "checkpoints" / f"{name}.safetensors")
    (run / "checkpoints" / "previous.safetensors").unlink()
    for path, which in ((run, "best"), (run, "last"), (run / "checkpoints" / "last.safetensors", "best")):
        with pytest.raises(UserError, match=r"model\.cell is gru in it and lstm in .*config\.yaml") as refusal:
            charlstm.load(path, which)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "model",
    [
        {"front_end": "convolution", "kernel_sizes": [*range(1, 33)], "filters": 1, "highway": True},
        {"cell": "esn"},
        {"direction": "bidirectional", "num_layers": 3, "residual": True},
        {"front_end": "embedding", "tie_weights": True},
        {"cell": "leaky", "learn_leak": False, "direction": "backward"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "optimizer", [{}, {"optimizer": "sgd"}, {"optimizer": "rmsprop", "momentum": 0.5}], ids=["adamw", "sgd", "rmsprop"]
)
def test_saved_checkpoints_pass_the_checks(model, optimizer, make_config, make_trainer):
    config = make_config({**model, "executor": "eager"}, budget={"steps": 1}, sample_length=0, **optimizer)
    trainer = make_trainer(config)
    list(trainer.run())
    saved = charlstm.load(trainer.directory.path).model.state_dict()
    again = make_trainer(config)
    assert again.resume() == []
    for name, t in again.model.state_dict().items():
        assert torch.equal(t, saved[name]), name


def test_large_vocabulary_and_many_layers_are_accepted(tmp_path):
    symbols = [chr(code) for code in range(32, 0x11000) if not 0xD800 <= code < 0xE000]
    header = {"vocabulary": json.dumps({"kind": "characters", "symbols": symbols}), "sources": ["x" * 40] * 20_000}
    tensors = {
        f"model.recurrent.weight_ih_l{layer}_{part}": torch.zeros(1, 1) for layer in range(100) for part in range(12)
    }
    tensors["model.head.bias"] = torch.zeros(len(symbols))
    path = tmp_path / "large.safetensors"
    path.write_bytes(b"".join(pack(tensors, header)))
    loaded, loaded_header = load_checkpoint(path)
    assert loaded.keys() == tensors.keys()
    assert loaded_header["vocabulary"] == header["vocabulary"]
    assert math.prod(loaded["model.recurrent.weight_ih_l0_0"].shape) == 1
