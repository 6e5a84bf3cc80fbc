"""Event files for TensorBoard, from the metrics, samples and settings of a run. Loads no torch.

Metrics are exact even if a run was interrupted: steps that it repeats are in them once. Event files are converted from
them, and written again if a run that is followed was resumed from an earlier step.
"""

from __future__ import annotations

import math
import os
import socket
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from charlstm.config import dump_yaml
from charlstm.errors import UserError
from charlstm.run_report.samples import read_samples
from charlstm.runs.directory import RunDirectory
from charlstm.runs.listing import trained_at
from charlstm.runs.lock import is_held
from charlstm.units import bits

FOLDER, BEGINNING = "tensorboard", "events.out.tfevents."
PACKAGE = "tensorboard"


@dataclass(frozen=True)
class Point:
    """A value of one step. ``wall_time``: in seconds since the epoch."""

    tag: str
    value: float
    step: int
    wall_time: float


def check_package() -> None:
    """Raises UserError if the library of TensorBoard is missing."""
    if find_spec(PACKAGE) is None:
        raise UserError(f"--tensorboard needs the package {PACKAGE}: pip install 'charlstm[{PACKAGE}]'")


def points(records: Sequence[Mapping[str, Any]], unit: str, start: float) -> Iterator[Point]:
    """The scalars of a run, oldest first. Those that are not finite are left out.

    Args:
        records: of metrics.jsonl.
        unit: of the text, ``character`` or ``byte``.
        start: when the training began. Records get times by their seconds of training, so that TensorBoard's relative
            time is that of training: without evaluations, and without pauses of the run.
    """
    for record in records:
        for tag, value in _scalars(record, unit).items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield Point(tag, float(value), record["step"], start + record["seconds"])


def seconds_of_training(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of training before the last record."""
    return max((record["seconds"] for record in records if "seconds" in record), default=0.0)


def _scalars(record: Mapping[str, Any], unit: str) -> dict[str, Any]:
    def scores(name: str, nats: float | None) -> dict[str, float | None]:
        return {f"bits_per_{unit}/{name}": None if nats is None else bits(nats), f"nats_per_{unit}/{name}": nats}

    if record["kind"] == "train":
        names = ("learning_rate", "gradient_norm", "characters_per_second", "epoch")
        others = {f"training/{name.replace('character', unit)}": record.get(name) for name in names}
        return scores("training", record["nats"]) | others
    if record["kind"] == "evaluation":
        held_out = _held_out_tag(record, record.get("sampled_from") is not None)
        raw = scores("raw_weights", record.get("raw_nats"))
        return scores(held_out, record["nats"]) | raw | scores("training_split", record.get("training_split_nats"))
    if record["kind"] == "whole_split":
        return scores(f"{_held_out_tag(record, False)}_{record['network']}", record["nats"])
    return {}


def _held_out_tag(record: Mapping[str, Any], is_sampled: bool) -> str:
    kind = "pseudo_likelihood" if record.get("pseudo_likelihood") else "held_out"
    return f"{kind}_sample" if is_sampled else kind


class EventFiles:
    """The event file of a run, in its folder ``tensorboard``, and what of the run is in it."""

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path)
        self.folder = path / FOLDER
        self._records: list[dict[str, Any]] = []
        self._samples = 0
        self._start: float | None = None
        self._file: BinaryIO | None = None

    @property
    def is_training(self) -> bool:
        """Whether a process trains the run."""
        return is_held(self.directory.lock_file)

    def update(self) -> bool:
        """Write what the run has recorded since the last call; returns whether there was anything.

        Raises UserError if the run cannot be read, or the file cannot be written.
        """
        written, records = self._records, self.directory.metrics()
        if self._file is not None and records == written:
            return False
        try:
            if self._file is None or records[: len(written)] != written:  # resumed from an earlier step
                self._begin()
                written = []
            self._append(records, len(written))
        except OSError as error:
            raise UserError(f"{self.folder}: cannot write event files: {error.strerror or error}") from None
        self._records = records
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        """Begin a file, with a mark by which TensorBoard drops what it has shown of the run, and delete older ones."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self.close()
        self.folder.mkdir(exist_ok=True)
        older = list(self.folder.glob(f"{BEGINNING}*"))
        now = time.time()
        path = self.folder / f"{BEGINNING}{now:020.6f}.{socket.gethostname()}.{os.getpid()}"  # TensorBoard sorts names
        self._file, self._samples, self._start = path.open("xb"), 0, None
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        self._write(Event(wall_time=now, step=0, session_log=SessionLog(status=SessionLog.START)))
        for file in older:
            file.unlink()

    def _append(self, records: Sequence[Mapping[str, Any]], written: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        config = self.directory.config()
        unit = "byte" if config.corpus.encoding == "bytes" else "character"
        if self._start is None:
            self._start = trained_at(self.directory.path) - seconds_of_training(records)
            self._write_text("settings", dump_yaml(config), 0, self._start)
        for point in points(records[written:], unit, self._start):
            summary = Summary(value=[Summary.Value(tag=point.tag, simple_value=point.value)])
            self._write(Event(wall_time=point.wall_time, step=point.step, summary=summary))
        seconds = {record["step"]: record["seconds"] for record in records if "seconds" in record}
        samples = read_samples(self.directory.samples_file)
        for step, text in samples[self._samples :]:
            self._write_text("samples", text, step, self._start + seconds.get(step, 0.0))
        self._samples = len(samples)
        assert self._file is not None
        self._file.flush()

    def _write_text(self, tag: str, text: str, step: int, wall_time: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        code = textwrap.indent(text, "    ", lambda _: True)  # Markdown, in which this keeps line ends
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[code.encode()], tensor_shape=shape)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        summary = Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])
        self._write(Event(wall_time=wall_time, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._file).write(event.SerializeToString())
