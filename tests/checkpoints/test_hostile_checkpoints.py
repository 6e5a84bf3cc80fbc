"""Damaged and forged checkpoints: all are refused, without a crash or a large allocation.

``CHARLSTM_FLIPS`` sets the number of flipped bits (300).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import re
import resource
import shutil
import struct
from pathlib import Path

import pytest
import torch

import charlstm
from charlstm.checkpoints.format import CheckpointFile, load_checkpoint
from charlstm.checkpoints.header import HEADER_LIMIT, METADATA_KEY
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.training.trainer import Trainer


@pytest.fixture(scope="module")
def checkpoint_bytes(tiny_run):
    return (tiny_run / "checkpoints" / "last.safetensors").read_bytes()


def split_checkpoint(content):
    (length,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + length])
    return outer, json.loads(outer["__metadata__"][METADATA_KEY]), content[8 + length :]


def with_checksum(outer, inner, data):
    """A checkpoint with this header and a valid checksum; ``inner`` is a dict or JSON text."""
    text = inner if isinstance(inner, str) else json.dumps(inner)
    outer = {**outer, "__metadata__": {"charlstm": text, "checksum": "0" * 64}}
    raw = json.dumps(outer, separators=(",", ":")).encode()
    head = struct.pack("<Q", len(raw)) + raw
    digest = hashlib.sha256(head + data).hexdigest()
    return head.replace(b'"checksum":"' + b"0" * 64, b'"checksum":"' + digest.encode()) + data


@pytest.fixture
def forged(tmp_path, tiny_run):
    """Writes a copy of the run whose only checkpoint has this content; returns the run directory."""

    def write(content):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_run, folder)
        for path in (folder / "checkpoints").iterdir():
            path.unlink()
        (folder / "checkpoints" / "last.safetensors").write_bytes(content)
        return folder

    return write


def refusals(folder, corpus):
    """The error messages of loading and of resuming the run."""
    file = folder / "checkpoints" / "last.safetensors"
    with pytest.raises(UserError) as loading:
        charlstm.load(file)
    directory = RunDirectory(folder)
    with pytest.raises(UserError) as resuming:
        Trainer(directory.config(), corpus, directory).resume()
    assert str(file) in str(loading.value)
    return str(loading.value), str(resuming.value)


def test_unchanged_content_with_new_checksum_is_accepted(checkpoint_bytes, forged, corpus):
    folder = forged(with_checksum(*split_checkpoint(checkpoint_bytes)))
    assert charlstm.load(folder).header["counters"]["step"] == 90
    directory = RunDirectory(folder)
    assert Trainer(directory.config(), corpus, directory).resume() == []


def test_flipped_bits_and_truncations_are_detected(checkpoint_bytes, tmp_path):
    rng, path = random.Random(5), tmp_path / "c.safetensors"
    flips = int(os.environ.get("CHARLSTM_FLIPS", "300"))
    head = 8 + struct.unpack("<Q", checkpoint_bytes[:8])[0]
    for number in range(flips):
        damaged = bytearray(checkpoint_bytes)
        damaged[rng.randrange(head if number % 2 else len(checkpoint_bytes))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"c\.safetensors: "):
            load_checkpoint(path)
    for number in range(64):
        path.write_bytes(checkpoint_bytes[: number * len(checkpoint_bytes) // 64])
        with pytest.raises(UserError, match=r"c\.safetensors: "):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1 << 47]},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": ["16"]},
        {"shape": [1.0]},
        {"shape": 16},
        {"shape": [1] * 9},
        {"shape": [1 << 40, 1 << 40, 0]},
        {"dtype": "F99"},
        {"dtype": ["F32"]},
        {"dtype": "F64"},
        {"data_offsets": [0, 1 << 60]},
        {"data_offsets": [-8, 8]},
        {"data_offsets": [8]},
        {"data_offsets": ["0", "8"]},
        {"data_offsets": [0, 0]},
        {"more": 1},
    ],
    ids=str,
)
def test_forged_offsets_and_shapes_are_refused(checkpoint_bytes, forged, corpus, change):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    outer["model.head.bias"] = {**outer["model.head.bias"], **change}
    assert all(
        "damaged, or not a checkpoint" in text for text in refusals(forged(with_checksum(outer, inner, data)), corpus)
    )


def test_overlaps_gaps_and_trailing_bytes_are_refused(checkpoint_bytes, forged, corpus):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    names = sorted((name for name in outer if name != "__metadata__"), key=lambda n: outer[n]["data_offsets"])
    twin = {**outer, "twin": outer[names[0]]}
    gap = {name: entry for name, entry in outer.items() if name != names[3]}
    for content in (with_checksum(twin, inner, data), with_checksum(gap, inner, data)):
        assert all("a gap or an overlap" in text for text in refusals(forged(content), corpus))
    assert all(
        "its header declares" in text for text in refusals(forged(with_checksum(outer, inner, data + b"\0")), corpus)
    )


PATHS = [
    ("counters", None), ("counters", {"step": "1"}), ("counters", {"step": -5}), ("counters.step", 1.5),
    ("counters.step", 10**30), ("counters.unknown", 1), ("schedule", []), ("streams", {"epoch": -1}),
    ("streams.position", 10**9), ("config", "x"), ("config", {}), ("config.name", "../../escaped"),
    ("config.model.hidden_size", 10**7), ("config.model.num_layers", 10**9), ("config.model.cell", "os.system"),
    ("config.model.hidden_size", 17), ("vocabulary", 5), ("vocabulary", "[" * 5000), ("vocabulary", "{}"),
    ("vocabulary", '{"kind": "characters", "symbols": ["a", "b"]}'), ("written", {"metrics": -1, "samples": 0}),
    ("written", {}), ("precision", "float8"), ("threads", "2"), ("versions", [1]), ("executors", [[]]),
    ("format", 3), ("format", [2]), ("corpus_digest", 7), ("lead_ins", "x"), ("lead_ins", ["a", "ab"]),
    ("lead_ins", ["\0"]), ("lead_ins", [5]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), PATHS, ids=lambda v: str(v)[:40])
def test_invalid_header_values_are_refused(checkpoint_bytes, forged, corpus, tmp_path, key, value):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    *parents, last = key.split(".")
    table = inner
    for name in parents:
        table = table[name]
    table[last] = value
    folder = forged(with_checksum(outer, inner, data))
    before = sorted(tmp_path.rglob("*"))
    if key in ("streams", "streams.position", "counters.unknown"):  # used only on resume
        directory = RunDirectory(folder)
        with pytest.raises(UserError):
            Trainer(directory.config(), corpus, directory).resume()
    else:
        refusals(folder, corpus)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("missing", ["model.head.bias", "state.0", "random.cpu"])
def test_missing_tensors_are_refused(checkpoint_bytes, forged, corpus, missing):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    outer[f"{missing}x"] = outer.pop(missing)
    directory = RunDirectory(forged(with_checksum(outer, inner, data)))
    with pytest.raises(UserError, match=missing.removeprefix("model.").removeprefix("state.")):
        Trainer(directory.config(), corpus, directory).resume()


def test_forged_rng_state_is_refused(checkpoint_bytes, forged, corpus):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    begin, end = outer["random.cpu"]["data_offsets"]
    before = torch.get_rng_state()
    directory = RunDirectory(forged(with_checksum(outer, inner, data[:begin] + b"\xff" * (end - begin) + data[end:])))
    try:
        with pytest.raises(UserError, match="does not fit this run"):
            Trainer(directory.config(), corpus, directory).resume()
    finally:
        torch.set_rng_state(before)


@pytest.mark.parametrize("depth", [25, 500, 100_000])
def test_deep_headers_are_refused(checkpoint_bytes, forged, corpus, depth):
    outer, _, data = split_checkpoint(checkpoint_bytes)
    deep = '{"a":' * depth + "1" + "}" * depth
    assert all("nested too deeply" in text for text in refusals(forged(with_checksum(outer, deep, data)), corpus))
    raw = b"[" * depth + b"]" * depth
    refusals(forged(struct.pack("<Q", len(raw)) + raw), corpus)


def test_duplicate_names_are_refused(checkpoint_bytes, forged, corpus):
    outer, inner, data = split_checkpoint(checkpoint_bytes)
    twice = json.dumps(inner)[:-1] + ', "format": 2}'
    assert all("a duplicate name" in text for text in refusals(forged(with_checksum(outer, twice, data)), corpus))


def test_huge_headers_take_no_memory(tmp_path):
    path = tmp_path / "huge.safetensors"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in (HEADER_LIMIT + 1, 1 << 62):
        with path.open("wb") as file:
            file.write(struct.pack("<Q", start))
            file.truncate(1 << 40)
        with pytest.raises(UserError, match="header"):
            load_checkpoint(path)
    raw = b'{"a":[' + b"[]," * (4 << 20) + b"[]]}"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    with pytest.raises(UserError, match="too many values"):
        load_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak cannot be reset here")
def test_reading_takes_no_more_memory_than_the_file(tmp_path, checkpoint_bytes):
    outer, inner, _ = split_checkpoint(checkpoint_bytes)
    size = 64 << 20
    table = {"__metadata__": outer["__metadata__"], "a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    path = tmp_path / "large.safetensors"
    path.write_bytes(with_checksum(table, inner, bytes(size)))
    ctypes.CDLL(None).malloc_trim(0)  # training retains freed memory
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak to the current usage
    before = peak_memory()
    load_checkpoint(path)
    assert peak_memory() - before < 1.2 * size


def peak_memory():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


@pytest.mark.parametrize("change", ["cut", "overwritten"])
def test_file_that_changes_while_being_read_is_refused(tmp_path, checkpoint_bytes, change):
    path = tmp_path / "c.safetensors"
    path.write_bytes(checkpoint_bytes)

    def interfere(*_):
        with path.open("r+b") as file:
            if change == "cut":
                file.truncate(len(checkpoint_bytes) - 5000)
            else:
                file.seek(len(checkpoint_bytes) - 5000)
                file.write(b"?")

    with CheckpointFile(path) as file, pytest.raises(UserError, match=r"shorter|checksum"):
        file.read(interfere)


def test_other_file_types_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "loop", "/dev/zero"):
        with pytest.raises(UserError):
            charlstm.load(path)
