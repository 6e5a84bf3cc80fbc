from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from charlstm.compression import codec
from charlstm.compression.container import MAGIC
from charlstm.probes import compressors

TEXT = b"the cat sat on a mat\nand two dogs saw the cat run home\n" * 4
SIZE = len(TEXT)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some text.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def compressed(charlstm, tiny_run, file):
    assert charlstm("compress", tiny_run, file).code == 0
    return file.with_name("some text.txt.clstm")


def test_file_is_compressed_and_restored(charlstm, tiny_run, file, compressed):
    size = compressed.stat().st_size
    file.unlink()
    result = charlstm("decompress", tiny_run, compressed)
    assert (result.code, file.read_bytes()) == (0, TEXT)
    assert result.out.startswith(f"{file}: {size:,} -> {SIZE} bytes, ")
    assert result.out.endswith(" KB/s\n")


def test_result_line_compares_with_other_programs(charlstm, tiny_run, file, monkeypatch):
    monkeypatch.setattr(compressors, "zstd_size", lambda _: 77)
    result = charlstm("compress", tiny_run, file)
    size = (file.parent / "some text.txt.clstm").stat().st_size
    assert result.code == 0
    bits = 8 * size / len(TEXT)
    xz = compressors.xz_size(TEXT)
    expected = f"{file}.clstm: {SIZE} -> {size} bytes, {bits:.3f} bits per character (xz {xz}, zstd 77), "
    assert result.out.startswith(expected)
    monkeypatch.setattr(compressors, "zstd_size", lambda _: None)
    assert "; zstd is not installed)" in charlstm("compress", tiny_run, file, "--overwrite").out


def test_sizes_are_printed_as_json(charlstm, tiny_run, file):
    record = json.loads(charlstm("compress", tiny_run, file, "--json", "--streams", 3).out)
    assert record["bytes_before"] == record["characters"] == SIZE
    assert record["bytes_after"] == (file.parent / "some text.txt.clstm").stat().st_size
    assert record["bits_per_character"] == pytest.approx(8 * record["bytes_after"] / SIZE)
    assert (record["streams"], record["unknown_characters"]) == (3, 0)
    assert record["xz_bytes"] > 60


def test_learning_is_recorded_in_the_file(charlstm, tiny_run, file, tmp_path):
    assert json.loads(charlstm("compress", tiny_run, file, "--learn", "--json").out)["learning"] is True
    assert charlstm("decompress", tiny_run, f"{file}.clstm", "--output", tmp_path / "restored").code == 0
    assert (tmp_path / "restored").read_bytes() == TEXT


def test_zstd_is_run_if_python_lacks_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert compressors.zstd_size(TEXT) is None
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("subprocess.run", Mock(return_value=SimpleNamespace(stdout=b"x" * 5)))
    assert compressors.zstd_size(TEXT) == 5

    def fail(*arguments, **options):
        raise subprocess.CalledProcessError(1, "zstd")

    monkeypatch.setattr("subprocess.run", fail)
    assert compressors.zstd_size(TEXT) is None


class Stream(io.TextIOWrapper):
    def __init__(self, content=b""):
        super().__init__(io.BytesIO(content))


@pytest.mark.parametrize("content", [TEXT, b"", bytes(range(256)), "日本 🎉\r\n".encode()], ids=lambda c: str(len(c)))
def test_pipe_restores_every_content(charlstm, tiny_run, monkeypatch, content):
    piped = content
    for command in ("compress", "decompress"):
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", Stream(piped))
            patch.setattr("sys.stdout", output := Stream())
            result = charlstm(command, tiny_run, "-")
            assert result.code == 0
            assert "standard output: " in result.err
            piped = output.buffer.getvalue()
            assert command == "decompress" or piped.startswith(MAGIC)
    assert piped == content


def test_bytes_are_not_written_to_a_terminal(on_terminal, tiny_run, file, capsys):
    assert on_terminal("compress", tiny_run, file, "--output", "-").code == 2
    assert "a terminal cannot show" in capsys.readouterr().err


