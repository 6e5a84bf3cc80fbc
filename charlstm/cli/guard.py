"""The guard at the door: an error that no command foresaw, as a few clear lines and an exit code."""

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
from typing import Any

from typer.core import TyperGroup

from charlstm import __version__, console
from charlstm import standard_streams as streams
from charlstm.cache import user_cache_folder
from charlstm.hardware.main_memory import asked_bytes, free_main_memory, is_shortage, shortage_facts

BUG, MACHINE = 1, 2


@dataclass(frozen=True)
class Work:
    """What is saved as it goes: the folder it is saved in, and the command that goes on with it."""

    folder: Path
    go_on: str


class Commands(TyperGroup):
    """Commands whose broken pipes reach the guard: typer ends in silence with code 1, whichever pipe it was."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        with _broken_pipes():
            return super().make_context(*arguments, **named)

    def invoke(self, *arguments: Any) -> Any:
        with _broken_pipes():
            return super().invoke(*arguments)


class _OtherPipeError(Exception):
    """Holds an error of a pipe that is not standard output."""


@contextmanager
def _broken_pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as problem:
        if streams.reader_gone():
            streams.leave()
        raise _OtherPipeError from problem


def explain(problem: BaseException, work: Work | None) -> int:
    """Tell of an error that no command foresaw: what happened, what is saved, where the full report lies.

    Args:
        work: what was being done and saved, if anything was.

    Returns:
        The exit code: 2 where the machine lacks something, 1 for a bug.
    """
    if isinstance(problem, _OtherPipeError) and problem.__cause__ is not None:
        problem = problem.__cause__
    lack = _lack(problem)
    console.error(lack or f"a bug in charlstm: {_first_line(problem)}")
    tell_saved(work)
    if lack:
        return MACHINE
    place = _write_report(problem, work)
    if place is None:
        console.note("the full report cannot be written to a file:")
        streams.write_err(_report(problem))
    else:
        console.note(f"full report: {place}" + ("" if work else ". The same command may do with other settings"))
    return BUG


def tell_saved(work: Work | None) -> None:
    """Say what is saved of the work that an error broke off, if any was, and how to go on with it."""
    if work is not None:
        console.note(f"saved: {_saved(work.folder)}; go on:  {work.go_on}")


def _lack(problem: BaseException) -> str:
    """What the machine lacks or refuses; empty if the error is a bug."""
    if is_shortage(problem):
        facts = shortage_facts(asked_bytes(str(problem)), free_main_memory())
        told = f": {', '.join(facts)}" if facts else ""
        return f"out of memory{told}. Close other programs, or ask for less: a smaller model, batch, text or sample"
    if isinstance(problem, OSError):
        files = (name for name in (problem.filename, problem.filename2) if isinstance(name, str | bytes))
        return ": ".join([*dict.fromkeys(map(os.fsdecode, files)), problem.strerror or _first_line(problem)])
    if isinstance(problem, ImportError) and not (problem.name or "charlstm").startswith("charlstm"):
        return f"the Python package {problem.name} cannot be loaded: {_first_line(problem)}"
    return ""


def _first_line(problem: BaseException) -> str:
    text = next((line for line in str(problem).splitlines() if line.strip()), "").strip()
    return f"{type(problem).__name__}: {text[:300]}" if text else type(problem).__name__


def _saved(folder: Path) -> str:
    from charlstm.checkpoints.format import CheckpointFile
    from charlstm.runs.directory import RunDirectory

    # whatever it was that failed may fail again
    with suppress(Exception), CheckpointFile(RunDirectory(folder).last) as last:
        return f"{folder}, step {last.claimed_step:,}"
    return str(folder)


def _write_report(problem: BaseException, work: Work | None) -> Path | None:
    """The file with the report: in the run's folder, else in the user's cache folder, else among temporary files."""
    name = f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    folders: list[Callable[[], Path]] = [user_cache_folder, lambda: Path(tempfile.gettempdir())]
    for folder in [lambda: work.folder, *folders] if work else folders:
        with suppress(Exception):  # whatever it was that failed may fail again
            (place := folder()).mkdir(parents=True, exist_ok=True)
            (place / name).write_text(_report(problem), encoding="utf-8", errors="backslashreplace")
            return place / name
    return None


def _report(problem: BaseException) -> str:
    torch = getattr(sys.modules.get("torch"), "__version__", "not loaded")
    facts = [
        " ".join(map(repr, sys.argv)),
        f"charlstm {__version__}, torch {torch}, Python {platform.python_version()}, {platform.platform()}",
    ]
    return "\n".join([*facts, "", *traceback.format_exception(problem)])
