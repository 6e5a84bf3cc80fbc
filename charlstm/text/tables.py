"""Texts from a column of CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Literal

from charlstm.errors import UserError
from charlstm.paths import without_compression
from charlstm.spelling import near
from charlstm.text.visible import visible

Format = Literal["csv", "tsv", "jsonl"]

SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
MAX_LINE = 1 << 26
"""Characters of a line, and of a value."""
MAX_LISTED = 20


def is_table(name: str) -> bool:
    """Whether the suffix of a file is that of a table."""
    return _format(name) is not None


def _format(name: str) -> Format | None:
    return SUFFIXES.get(without_compression(name).suffix.lower())


def table_format(name: str) -> Format:
    """The format of a table by the suffix of its file, apart from that of a compression.

    Raises:
        UserError: it is none of the known ones.
    """
    if (known := _format(name)) is None:
        raise UserError(
            f"{name}: corpus.column needs a table, in a file whose name ends in {', '.join(SUFFIXES)} (or one of these "
            "with .gz, .bz2 or .xz). Rename it, or remove corpus.column"
        )
    return known


def read_columns(name: str, texts: Iterator[str], columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """For each row of a table, the number of its last line and its values in these columns, "" for a missing one.

    The first line of CSV and TSV has the names of the columns. CSV without a comma in it is read with semicolons or
    tabs. Empty lines are left out.

    Args:
        name: the name of the file, whose suffix is that of its format; for errors, too.
        texts: the text in pieces.

    Raises:
        UserError: a column does not exist or a line is malformed, with its number.
    """
    lines = _lines(name, texts)
    return _json_rows(name, lines, columns) if table_format(name) == "jsonl" else _csv_rows(name, lines, columns)


def column_names(name: str, line: str) -> list[str]:
    """The columns of a table by its first line; none if this is not the first line of a table.

    Args:
        name: the name of the file, whose suffix is that of its format.
    """
    if table_format(name) == "jsonl":
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return []
        return list(row) if isinstance(row, dict) else []
    try:
        return next(csv.reader([line], delimiter=_delimiter(name, line), strict=True), [])
    except csv.Error:
        return []


def _delimiter(name: str, first: str) -> str:
    """What separates the values of a CSV or TSV file with this first line."""
    return next((d for d in (",", ";", "\t") if d in first), ",") if table_format(name) == "csv" else "\t"


def _lines(name: str, texts: Iterator[str]) -> Iterator[str]:
    """The lines with their line feeds."""
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from (f"{line}\n" for line in lines)
        if len(rest) > MAX_LINE:
            raise UserError(f"{name}: a line is longer than {MAX_LINE:,} characters: this is hardly a table")
    if rest:
        yield rest


def _csv_rows(name: str, lines: Iterator[str], columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_LINE)
    first = next(lines, "")
    delimiter = _delimiter(name, first)
    reader = csv.reader(_with_first(first, lines), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        indices = [_index(name, header, column) for column in columns]
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(
                    f"{name}:{reader.line_num}: this row has {_values(len(row))}, the first line {len(header)}. "
                    f"A value that contains {delimiter!r} must be in quotes"
                )
            if row:
                yield reader.line_num, [row[index] for index in indices]
    except csv.Error as error:
        raise UserError(
            f"{name}:{reader.line_num}: not a row of {table_format(name).upper()} ({error}). A value that contains a "
            'quote must be in quotes, with "" for each quote in it'
        ) from None


def _with_first(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _index(name: str, header: Sequence[str], column: str) -> int:
    if header.count(column) > 1:
        raise UserError(f"{name}: {header.count(column)} columns have the name {column!r}: give them different names")
    if column not in header:
        raise _unknown(name, header, column)
    return header.index(column)


def _unknown(name: str, columns: Sequence[str], column: str) -> UserError:
    match = near(column, columns)
    meant = f" Did you mean {match!r}?" if match else ""
    return UserError(f"{name}: there is no column {column!r}.{meant} Columns: {listed_columns(columns)}")


def listed_columns(columns: Sequence[str]) -> str:
    """The names of columns for a message."""
    listed = ", ".join(f"{visible(known)[:60]!r}" for known in columns[:MAX_LISTED])
    return f"{listed} and {len(columns) - MAX_LISTED} more" if len(columns) > MAX_LISTED else listed or "none"


def _json_rows(name: str, lines: Iterator[str], columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    is_first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "too deep" if isinstance(error, RecursionError) else error
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg}, column {error.colno}"
            raise UserError(f"{name}:{number}: this line is not JSON: {reason}") from None
        if not isinstance(row, dict):
            raise UserError(f"{name}:{number}: expected an object such as {{{columns[0]!r}: ...}} on this line")
        for column in columns:
            if is_first and column not in row:
                raise _unknown(name, list(row), column)
            if isinstance(row.get(column), dict | list):
                raise UserError(f"{name}:{number}: {column!r} is not a text, but {json.dumps(row[column])[:40]}")
        is_first = False
        yield number, [_json_text(row.get(column)) for column in columns]


def _json_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
