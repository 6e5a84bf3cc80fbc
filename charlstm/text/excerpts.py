"""Short excerpts of the held-out text, for a model to continue."""

from __future__ import annotations

import re

from charlstm.text.corpus import Corpus
from charlstm.text.documents import first_characters

SEARCHED = 2000
"""Characters of the held-out text among which an excerpt is chosen."""
LENGTH = 24


def excerpt(corpus: Corpus) -> str:
    """A few printable characters of the held-out text, whole words if possible; "" if there are none. The model of the
    corpus knows all of its characters."""
    return excerpt_of(_beginning(corpus))


def excerpt_of(text: str) -> str:
    """At most 24 printable characters of one line of the text, whole words if possible; "" if there are none."""
    lines = [line.strip() for line in re.split(r"[^ -~\u00a1-\ufffc]+", text)]
    line = next((line for line in lines if len(line) >= LENGTH), max(lines, key=len))
    return line[:LENGTH].rpartition(" ")[0] or line[:LENGTH]


def question(corpus: Corpus, score_after: str) -> str:
    """The beginning of the first held-out document, up to the text after which it is scored."""
    before, separator, _ = _beginning(corpus).partition(score_after)
    return before + separator


def _beginning(corpus: Corpus) -> str:
    """The beginning of the validation split, or of its first document, or of the text without such a split."""
    part = corpus.splits["validation"]
    ids = first_characters(corpus.split("validation" if part.start < part.stop else "train"), SEARCHED)
    return corpus.vocabulary.decode(ids)
