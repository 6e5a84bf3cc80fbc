"""A character n-gram model, to be put beside the networks: interpolated Kneser-Ney with modified discounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.evaluation.predictions import TokenPredictions

Ids = npt.NDArray[np.integer]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

NO_ESTIMATE = (0.5, 1.0, 1.5)  # discounts where they cannot be estimated, as in KenLM (Heafield et al. 2013)


@dataclass(frozen=True)
class _Grams:
    """The distinct runs of k characters of a text: run g is the run ``keys[g] // V`` of k - 1 characters and the
    character ``keys[g] % V``. Keys ascend.

    suffixes  which run of k - 1 characters the last k - 1 of it are
    times     how often it occurs
    first     which one the text begins with
    """

    keys: Indices
    suffixes: Indices
    times: Indices
    first: int


@dataclass(frozen=True)
class _Order:
    """The conditional distributions of one order: the context is a run of k - 1 characters.

    keys     of the runs of k characters, as in _Grams
    p        p(last character | the others) of each
    left     what each context leaves to the next shorter one; 1 for a context that nothing follows
    best     the most probable character after each context
    best_p   its p
    """

    keys: Indices
    p: Numbers
    left: Numbers
    best: Indices
    best_p: Numbers


class NGram:
    """p(character | the order - 1 characters before it), learnt from a text ids [N] with symbols 0 to V - 1.

    For a context u of k - 1 characters, u' the same without its first one, and a character w,

        p(w | u) = max(c(u w) - D(c(u w)), 0) / c(u) + g(u) p(w | u'),

    where c(u w) is how often ``u w`` occurs for the highest order, and below it how many different characters stand
    before ``u w`` (Kneser & Ney 1995; the beginning of the text counts as one); c(u) is the sum over w, g(u) what
    makes the sum one, and under one character lies 1 / V. The three discounts of an order are those of Chen & Goodman
    1999: with n_i the number of runs with c = i and Y = n_1 / (n_1 + 2 n_2),

        D(i) = i - (i + 1) Y n_(i+1) / n_i    for i = 1, 2, and 3 and more;

    where these are not above 0 and at most i, 0.5, 1 and 1.5. A context that the text does not have is shortened.

    Raises ValueError for an order below 1, and for a text shorter than the order.
    """

    def __init__(self, ids: Ids, vocabulary_size: int, order: int) -> None:
        if not 1 <= order <= len(ids):
            raise ValueError(f"an order of 1 up to the {len(ids)} characters of the text is needed, found {order}")
        self.vocabulary_size, self.order = vocabulary_size, order
        grams = _all_grams(ids, vocabulary_size, order)
        self._orders: list[_Order] = []
        p = best_p = np.array([1 / vocabulary_size])
        best = suffixes = np.zeros(1, np.int64)
        for own, longer in zip(grams, [*grams[1:], None], strict=True):
            counts = own.times if longer is None else _neighbours(own, longer)
            shorter = p[own.suffixes], best[suffixes], best_p[suffixes]
            found = _order(own.keys, counts, *shorter, vocabulary_size)
            self._orders.append(found)
            p, best, best_p, suffixes = found.p, found.best, found.best_p, own.suffixes

    def foresee(self, ids: Ids, symbols: Sequence[int] = ()) -> TokenPredictions:
        """What the model expects at each place of a text ids [N], the first of which has no context, the second one
        character, and so on."""
        ids, V = ids.astype(np.int64), self.vocabulary_size
        p, others = np.full(len(ids), 1 / V), np.full((len(symbols), len(ids)), 1 / V)
        best = np.zeros(len(ids), np.int64)
        context = np.zeros(len(ids), np.int64)
        for order in self._orders:
            there = np.flatnonzero(context >= 0)
            known = context[there]
            gram = _find(order.keys, known * V + ids[there])
            left = order.left[known]
            p[there] = np.where(gram >= 0, order.p[gram], left * p[there])
            best[there] = order.best[known]
            for symbol, other in zip(symbols, others, strict=True):
                of_context = np.full(len(order.left), -1)
                ends = np.flatnonzero(order.keys % V == symbol)
                of_context[order.keys[ends] // V] = ends
                own = of_context[known]
                other[there] = np.where(own >= 0, order.p[own], left * other[there])
            context = np.full(len(ids), -1)
            before = there < len(ids) - 1
            context[there[before] + 1] = gram[before]
        return TokenPredictions(-np.log(p), best == ids, tuple(symbols), -np.log(others).T)


def _all_grams(ids: Ids, V: int, order: int) -> list[_Grams]:
    """The runs of 1, 2, ..., order characters of the text."""
    found: list[_Grams] = []
    before = np.zeros(len(ids) + 1, np.int64)  # the run of k - 1 characters that ends just before each place
    ids = ids.astype(np.int64)
    for k in range(1, order + 1):
        keys, places, runs, times = np.unique(
            before[:-1] * V + ids[k - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        runs = runs.reshape(-1)
        found.append(_Grams(keys, before[1:][places], times, int(runs[0])))
        before = runs
    return found


def _neighbours(own: _Grams, longer: _Grams) -> Indices:
    """Before each run, how many different characters stand."""
    counts: Indices = np.bincount(longer.suffixes, minlength=len(own.keys))
    counts[own.first] += 1
    return counts


def _order(
    keys: Indices, counts: Indices, shorter_p: Numbers, shorter_best: Indices, shorter_best_p: Numbers, V: int
) -> _Order:
    """The distributions from the counts of the runs, and what the contexts without their first character say:
    ``shorter_p`` for each run, the other two for each context."""
    contexts = len(shorter_best)
    context = keys // V
    discount = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    total = np.bincount(context, counts, contexts)
    left = np.divide(np.bincount(context, discount, contexts), total, out=np.ones(contexts), where=total > 0)
    p = (counts - discount) / total[context] + left[context] * shorter_p
    # A character that does not follow the context is at most as probable as the best one after the shorter context.
    best, best_p = shorter_best.copy(), left * shorter_best_p
    ascending = np.lexsort((p, context))
    last = np.flatnonzero(np.diff(context[ascending], append=-1))
    top = ascending[last]
    better = top[p[top] > best_p[context[top]]]
    best[context[better]], best_p[context[better]] = keys[better] % V, p[better]
    return _Order(keys, p, left, best, best_p)


def _discounts(counts: Indices) -> tuple[float, ...]:
    n = np.bincount(counts[counts <= 4], minlength=5).astype(np.float64)
    if not n[1:].all():
        return NO_ESTIMATE
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
    return found if all(0 < d <= i for i, d in enumerate(found, 1)) else NO_ESTIMATE


def _find(keys: Indices, wanted: Indices) -> Indices:
    """Where each of the wanted keys stands in the ascending ones; -1 for none."""
    places = np.searchsorted(keys, wanted)
    np.minimum(places, len(keys) - 1, out=places)
    return np.where(keys[places] == wanted, places, -1)
