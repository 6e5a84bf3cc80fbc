"""``runs/<name>/``: all files of one run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charlstm.config import Config, dump_yaml, load_config
from charlstm.errors import UserError
from charlstm.paths import is_there
from charlstm.training import durable
from charlstm.training.events import Why
from charlstm.training.kept import Kept
from charlstm.training.lock import held


class RunDirectory:
    """Paths and small files of a run: config.yaml, metrics.jsonl, checkpoints/, samples.txt, report/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.samples_file = path / "samples.txt"
        self.lock_file = path / ".lock"
        self.checkpoints = Kept(path / "checkpoints")
        self.last, self.best = self.checkpoints.last, self.checkpoints.best

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return is_there(self.config_file)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer while the block lasts; the folder is made if need be. Reading is not hindered.

        Raises UserError if another process writes the run, or the folder holds something else.
        """
        self._refuse_foreign()
        with self._told():
            durable.make_folder(self.path)
        with held(self.lock_file) as alone:
            if alone:
                durable.sweep(self.path)
                durable.sweep(self.checkpoints.folder)
            yield

    def create(self, config: Config, overwrite: bool = False) -> None:
        """Begin a run. Raises UserError if there is one, or a folder that holds something else."""
        if self.exists and not overwrite:
            raise UserError(
                f"{self.path} exists already. Go on with it: --resume. Begin another: --name NAME. "
                "Delete it and begin again: --overwrite"
            )
        self._refuse_foreign()
        with self._told():
            durable.make_folder(self.path)
            if self.exists:
                self._empty()
            self.write_config(config)

    def _empty(self) -> None:
        """Delete all but the lock, which may be held, and config.yaml, without which the rest would be no run."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in (self.lock_file, self.config_file):
                path.unlink()

    def _refuse_foreign(self) -> None:
        if self.exists or not is_there(self.path):
            return
        if not self.path.is_dir() or any(
            path != self.lock_file and not durable.is_temporary(path) for path in self.path.iterdir()
        ):
            raise UserError(f"{self.path} exists and is no run. Take another name: --name NAME")

    def write_config(self, config: Config) -> None:
        durable.write_whole(self.config_file, dump_yaml(config).encode("utf-8"))

    def config(self) -> Config:
        """The resolved configuration. Raises UserError if this is no run."""
        if not self.exists:
            raise UserError(f"{self.path} is no run: it has no config.yaml. Runs are made by charlstm train")
        return load_config(self.config_file)

    def append_metrics(self, record: dict[str, Any]) -> None:
        self._append(self.metrics_file, json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All records, oldest first; a last line cut short by a crash is left out."""
        if not self.metrics_file.exists():
            return []
        records = []
        for line in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError):
                break
        return records

    @property
    def finished(self) -> bool:
        """Whether the run came to its own end: its budget used, its score reached, or no more improvement."""
        return self.ended in ("budget", "good_enough", "early_stopping")

    @property
    def ended(self) -> Why | None:
        """Why it ended when it was last trained; None if it never came to an end."""
        ends: list[Why] = [record["why"] for record in self.metrics() if record["kind"] == "end"]
        return ends[-1] if ends else None

    def flush(self) -> dict[str, int]:
        """Have metrics and samples on the disk; how long they are, for :meth:`cut_back`.

        Metrics are counted in records, for their figures of time are never twice as long; samples in bytes.
        """
        with self._told():
            for path in (self.metrics_file, self.samples_file):
                durable.flush_file(path)
            return {
                "metrics": self.metrics_file.read_bytes().count(b"\n") if self.metrics_file.exists() else 0,
                "samples": self.samples_file.stat().st_size if self.samples_file.exists() else 0,
            }

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Forget what was appended since :meth:`flush` gave these lengths, by a run that did not live to save it."""
        with self._told():
            if self.metrics_file.exists():
                lines = self.metrics_file.read_bytes().splitlines(keepends=True)[: lengths["metrics"]]
                os.truncate(self.metrics_file, sum(map(len, lines)))
            if self.samples_file.exists() and self.samples_file.stat().st_size > lengths["samples"]:
                os.truncate(self.samples_file, lengths["samples"])

    def append_sample(self, step: int, text: str) -> None:
        self._append(self.samples_file, f"===== step {step}\n{text}\n\n")

    def _append(self, path: Path, text: str) -> None:
        with self._told(path), path.open("a", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)

    @contextmanager
    def _told(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{path or self.path}: cannot write the run: {error.strerror or error}") from error
