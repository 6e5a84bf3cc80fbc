"""Features of the characters of a text that a unit may represent, found without a parser."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.probes.closing import find_closing_characters
from charlstm.text.visible import visible
from charlstm.text.vocabulary import Vocabulary

Ids: TypeAlias = npt.NDArray[np.integer]
Values: TypeAlias = npt.NDArray[np.float64]

MAX_ANSWERS = 12
COMMENT = re.compile(
    r"/\*.*?(?:\*/|\Z)|<!--.*?(?:-->|\Z)|(?<![:\w])//[^\n]*|(?:^|(?<=[ \t]))#(?:[ !][^\n]*|$)", re.DOTALL | re.MULTILINE
)
TAG = re.compile(r"<[/!?]?[A-Za-z][^<>\n]*>")
WORD = re.compile(r"[^\W\d_]+")
SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|\Z)|[。！？]")
INDENTATION = re.compile(r"^[ \t]*(?=\S)", re.MULTILINE)


@dataclass(frozen=True)
class Feature:
    """A feature of each of T characters. Spans count from the opening character on if they are closed later.

    is_binary   whether its values are 0 and 1
    values      [T]
    """

    name: str
    is_binary: bool
    values: Values


def find_features(ids: Ids, vocabulary: Vocabulary) -> list[Feature]:
    """The features of a text ids [T] that are not constant in it.

    inside quotes, inside brackets    between the opening and the closing one, as in :mod:`charlstm.probes.closing`
    inside a comment                  ``/* */``, ``<!-- -->``, and ``//`` and ``# `` to the end of the line
    inside a tag                      ``<a href=...>``
    in a word in capitals             of two letters or more
    before a line end                 the next character is a newline
    at the end of a sentence          ``.``, ``!`` or ``?`` before a space
    letter, capital letter, vowel, digit, space, punctuation   the class of the character
    depth of brackets                 the number of open brackets
    indentation                       of the line, from the first character after it on, in characters
    position in the line, position in the word    1 for the first character, 0 outside of a word
    length of the word                0 outside of a word
    """
    text = _characters(ids, vocabulary)
    values: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "inside quotes": lambda: _open(ids, vocabulary, "quote") > 0,
        "inside brackets": lambda: _open(ids, vocabulary, "bracket") > 0,
        "inside a comment": lambda: _inside(text, COMMENT),
        "inside a tag": lambda: _inside(text, TAG),
        "in a word in capitals": lambda: _inside(text, WORD, _is_in_capitals),
        "before a line end": lambda: _each(text[1:] + " ", lambda c: c == "\n"),
        "at the end of a sentence": lambda: _inside(text, SENTENCE_END),
        "letter": lambda: _each(text, str.isalpha),
        "capital letter": lambda: _each(text, str.isupper),
        "vowel": lambda: _each(text, lambda c: c.lower() in "aeiouäöüáéíóúàèìòùâêîôûаеёиоуыэюя"),
        "digit": lambda: _each(text, str.isdigit),
        "space": lambda: _each(text, str.isspace),
        "punctuation": lambda: _each(text, lambda c: not (c.isalnum() or c.isspace())),
        "depth of brackets": lambda: _open(ids, vocabulary, "bracket"),
        "indentation": lambda: _indentation(text),
        "position in the line": lambda: _position(text, lambda c: c != "\n"),
        "position in the word": lambda: _position(text, str.isalpha),
        "length of the word": lambda: _word_length(text),
    }
    numeric = {"depth of brackets", "indentation", "position in the line", "position in the word", "length of the word"}
    features = [Feature(name, name not in numeric, make().astype(np.float64)) for name, make in values.items()]
    return [feature for feature in features if feature.values.size and np.ptp(feature.values) > 0]


def answer_features(
    ids: Ids, vocabulary: Vocabulary, bounds: Sequence[int], scored: npt.NDArray[np.bool_]
) -> list[Feature]:
    """For a text ids [T] of documents that begin at 0 and at the bounds, of which only the answers are ``scored`` [T]:
    for each of the most frequent first characters of an answer, which documents have it, from where the character first
    occurs in them (else from their beginning) up to the answer. What a network must remember."""
    answers, rest = list[tuple[int, int, int]](), set[tuple[int, ...]]()
    for begin, end in pairwise([0, *bounds, len(ids)]):
        at = begin + np.flatnonzero(scored[begin:end])
        if not at.size or at[0] == begin:
            continue
        known = begin + np.flatnonzero(ids[begin : at[0]] == ids[at[0]])
        answers.append((int(ids[at[0]]), int(known[0]) if known.size else begin, int(at[0])))
        rest.add(tuple(ids[at[1:]].tolist()))
    counts = Counter(symbol for symbol, _, _ in answers).most_common(MAX_ANSWERS)
    verb = "is" if len(rest) == 1 else "begins with"
    features = []
    for symbol, _ in counts if len(counts) > 1 else ():
        values = np.zeros(len(ids))
        for answer, first, end in answers:
            if answer == symbol:
                values[first:end] = 1
        features.append(Feature(f"the answer {verb} {visible(vocabulary.symbols[symbol])}", True, values))
    return features


def _open(ids: Ids, vocabulary: Vocabulary, kind: str) -> Values:
    """The number of spans that are open after each character: opened by it or before, and not yet closed."""
    change = np.zeros(len(ids) + 1)
    for closing in find_closing_characters(ids, vocabulary):
        if closing.kind == kind:
            np.add.at(change, closing.positions - closing.distances, 1)
            np.add.at(change, closing.positions, -1)
    depth: Values = np.cumsum(change)[:-1]
    return depth


def _inside(
    text: str, pattern: re.Pattern[str], counts: Callable[[str], bool] = lambda _: True
) -> npt.NDArray[np.bool_]:
    """Whether each character is part of a match that counts."""
    inside = np.zeros(len(text), bool)
    for match in pattern.finditer(text):
        if counts(match[0]):
            inside[match.start() : match.end()] = True
    return inside


def _is_in_capitals(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _characters(ids: Ids, vocabulary: Vocabulary) -> str:
    """The text; of bytes, for each byte of a character in UTF-8 this character."""
    if vocabulary.kind == "characters":
        return vocabulary.decode(ids)
    text = vocabulary.decode_bytes(ids).decode("utf-8", "surrogateescape")
    return "".join(c * len(c.encode("utf-8", "surrogateescape")) for c in text)


def _each(text: str, is_true: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    return np.fromiter(map(is_true, text), bool, len(text))


def _position(text: str, counts: Callable[[str], bool]) -> Values:
    """The number of consecutive characters that count, up to each one."""
    counted = accumulate(text, lambda count, c: count + 1 if counts(c) else 0, initial=0)
    return np.fromiter(counted, np.float64, len(text) + 1)[1:]


def _word_length(text: str) -> Values:
    length = np.zeros(len(text))
    for match in WORD.finditer(text):
        length[match.start() : match.end()] = len(match[0])
    return length


def _indentation(text: str) -> Values:
    """The indentation of the last line that has begun; that of blank lines does not count."""
    depth = np.zeros(len(text))
    for match in INDENTATION.finditer(text):
        depth[match.end() :] = match.end() - match.start()
    return depth
