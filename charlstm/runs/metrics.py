"""Reads metrics.jsonl: one JSON record per line, validated against its schema."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular, read_error

LINE_LIMIT = 1 << 16
"""Bytes of a line; the longest record, the first, names the executor of each of up to 1,024 layers."""

_TRAINING = b'{"kind": "train"'
"""The beginning of most lines, as ``json.dumps`` writes them."""


def evaluated_nats(record: Mapping[str, Any]) -> float:
    """The score of an evaluation: that of the held-out text, or of the training text if nothing is held out."""
    nats: float = record["training_split_nats"] if record["nats"] is None else record["nats"]
    return nats


@dataclass(frozen=True)
class BestScore:
    """The best held-out score of a run.

    Attributes:
        nats: of the validation split, or of a sample of it.
        step: of the network.
        characters: that were scored.
        is_sampled: whether it is the score of a sample; if evaluations score a sample, the run has a score on the whole
            split only at its end.
    """

    nats: float
    step: int
    characters: int
    is_sampled: bool


def best_score(records: Iterable[Mapping[str, Any]]) -> BestScore | None:
    """The best held-out score in the records of a run: that on the whole validation split of the network with the best
    score in the evaluations, if there is one; None if no held-out text has been scored."""
    best: Mapping[str, Any] | None = None
    whole: Mapping[str, Any] | None = None
    for record in records:
        if record["kind"] == "evaluation" and record["nats"] is not None:
            if best is None or record["nats"] < best["nats"]:
                best = record
        elif record["kind"] == "whole_split" and record["network"] == "best":
            whole = record
    if (chosen := whole or best) is None:
        return None
    is_sampled = whole is None and chosen.get("sampled_from") is not None
    return BestScore(chosen["nats"], chosen["step"], chosen.get("characters_scored", 0), is_sampled)


def whole_split_nats(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The scores on the whole validation split, by ``best`` and ``last``, of a run that has ended and whose evaluations
    scored a sample of it; else empty."""
    scored = [record for record in records if record["kind"] == "whole_split"]
    nats = {record["network"]: record["nats"] for record in scored}
    if scored and "best" in nats:
        nats.setdefault("last", nats["best"])  # the best network is the last
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
    from charlstm.runs.records import RECORD  # models, which finding a run does without

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
            RECORD.validate_python(record)
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
    from charlstm.runs.records import RECORD

    with _open(path) as file:
        line_number = end = 0
        while line := file.readline(LINE_LIMIT):
            line_number, end = line_number + 1, end + len(line)
            try:
                record = from_json(line)
                RECORD.validate_python(record)
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
