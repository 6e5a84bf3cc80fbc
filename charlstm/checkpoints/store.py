"""Which checkpoints a run keeps: the last two and the best, and how the newest good one is found.

``last`` and ``previous`` follow each other; ``best`` has the best held-out score. Each save: the new file is on the
disk before any name changes; then last -> moving, new -> last, the folder is flushed, moving -> previous takes the
place of the oldest, and the folder is flushed. So at every moment two different saves are whole, and the newest that
was acknowledged is one of them, whichever of the renames a crash lets stand. ``best`` is written before ``last``:
after a crash between the two it is the newest, and the run goes on from it.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from charlstm import atomic_io
from charlstm.checkpoints.format import Check, CheckpointFile, DamagedError, accept_all, pack
from charlstm.errors import UserError
from charlstm.files import MissingError, check_folder


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that is as it was written; ``damaged`` tells, a line each, which had to be passed over."""

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

    def any(self) -> bool:
        """Whether there is one at all, good or bad. Raises UserError if something else has the folder's name."""
        check_folder(self.folder)
        return any(os.path.lexists(path) for path in self.files)

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they are, in the order in which saving moves one along; the best is written beside them."""
        return (self.last, self.moving, self.previous, self.best)

    def save(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any], best: bool) -> None:
        """Write the newest, as ``last`` and, if it is, as ``best``.

        Raises UserError, with the bytes that are needed, if it cannot be written; what was there before is kept.
        """
        pieces = pack(tensors, header)
        if not self.folder.is_dir():
            with _wrap_os_error(self.folder, pieces):
                self.folder.mkdir()
                atomic_io.fsync_directory(self.folder.parent)
        if best:
            with _wrap_os_error(self.best, pieces):
                atomic_io.write_atomic(self.best, *pieces)
        with _wrap_os_error(self.last, pieces), atomic_io.staged_file(self.last, *pieces) as temporary:
            if self.last.exists():
                atomic_io.rename(self.last, self.moving)
            atomic_io.rename(temporary, self.last)
            atomic_io.fsync_directory(self.folder)
            if self.moving.exists():
                atomic_io.rename(self.moving, self.previous)
                atomic_io.fsync_directory(self.folder)

    def newest(self, check: Check = accept_all) -> LoadedCheckpoint:
        """The newest that is good, by what the files hold: not by their names or times.

        Raises UserError if there is none. What ``check`` raises passes through, but for DamagedError.
        """
        check_folder(self.folder)
        damaged: list[str] = []
        with ExitStack() as stack:
            files = []
            # Each is looked for and opened in one move, in the order in which saving moves one along: none is missed.
            for path in self.files:
                try:
                    files.append(stack.enter_context(CheckpointFile(path)))
                except MissingError:
                    pass
                except DamagedError as problem:
                    damaged.append(str(problem))
            if not files and not damaged:
                raise UserError(f"{self.last}: there is no such checkpoint")
            # A good file claims what is true, so the first good one in this order is the newest good one. What claims
            # no step comes first: it is damaged, and to be named.
            claims = {file: file.claimed_step for file in files}
            for file in sorted(files, key=lambda file: claims[file] if claims[file] >= 0 else math.inf, reverse=True):
                try:
                    return LoadedCheckpoint(file.path, *file.read(check), damaged)
                except DamagedError as problem:
                    damaged.append(str(problem))
        raise UserError(f"no checkpoint of this run can be used: {'; '.join(damaged)}")

    def best_or_newest(self, check: Check = accept_all) -> LoadedCheckpoint:
        """``best``; before there is one, or if it is damaged, the newest that is good. Raises as :meth:`newest`."""
        try:
            with CheckpointFile(self.best) as file:
                return LoadedCheckpoint(file.path, *file.read(check), [])
        except MissingError:
            return self.newest(check)
        except DamagedError as problem:
            newest = self.newest(check)
            return replace(newest, damaged=[*dict.fromkeys([str(problem), *newest.damaged])])

    def quarantine(self, found: LoadedCheckpoint) -> None:
        """Give ``last`` another name if it is not good, so that saving does not put it in a good one's place."""
        if any(line.startswith(f"{self.last}:") for line in found.damaged):
            with _wrap_os_error(self.last, ()):
                atomic_io.rename(self.last, self.last.with_suffix(".damaged"))
                atomic_io.fsync_directory(self.folder)


@contextmanager
def _wrap_os_error(path: Path, pieces: tuple[atomic_io.Piece, ...]) -> Iterator[None]:
    """An OSError as one line: which file, how many bytes, how many there is room for."""
    try:
        yield
    except OSError as error:
        needed = sum(len(piece) for piece in pieces)
        try:
            room = f", {shutil.disk_usage(path.parent).free:,} free"
        except OSError:
            room = ""
        raise UserError(
            f"{path}: cannot write the checkpoint ({needed:,} bytes needed{room}): {error.strerror or error}. "
            "The checkpoints before it are kept"
        ) from error
