from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.cache import open_atomic, user_cache_folder, writable_folder
from charlstm.errors import UserError


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CHARLSTM_CACHE", "~/configured")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache_folder() == tmp_path / "configured"
    monkeypatch.delenv("CHARLSTM_CACHE")
    assert user_cache_folder() == tmp_path / "xdg" / "charlstm"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache_folder() == tmp_path / ".cache" / "charlstm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache_folder() == tmp_path / ".cache" / "charlstm"


def test_read_only_folder_is_replaced_by_a_temporary_one(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").touch()
    substitute = writable_folder(tmp_path / "file" / "ids")
    assert substitute.name == "ids"
    assert substitute.is_dir()
    assert tmp_path not in substitute.parents


def test_file_is_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")

    def interrupted_write() -> None:
        with open_atomic(target) as file:
            file.write(b"new")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        interrupted_write()
    assert target.read_bytes() == b"old"
    with open_atomic(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(UserError, match=r"No space left on device\. Set CHARLSTM_CACHE"),
        open_atomic(tmp_path / "x"),
    ):
        pass
    assert not list(tmp_path.iterdir())
