"""The text that is inspected: a passage of a run's corpus, or a given text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character, score
from charlstm.model import LanguageModel
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents

MIN_PASSAGES, MAX_PASSAGES, SCORED_CHARACTERS = 4, 12, 60_000
"""How many passages are compared, and how many characters of them are read if that leaves enough of them."""
SAMPLE = 20_000
"""Characters of the split that are read to say what its loss is."""
REACH = 200
"""Characters by which the start of a passage of a running text is moved at most, to the beginning of a line or word."""

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
    """A passage of the validation split, or of the training split where that is empty: of a few that are evenly spread,
    the one whose loss is nearest to that of the split, as a sample of it shows. The beginning may be unlike the rest.
    Of a running text, the model begins to read a passage at the beginning of a line or word; a backward one at the end.

    Raises UserError if the corpus cannot be found, or has changed.
    """
    corpus = run.corpus()
    split = corpus.excerpt_split
    text = corpus.split(split)
    starts = _starts(text, characters)
    if not isinstance(text, Documents) or text.is_running_text:
        begins_text = split == "train" and run.model.direction == "forward"
        aligned = (s if s == 0 and begins_text else _aligned(run, text, s, starts[-1], characters) for s in starts)
        starts = sorted(set(aligned))
    passages = [_beginning(_from(text, start), characters, run.model.direction) for start in starts]
    chosen = _typical(run, corpus, passages) if len(passages) > 1 else 0
    passage, start = passages[chosen], starts[chosen]
    if isinstance(text, Documents) and not text.is_running_text:
        unit, count = "document", 1 + len(passage.bounds)
    else:
        unit = corpus.vocabulary.unit
        count = len(passage.ids) if passage.scored is None else int(passage.scored.sum())
    name = "training" if split == "train" else split
    source = f"{unit}s {start + 1:,} to {start + count:,} of the {name} split"
    if len(starts) > 1:
        source += f", the passage of {len(starts)} evenly spread ones whose loss is nearest to that of the split"
    return replace(passage, source=source, is_training_text=split == "train")


def _starts(text: Ids | Documents, characters: int) -> list[int]:
    """Where a few passages of so many characters begin, evenly spread: positions of what counts of a running text, else
    numbers of documents."""
    if not isinstance(text, Documents):
        last = len(text) - characters
    elif text.is_running_text:
        last = text.characters - characters
    else:
        lengths = text.ends - text.starts + len(text.end_mark)
        last = int(np.count_nonzero(np.cumsum(lengths[::-1]) >= characters)) - 1
    count = max(MIN_PASSAGES, min(MAX_PASSAGES, SCORED_CHARACTERS // characters))
    return sorted(set(np.linspace(0, max(0, last), count).astype(int).tolist()))


def _aligned(run: LoadedRun, text: Ids | Documents, start: int, last: int, characters: int) -> int:
    """The start, up to ``last``, nearest after the given one, else before it, at which a model from the zero state does
    not begin in mid-line, or else not in mid-word; the given one if there is none within reach."""
    read = characters if run.model.direction == "backward" else 0  # from the start to where the model begins
    low = max(0, start + read - REACH)
    near = _beginning(_from(text, low), 2 * REACH, "forward")
    ids = near.ids if near.scored is None else near.ids[near.scored]
    for symbol in "\n ":
        if symbol in run.vocabulary.symbols:
            ends = low + 1 + np.flatnonzero(ids == run.vocabulary.symbols.index(symbol))
            possible = ends[(ends >= read) & (ends <= last + read)] - read
            if possible.size:
                after = possible[possible >= start]
                return int(after[0] if after.size else possible[-1])
    return start


def _from(text: Ids | Documents, start: int) -> Ids | Documents:
    """The text from one of its starts on."""
    if not isinstance(text, Documents):
        return text[start:]
    if not text.is_running_text:
        return text.select(slice(start, None))
    begins, ends = text.scored_bounds
    lengths = ends - begins
    after = np.cumsum(lengths)
    block = int(np.searchsorted(after, start, side="right"))
    rest = text.select(slice(block, None))
    begin = begins[block] + start - (after[block] - lengths[block])
    scored = None if rest.scored is None else np.append(begin, rest.scored[1:])
    return replace(rest, starts=np.append(begin, rest.starts[1:]), scored=scored)


def _typical(run: LoadedRun, corpus: Corpus, passages: Sequence[InspectedText]) -> int:
    """Which of the passages has the loss that is nearest to that of a sample of their split; the first if none is
    finite."""
    text, size = corpus.split(corpus.excerpt_split), SAMPLE
    if isinstance(text, Documents):  # of which only answers may count
        size = max(1, SAMPLE * text.characters // max(SAMPLE, int((text.ends - text.starts).sum())))
    sample = corpus.held_out_sample(size) if corpus.has("validation") else corpus.training_sample(size)
    distances = np.abs(_losses(run.model, passages) - score(run.model, sample).nats)
    return int(np.where(np.isfinite(distances), distances, np.inf).argmin())


def _losses(model: LanguageModel, passages: Sequence[InspectedText]) -> npt.NDArray[np.float64]:
    """The mean -ln p of the characters of each passage that count; NaN without any."""
    step = -1 if model.direction == "backward" else 1
    edges = [(0, *passage.bounds, len(passage.ids)) for passage in passages]
    offsets = np.cumsum([0, *(len(passage.ids) for passage in passages)])
    pairs = np.array([(at + a, at + b) for at, one in zip(offsets, edges, strict=False) for a, b in pairwise(one)])
    ids = np.concatenate([passage.ids for passage in passages])
    text = Documents(ids, pairs[:, 0], pairs[:, 1], end_mark=np.empty(0, np.int64))
    nats = nats_per_character(model, text).astype(np.float64)
    scored = np.concatenate([np.ones(len(p.ids), bool) if p.scored is None else p.scored for p in passages])
    in_reading_order = np.concatenate([scored[a:b][::step] for a, b in pairs])
    sums, counts = (np.add.reduceat(x, offsets[:-1]) for x in (nats * in_reading_order, in_reading_order.astype(int)))
    losses: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(passages), np.nan), where=counts > 0)
    return losses


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
    firsts, lasts = text.scored_bounds
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
