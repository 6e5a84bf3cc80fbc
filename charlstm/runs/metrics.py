"""Reads metrics.jsonl: one JSON record per line, validated against its schema."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json

from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular, read_error

StopReason = Literal["budget", "target_reached", "early_stopping", "stopped", "diverged"]

LINE_LIMIT = 1 << 16
"""Bytes of a line; the longest record, the first, names the executor of each of up to 1,024 layers."""

_TRAINING = b'{"kind": "train"'
"""The beginning of most lines, as ``json.dumps`` writes them."""

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
_Nats = Annotated[float, Field(gt=-1e30, lt=1e30, allow_inf_nan=False)]


class _Record(BaseModel):
    """The fields that are read, with their ranges; a record may have others."""

    model_config = ConfigDict(strict=True, defer_build=True)
    step: _Count


class _Start(_Record):
    kind: Literal["start"]


class _Train(_Record):
    kind: Literal["train"]
    characters: _Count
    seconds: _Seconds
    nats: _Nats


class _Evaluation(_Record):
    """``nats``: of the held-out text; null if nothing is held out."""

    kind: Literal["evaluation"]
    characters: _Count
    seconds: _Seconds
    nats: _Nats | None
    training_split_nats: _Nats | None = None
    raw_nats: _Nats | None = None

    @model_validator(mode="after")
    def _has_a_score(self) -> _Evaluation:
        if self.nats is None and self.training_split_nats is None:
            raise ValueError("it has no score")
        return self


class _End(_Record):
    kind: Literal["end"]
    stop_reason: StopReason
    seconds: _Seconds


@cache
def _schema() -> TypeAdapter[_Record]:
    return TypeAdapter(Annotated[_Start | _Train | _Evaluation | _End, Field(discriminator="kind")])


def evaluated_nats(record: Mapping[str, Any]) -> float:
    """The score of an evaluation: that of the held-out text, or of the training text if nothing is held out."""
    nats: float = record["training_split_nats"] if record["nats"] is None else record["nats"]
    return nats


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records, oldest first; none if the file does not exist. Skips a last line that a crash truncated.

    Raises UserError, with the line number, at the first invalid record, and if the file cannot be read.
    """
    return (record for record, _ in _read(path))


def read_outline(path: Path) -> Iterator[dict[str, Any]]:
    """The records as `read_records` yields them, but of those between the first and the last one only the evaluations
    and the ends of training: many times faster for a long run.

    Raises as :func:`read_records`, at records that are not skipped.
    """
    with _open(path) as file:
        lines = file.read().splitlines(keepends=True)
    used = [
        number
        for number, line in enumerate(lines)
        if number in (0, len(lines) - 1, len(lines) - 2) or not line.startswith(_TRAINING)
    ]
    for number in used:
        try:
            record = from_json(lines[number])
            _schema().validate_python(record)
        except ValueError as problem:
            if number == len(lines) - 1 and not lines[number].endswith(b"\n"):
                return
            raise _invalid(path, number + 1, problem) from None
        yield record


def count_records(path: Path) -> int:
    """Number of complete lines in the file. Raises UserError if it cannot be read."""
    with _open(path) as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def end_of_record(path: Path, count: int) -> int:
    """Offset in bytes of the end of the first ``count`` records, or of all. Raises as :func:`read_records`."""
    return max((end for _, end in islice(_read(path), count)), default=0)


def _read(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Each record with the offset of its end."""
    with _open(path) as file:
        line_number = end = 0
        while line := file.readline(LINE_LIMIT):
            line_number, end = line_number + 1, end + len(line)
            try:
                record = from_json(line)
                _schema().validate_python(record)
            except ValueError as problem:
                if not line.endswith(b"\n") and len(line) < LINE_LIMIT:
                    return
                raise _invalid(path, line_number, problem) from None
            yield record, end


def _invalid(path: Path, line_number: int, problem: ValueError) -> UserError:
    return UserError(
        f"{path}:{line_number}: not a valid record of a training run: {_reason(problem)}. Delete this line to continue"
    )


@contextmanager
def _open(path: Path) -> Iterator[io.BufferedIOBase]:
    try:
        raw = open_regular(path)
    except MissingError:
        yield io.BytesIO()
        return
    with io.BufferedReader(raw) as file:
        try:
            yield file
        except OSError as error:
            raise read_error(path, error) from None


def _reason(problem: ValueError) -> str:
    """The first validation error: ``seconds: Input should be a valid number``."""
    if not isinstance(problem, ValidationError):
        return "it is not JSON"
    first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(map(str, first["loc"][1:]))
    return (f"{field}: " if field else "") + f"{first['msg']:.200}"
