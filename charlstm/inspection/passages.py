"""The text that is inspected: a passage of a run's corpus, or a given text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.text.documents import Documents

Ids: TypeAlias = npt.NDArray[np.integer]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class InspectedText:
    """A text to inspect.

    ids               [T]
    bounds            the positions from 1 on at which a new document begins
    source            where the text is from
    is_training_text  whether it is known to be part of the training split
    scored            whether each character counts in the loss, [T]; None: all do
    """

    ids: Ids
    bounds: tuple[int, ...] = ()
    source: str = "the beginning of a given text"
    is_training_text: bool = False
    scored: Mask | None = None


def text_of_run(run: LoadedRun, characters: int) -> InspectedText:
    """The beginning of the validation split, or of the training split where that is empty.

    Raises UserError if the corpus cannot be found, or has changed.
    """
    corpus = run.corpus()
    text = _beginning(corpus.split(corpus.excerpt_split), characters, run.model.direction)
    if corpus.has("validation"):
        return replace(text, source="the beginning of the validation split")
    return replace(text, source="the beginning of the training split", is_training_text=True)


def encode_text(run: LoadedRun, text: str | bytes, characters: int, skip_unknown: bool = False) -> InspectedText:
    """At most ``characters`` characters of a text; ``skip_unknown``: without those outside the vocabulary.

    Raises UserError for such characters, an empty text, or a document without an answer to score.
    """
    return _beginning(run.read(text, "skip" if skip_unknown else "error"), characters, run.model.direction)


def same_text(first: LoadedRun, text: InspectedText, run: LoadedRun, name: str) -> InspectedText:
    """The text of the first run, encoded for another one, whose name is for errors.

    Raises UserError if that does not know one of the characters, or reads bytes and the other characters.
    """
    if first.vocabulary.kind != run.vocabulary.kind:
        raise UserError(
            f"{name} reads {run.vocabulary.kind}, the first run {first.vocabulary.kind}: they share no text"
        )
    decode = first.vocabulary.decode_bytes if run.vocabulary.kind == "bytes" else first.vocabulary.decode
    return replace(text, ids=run.vocabulary.encode(decode(text.ids)))


def _beginning(text: Ids | Documents, characters: int, direction: str) -> InspectedText:
    """The first characters. A document ends, in the direction in which the model reads, with the end mark."""
    if not isinstance(text, Documents):
        return InspectedText(np.array(text[:characters]))
    is_backward = direction == "backward"
    firsts = text.starts if text.scored is None else text.scored
    lasts = text.ends if text.scored_ends is None else text.scored_ends
    # Backward, the end mark is read after what counts.
    counts_mark = text.scored is None or (text.scores_end and not is_backward)
    mark, mark_scored = text.end_mark, np.full(len(text.end_mark), counts_mark)
    ids, scored, bounds, length = list[Ids](), list[Mask](), list[int](), 0
    for start, end, first, last in zip(text.starts, text.ends, firsts, lasts, strict=True):
        if length >= characters:
            break
        if length:
            bounds.append(length)
        positions, content = np.arange(start, end), text.ids[start:end]
        content_scored = (positions >= first) & (positions < last)
        ids += [mark, content] if is_backward else [content, mark]
        scored += [mark_scored, content_scored] if is_backward else [content_scored, mark_scored]
        length += len(content) + len(mark)
    mask = np.concatenate(scored)[:characters]
    return InspectedText(
        np.concatenate(ids)[:characters],
        tuple(bound for bound in bounds if bound < characters),
        scored=None if mask.all() else mask,
    )
