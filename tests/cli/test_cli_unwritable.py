"""Commands whose result cannot be written are refused before they compute anything."""

from __future__ import annotations

import tempfile

import pytest

TemporaryFile = tempfile.TemporaryFile


@pytest.fixture
def read_only(monkeypatch, tmp_path):
    """Makes a folder read-only, also for root, and loading a run a failure of the test."""

    def refuse(*_, **__):
        pytest.fail("the run was loaded")

    def make(folder):
        def temporary_file(*, dir):
            if dir == folder:
                raise OSError(30, "Read-only file system")
            return TemporaryFile(dir=dir)

        monkeypatch.setattr(tempfile, "TemporaryFile", temporary_file)
        monkeypatch.setattr("charlstm.api.load", refuse)

    return make


@pytest.mark.parametrize(
    ("command", "folder", "option"),
    [
        (["inspect"], "inspection", "--output FOLDER"),
        (["evaluate", "--map"], "surprise/validation", "--output FOLDER"),
        (["export"], "export", "--out PATH"),
    ],
)
def test_run_in_a_read_only_folder(charlstm, tmp_path, tiny_run, read_only, command, folder, option):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes((tiny_run / "config.yaml").read_bytes())
    read_only(run)
    result = charlstm(command[0], run, *command[1:])
    assert (result.code, result.out) == (2, "")
    assert f"error: cannot write into {run}: Read-only file system. To write elsewhere" in result.err
    assert result.err.endswith(f": {option}\n")
    assert not (run / folder).exists()


def test_checkpoint_in_a_read_only_run(charlstm, tiny_run, read_only):
    read_only(tiny_run)
    result = charlstm("inspect", tiny_run / "checkpoints" / "last.safetensors")
    assert f"error: cannot write into {tiny_run}: Read-only" in result.err


@pytest.mark.parametrize("is_file", [False, True])
def test_output_below_something_else(charlstm, tmp_path, tiny_run, read_only, is_file):
    read_only(tmp_path / "closed")
    (tmp_path / "closed").write_text("") if is_file else (tmp_path / "closed").mkdir()
    result = charlstm("inspect", tiny_run, "--output", tmp_path / "closed" / "page")
    assert result.code == 2
    assert f"cannot write into {tmp_path / 'closed'}: " in result.err


def test_files_in_a_read_only_folder(charlstm, tmp_path, tiny_run, read_only):
    read_only(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("the cat")
    for arguments in (
        ("compress", tiny_run, text),
        ("plot", tiny_run, "--output", tmp_path / "curves.png"),
        ("bench", "--quick", "--plot", tmp_path / "speed.png"),
    ):
        result = charlstm(*arguments)
        assert result.code == 2
        assert f"cannot write into {tmp_path}: Read-only file system" in result.err
