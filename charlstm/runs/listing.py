"""Lists the runs of a folder, with what their files say about them. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from charlstm.checkpoints.header import InvalidContentError, read_head, tensor_entries
from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular
from charlstm.runs.directory import FINISHED, RunDirectory
from charlstm.runs.lock import is_held
from charlstm.runs.metrics import best_score, read_outline
from charlstm.runs.naming import initial_run_name
from charlstm.units import bits

State = Literal["training", "finished", "stopped", "diverged", "damaged"]

MAX_DEPTH = 3
"""Folders above a run within the folder of runs: the folder of a comparison, or of one of its groups."""


@dataclass(frozen=True)
class RunSummary:
    """What the files of a run say about it.

    Attributes:
        name: its path within the folder of runs, with slashes.
        path: its folder.
        state: stopped also means that its process was killed.
        trained_at: when its metrics were last written, in seconds since the epoch.
        problem: why a file cannot be read, if the state is damaged; then fields may be missing.
        source: the files of its text, without their folders.
        initial_run: the name of the run whose weights it started from; None if it started with new ones.
        unit: character, or byte if the text is read as bytes.
        parameters: number of trainable parameters; None before the first step.
        best_nats: the best held-out score, in nats per unit; a pseudo-likelihood if the direction is bidirectional.
            None if no text is held out.
        best_is_sampled: whether that is the score of a sample of the held-out text.
        held_out_nats: all held-out scores, oldest first.
        training_split_nats: the latest score of the training split.
        steps, seconds: of training.
    """

    name: str
    path: Path
    state: State
    trained_at: float
    problem: str = ""
    source: tuple[str, ...] = ()
    initial_run: str | None = None
    cell: str = ""
    hidden_size: int | None = None
    num_layers: int | None = None
    direction: str = ""
    unit: Literal["character", "byte"] = "character"
    parameters: int | None = None
    best_nats: float | None = None
    best_is_sampled: bool = False
    held_out_nats: Sequence[float] = ()
    training_split_nats: float | None = None
    steps: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The fields in JSON types, with units in the names of scores."""
        fields = asdict(self)
        best, training = fields.pop("best_nats"), fields.pop("training_split_nats")
        del fields["held_out_nats"]
        fields |= {
            "path": str(self.path),
            "source": list(self.source),
            "trained_at": datetime.fromtimestamp(self.trained_at, timezone.utc).isoformat(timespec="seconds"),
            f"best_nats_per_{self.unit}": best,
            f"best_bits_per_{self.unit}": None if best is None else bits(best),
            f"training_split_nats_per_{self.unit}": training,
            f"training_split_bits_per_{self.unit}": None if training is None else bits(training),
            "pseudo_likelihood": self.direction == "bidirectional",
        }
        return fields


def run_folders(folder: Path, is_deep: bool = False) -> Iterator[Path]:
    """The folders of runs in a folder; ``is_deep``: also those within the folders of comparisons.

    Raises UserError if the folder cannot be read.
    """
    try:
        yield from _folders(folder, MAX_DEPTH if is_deep else 1)
    except OSError as error:
        raise UserError(f"{folder}: cannot read the folder of runs: {error.strerror or error}") from None


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        folders = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    for name in folders:
        path = folder / name
        if os.path.lexists(path / "config.yaml"):
            yield path
        elif depth > 1:
            yield from _folders(path, depth - 1)


def trained_at(path: Path) -> float:
    """When the run in this folder was last trained, in seconds since the epoch: the time of its last record."""
    for name in ("metrics.jsonl", "config.yaml"):
        try:
            return (path / name).stat().st_mtime
        except (OSError, ValueError):
            continue
    return 0.0


def list_runs(folder: Path, is_deep: bool = False) -> list[RunSummary]:
    """The runs of a folder, the one trained last first. Raises as :func:`run_folders`."""
    runs = [summarize(path, path.relative_to(folder).as_posix()) for path in run_folders(folder, is_deep)]
    return sorted(runs, key=lambda run: (-run.trained_at, run.name))


def summarize(path: Path, name: str) -> RunSummary:
    """What the files of one run say. A file that cannot be read makes it damaged."""
    from charlstm.config import read_unchecked  # with yaml: finding a run does without

    directory, fields = RunDirectory(path), dict[str, Any]()
    try:
        fields |= _settings(read_unchecked(directory.config_file))
        state = _read_metrics(directory, fields)
        _check_checkpoint(directory)
    except UserError as error:
        return RunSummary(name, path, "damaged", trained_at(path), str(error), **fields)
    if state != "finished" and is_held(directory.lock_file):
        state = "training"
    return RunSummary(name, path, state, trained_at(path), **fields)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    corpus, model, training = (
        section if isinstance(section := config.get(key), dict) else {} for key in ("corpus", "model", "training")
    )
    source, initial_run = corpus.get("source"), training.get("initial_run")
    return {
        "source": tuple(Path(str(part)).name for part in (source if isinstance(source, list) else [source])),
        "initial_run": None if initial_run is None else initial_run_name(str(initial_run)),
        "cell": str(model.get("cell", "")),
        "hidden_size": model.get("hidden_size"),
        "num_layers": model.get("num_layers"),
        "direction": str(model.get("direction", "forward")),
        "unit": "byte" if corpus.get("encoding") == "bytes" else "character",
    }


def _read_metrics(directory: RunDirectory, fields: dict[str, Any]) -> State:
    """Add what the metrics say to the fields; returns how the training ended."""
    state: State = "stopped"
    records = list(read_outline(directory.metrics_file))
    for record in records:
        kind = record["kind"]
        state = "stopped"
        if kind == "start":
            parameters = record.get("parameters")
            fields["parameters"] = parameters if isinstance(parameters, int) else None
        elif kind == "end":
            reason = record["stop_reason"]
            state = "finished" if reason in FINISHED else "diverged" if reason == "diverged" else "stopped"
        elif kind == "evaluation":
            fields["training_split_nats"] = record.get("training_split_nats")
            if (nats := record["nats"]) is not None:
                fields.setdefault("held_out_nats", []).append(nats)
        fields["steps"] = record["step"]
        fields["seconds"] = record.get("seconds", 0.0)
    if (best := best_score(records)) is not None:
        fields["best_nats"], fields["best_is_sampled"] = best.nats, best.is_sampled
    return state


def _check_checkpoint(directory: RunDirectory) -> None:
    """Raises UserError if the last checkpoint is cut off or not a checkpoint; its content is not read."""
    try:
        with open_regular(directory.last) as file:
            size, head, outer = read_head(file)
            tensor_entries(outer, size - len(head))
    except MissingError:
        return
    except (InvalidContentError, OSError) as problem:
        raise UserError(f"{directory.last}: damaged, or not a checkpoint: {problem}") from None