def test_unknown_characters_are_noted(charlstm, tiny_run, file):
    file.write_bytes("the 日本 cat".encode())
    result = charlstm("compress", tiny_run, file)
    assert "note: 2 of 10 characters are not in the vocabulary of the run: they are stored separately" in result.err


def test_existing_file_is_replaced_only_on_request(charlstm, tiny_run, file, compressed):
    before = compressed.read_bytes()
    for arguments in (("compress", tiny_run, file), ("decompress", tiny_run, compressed)):
        result = charlstm(*arguments)
        assert (result.code, result.out) == (2, "")
        assert "this file exists: replace it with --overwrite" in result.err
    assert (compressed.read_bytes(), file.read_bytes()) == (before, TEXT)
    file.write_bytes(b"")
    assert charlstm("decompress", tiny_run, compressed, "--overwrite").code == 0
    assert file.read_bytes() == TEXT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"", "this is not a compressed file: it is empty"),
        (lambda _: b"some text", "it was not written by charlstm compress"),
        (lambda c: c[:-1], "the file is cut off: 1 of its bytes are missing"),
        (lambda c: c + b"x", "1 bytes follow its end"),
        (lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:], "its checksum does not match"),
    ],
)
def test_damaged_file_is_refused_before_torch(charlstm, file, compressed, change, message, monkeypatch):
    compressed.write_bytes(change(compressed.read_bytes()))
    monkeypatch.setitem(sys.modules, "charlstm.api", None)
    result = charlstm("decompress", "no-such-run", compressed, "--output", file.parent / "new")
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not (file.parent / "new").exists()


def test_other_checkpoint_is_refused(charlstm, tiny_run, compressed, file):
    result = charlstm("decompress", tiny_run, compressed, "--checkpoint", "last", "--output", file.parent / "new")
    if (tiny_run / "checkpoints" / "best.safetensors").read_bytes() != (
        tiny_run / "checkpoints" / "last.safetensors"
    ).read_bytes():
        assert result.code == 2
        assert "it was compressed by another model" in result.err
    assert [path.name for path in file.parent.iterdir()].count("new") == (result.code == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "RUN", "missing.txt"), "there is no such file"),
        (("compress", "RUN", "."), "this is a folder"),
        (("compress", "RUN", "FILE", "--output", "."), "this is a folder"),
        (("compress", "RUN", "FILE", "--output", "no/such/x"), "there is no folder"),
        (("compress", "no-run", "FILE"), "there is no such run"),
        (("compress", "RUN", "FILE", "--output", "-", "--json"), "--json has no effect with --output -"),
        (("compress", "RUN", "FILE", "--streams", "0"), "greater than or equal to 1"),
        (("compress", "RUN", "FILE", "--checkpoint", "first"), "'first' is not one of: best, last"),
        (("decompress", "RUN", "CLSTM_AS_TXT"), "its name does not end in .clstm"),
        (("decompress", "RUN", "missing.clstm"), "there is no such file"),
    ],
)
def test_wrong_use_is_one_line(charlstm, tiny_run, file, compressed, arguments, message, monkeypatch):
    monkeypatch.chdir(file.parent)
    (file.parent / "renamed.txt").write_bytes(compressed.read_bytes())
    compressed.rename("other.clstm")
    before = sorted(file.parent.iterdir())
    names = {"RUN": tiny_run, "FILE": file, "CLSTM_AS_TXT": "renamed.txt"}
    result = charlstm(*(names.get(word, word) for word in arguments))
    assert (result.code, result.out) == (2, "")
    assert message in " ".join(result.err.split())
    assert sorted(file.parent.iterdir()) == before


def test_full_disk_is_an_error_without_a_file(charlstm, tiny_run, file, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    result = charlstm("compress", tiny_run, file)
    assert result.code == 2
    assert "No space left on device" in result.err
    assert list(file.parent.iterdir()) == [file]


def test_interrupted_command_leaves_nothing(charlstm, tiny_run, file, monkeypatch):
    def interrupt(*arguments):
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(codec.rans, "encode", interrupt)
    assert charlstm("compress", tiny_run, file).code == 130
    assert list(file.parent.iterdir()) == [file]
