"""Short excerpts of the held-out text, or without one of the training text, for a model to continue."""

from __future__ import annotations

import re

from charlstm.text.corpus import Corpus
from charlstm.text.documents import first_characters

SEARCHED = 5000
"""Characters of the text among which an excerpt is chosen."""
LENGTH = 24
WORDS = 0.8
"""Smallest fraction of letters and spaces in an excerpt that is made of words."""


def excerpt(corpus: Corpus) -> str:
    """A few printable characters of the text, whole words if possible; "" if there are none. The model of the corpus
    knows all of its characters."""
    return excerpt_of(_beginning(corpus))


def excerpt_of(text: str) -> str:
    """At most 24 printable characters of one line of the text, whole words if possible, from the first long line that
    begins with words if there is one; "" if the text has no printable characters."""
    lines = [line.strip() for line in re.split(r"[^ -~\u00a1-\ufffc]+", text)]
    long = [line for line in lines if len(line) >= LENGTH]
    line = next(filter(_has_words, long), (long or [max(lines, key=len)])[0])
    return line[:LENGTH].rpartition(" ")[0] or line[:LENGTH]


def _has_words(line: str) -> bool:
    return sum(c.isalpha() or c == " " for c in line[:LENGTH]) >= WORDS * LENGTH


def question(corpus: Corpus, score_after: str) -> str:
    """The beginning of the first document, up to the text after which it is scored."""
    before, separator, _ = _beginning(corpus).partition(score_after)
    return before + separator


def _beginning(corpus: Corpus) -> str:
    """The beginning of the validation split, or of the training split without one, or of its first document."""
    return corpus.vocabulary.decode(first_characters(corpus.split(corpus.excerpt_split), SEARCHED))
