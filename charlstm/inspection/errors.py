"""Where a model errs: its surprise by kind of character, the hardest passages, and an n-gram model beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.evaluation import TokenPredictions
from charlstm.evaluation.score import OnProgress
from charlstm.inspection.recording import Recording
from charlstm.inspection.text_features import Feature
from charlstm.probes.dependencies import Dependency, DependencyLoss, dependency_losses, find_dependencies
from charlstm.probes.ngram import NGram
from charlstm.text.vocabulary import Vocabulary
from charlstm.units import bits

Ids: TypeAlias = npt.NDArray[np.integer]
Nats: TypeAlias = npt.NDArray[np.floating]

ORDER = 7
LONGEST_TRAINING_TEXT = 3_000_000
CLASSES = ("letter", "capital letter", "vowel", "digit", "space", "punctuation")
PASSAGE, PASSAGES = 80, 5
MIXTURES = 20


@dataclass(frozen=True)
class KindError:
    """The surprise at one kind of character: how many there are, the mean bits of the model, of the n-gram model (NaN
    without one), and the sum of the model's bits as a fraction of that over the text."""

    kind: str
    count: int
    bits: float
    ngram_bits: float
    fraction: float


@dataclass(frozen=True)
class Errors:
    """Where a model errs on a text: all means are over the characters that count in the loss.

    by_class      kinds of character that overlap: letters, capital letters, spaces ...
    by_distance   for a forward model, characters that depend on something earlier, by kind and distance, with the
                  losses of the n-gram model at the same positions, if there is one
    hardest       (first position, last position + 1, mean bits) of the passages of 80 characters with the largest
                  means, which do not overlap, the hardest first
    bits, ngram_bits, mixed_bits   means of the model, of the 7-gram model of the training text, and of the
                  mixture p = w p_model + (1 - w) p_ngram with w chosen on the first half, on the second half; NaN
                  without an n-gram model
    second_half_bits   of the model on the second half
    """

    by_class: list[KindError]
    by_distance: list[tuple[DependencyLoss, DependencyLoss | None]]
    hardest: list[tuple[int, int, float]]
    bits: float
    ngram_bits: float
    mixed_bits: float
    second_half_bits: float

    @property
    def has_ngram(self) -> bool:
        """Whether there is an n-gram model beside the model."""
        return not np.isnan(self.ngram_bits)

    @property
    def removed_by_ngram(self) -> float:
        """The fraction of the model's bits that the mixture with the n-gram model saves; NaN without one, or without
        bits."""
        return 1 - self.mixed_bits / self.second_half_bits if self.second_half_bits > 0 else float("nan")


def find_errors(
    recording: Recording,
    features: list[Feature],
    vocabulary: Vocabulary,
    training_text: Ids | None,
    on_progress: OnProgress = lambda _: None,
) -> Errors:
    """Where a model errs on a recorded text; training_text [N] for the n-gram model, if it is known."""
    ids, nats, scored = recording.ids, recording.nats, recording.scored
    ngram = (
        None if training_text is None else _ngram_predictions(recording, training_text, vocabulary.size, on_progress)
    )
    ngram_nats = np.full(len(ids), np.nan) if ngram is None else ngram.nats
    known = {feature.name: feature.values > 0 for feature in features}
    classes = {name: at for name in CLASSES if name in known and (at := known[name] & scored).any()}
    # A backward model has not read what a character depends on.
    dependencies = [] if recording.is_backward else _scored(find_dependencies(ids, vocabulary), scored)
    losses = dependency_losses(dependencies, TokenPredictions(nats, recording.top[:, 0] == ids))
    of_ngram = [None] * len(losses) if ngram is None else dependency_losses(dependencies, ngram)
    half, total = int(scored.sum()) // 2, nats[scored].sum()
    return Errors(
        [
            KindError(name, int(at.sum()), _bits(nats[at]), _bits(ngram_nats[at]), float(nats[at].sum() / total))
            for name, at in classes.items()
        ],
        list(zip(losses, of_ngram, strict=True)),
        _hardest(nats, scored),
        _bits(nats[scored]),
        _bits(ngram_nats[scored]),
        _mixed(nats[scored], ngram_nats[scored], half),
        _bits(nats[scored][half:]),
    )


def _scored(dependencies: Sequence[Dependency], scored: npt.NDArray[np.bool_]) -> list[Dependency]:
    """The dependent characters that count in the loss; kinds without any are left out."""
    chosen = [(one, scored[one.positions]) for one in dependencies]
    return [replace(one, positions=one.positions[at], distances=one.distances[at]) for one, at in chosen if at.any()]


def _bits(nats: Nats) -> float:
    return bits(float(nats.mean())) if len(nats) else float("nan")


def _ngram_predictions(
    recording: Recording, training_text: Ids, vocabulary_size: int, on_progress: OnProgress
) -> TokenPredictions | None:
    text = training_text[-LONGEST_TRAINING_TEXT:]
    if not len(text):
        return None
    step = -1 if recording.is_backward else 1
    model = NGram(text[::step], vocabulary_size, min(ORDER, len(text)), on_progress)
    predictions = model.predict(recording.ids[::step])
    return TokenPredictions(predictions.nats[::step], predictions.correct[::step])


def _mixed(nats: Nats, ngram_nats: Nats, half: int) -> float:
    """The bits of the mixture on the second half, with the weight that is best on the first half."""
    if half == 0 or np.isnan(ngram_nats).any():
        return float("nan")
    weights = (np.arange(MIXTURES + 1) / MIXTURES)[:, None]
    with np.errstate(divide="ignore"):
        mixtures = -np.logaddexp(np.log(weights) - nats, np.log(1 - weights) - ngram_nats)
    best = int(mixtures[:, :half].mean(1).argmin())
    return _bits(mixtures[best, half:])


def _hardest(nats: Nats, scored: npt.NDArray[np.bool_]) -> list[tuple[int, int, float]]:
    """The passages with the largest means, over the characters that count in the loss. Those with fewer than half as
    many as the median passage with any are left out: a mean over few is large by chance."""
    length = min(PASSAGE, len(nats))
    sums = np.convolve(np.where(scored, nats, 0), np.ones(length), "valid")
    counts = np.rint(np.convolve(scored, np.ones(length), "valid"))
    passages: list[tuple[int, int, float]] = []
    compared = np.flatnonzero(counts >= np.median(counts[counts > 0]) / 2)
    means = sums[compared] / counts[compared]
    for index in np.argsort(-means, kind="stable").tolist():
        start = int(compared[index])
        if all(abs(start - begin) >= length for begin, _, _ in passages):
            passages.append((start, start + length, bits(float(means[index]))))
            if len(passages) == PASSAGES:
                break
    return passages
