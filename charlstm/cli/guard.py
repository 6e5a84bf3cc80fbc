"""Report unexpected errors in a few lines, with an exit code."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from charlstm import __version__, console
from charlstm import standard_streams as streams
from charlstm.cache import user_cache_folder
from charlstm.hardware.main_memory import free_main_memory, is_out_of_memory, memory_facts, requested_bytes
from charlstm.paths import path_exists

BUG, MACHINE_LIMIT = 1, 2


@dataclass(frozen=True)
class SavedWork:
    """Work that is saved while it runs: its folder, and the command that resumes it."""

    folder: Path
    resume_command: str


class _OtherPipeError(Exception):
    """Wraps a BrokenPipeError of a pipe other than standard output."""


@contextmanager
def broken_pipes() -> Iterator[None]:
    """Broken pipes in the block reach `report_error`: for every broken pipe, typer exits silently with code 1."""
    try:
        yield
    except BrokenPipeError as error:
        if streams.is_pipe_closed():
            streams.exit_broken_pipe()
        raise _OtherPipeError from error


def report_error(error: BaseException, work: SavedWork | None) -> int:
    """Print an unexpected error: what happened, what is saved, and where the full report is.

    Args:
        work: the interrupted work, if it is saved while it runs.

    Returns:
        The exit code: 2 if the machine lacks something, 1 for a bug.
    """
    if isinstance(error, _OtherPipeError) and error.__cause__ is not None:
        error = error.__cause__
    limit = _machine_limit(error)
    console.error(limit or f"a bug in charlstm: {_first_line(error)}")
    note_saved(work)
    if limit:
        return MACHINE_LIMIT
    path = _write_report(error, work)
    if path is None:
        console.note("the full report cannot be written to a file:")
        streams.write_err(_report(error))
    else:
        console.note(f"full report: {path}" + ("" if work else ". The same command may work with other settings"))
    return BUG


def note_saved(work: SavedWork | None) -> None:
    """Print which checkpoint of the interrupted work is saved, if any, and how to resume it."""
    if work is None:
        return
    if not path_exists(work.folder):
        console.note(f"{work.folder} does not exist: if it was moved meanwhile, resume it where it is now")
    else:
        saved = _saved(work.folder)
        what = "nothing is saved yet; start again" if saved is None else f"saved: {saved}; resume"
        console.note(f"{what}:  {work.resume_command}")


def _machine_limit(error: BaseException) -> str:
    """What the machine lacks or refuses, such as memory; empty if the error is a bug."""
    if is_out_of_memory(error):
        where = " on the GPU" if "CUDA out of memory" in str(error) else ""
        facts = memory_facts(requested_bytes(str(error)), None if where else free_main_memory())
        details = f": {', '.join(facts)}" if facts else ""
        return f"out of memory{where}{details}. Close other programs, or use a smaller model, batch, text or sample"
    if isinstance(error, OSError):
        files = (name for name in (error.filename, error.filename2) if isinstance(name, str | bytes))
        return ": ".join([*dict.fromkeys(map(os.fsdecode, files)), error.strerror or _first_line(error)])
    if isinstance(error, ImportError) and not (error.name or "charlstm").startswith("charlstm"):
        return f"the Python package {error.name} cannot be loaded: {_first_line(error)}"
    return ""


def _first_line(error: BaseException) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _saved(folder: Path) -> str | None:
    """What the folder of a run, or of several, has saved; None if it is a run without a checkpoint."""
    from charlstm.runs.directory import RunDirectory

    with suppress(Exception):  # the cause of the error may persist
        directory = RunDirectory(folder)
        step = directory.checkpoints.newest_step()
        if step is None and directory.exists:
            return None
        if step is not None and step >= 0:
            return f"{folder}, step {step:,}"
    return str(folder)


def _write_report(error: BaseException, work: SavedWork | None) -> Path | None:
    """Write the report into the run's folder, else the cache folder, else the temporary folder; returns its path."""
    name = f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    folders: list[Callable[[], Path]] = [user_cache_folder, lambda: Path(tempfile.gettempdir())]
    for folder in [lambda: work.folder, *folders] if work else folders:
        with suppress(Exception):  # the cause of the error may persist
            (path := folder()).mkdir(parents=True, exist_ok=True)
            (path / name).write_text(_report(error), encoding="utf-8", errors="backslashreplace")
            return path / name
    return None


def _report(error: BaseException) -> str:
    torch = getattr(sys.modules.get("torch"), "__version__", "not loaded")
    facts = [
        " ".join(map(repr, sys.argv)),
        f"charlstm {__version__}, torch {torch}, Python {platform.python_version()}, {platform.platform()}",
    ]
    return "\n".join([*facts, "", *traceback.format_exception(error)])
