"""Locks on open files: held until the file is closed, and optional where the system has none."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charlstm import locking


def test_lock_is_held_until_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("owner")
    with (tmp_path / "x").open("r+b") as first, (tmp_path / "x").open("r+b") as second:
        assert locking.lock(first.fileno())
        with pytest.raises(BlockingIOError):
            locking.lock(second.fileno())
        assert os.read(second.fileno(), 10) == b"owner"
        first.close()
        assert locking.lock(second.fileno())


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL])
def test_file_system_without_locks_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", _fails_with(number))
    with (tmp_path / "x").open("wb") as file:
        assert not locking.lock(file.fileno())


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_lock_held_on_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", _fails_with(number))
    with (tmp_path / "x").open("wb") as file, pytest.raises(BlockingIOError):
        locking.lock(file.fileno())


def _fails_with(number: int) -> Callable[[int, int], None]:
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock
