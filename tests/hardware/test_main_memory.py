from __future__ import annotations

import errno

import pytest

from charlstm.hardware import main_memory
from charlstm.hardware.main_memory import free_main_memory, is_out_of_memory, requested_bytes

CPU = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError(CPU), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("sizes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_errors_are_recognized(error, expected):
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("message", "requested"),
    [
        (CPU, 4000),
        ("Unable to allocate 3.0 GiB", 3 << 30),
        ("Tried to allocate 20.00 MiB", 20 << 20),
        ("", 0),
    ],
)
def test_requested_bytes_are_parsed(message, requested):
    assert requested_bytes(message) == requested


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The files of a machine with 8,000 kB free and no other limits."""
    monkeypatch.setattr(main_memory, "_PROC", tmp_path)
    monkeypatch.setattr(main_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr("resource.getrlimit", lambda _: (-1, -1))
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 7000 kB\nSwapFree: 1000 kB\n")
    return tmp_path


def test_free_memory_includes_swap(machine):
    assert free_main_memory() == 8000 * 1024


@pytest.mark.parametrize(("limit", "free"), [("5000\n", 4100), ("max\n", 8000 * 1024)])
def test_container_limit_applies(machine, limit, free):
    (machine / "memory.max").write_text(limit)
    (machine / "memory.current").write_text("1000")
    (machine / "memory.stat").write_text("anon 7\ninactive_file 60\nactive_file 40\n")
    assert free_main_memory() == free


@pytest.mark.parametrize("limited", ["", "slurm", "slurm/job"])
def test_limits_of_all_control_groups_of_the_process_apply(machine, limited):
    """On a cluster, the limit is that of the job's control group or of one that contains it."""
    (machine / "self").mkdir()
    (machine / "self" / "cgroup").write_text("4:memory:/other\n0::/slurm/job\n")
    for name in ("", "slurm", "slurm/job", "other"):
        (machine / name).mkdir(exist_ok=True)
        (machine / name / "memory.max").write_text("5000\n" if name in (limited, "other") else "max\n")
        (machine / name / "memory.current").write_text("5000" if name == "other" else "1000")
        (machine / name / "memory.stat").write_text("inactive_file 60\n")
    assert free_main_memory() == 4060


def test_process_limit_applies(machine, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (100_000, 100_000))
    monkeypatch.setattr("resource.getpagesize", lambda: 4096)
    (machine / "self").mkdir()
    (machine / "self" / "statm").write_text("10 5 3 1 0 4 0\n")
    assert free_main_memory() == 100_000 - 40_960


def test_unknown_free_memory_is_none(machine):
    (machine / "meminfo").unlink()
    assert free_main_memory() is None
