"""The checkpoint file format: round trip, and detection of any damage."""

from __future__ import annotations

import ast
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import charlstm
from charlstm.atomic_io import write_atomic
from charlstm.checkpoints import format
from charlstm.checkpoints.format import load_checkpoint, pack, strip_prefix
from charlstm.errors import UserError

HEADER = {"step": 3, "text": "naïve ☃", "list": [1, 2.5, None], "third": 1 / 3}


def save_checkpoint(path, tensors, header):
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, *pack(tensors, header))


def content() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "model.weight": torch.randn(3, 4, generator=generator),
        "model.transposed": torch.randn(2, 3, generator=generator).t(),
        "random.cpu": torch.arange(16, dtype=torch.uint8),
        "count": torch.tensor(7, dtype=torch.int64),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.empty(0, 5),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "checkpoints" / "last.safetensors"
    save_checkpoint(target, content(), HEADER)
    return target


def test_round_trip(path):
    tensors, header = load_checkpoint(path)
    assert tensors.keys() == content().keys()
    for name, t in content().items():
        assert tensors[name].dtype == t.dtype
        assert torch.equal(tensors[name], t)
    assert header == {"format": 2, **HEADER}
    assert list(path.parent.iterdir()) == [path]


def test_checkpoint_is_plain_safetensors(path):
    assert torch.equal(load_file(path)["model.weight"], content()["model.weight"])


def test_tensors_are_written_without_a_copy():
    """A copy of all tensors may not fit into memory."""
    t = torch.ones(1000)
    _, piece = pack({"a": t}, {})
    t[0] = 2
    assert len(piece) == t.nbytes
    assert torch.frombuffer(bytearray(piece), dtype=torch.float32)[0] == 2


def test_layout_equals_that_of_safetensors(path):
    raw = path.read_bytes()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    save_file({name: t.contiguous() for name, t in content().items()}, path)
    expected = path.read_bytes()
    assert begin % 8 == 0
    assert raw[begin:] == expected[8 + struct.unpack("<Q", expected[:8])[0] :]


def test_loaded_tensors_do_not_share_memory(tmp_path):
    shared = torch.ones(4)
    save_checkpoint(tmp_path / "c", {"a": shared, "b": shared, "c": shared[:2]}, {})
    tensors, _ = load_checkpoint(tmp_path / "c")
    assert torch.equal(tensors["a"], tensors["b"])
    assert len(tensors["c"]) == 2


def test_strip_prefix_matches_whole_names_only():
    tensors = {"state.0": torch.zeros(1), "state.1": torch.ones(1), "states.0": torch.ones(1)}
    assert strip_prefix("state", tensors).keys() == {"0", "1"}


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80])
@pytest.mark.few(1)
def test_every_flipped_byte_is_detected(path, mask):
    original = path.read_bytes()
    for offset in range(len(original)):
        damaged = bytearray(original)
        damaged[offset] ^= mask
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"last\.safetensors"):
            load_checkpoint(path)


def test_every_truncation_is_detected(path):
    original = path.read_bytes()
    for length in [*range(0, 16), *range(16, len(original), 7), len(original) - 1]:
        path.write_bytes(original[:length])
        with pytest.raises(UserError, match=r"last\.safetensors"):
            load_checkpoint(path)


def test_appended_bytes_are_detected(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError):
        load_checkpoint(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing")
    with pytest.raises(UserError, match="this is a folder, not a file"):
        load_checkpoint(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UserError, match="not a checkpoint of charlstm"):
        load_checkpoint(tmp_path / "other")


def test_other_format_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(format, "FORMAT", 3)
    save_checkpoint(tmp_path / "c", content(), HEADER)
    monkeypatch.undo()
    with pytest.raises(UserError, match="format 3; this version reads format 2"):
        load_checkpoint(tmp_path / "c")


def test_header_contains_the_checksum(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    assert len(metadata["checksum"]) == 64
    assert json.loads(metadata["charlstm"])["step"] == 3


def test_no_module_uses_pickle():
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for file in Path(charlstm.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & forbidden, file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                call = f"{node.value.id}.{node.attr}"
                assert call not in ("torch.save", "torch.load", "np.load", "numpy.load"), file
