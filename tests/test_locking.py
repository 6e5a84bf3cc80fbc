"""One law for the locks of every system."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from charlstm import locking


def _locking(descriptor: int, mode: int, size: int) -> None:
    """As Windows locks bytes: from the place where the file stands, with errors of its own."""
    assert mode == 2
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None
    assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1000, "nobody could read what is locked"


@pytest.fixture(params=["posix", "windows"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "windows":
        monkeypatch.setattr(locking, "fcntl", None)
        monkeypatch.setattr(locking, "msvcrt", SimpleNamespace(locking=_locking, LK_NBLCK=2))


@pytest.mark.usefixtures("system")
def test_one_holds_a_lock_until_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("owner")
    with (tmp_path / "x").open("r+b") as first, (tmp_path / "x").open("r+b") as second:
        assert locking.lock(first.fileno())
        with pytest.raises(BlockingIOError):
            locking.lock(second.fileno())
        assert os.read(second.fileno(), 10) == b"owner"
        first.close()
        assert locking.lock(second.fileno())


def test_a_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "fcntl", None)
    with (tmp_path / "x").open("wb") as file:
        assert not locking.lock(file.fileno())


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking, "fcntl", SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4))
    with (tmp_path / "x").open("wb") as file:
        assert not locking.lock(file.fileno())
