"""``runs/<name>/``: all files of one run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from charlstm.config import Config, dump_yaml, load_config
from charlstm.errors import UserError


class RunDirectory:
    """Paths and small files of a run: config.yaml, metrics.jsonl, checkpoints/, samples.txt, report/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.samples_file = path / "samples.txt"
        self.last = path / "checkpoints" / "last.safetensors"
        self.best = path / "checkpoints" / "best.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config_file.exists()

    def create(self, config: Config, overwrite: bool = False) -> None:
        """Begin a run. Raises UserError if there is one, or a folder that holds something else."""
        if self.exists and overwrite:
            shutil.rmtree(self.path)
        elif self.exists:
            raise UserError(
                f"{self.path} exists already. Go on with it: --resume. Begin another: --name NAME. "
                "Delete it and begin again: --overwrite"
            )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path} exists and is no run. Take another name: --name NAME")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_config(config)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write the run: {error.strerror}") from error

    def write_config(self, config: Config) -> None:
        temporary = self.config_file.with_suffix(".tmp")
        temporary.write_text(dump_yaml(config), encoding="utf-8")
        temporary.replace(self.config_file)

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
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    @property
    def finished(self) -> bool:
        """Whether the run came to its own end: its budget used, or stopped early for want of improvement."""
        ends = [record["why"] for record in self.metrics() if record["kind"] == "end"]
        return bool(ends) and ends[-1] in ("budget", "early_stopping")

    def cut_metrics(self, step: int) -> None:
        """Forget what was recorded after this step, by a run that did not live to save it."""
        kept = [record for record in self.metrics() if record["step"] <= step and record["kind"] != "end"]
        temporary = self.metrics_file.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        temporary.replace(self.metrics_file)

    def append_sample(self, step: int, text: str) -> None:
        self._append(self.samples_file, f"===== step {step}\n{text}\n\n")

    def _append(self, path: Path, text: str) -> None:
        try:
            with path.open("a", encoding="utf-8", errors="surrogatepass", newline="") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"{path}: cannot write the run: {error.strerror}") from error
