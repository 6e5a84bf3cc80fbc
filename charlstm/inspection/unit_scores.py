"""How well single units represent features of a text: the units of interest are found, not chosen by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.inspection.text_features import Feature

Ids: TypeAlias = npt.NDArray[np.integer]
Values: TypeAlias = npt.NDArray[np.floating]

FIT = 0.6
"""The fraction of the text, from its beginning, on which units are selected; the scores are those of the rest."""
CONTEXT = 3
"""The number of characters, up to the current one, that the baseline knows."""
SHIFTS, MIN_SHIFTS = 50, 10
MARGIN = 0.1
"""A unit is of interest if its score is that much above the others, on the scale from 0 (chance) to 1."""
MIN_EXAMPLES = 10
"""A feature is scored if both parts of the text have that many characters with it and without it, or with different
values."""


@dataclass(frozen=True)
class Unit:
    """One value of a network: that of a part of the state, by its letter, of one unit of one layer, from 0 on."""

    part: str
    layer: int
    unit: int

    def __str__(self) -> str:
        """``c of unit 137 of layer 2``: units count from 0 and layers from 1, as in ``charlstm inspect``."""
        return f"{self.part} of unit {self.unit} of layer {self.layer + 1}"


@dataclass(frozen=True)
class FeatureScore:
    """The units that represent a feature best, and what their score is compared with.

    The score of a feature with the values 0 and 1 is the area under the ROC curve (AUC): the probability that the unit
    has the larger value, or if it is negatively related the smaller one, at a character with the feature than at one
    without it. That of a number is Spearman's rank correlation.

    units       the best units on the first part of the text, with their scores on the rest, the best first
    signs       1 if the unit is larger where the feature is, else -1
    chance      0.5 for an AUC, 0 for a correlation
    baseline    the score of the mean of the feature after the same last characters in the first part of the text
    shifted     the largest score of the best unit when the feature is shifted along the text, by 50 distances, which
                destroys the relation and leaves everything else: what the search finds where there is nothing. NaN if
                a shifted feature has rarely enough examples
    """

    feature: str
    measure: str
    units: list[Unit]
    scores: list[float]
    signs: list[int]
    chance: float
    baseline: float
    shifted: float

    @property
    def is_represented(self) -> bool:
        """Whether the best unit is clearly better than the last characters alone and than for the shifted feature."""
        return self.advantage >= MARGIN

    @property
    def advantage(self) -> float:
        """The score of the best unit minus that of the last characters or of the shifted feature, the larger one, on a
        scale where chance is 0 and the best score 1; NaN without the latter."""
        return (self.scores[0] - float(np.maximum(self.baseline, self.shifted))) / (1 - self.chance)

    def sentence(self) -> str:
        """``c of unit 137 of layer 2: inside quotes, AUC 0.97``."""
        sign = "" if self.signs[0] > 0 else "negative, "
        return f"{self.units[0]}: {self.feature}, {sign}{self.measure} {self.scores[0]:.2f}"


def score_units(
    features: Sequence[Feature],
    states: Mapping[str, Values],
    ids: Ids,
    best: int = 3,
    seed: int = 1,
    is_backward: bool = False,
) -> list[FeatureScore]:
    """For each feature the ``best`` units, of all parts of the state, each [T, L, H]; the feature that is represented
    best first. Features with too few examples are left out. ids [T] are for the baseline, which knows the last
    characters that the model has read: of a backward model those that follow."""
    length = len(ids)
    split = int(FIT * length)
    scored = [f for f in features if _has_examples(f, f.values[:split]) and _has_examples(f, f.values[split:])]
    if not scored:
        return []
    ordered = list(reversed(list(states.items())))  # of equal scores, that of the part that the output is computed from
    columns = [
        Unit(part, layer, unit)
        for part, values in ordered
        for layer in range(values.shape[1])
        for unit in range(values.shape[2])
    ]
    stacked = np.concatenate([values.reshape(length, -1) for _, values in ordered], 1)
    fit, rest = _ranks(stacked[:split]), _ranks(stacked[split:])
    shifts = np.random.default_rng(seed).integers(length // 10, length - length // 10, SHIFTS)
    results = []
    for feature in scored:
        on_fit, on_rest = _score(feature, feature.values[:split], fit), _score(feature, feature.values[split:], rest)
        order = np.argsort(-np.abs(on_fit), kind="stable")[:best]
        signs = [1 if on_fit[column] >= 0 else -1 for column in order]
        scores = [_shown(feature, float(sign * on_rest[column])) for sign, column in zip(signs, order, strict=True)]
        results_of_shifts = (_best_of_shifted(feature, int(shift), split, fit, rest) for shift in shifts)
        shifted = [score for score in results_of_shifts if score is not None]
        results.append(
            FeatureScore(
                feature.name,
                "AUC" if feature.is_binary else "rank correlation",
                [columns[column] for column in order],
                scores,
                signs,
                0.5 if feature.is_binary else 0.0,
                _baseline(feature, _contexts(ids, is_backward), split),
                max(shifted) if len(shifted) >= MIN_SHIFTS else math.nan,
            )
        )
    return sorted(results, key=lambda one: -np.nan_to_num(one.advantage, nan=-1.0))


def _has_examples(feature: Feature, values: Values) -> bool:
    if feature.is_binary:
        return bool(MIN_EXAMPLES <= values.sum() <= len(values) - MIN_EXAMPLES)
    _, counts = np.unique(values, return_counts=True)
    return bool(len(values) - counts.max(initial=0) >= MIN_EXAMPLES)


def _ranks(values: Values) -> npt.NDArray[np.float64]:
    """The ranks of each column [T, C], the mean rank for equal values, minus their mean."""
    ranks = np.empty(values.shape, np.float32)
    for column in range(values.shape[1]):
        _, inverse, counts = np.unique(values[:, column], return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    centered: npt.NDArray[np.float64] = ranks - ranks.mean(0)
    return centered


def _score(feature: Feature, values: Values, ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The relation of a feature [T] to each column of ranks [T, C], -1 to 1: 2 AUC - 1, or the rank correlation."""
    if feature.is_binary:
        has = values > 0
        difference = ranks[has].mean(0, dtype=np.float64) - ranks[~has].mean(0, dtype=np.float64)
        relation: npt.NDArray[np.float64] = 2 * difference / len(values)
        return relation
    own = _ranks(values[:, None])[:, 0].astype(np.float64)
    scale = np.sqrt((own**2).sum() * np.square(ranks, dtype=np.float64).sum(0))
    correlation: npt.NDArray[np.float64] = np.divide(own @ ranks, scale, out=np.zeros_like(scale), where=scale > 0)
    return correlation


