"""Regular expressions as trees: those of Python's ``re`` whose matches a finite automaton can follow."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

from charlstm.errors import UserError

_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")
_REPETITION = re.compile(r"[*+?]|\{([0-9]*)(,?)([0-9]*)\}")
_ESCAPE = re.compile(r"\\(x..|u.{4}|U.{8}|N\{[^}]*\}|0[0-7]{0,2}|[0-7]{3}|[^1-9])", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(\\.|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\((\?:|\?P<\w+>)?(?!\?)")
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True)
class Symbol:
    """One character: any that the regular expression ``source`` matches. ``literal``: it is this character."""

    source: str
    literal: str = ""


@dataclass(frozen=True)
class Sequence:
    """The parts, one after the other; without parts, the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """The part, at least ``low`` and at most ``high`` times; None: any number of times."""

    part: Node
    low: int
    high: int | None


Node: TypeAlias = Symbol | Sequence | Choice | Repeat


def parse_pattern(pattern: str, as_bytes: bool = False) -> tuple[Node, re.RegexFlag]:
    """The tree and the flags of a regular expression that a whole text must match.

    ``as_bytes``: it is matched with bytes; each symbol stands for the byte with its code.

    Raises UserError, with the position, if it is not a regular expression, or has a part that a finite automaton does
    not have: a lookaround, a reference to a group, a word boundary, an anchor within it, a possessive repetition.
    """
    try:
        flags = compile_quietly(pattern.encode("utf-8", "surrogateescape") if as_bytes else pattern).flags
    except RecursionError:
        raise too_deep(pattern) from None
    except (re.error, OverflowError) as error:
        raise UserError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
    if flags & re.VERBOSE:
        raise UserError(f"the pattern {pattern!r} has the flag x, which is not supported: leave it and its spaces out")
    text = pattern.encode("utf-8", "surrogateescape").decode("latin-1") if as_bytes else pattern
    allowed = re.IGNORECASE | re.DOTALL | re.ASCII
    try:
        tree = _Parser(pattern, text).parse()
    except RecursionError:
        raise too_deep(pattern) from None
    return tree, (re.RegexFlag(flags) | (re.ASCII if as_bytes else 0)) & allowed


def too_deep(pattern: str) -> UserError:
    """The error for a pattern with too many groups within each other."""
    return UserError(f"the pattern {pattern!r} is nested too deeply: leave out some of its parentheses")


def compile_quietly(pattern: str | bytes, flags: int = 0) -> re.Pattern[Any]:
    """The compiled pattern, without the warning about sets that a future version of Python may read as nested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern, flags)


class _Parser:
    """Parses what ``re`` has compiled, so that only what it lacks has to be refused."""

    def __init__(self, pattern: str, text: str) -> None:
        self._pattern, self._text, self._at = pattern, text, 0

    def parse(self) -> Node:
        self._skip(_FLAGS)
        if self._next("^", r"\A"):
            self._at += 1 if self._next("^") else 2
        return self._choice()

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._next("|"):
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._text) and not self._next("|", ")"):
            if self._text[self._at :] in ("$", r"\Z", r"\z"):
                self._at = len(self._text)
            else:
                parts.append(self._repeated(self._part()))
        return Sequence(tuple(parts))

    def _repeated(self, part: Node) -> Node:
        found = _REPETITION.match(self._text, self._at)
        if found is None or found[0] == "{}":  # {} are these characters
            return part
        low, high = _BOUNDS.get(found[0], (0, None))
        if found[0].startswith("{"):
            low = int(found[1] or 0)
            high = (int(found[3]) if found[3] else None) if found[2] else low
        self._at = found.end()
        if self._next("+"):
            raise self._refuse("a possessive repetition")
        if self._next("?"):  # a lazy repetition has the same matches
            self._at += 1
        return self._repeated(Repeat(part, low, high))

    def _part(self) -> Node:
        character = self._text[self._at]
        if character == "(":
            if self._skip(_GROUP) is None:
                raise self._refuse("a lookaround, a condition, or another group that begins with (?")
            node = self._choice()
            self._at += 1
            return node
        if character == "[":
            return Symbol(self._skip(_CLASS) or "")
        if character == "\\":
            if self._next(r"\b", r"\B", r"\A", r"\Z", r"\z"):
                raise self._refuse("a word boundary or an anchor within it")
            source = self._skip(_ESCAPE)
            if source is None:
                raise self._refuse("a reference to a group")
            return Symbol(source)
        if character in "^$":
            raise self._refuse("an anchor within it")
        self._at += 1
        return Symbol(".") if character == "." else Symbol(re.escape(character), character)

    def _next(self, *texts: str) -> bool:
        return self._text.startswith(texts, self._at)

    def _skip(self, part: re.Pattern[str]) -> str | None:
        found = part.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _refuse(self, what: str) -> UserError:
        return UserError(
            f"the pattern {self._pattern!r} has {what}, which is not supported, at position {self._at}: a pattern is "
            "followed character by character"
        )
