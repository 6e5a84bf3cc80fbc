"""The directory of a run, ``runs/<name>/``, and its files."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlstm import atomic_io
from charlstm.checkpoints.store import CheckpointStore
from charlstm.errors import UserError
from charlstm.files import MissingError, append_regular, check_folder, regular_size
from charlstm.runs.contents import why_no_run
from charlstm.runs.lock import hold_lock
from charlstm.runs.metrics import count_records, end_of_record, read_records

if TYPE_CHECKING:
    from charlstm.config import Config
    from charlstm.runs.records import StopReason

log = logging.getLogger(__name__)

FINISHED: tuple[StopReason, ...] = ("budget", "target_reached", "early_stopping")
"""Why the training of a complete run ended."""


class RunDirectory:
    """The files of a run: config.yaml, metrics.jsonl, checkpoints/, samples.txt, report/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.samples_file = path / "samples.txt"
        self.report_folder = path / "report"
        self.lock_file = path / ".lock"
        self.pruned_file = path / "pruned"
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.last, self.best = self.checkpoints.last, self.checkpoints.best

    @property
    def exists(self) -> bool:
        """Whether the directory contains a run."""
        return os.path.lexists(self.config_file)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock during the block, and warn if the file system has no locks; creates the folder if needed.
        Does not block readers.

        Raises UserError if another process is writing the run, or if the folder contains something else.
        """
        self._refuse_foreign()
        with self._wrap_os_error():
            atomic_io.make_directory(self.path)
        with hold_lock(self.lock_file) as is_locked:
            if is_locked:
                atomic_io.remove_temporaries(self.path)
                atomic_io.remove_temporaries(self.checkpoints.folder)
            else:
                _warn_of_missing_locks(self.path.parent)
            yield

    def check_new(self, overwrite: bool = False) -> None:
        """Raises UserError if the run exists already, unless it may be overwritten, or the folder contains something
        else."""
        if self.exists and not overwrite:
            raise UserError(
                f"{self.path} exists already. Resume it: --resume. Start another run: --name NAME. "
                "Delete it and start again: --overwrite"
            )
        self._refuse_foreign()

    def create(self, config: Config, overwrite: bool = False) -> None:
        """Create a run. Raises UserError as :meth:`check_new` does."""
        self.check_new(overwrite)
        with self._wrap_os_error():
            atomic_io.make_directory(self.path)
            if self.exists:
                self._empty()
            self.write_config(config)

    def delete(self) -> None:
        """Delete the run. What an interruption leaves is a run still, or an empty folder. Raises UserError while it is
        being trained."""
        with self.writing(), self._wrap_os_error():
            self._empty()
            self.config_file.unlink(missing_ok=True)
        with suppress(OSError):  # another process may have begun a run there
            self.lock_file.unlink(missing_ok=True)
            self.path.rmdir()

    def _empty(self) -> None:
        """Delete everything except the lock, which may be held, and config.yaml, which marks the folder as a run."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in (self.lock_file, self.config_file):
                path.unlink()

    def _refuse_foreign(self) -> None:
        if self.exists or not os.path.lexists(self.path):
            return
        with self._wrap_os_error():
            if not self.path.is_dir() or any(
                path != self.lock_file and not atomic_io.is_temporary(path) for path in self.path.iterdir()
            ):
                raise UserError(f"{self.path} exists and is not a run directory. Choose another name: --name NAME")

    def write_config(self, config: Config) -> None:
        from charlstm.config import dump_yaml

        with self._wrap_os_error(self.config_file):
            atomic_io.write_atomic(self.config_file, dump_yaml(config).encode("utf-8"))

    def config(self) -> Config:
        """The resolved configuration. Raises UserError if this is not a run directory."""
        if not self.exists:
            raise UserError(why_no_run(self.path))
        from charlstm.config import (  # the models: commands that look for a run do without
            Config,
            read_recorded,
            validate,
        )

        return validate(Config, read_recorded(self.config_file))

    def append_metrics(self, record: dict[str, Any]) -> None:
        self._append(self.metrics_file, json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All records, oldest first; raises as :func:`charlstm.runs.metrics.read_records` does."""
        return list(read_records(self.metrics_file))

    @property
    def start(self) -> dict[str, Any]:
        """The first record; empty if there is none."""
        return next(iter(read_records(self.metrics_file)), {})

    @property
    def finished(self) -> bool:
        """Whether the run is complete: budget used, target score reached, or early stopping."""
        return self.ended in FINISHED

    @property
    def ended(self) -> StopReason | None:
        """Why the latest training ended; None if none has ended."""
        stop_reason = None
        for record in read_records(self.metrics_file):
            stop_reason = record.get("stop_reason", stop_reason)
        return stop_reason

    def flush(self) -> dict[str, int]:
        """Flush metrics and samples to disk; returns their lengths, for :meth:`truncate_logs`.

        The length of the metrics is in records, since the number of digits of times varies; that of samples in bytes.
        """
        self.check_files()
        with self._wrap_os_error():
            for path in (self.metrics_file, self.samples_file):
                atomic_io.fsync_file(path)
        return {"metrics": count_records(self.metrics_file), "samples": self._samples_size()}

    def truncate_logs(self, lengths: Mapping[str, int]) -> None:
        """Delete what an interrupted run appended after :meth:`flush` returned these lengths.

        Raises UserError, before any file changes, if the metrics before that are invalid.
        """
        self.check_files()
        with self._wrap_os_error():
            if self.metrics_file.exists():
                os.truncate(self.metrics_file, end_of_record(self.metrics_file, lengths["metrics"]))
            if self._samples_size() > lengths["samples"]:
                os.truncate(self.samples_file, lengths["samples"])

    @property
    def pruned(self) -> bool:
        """Whether all checkpoints of a complete run were deleted."""
        return os.path.lexists(self.pruned_file)

    def prune(self, keep_best: bool) -> None:
        """Delete the checkpoints of a complete run, except the best one or, without one, the newest, if ``keep_best``.

        Raises UserError if that fails.
        """
        store = self.checkpoints
        candidates = (store.best, *store.files, *reversed(store.kept.values())) if keep_best else ()
        kept = next((path for path in candidates if path.exists()), None)
        with self._wrap_os_error():
            if not keep_best:
                atomic_io.write_atomic(self.pruned_file, b"")
            for path in (*store.files, *store.kept.values()):
                if path != kept:
                    path.unlink(missing_ok=True)

    def check_files(self) -> None:
        """Raises UserError if a path to write is something else: a pipe, a folder or a dangling link."""
        check_folder(self.report_folder)
        check_folder((store := self.checkpoints).folder)
        for path in (self.metrics_file, self.samples_file, self.lock_file, *store.files, *store.kept.values()):
            with suppress(MissingError):
                regular_size(path)

    def _samples_size(self) -> int:
        with suppress(MissingError):
            return regular_size(self.samples_file)
        return 0

    def append_sample(self, step: int, text: str) -> None:
        self._append(self.samples_file, f"===== step {step}\n{text}\n\n")

    def _append(self, path: Path, text: str) -> None:
        with self._wrap_os_error(path):
            append_regular(path, text.encode("utf-8", "surrogatepass"))

    @contextmanager
    def _wrap_os_error(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{path or self.path}: cannot write the run: {error.strerror or error}") from error


@cache
def _warn_of_missing_locks(folder: Path) -> None:
    """Once for each folder of runs."""
    log.warning("%s: this file system has no locks: do not train a run there in two processes at a time", folder)
