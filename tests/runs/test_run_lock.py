"""The write lock: one writer at a time, and nothing to delete after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.runs.lock import is_held

HOLD = """
import sys, time
from pathlib import Path
from charlstm.runs.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path, make_config):
    directory = RunDirectory(tmp_path / "runs" / "x")
    directory.create(make_config())
    return directory


@pytest.fixture
def other(run):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.lock_file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_writer_is_refused_while_the_first_lives(run, other):
    with pytest.raises(UserError) as caught, run.writing():
        pass
    assert f"{run.path} is being written by process {other.pid} on " in str(caught.value)
    assert " since 20" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert run.metrics() == []
    other.send_signal(signal.SIGKILL)
    other.wait()
    with run.writing():
        assert json.loads(run.lock_file.read_text())["pid"] == os.getpid()


def test_file_system_without_locks_is_reported_once(tmp_path, make_config, monkeypatch, caplog):
    monkeypatch.setattr("charlstm.runs.lock.lock", lambda _descriptor: False)
    for name in ("x", "y"):
        directory = RunDirectory(tmp_path / name)
        with directory.writing():
            directory.create(make_config())
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: this file system has no locks: ")


def test_lock_is_held_within_the_block_only(run):
    assert not is_held(run.lock_file)
    with run.writing():
        assert is_held(run.lock_file)
    assert not is_held(run.lock_file)
    with run.writing():  # neither the block nor the look at it left the lock taken
        pass


def test_lock_of_another_process_is_seen_until_it_ends(run, other, monkeypatch):
    assert is_held(run.lock_file)
    other.kill()
    other.wait()
    monkeypatch.setattr("charlstm.runs.lock.lock", lambda _: pytest.fail("the lock was taken"))
    assert not is_held(run.lock_file)


def test_owner_replaces_a_longer_one(run):
    run.lock_file.write_text("x" * 500)
    with run.writing(), pytest.raises(UserError, match=f"written by process {os.getpid()} on "), run.writing():
        pass


def test_only_the_writer_removes_temporary_files(run, other):
    temporary = run.path / ".config.yaml.12.tmp"
    temporary.touch()
    with pytest.raises(UserError), run.writing():
        pass
    assert temporary.exists()
    other.kill()
    other.wait()
    with run.writing():
        assert not temporary.exists()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system follows every link")
@pytest.mark.parametrize("content", [None, "precious"])
def test_lock_file_that_is_a_link_is_refused(run, tmp_path, content):
    target = tmp_path / "elsewhere"
    if content is not None:
        target.write_text(content)
    run.lock_file.symlink_to(target)
    with pytest.raises(UserError, match="cannot write the run"), run.writing():
        pass
    assert (target.read_text() if target.exists() else None) == content


def test_owner_is_named_without_reading_the_locked_byte(run, other):
    with run.lock_file.open("r+b") as file:
        file.write(b"?")  # on Windows no other process can read it
    with pytest.raises(UserError, match=f"written by process {other.pid} on "), run.writing():
        pass


@pytest.mark.parametrize("content", ["", "[" * 900, '{"pid": "x"}', "{}"])
def test_invalid_lock_file_gives_a_clear_error(run, other, content):
    run.lock_file.write_text(content)
    with pytest.raises(UserError, match="written by another process"), run.writing():
        pass


def test_overwriting_a_run_preserves_the_lock(run, make_config):
    with run.writing():
        number = run.lock_file.stat().st_ino
        run.append_sample(1, "x")
        run.checkpoints.folder.mkdir()
        run.create(make_config(seed=3), overwrite=True)
        assert run.lock_file.stat().st_ino == number
    assert {path.name for path in run.path.iterdir()} == {".lock", "config.yaml"}


def test_temporary_files_do_not_block_a_new_run(tmp_path, make_config):
    directory = RunDirectory(tmp_path / "x")
    directory.path.mkdir()
    (directory.path / ".config.yaml.77.tmp").write_text("half")
    with directory.writing():
        directory.create(make_config())
    assert {path.name for path in directory.path.iterdir()} == {".lock", "config.yaml"}


def test_no_lock_file_is_created_in_other_folders(tmp_path):
    (tmp_path / "cat.jpg").touch()
    with pytest.raises(UserError, match="is not a run directory"), RunDirectory(tmp_path).writing():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]
