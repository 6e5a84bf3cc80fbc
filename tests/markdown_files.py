"""Parse the Markdown documents: commands, links, headings, tables and results."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROGRAMS = {"charlstm", "python", "pytest", "torchrun", "ruff", "mypy", "lint-imports", "git", "cd"}
"""Programs that a block of commands may call."""


class Link(NamedTuple):
    path: Path
    anchor: str


@cache
def tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks in a language; blocks without a language are commands."""
    return [t.content for t in tokens(path) if t.type == "fence" and t.info == language]


def commands(path: Path) -> list[list[str]]:
    """The commands in the blocks of a document, each as words; a backslash continues a line.

    Raises ValueError for an unknown program.
    """
    result = []
    for line in "".join(blocks(path, "")).replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            if words := shlex.split(part, comments=True):
                if words[0] not in PROGRAMS:
                    raise ValueError(f"{path}: a block without a language has commands, and {words[0]} is not known")
                result.append(words)
    return result


def words_after_charlstm(words: list[str]) -> list[str] | None:
    """The arguments of charlstm in a command, also after torchrun; None for another program."""
    return words[words.index("charlstm") + 1 :] if words[0] in ("charlstm", "torchrun") else None


def mentioned(path: Path) -> list[list[str]]:
    """The ``charlstm`` commands in sentences, which may be incomplete."""
    return [shlex.split(code) for t in tokens(path) for code in _codes(t) if re.match(r"charlstm [\w-]", code)]


def links(path: Path) -> list[Link]:
    """The targets of the relative links and pictures of a document."""
    addresses = [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for token in tokens(path)
        for child in token.children or []
        if child.type in ("link_open", "image")
    ]
    relative = [a.partition("#") for a in addresses if not re.match(r"[a-z]+:", a)]
    return [Link((path.parent / to).resolve() if to else path, anchor) for to, _, anchor in relative]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    items = tokens(path)
    titles = [after.content for token, after in pairwise(items) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def unexplained_results(path: Path) -> Iterator[str]:
    """Tables with numbers, pictures and outputs that follow no ``charlstm`` command in the same section."""
    explained = False
    for number, token in enumerate(items := tokens(path)):
        if token.type == "heading_open":
            explained = items[number + 1].content.startswith("charlstm ")
        elif token.type == "inline":
            explained |= any(code.startswith("charlstm ") for code in _codes(token))
            if any(child.type == "image" for child in token.children or []) and not explained:
                yield token.content
        elif not explained and (
            (token.type == "fence" and token.info == "text")
            or (token.type == "table_open" and _has_results(items, number))
        ):
            yield f"line {token.map[0] + 1 if token.map else 0}"


def _codes(token: Token) -> list[str]:
    return [child.content for child in token.children or [] if child.type == "code_inline"]


def _has_results(items: list[Token], start: int) -> bool:
    """Whether a table has numbers in any column but the first."""
    column = 0
    for token, after in pairwise(items[start:]):
        if token.type == "table_close":
            return False
        column = 0 if token.type == "tr_open" else column + (token.type == "td_open")
        if token.type == "td_open" and column > 1 and re.match(r"[+-]?\d", after.content):
            return True
    return False


def uneven_tables(path: Path) -> Iterator[str]:
    """Lines that begin with | but are not a table row, or differ from the row above in their number of cells."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = {line for t in tokens(path) if t.type == "table_open" and t.map for line in range(*t.map)}
    fenced = {line for t in tokens(path) if t.type == "fence" and t.map for line in range(*t.map)}
    for number, line in enumerate(lines):
        if line.startswith("|") and number not in fenced:
            cells, above = (len(re.findall(r"(?<!\\)\|", lines[n])) for n in (number, max(number - 1, 0)))
            if number not in rows or (number - 1 in rows and cells != above):
                yield f"line {number + 1}"
