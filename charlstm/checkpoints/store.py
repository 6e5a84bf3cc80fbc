"""Stores the last two and the best checkpoint of a run, and those to keep, and loads the newest valid one.

``previous`` is the checkpoint before ``last``; ``best`` has the best validation score, and does not exist if no text is
held out. A save first flushes the new file to disk; then it renames last -> moving and new -> last, flushes the folder,
renames moving -> previous, which replaces the oldest, and flushes the folder. So at any time two different saves are
complete, and one of them is the newest acknowledged one, whichever renames survive a crash. ``best`` is written before
``last``: after a crash between the two it is the newest, and the run resumes from it. Checkpoints to keep are further
files, named by their steps, which nothing replaces; they are loaded only where others are damaged or missing.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlstm import atomic_io
from charlstm.checkpoints.format import Check, CheckpointFile, DamagedError, accept_all, pack
from charlstm.errors import UserError
from charlstm.files import MissingError, check_folder

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = re.compile(r"step-([0-9]{8,15})\.safetensors")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A valid checkpoint; ``damaged`` has one message for each damaged checkpoint that was skipped, or that ``last`` is
    missing if only one to keep is left."""

    path: Path
    tensors: dict[str, Tensor]
    header: dict[str, Any]
    damaged: list[str]


class CheckpointStore:
    """The checkpoints in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.safetensors"
        self.previous = folder / "previous.safetensors"
        self.moving = folder / "moving.safetensors"
        self.best = folder / "best.safetensors"

    def exists(self) -> bool:
        """Whether a checkpoint exists, valid or not. Raises UserError if the folder is something else."""
        check_folder(self.folder)
        return any(os.path.lexists(path) for path in self.files) or bool(self.kept)

    def newest_step(self) -> int | None:
        """The step that the newest checkpoint claims, unchecked; -1 if no header can be read, None if none exists.

        Raises UserError if the folder is something else.
        """
        if not self.exists():
            return None
        step = -1
        for path in self.files:
            with suppress(MissingError, DamagedError), CheckpointFile(path) as file:
                step = max(step, file.claimed_step)
        return step if step >= 0 else max(self.kept, default=step)

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths, in the order in which a save renames a checkpoint; ``best`` comes last."""
        return (self.last, self.moving, self.previous, self.best)

    @property
    def kept(self) -> dict[int, Path]:
        """The checkpoints to keep, by step, in ascending order."""
        matches = ((_KEPT.fullmatch(path.name), path) for path in self.folder.glob("step-*"))
        return dict(sorted((int(match[1]), path) for match, path in matches if match))

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints to keep of later steps, which a run that resumes from this step makes again."""
        with self._wrap_os_error(self.folder, ()):
            for later, path in self.kept.items():
                if later > step:
                    path.unlink()

    def save(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any], best: bool, keep: bool = False) -> None:
        """Write the newest checkpoint, as ``last`` and, if ``best`` is true, also as ``best``, and if ``keep`` is true
        also as one to keep.

        Raises UserError, with the bytes needed, if it cannot be written; earlier checkpoints remain.
        """
        pieces = pack(tensors, header)
        if not self.folder.is_dir():
            with self._wrap_os_error(self.folder, pieces):
                self.folder.mkdir()
                atomic_io.fsync_directory(self.folder.parent)
        kept = [self.folder / f"step-{header['counters']['step']:08d}.safetensors"] if keep else []
        for path in [*kept, *([self.best] if best else [])]:
            with self._wrap_os_error(path, pieces):
                atomic_io.write_atomic(path, *pieces)
        with self._wrap_os_error(self.last, pieces), atomic_io.staged_file(self.last, *pieces) as temporary:
            if self.last.exists():
                atomic_io.rename(self.last, self.moving)
            atomic_io.rename(temporary, self.last)
            atomic_io.fsync_directory(self.folder)
            if self.moving.exists():
                atomic_io.rename(self.moving, self.previous)
                atomic_io.fsync_directory(self.folder)

    def newest(self, check: Check = accept_all) -> LoadedCheckpoint:
        """The newest valid checkpoint, by content, not by file name or time; one to keep only if another is damaged, or
        if all others are missing.

        Raises UserError if there is none. Errors of ``check`` pass through, except DamagedError.
        """
        check_folder(self.folder)
        damaged: list[str] = []
        newest, newest_step = None, -1
        with ExitStack() as stack:
            files = []
            # Opened in the order in which a concurrent save renames a checkpoint, so that none is missed.
            for path in self.files:
                try:
                    files.append(stack.enter_context(CheckpointFile(path)))
                except MissingError:
                    pass
                except DamagedError as problem:
                    damaged.append(str(problem))
            # A valid file has its true step in the header, so the first valid one in this order is the newest. Files
            # without a step come first: they are damaged, and must be reported.
            steps = {file: file.claimed_step for file in files}
            for file in sorted(files, key=lambda file: steps[file] if steps[file] >= 0 else math.inf, reverse=True):
                try:
                    newest, newest_step = LoadedCheckpoint(file.path, *file.read(check), damaged), steps[file]
                    break
                except DamagedError as problem:
                    damaged.append(str(problem))
        if newest is not None and not damaged:
            return newest
        missing = f"{self.last}: no such checkpoint"
        for step, path in reversed(self.kept.items()):
            if step <= newest_step:
                break
            try:
                with CheckpointFile(path) as file:
                    return LoadedCheckpoint(path, *file.read(check), damaged or [missing])
            except MissingError:
                pass
            except DamagedError as problem:
                damaged.append(str(problem))
        if newest is not None:
            return newest
        raise UserError(f"no checkpoint of this run can be used: {'; '.join(damaged)}" if damaged else missing)

    def best_or_newest(self, check: Check = accept_all) -> LoadedCheckpoint:
        """``best``; if it is missing or damaged, the newest valid checkpoint. Raises as :meth:`newest`."""
        try:
            with CheckpointFile(self.best) as file:
                return LoadedCheckpoint(file.path, *file.read(check), [])
        except MissingError:
            return self.newest(check)
        except DamagedError as problem:
            newest = self.newest(check)
            return replace(newest, damaged=[*dict.fromkeys([str(problem), *newest.damaged])])

    def at_step(self, step: int, check: Check = accept_all) -> LoadedCheckpoint:
        """The first valid checkpoint of a step, kept or not. Raises UserError, with the steps that there are, if there
        is none, and DamagedError if all of this step are damaged. Errors of ``check`` pass through."""
        found, damaged = set[int](), list[str]()
        named = {path: kept for kept, path in self.kept.items()}
        for path in (*named, *self.files):
            claimed = named.get(path, -1)
            try:
                with CheckpointFile(path) as file:
                    claimed = file.claimed_step if file.claimed_step >= 0 else claimed
                    if claimed == step:
                        return LoadedCheckpoint(path, *file.read(check), damaged)
            except MissingError:
                continue
            except DamagedError as problem:
                if claimed == step:
                    damaged.append(str(problem))
            found.add(claimed)
        if damaged:
            raise DamagedError("; ".join(damaged))
        steps = ", ".join(f"{n}" for n in sorted(found) if n >= 0)
        raise UserError(f"{self.folder}: no checkpoint of step {step}; there are {steps or 'none'}")

    def quarantine(self, loaded: LoadedCheckpoint) -> None:
        """Rename ``last`` if it is damaged, so that a save does not replace a valid checkpoint by it."""
        if os.path.lexists(self.last) and any(line.startswith(f"{self.last}:") for line in loaded.damaged):
            with self._wrap_os_error(self.last, ()):
                atomic_io.rename(self.last, self.last.with_suffix(".damaged"))
                atomic_io.fsync_directory(self.folder)

    @contextmanager
    def _wrap_os_error(self, path: Path, pieces: tuple[atomic_io.Piece, ...]) -> Iterator[None]:
        """Raise an OSError of the block as a UserError with the file, the bytes needed and free, and what is saved."""
        try:
            yield
        except OSError as error:
            needed = sum(len(piece) for piece in pieces)
            try:
                free = f", {shutil.disk_usage(path.parent).free:,} free"
            except OSError:
                free = ""
            room = f"Free {needed:,} bytes, or choose" if error.errno in _FULL else "Choose"
            raise UserError(
                f"{path}: cannot write the checkpoint ({needed:,} bytes needed{free}): {error.strerror or error}. "
                + ("The earlier checkpoints remain" if self.exists() else f"{room} another folder: --runs FOLDER")
            ) from error
