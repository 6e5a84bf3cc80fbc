"""Short excerpts of the held-out text, or without one of the training text, for a model to continue."""

from __future__ import annotations

import re

from charlstm.text.corpus import Corpus
from charlstm.text.documents import Direction, Documents, first_characters
from charlstm.text.hints import is_list

SEARCHED = 5000
"""Characters of the text among which an excerpt is chosen."""
LENGTH = 24
WORDS = 0.8
"""Smallest fraction of letters and spaces in an excerpt that is made of words."""


def prompt(corpus: Corpus, context_end: str | None, direction: Direction) -> str:
    """The prompt that suits a model of the corpus: of documents with a context, the context of a held-out one; of a
    running text, a few words. "" for other documents, and for a list of lines, which all begin differently.

    ``context_end`` ends the context of a document, if there is any. A backward model gets the end of a line, and no
    context, which it writes last.
    """
    if context_end and direction == "forward":
        before, separator, _ = _beginning(corpus).partition(context_end)
        return before + separator
    if corpus.documents is not None or is_list(corpus):
        return ""
    return excerpt_of(_beginning(corpus), at_end=direction == "backward")


def excerpt(corpus: Corpus) -> str:
    """A few printable characters of the text, whole words if possible; "" if there are none. The model of the corpus
    knows all of its characters."""
    return excerpt_of(_beginning(corpus))


def excerpt_of(text: str, at_end: bool = False) -> str:
    """At most 24 printable characters of one line of the text, several whole words if possible, from the first long
    line that begins with words if there is one; "" if the text has no printable characters. ``at_end``: the last words
    of the line, else the first ones."""
    lines = [line.strip() for line in re.split(r"[^ -~\u00a1-\ufffc]+", text)]
    long = [line for line in lines if len(line) >= LENGTH]
    words = [line for line in long if _has_words(line)]
    several = [line for line in words if " " in _whole_words(line, at_end)]
    return _whole_words([*several, *words, *long, max(lines, key=len)][0], at_end)


def _whole_words(line: str, at_end: bool) -> str:
    if at_end:
        return line[-LENGTH:].partition(" ")[2] or line[-LENGTH:]
    return line[:LENGTH].rpartition(" ")[0] or line[:LENGTH]


def _has_words(line: str) -> bool:
    return sum(c.isalpha() or c == " " for c in line[:LENGTH]) >= WORDS * LENGTH


def _beginning(corpus: Corpus) -> str:
    """The beginning of the validation split, or of the training split without one, or of its first document; from the
    next line on if a running text is cut within one."""
    split = corpus.split(corpus.excerpt_split)
    text = corpus.vocabulary.decode(first_characters(split, SEARCHED))
    if isinstance(split, Documents):
        ids, start = split.ids, int(split.starts[0])
    else:
        ids, start = corpus.ids, corpus.length("train") * corpus.has("validation")
    is_cut = corpus.documents is None and start > 0 and corpus.vocabulary.decode(ids[start - 1 : start]) != "\n"
    return (text.partition("\n")[2] or text) if is_cut else text
