"""The measures of runs that were trained on a real text, from its test split."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.evaluation import TokenPredictions, nats_per_character, predict_tokens
from charlstm.memory.task_measures import JsonObject, finite_or_none
from charlstm.probes.closing import characters_of
from charlstm.probes.context import Far, context_curve
from charlstm.probes.dependencies import dependency_losses, find_dependencies
from charlstm.probes.gates import characters, gates
from charlstm.probes.ngram import NGram
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.vocabulary import Vocabulary

STREAMS = 32
"""Number of text segments on which gates are measured."""

BLOCKS = 100
"""Number of blocks of equal length over which a text's score is averaged."""


def context_loss(run: LoadedRun, context_lengths: list[int], targets: int) -> JsonObject:
    """-ln p of the same characters of the test split for each length of context, [lengths, targets]; with all context,
    the mean over the split and over each of `BLOCKS` blocks of it."""
    ids = test_split(run.corpus())
    result = context_curve(run.model, ids, context_lengths, targets)
    all_nats = nats_per_character(run.model, ids).astype(np.float64)
    blocks = [float(block.mean()) for block in np.array_split(all_nats, min(BLOCKS, len(all_nats)))]
    return {
        "nats": result.nats.astype(float).round(5).tolist(),
        "full_context_nats": float(all_nats.mean()),
        "blocks": blocks,
    }


def ngram(run: LoadedRun, order: int) -> JsonObject:
    """The score of an n-gram model of the same text on the test split."""
    return {"nats": float(np.mean(_ngram_predictions(run, order).nats, dtype=np.float64))}


def character_losses(run: LoadedRun, characters: int) -> JsonObject:
    """-ln p of each of the first characters of the test split, and their text; a byte is shown as one character."""
    ids = test_split(run.corpus())[:characters]
    return {
        "nats": nats_per_character(run.model, ids).astype(float).round(3).tolist(),
        "text": characters_of(ids, run.vocabulary),
    }


def far_context_loss(run: LoadedRun, context_lengths: list[int], targets: int, far: Far) -> JsonObject:
    """-ln p of the same characters of the test split as in :func:`context_loss`, [context_lengths, targets]; the
    characters further away, up to the longest length, are ``cut``, ``shuffled`` or ``replaced``."""
    result = context_curve(run.model, test_split(run.corpus()), context_lengths, targets, far=far)
    return {"nats": result.nats.astype(float).round(5).tolist()}


def dependency_loss(run: LoadedRun, max_positions: int) -> JsonObject:
    """Predictions at the characters of the test split that depend on something earlier: kind -> bins of distance.

    Each bin has its ``count`` of positions, and for at most ``max_positions`` of them, evenly spaced and the same for
    every model of this text, the positions, -ln p in nats, and whether the prediction was correct.
    """
    ids = test_split(run.corpus())
    return _dependency_bins(ids, run.vocabulary, predict_tokens(run.model, ids), max_positions)


def ngram_dependency_loss(run: LoadedRun, order: int, max_positions: int) -> JsonObject:
    """As :func:`dependency_loss`, for an n-gram model of the same text."""
    return _dependency_bins(test_split(run.corpus()), run.vocabulary, _ngram_predictions(run, order), max_positions)


def gate_values(run: LoadedRun, length: int, shown: int) -> JsonObject:
    """All gates over the test split: saturation and half-life of each unit, and the forget gate over an excerpt."""
    ids, model = test_split(run.corpus()), run.model
    result = gates(model, segments(ids, length, STREAMS)[:-1])
    saturations = {letter: result.saturation(letter) for letter in result.values}
    excerpt = torch.from_numpy(np.asarray(ids[:shown]).astype(np.int64))[:, None]
    excerpt_gates = gates(model, excerpt)
    letter = model.recurrent.cell.forget_gate or next(iter(result.values))
    return {
        "saturation": {
            letter: {name: values.ravel().tolist() for name, values in asdict(one).items()}
            for letter, one in saturations.items()
        },
        "half_lives": None
        if result.half_lives is None
        else [finite_or_none(x) for x in result.half_lives.ravel().tolist()],
        "letter": letter,
        "series": excerpt_gates.series(letter).round(4).tolist(),
        "characters": characters(run.vocabulary, excerpt[:, 0]),
    }


def test_split(corpus: Corpus) -> npt.NDArray[np.unsignedinteger]:
    """The test split of a continuous text, which selected neither a checkpoint nor a learning rate."""
    ids = corpus.split("test")
    assert not isinstance(ids, Documents)
    return ids


def segments(ids: npt.NDArray[np.unsignedinteger], length: int, count: int, split: str = "test") -> Tensor:
    """Evenly spaced segments of a split of a text: [length + 1, count].

    Raises UserError if the split is shorter than a segment.
    """
    if len(ids) <= length:
        raise UserError(
            f"the {split} split has {len(ids):,} characters, but {length + 1:,} are needed: use a longer text"
        )
    ends = np.linspace(length, len(ids) - 1, count).astype(np.int64)
    return torch.from_numpy(ids[ends + np.arange(-length, 1)[:, None]].astype(np.int64))


def segments_of_halves(ids: npt.NDArray[np.unsignedinteger], length: int, count: int) -> Tensor:
    """As :func:`segments`, but the first half of them and the others have no character in common, so that what is
    fitted on the ones can be tested on the others: evenly spaced over the split if none overlap there, else over each
    half of it.

    Raises UserError if a half is shorter than a segment.
    """
    middle, first = len(ids) // 2, count // 2
    if (len(ids) - 1 - length) // max(1, count - 1) > length:
        return segments(ids, length, count)
    return torch.cat(
        [
            segments(ids[:middle], length, first, "first half of the test"),
            segments(ids[middle:], length, count - first, "second half of the test"),
        ],
        1,
    )


def _ngram_predictions(run: LoadedRun, order: int) -> TokenPredictions:
    """The predictions of the test split by an n-gram model of the training split."""
    corpus = run.corpus()
    train = corpus.split("train")
    assert not isinstance(train, Documents)
    return NGram(train, run.vocabulary.size, order).predict(test_split(corpus))


def _dependency_bins(
    ids: npt.NDArray[np.unsignedinteger], vocabulary: Vocabulary, predictions: TokenPredictions, max_positions: int
) -> JsonObject:
    bins: JsonObject = {}
    for one in dependency_losses(find_dependencies(ids, vocabulary), predictions):
        count = len(one.positions)
        chosen = np.linspace(0, count - 1, min(count, max_positions)).round().astype(np.int64)
        bins.setdefault(one.kind, []).append(
            {
                "low": one.low,
                "high": one.high,
                "count": count,
                "positions": one.positions[chosen].tolist(),
                "nats": one.nats[chosen].astype(float).round(5).tolist(),
                "correct": one.correct[chosen].tolist(),
            }
        )
    return bins
