"""How well single units represent features of a text: the units of interest are found, not chosen by hand."""

from __future__ import annotations

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
SHIFTS = 20
MIN_EXAMPLES = 10
"""A feature is scored if both parts of the text have that many characters with it and without it, or with different
values."""


@dataclass(frozen=True)
class Unit:
    """One value of a network: that of a part of the state, by its letter, of one unit of one layer, from 0 on."""

    part: str
    layer: int
    unit: int


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
    shuffled    the largest score of the best unit when the feature is shifted along the text, which destroys the
                relation and leaves everything else: what the search finds where there is nothing
    """

    feature: str
    measure: str
    units: list[Unit]
    scores: list[float]
    signs: list[int]
    chance: float
    baseline: float
    shuffled: float

    @property
    def is_represented(self) -> bool:
        """Whether the best unit is better than the last characters alone and than the shuffled control."""
        return self.scores[0] > max(self.baseline, self.shuffled)

    @property
    def advantage(self) -> float:
        """The score minus that of the last characters, an AUC scaled to -1 to 1 as a correlation is."""
        difference = self.scores[0] - max(self.baseline, self.shuffled)
        return difference / (1 - self.chance)

    def sentence(self) -> str:
        """``unit 137 of layer 2: inside quotes, 0.97``; layers and units count from 1 and 0, as in the page."""
        one = self.units[0]
        sign = "" if self.signs[0] > 0 else "low, "
        return f"unit {one.unit} of layer {one.layer + 1}: {self.feature}, {sign}{self.scores[0]:.2f}"


def score_units(
    features: Sequence[Feature], states: Mapping[str, Values], ids: Ids, best: int = 3, seed: int = 1
) -> list[FeatureScore]:
    """For each feature the ``best`` units, of all parts of the state, each [T, L, H]; the feature that is represented
    best first. Features with too few examples are left out. ids [T] are for the baseline."""
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
        shuffled = [_best_of_shifted(feature, int(shift), split, fit, rest) for shift in shifts]
        results.append(
            FeatureScore(
                feature.name,
                "AUC" if feature.is_binary else "rank correlation",
                [columns[column] for column in order],
                scores,
                signs,
                0.5 if feature.is_binary else 0.0,
                _baseline(feature, ids, split),
                max(shuffled, default=0.5 if feature.is_binary else 0.0),
            )
        )
    return sorted(results, key=lambda one: (not one.is_represented, -one.advantage))


def _has_examples(feature: Feature, values: Values) -> bool:
    if feature.is_binary:
        return bool(MIN_EXAMPLES <= values.sum() <= len(values) - MIN_EXAMPLES)
    _, counts = np.unique(values, return_counts=True)
    return bool(len(values) - counts.max(initial=0) >= MIN_EXAMPLES)


def _ranks(values: Values) -> npt.NDArray[np.float64]:
    """The ranks of each column [T, C], the mean rank for equal values, minus their mean."""
    ranks = np.empty(values.shape)
    for column in range(values.shape[1]):
        _, inverse, counts = np.unique(values[:, column], return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    centered: npt.NDArray[np.float64] = ranks - ranks.mean(0)
    return centered


def _score(feature: Feature, values: Values, ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The relation of a feature [T] to each column of ranks [T, C], -1 to 1: 2 AUC - 1, or the rank correlation."""
    if feature.is_binary:
        has = values > 0
        difference: npt.NDArray[np.float64] = ranks[has].mean(0) - ranks[~has].mean(0)
        return 2 * difference / len(values)
    own = _ranks(values[:, None])[:, 0]
    scale = np.sqrt((own**2).sum() * (ranks**2).sum(0))
    correlation: npt.NDArray[np.float64] = np.divide(own @ ranks, scale, out=np.zeros_like(scale), where=scale > 0)
    return correlation


def _shown(feature: Feature, relation: float) -> float:
    return (1 + relation) / 2 if feature.is_binary else relation


def _best_of_shifted(
    feature: Feature, shift: int, split: int, fit: npt.NDArray[np.float64], rest: npt.NDArray[np.float64]
) -> float:
    """The score on the rest of the unit that is best on the first part, for the feature shifted along the text."""
    values = np.roll(feature.values, shift)
    if not (_has_examples(feature, values[:split]) and _has_examples(feature, values[split:])):
        return _shown(feature, 0.0)
    on_fit = _score(feature, values[:split], fit)
    best = int(np.argmax(np.abs(on_fit)))
    sign = 1 if on_fit[best] >= 0 else -1
    return _shown(feature, sign * float(_score(feature, values[split:], rest[:, best : best + 1])[0]))


def _baseline(feature: Feature, ids: Ids, split: int) -> float:
    """The score of the mean of the feature after the same last 3, 2, 1 or 0 characters in the first part."""
    contexts = [tuple(ids[max(0, t - CONTEXT + 1) : t + 1].tolist()) for t in range(len(ids))]
    sums: dict[tuple[int, ...], list[float]] = {}
    for context, value in zip(contexts[:split], feature.values[:split], strict=True):
        for length in range(len(context) + 1):
            entry = sums.setdefault(context[len(context) - length :], [0.0, 0.0])
            entry[0] += value
            entry[1] += 1
    predicted = []
    for context in contexts[split:]:
        known = next(context[n:] for n in range(len(context) + 1) if context[n:] in sums)
        total, count = sums[known]
        predicted.append(total / count)
    relation = _score(feature, feature.values[split:], _ranks(np.array(predicted)[:, None]))[0]
    return _shown(feature, float(relation))
