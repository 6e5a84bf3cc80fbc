"""The test helpers: torch's global modes are restored, and third-party pytest plugins are not loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from modes import put_back, waiting_refused

ROOT = Path(__file__).parents[1]


def record_sync_modes(patch: pytest.MonkeyPatch) -> list[str]:
    """The list to which the calls of set_sync_debug_mode are appended; each call warns as on a GPU."""
    modes: list[str] = []

    def set_mode(mode: str) -> None:
        modes.append(mode)
        warnings.warn("Synchronization debug mode is a prototype feature", UserWarning, stacklevel=2)

    patch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return modes


def test_sync_debug_mode_is_reset_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = record_sync_modes(monkeypatch)

    def wait() -> None:
        with waiting_refused():
            assert modes == ["error"]
            raise RuntimeError("waited")

    with pytest.raises(RuntimeError, match="waited"):
        wait()
    assert modes == ["error", "default"]


def test_torch_modes_are_restored_after_an_exception() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with put_back():
            torch.set_default_dtype(torch.float64)
            torch.use_deterministic_algorithms(True)
            torch.set_num_threads(before + 1)
            raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        fail()
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before


def test_third_party_plugins_are_not_loaded(tmp_path: Path) -> None:
    """A plugin that warns on startup, as pytest-benchmark does with xdist, would fail every test."""
    metadata = tmp_path / "loud-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\nloud = loud_plugin\n")
    (tmp_path / "loud_plugin.py").write_text(
        "import warnings\ndef pytest_configure(config): warnings.warn('loud', UserWarning)\n"
    )
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider", "-n", "1", tmp_path],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
