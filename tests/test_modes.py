"""The tests themselves: none leaves a mode behind, and other people's plugins do not matter."""

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


def switch(patch: pytest.MonkeyPatch) -> list[str]:
    """The modes that torch is set to, with the warning that it gives on a GPU."""
    seen: list[str] = []

    def set_mode(mode: str) -> None:
        seen.append(mode)
        warnings.warn("Synchronization debug mode is a prototype feature", UserWarning, stacklevel=2)

    patch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return seen


def test_waiting_is_allowed_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = switch(monkeypatch)

    def wait() -> None:
        with waiting_refused():
            assert seen == ["error"]
            raise RuntimeError("waited")

    with pytest.raises(RuntimeError, match="waited"):
        wait()
    assert seen == ["error", "default"]


def test_modes_are_put_back_after_a_failure() -> None:
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


def test_plugins_of_others_are_not_loaded(tmp_path: Path) -> None:
    """One that warns at its start, as pytest-benchmark does beside xdist, would stop every test."""
    about = tmp_path / "loud-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[pytest11]\nloud = loud_plugin\n")
    (tmp_path / "loud_plugin.py").write_text(
        "import warnings\ndef pytest_configure(config): warnings.warn('loud', UserWarning)\n"
    )
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider", "-n", "1", tmp_path],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
