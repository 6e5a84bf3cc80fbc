"""Changes to a text before it is modeled: a column of a table, letters, line ends and spaces, ends of files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from charlstm.errors import UserError
from charlstm.spelling import lower
from charlstm.text.separators import END_MARKS, end_text
from charlstm.text.tables import read_columns, table_format
from charlstm.text.visible import visible

NORMALIZATIONS = ("line_ends", "spaces", "unicode")
FILE_END = END_MARKS["file"]
ROWS = 1000
"""Rows of a table that are encoded at a time."""
SHOWN = 60
"""Characters of the first line in `describe_changes`."""

_LINE_BREAKS = re.compile(r"[ \t]*[\r\n]+[ \t\r\n]*")
_BLANK_LINES = re.compile(r"\n[ \t\r]*\n[ \t\r\n]*")


@dataclass
class Changes:
    """What a preparation has changed."""

    counts: Counter[str] = field(default_factory=Counter)
    header: str = ""
    """The beginning of the first line that was left out."""


@dataclass(frozen=True)
class Preparation:
    """How the text of the files becomes the text of the corpus; the fields are those of the configuration."""

    documents: str | None = None
    column: str | None = None
    context_column: str | None = None
    context_separator: str = "|"
    skip_header: bool = False
    lowercase: bool = False
    normalize: tuple[str, ...] = ()

    def key(self, names: Iterable[str]) -> list[object]:
        """What the text of the corpus depends on, apart from the content of its files; empty if nothing is changed.

        Raises UserError for a file that is not a table, if a column is read.
        """
        parts: list[object] = []
        if self.column is not None:
            context = None if self.context_column is None else [self.context_column, self.context_separator]
            parts.append([self.column, context, self.documents, [table_format(name) for name in names]])
        elif self.documents == "file":
            parts.append("file")
        parts += ["skip_header"] * self.skip_header + ["lowercase"] * self.lowercase + list(self.normalize)
        return parts

    def apply(self, name: str, texts: Iterator[str], changes: Changes) -> Iterator[str]:
        """The text of one file in pieces, prepared. Raises UserError for a malformed table."""
        if self.column is not None:
            texts = self._rows(name, texts, changes)
        if self.skip_header:
            texts = _without_first_line(texts, changes)
        if self.normalize:
            texts = normalized(texts, self.normalize, changes)
        if self.lowercase:
            texts = _lowercased(texts, changes)
        return _with_end(name, texts) if self.documents == "file" else texts

    def apply_to_prompt(self, text: str) -> str:
        """A text that is continued or filled, prepared; spaces at its end remain."""
        if "line_ends" in self.normalize:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = unicodedata.normalize("NFC", text) if "unicode" in self.normalize else text
        return lower(text) if self.lowercase else text

    def apply_to_text(self, text: str) -> str:
        """A complete text that is given to a trained model, prepared."""
        texts = normalized(iter([text]), self.normalize, Changes()) if self.normalize else iter([text])
        return lower("".join(texts)) if self.lowercase else "".join(texts)

    def _rows(self, name: str, texts: Iterator[str], changes: Changes) -> Iterator[str]:
        columns = [column for column in (self.context_column, self.column) if column is not None]
        separator, counts, pending = self.documents or "newline", changes.counts, list[str]()
        for line, values in read_columns(name, texts, columns):
            counts["rows"] += 1
            parts = [_on_one_line(value, separator) for value in values]
            counts["line breaks"] += any(p != v.strip("\r\n") for p, v in zip(parts, values, strict=True))
            if not parts[-1].strip():
                counts["empty"] += 1
                continue
            if self.context_column is not None and self.context_separator in parts[0]:
                raise UserError(
                    f"{name}:{line}: {self.context_column!r} contains {self.context_separator!r}, which separates it "
                    f"from {self.column!r}: set another corpus.context_separator"
                )
            text, end = self.context_separator.join(parts), end_text(separator)
            if end in text:
                raise UserError(
                    f"{name}:{line}: this text contains {end!r}, which ends a document: set another corpus.documents"
                )
            pending.append(text + end)
            if len(pending) == ROWS:
                yield "".join(pending)
                pending.clear()
        yield "".join(pending)


def describe_changes(preparation: Preparation, changes: Changes, files: int) -> list[str]:
    """One line for each kind of change that was asked for."""
    counts, lines = changes.counts, list[str]()
    if preparation.column is not None:
        context = "" if preparation.context_column is None else f", each after its {preparation.context_column}"
        empty = f"; {counts['empty']:,} without text are left out" if counts["empty"] else ""
        by = "spaces" if preparation.documents == "newline" else "single ones"
        breaks = f"; line breaks in {counts['line breaks']:,} are replaced by {by}" if counts["line breaks"] else ""
        lines.append(f"column: {counts['rows']:,} rows of {preparation.column}{context}{empty}{breaks}")
    if preparation.skip_header:
        header = visible(changes.header)
        shown = f"{header[:SHOWN]}..." if len(header) > SHOWN else header
        lines.append(f"skip_header: left out {shown!r}" + ", and the first line of every other file" * (files > 1))
    if preparation.normalize:
        parts = {
            "line_ends": f"{counts['line ends']:,} line ends became LF",
            "spaces": f"{counts['spaces']:,} spaces and tabs at the end of lines were removed",
            "unicode": f"{counts['unicode']:,} characters became composed ones (NFC)",
        }
        lines.append(f"normalize: {', '.join(parts[name] for name in preparation.normalize)}")
    if preparation.lowercase:
        lines.append(f"lowercase: {counts['letters']:,} capital letters became small")
    return lines


def normalizations(given: bool | Sequence[str]) -> tuple[str, ...]:
    """The normalizations that a configuration asks for, in a fixed order; True: all."""
    return tuple(name for name in NORMALIZATIONS if given is True or (given is not False and name in given))


def _on_one_line(value: str, separator: str) -> str:
    value = value.strip("\r\n")
    if separator == "newline":
        return _LINE_BREAKS.sub(" ", value)
    return _BLANK_LINES.sub("\n", value) if separator == "blank_line" else value


def _without_first_line(texts: Iterator[str], changes: Changes) -> Iterator[str]:
    header = ""
    for text in texts:
        before, feed, rest = text.partition("\n")
        header = (header + before)[: SHOWN + 1]
        if feed:
            yield rest
            break
    changes.header = changes.header or header.removesuffix("\r")
    yield from texts


def _lowercased(texts: Iterator[str], changes: Changes) -> Iterator[str]:
    for text in texts:
        small = lower(text)
        if small != text:
            changes.counts["letters"] += sum(text.count(letter) for letter in set(text) if lower(letter) != letter)
        yield small


def _with_end(name: str, texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        if FILE_END in text:
            raise UserError(
                f"{name} contains {FILE_END!r}, with which corpus.documents: file ends a document. Remove it from the "
                "file"
            )
        yield text
    yield FILE_END


def normalized(texts: Iterator[str], which: Sequence[str], changes: Changes) -> Iterator[str]:
    """The text in pieces, normalized; the result does not depend on where the pieces begin."""
    functions: dict[str, Callable[[str, Counter[str]], str]] = {
        "line_ends": _with_line_feeds,
        "spaces": _without_spaces_at_ends,
        "unicode": _composed,
    }
    rest, more, size = "", list[str](), 0
    for text in texts:
        more.append(text)
        size += len(text)
        if size < len(rest):  # a long run of spaces is not searched again for each piece
            continue
        whole = rest + "".join(more)
        more, size = [], 0
        cut = _last_boundary(whole)
        part, rest = whole[:cut], whole[cut:]
        for name in which:
            part = functions[name](part, changes.counts)
        if part:
            yield part
    rest += "".join(more)
    for name in which:
        # The end of the text is that of a line, but not the second half of a CR LF.
        end = "\n" * (name == "spaces" and not rest.endswith("\r"))
        rest = functions[name](rest + end, changes.counts).removesuffix(end)
    yield rest


def _last_boundary(text: str) -> int:
    """A position before which nothing depends on what may follow the text: before its last character, with what may
    combine with it, and before the spaces and the carriage return before that."""
    end = len(text)
    while end and (unicodedata.category(text[end - 1])[0] == "M" or "\u1160" <= text[end - 1] <= "\u11ff"):
        end -= 1
    return len(text[: max(0, end - 1)].rstrip(" \t\r"))


def _with_line_feeds(text: str, counts: Counter[str]) -> str:
    if "\r" not in text:
        return text
    joined = text.replace("\r\n", "\n")
    counts["line ends"] += len(text) - len(joined) + joined.count("\r")
    return joined.replace("\r", "\n")


def _without_spaces_at_ends(text: str, counts: Counter[str]) -> str:
    stripped = re.sub(r"(?<![ \t])[ \t]+(?=\r?\n)", "", text)
    counts["spaces"] += len(text) - len(stripped)
    return stripped


def _composed(text: str, counts: Counter[str]) -> str:
    if unicodedata.is_normalized("NFC", text):
        return text
    composed = unicodedata.normalize("NFC", text)
    counts["unicode"] += max(len(text) - len(composed), 1)
    return composed