def _shown(feature: Feature, relation: float) -> float:
    return (1 + relation) / 2 if feature.is_binary else relation


def _best_of_shifted(
    feature: Feature, shift: int, split: int, fit: npt.NDArray[np.float64], rest: npt.NDArray[np.float64]
) -> float | None:
    """The score on the rest of the unit that is best on the first part, for the feature shifted along the text; None
    if that has too few examples."""
    values = np.roll(feature.values, shift)
    if not (_has_examples(feature, values[:split]) and _has_examples(feature, values[split:])):
        return None
    on_fit = _score(feature, values[:split], fit)
    best = int(np.argmax(np.abs(on_fit)))
    sign = 1 if on_fit[best] >= 0 else -1
    return _shown(feature, sign * float(_score(feature, values[split:], rest[:, best : best + 1])[0]))


def _contexts(ids: Ids, is_backward: bool) -> list[tuple[int, ...]]:
    """The last characters that the model has read at each position, the latest first."""
    rows = ids.tolist()
    if is_backward:
        return [tuple(rows[t : t + CONTEXT]) for t in range(len(rows))]
    return [tuple(rows[max(0, t - CONTEXT + 1) : t + 1][::-1]) for t in range(len(rows))]


def _baseline(feature: Feature, contexts: Sequence[tuple[int, ...]], split: int) -> float:
    """The score of the mean of the feature after the same last characters in the first part, interpolated with that
    after fewer: (sum + mean after fewer) / (count + 1)."""
    sums: dict[tuple[int, ...], tuple[float, int]] = {}
    for context, value in zip(contexts[:split], feature.values[:split], strict=True):
        for length in range(len(context) + 1):
            total, count = sums.get(context[:length], (0.0, 0))
            sums[context[:length]] = total + value, count + 1
    predicted = []
    for context in contexts[split:]:
        mean = 0.0
        for length in range(len(context) + 1):
            total, count = sums.get(context[:length], (0.0, 0))
            mean = (total + mean) / (count + 1)
        predicted.append(mean)
    return _shown(feature, float(_score(feature, feature.values[split:], _ranks(np.array(predicted)[:, None]))[0]))


def top_units(scores: Sequence[FeatureScore], count: int) -> list[tuple[str, Unit]]:
    """The features that are represented best, with their units, each unit once."""
    chosen: dict[Unit, str] = {}
    for score in scores:
        if score.is_represented:
            chosen.setdefault(score.units[0], score.feature)
    return [(feature, unit) for unit, feature in list(chosen.items())[:count]]
