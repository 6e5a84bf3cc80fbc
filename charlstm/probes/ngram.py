"""A character n-gram model as a baseline: interpolated Kneser-Ney with modified discounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.evaluation.predictions import TokenPredictions
from charlstm.evaluation.score import OnProgress

Ids = npt.NDArray[np.integer]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

NO_ESTIMATE = (0.5, 1.0, 1.5)  # discounts if they cannot be estimated, as in KenLM (Heafield et al. 2013)


@dataclass(frozen=True)
class _Grams:
    """The distinct k-grams of a text: k-gram g is the (k - 1)-gram ``keys[g] // V`` followed by the
    character ``keys[g] % V``. Keys ascend.

    suffixes  index of the (k - 1)-gram of its last k - 1 characters
    times     number of occurrences
    first     index of the k-gram that the text begins with
    """

    keys: Indices
    suffixes: Indices
    times: Indices
    first: int


@dataclass(frozen=True)
class _Order:
    """The conditional distributions of one order k, given contexts of k - 1 characters.

    keys     of the k-grams, as in _Grams
    p        p(last character | the others) of each
    backoff  weight of the next shorter context for each context; 1 for a context that nothing follows
    best     the most probable character after each context
    best_p   its p
    """

    keys: Indices
    p: Numbers
    backoff: Numbers
    best: Indices
    best_p: Numbers


class NGram:
    """p(character | the order - 1 characters before it), estimated from a text ids [N] with symbols 0 to V - 1.

    For a context u of k - 1 characters, u' the same without its first one, and a character w,

        p(w | u) = max(c(u w) - D(c(u w)), 0) / c(u) + g(u) p(w | u'),

    where c(u w) is the number of occurrences of ``u w`` for the highest order, and below it the number of different
    characters before ``u w`` (Kneser & Ney 1995; the beginning of the text counts as one); c(u) is the sum over w, g(u)
    normalizes p, and the distribution below order 1 is 1 / V. The three discounts of an order are those of Chen &
    Goodman 1999: with n_i the number of k-grams with c = i and Y = n_1 / (n_1 + 2 n_2),

        D(i) = i - (i + 1) Y n_(i+1) / n_i    for i = 1, 2, and 3 and more;

    if these are not above 0 and at most i, 0.5, 1 and 1.5. Contexts that do not occur in the text are shortened.

    ``on_progress`` is called with the fraction of the work that is done, which takes seconds for a text of a million
    characters. Raises ValueError for an order below 1, and for a text shorter than the order.
    """

    def __init__(self, ids: Ids, vocabulary_size: int, order: int, on_progress: OnProgress = lambda _: None) -> None:
        if not 1 <= order <= len(ids):
            raise ValueError(f"expected an order of 1 up to the {len(ids)} characters of the text, found {order}")
        self.vocabulary_size, self.order = vocabulary_size, order
        self._orders = next(_conditionals(ids, vocabulary_size, [order], on_progress))

    @classmethod
    def of_orders(cls, ids: Ids, vocabulary_size: int, orders: Sequence[int]) -> Iterator[NGram]:
        """The models of several ascending orders, faster than each by itself. Raises as the constructor does."""
        for order, levels in zip(orders, _conditionals(ids, vocabulary_size, orders), strict=True):
            model = cls.__new__(cls)
            model.vocabulary_size, model.order, model._orders = vocabulary_size, order, levels
            yield model

    def predict(self, ids: Ids) -> TokenPredictions:
        """Predictions at each position of a text ids [N]; the first has no context, the second one character, and so
        on."""
        ids, V = ids.astype(np.int64), self.vocabulary_size
        p = np.full(len(ids), 1 / V)
        best = np.zeros(len(ids), np.int64)
        context = np.zeros(len(ids), np.int64)
        for order in self._orders:
            positions = np.flatnonzero(context >= 0)
            known = context[positions]
            gram = _index_of(order.keys, known * V + ids[positions])
            p[positions] = np.where(gram >= 0, order.p[gram], order.backoff[known] * p[positions])
            best[positions] = order.best[known]
            context = np.full(len(ids), -1)
            before = positions < len(ids) - 1
            context[positions[before] + 1] = gram[before]
        return TokenPredictions(-np.log(p), best == ids)


def _conditionals(
    ids: Ids, V: int, orders: Sequence[int], on_progress: OnProgress = lambda _: None
) -> Iterator[list[_Order]]:
    """The conditional distributions of the models of these ascending orders."""
    grams = _all_grams(ids, V, orders[-1], lambda fraction: on_progress(fraction / 2))
    lower: list[_Order] = []
    p = best_p = np.array([1 / V])
    best = suffixes = np.zeros(1, np.int64)
    for order, (grams_k, longer) in enumerate(zip(grams, [*grams[1:], None], strict=True), start=1):
        shorter = p[grams_k.suffixes], best[suffixes], best_p[suffixes]
        if order in orders:
            yield [*lower, _order(grams_k.keys, grams_k.times, *shorter, V)]
        if longer is not None:
            level = _order(grams_k.keys, _count_predecessors(grams_k, longer), *shorter, V)
            lower.append(level)
            p, best, best_p, suffixes = level.p, level.best, level.best_p, grams_k.suffixes
            on_progress((1 + order / orders[-1]) / 2)


def _all_grams(ids: Ids, V: int, order: int, on_progress: OnProgress) -> list[_Grams]:
    """The 1-grams, 2-grams, ..., ``order``-grams of the text."""
    grams: list[_Grams] = []
    before = np.zeros(len(ids) + 1, np.int64)  # the (k - 1)-gram that ends just before each position
    ids = ids.astype(np.int64)
    for k in range(1, order + 1):
        keys, first_positions, runs, times = np.unique(
            before[:-1] * V + ids[k - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        runs = runs.reshape(-1)
        grams.append(_Grams(keys, before[1:][first_positions], times, int(runs[0])))
        before = runs
        on_progress(k / order)
    return grams


def _count_predecessors(grams: _Grams, longer: _Grams) -> Indices:
    """The number of different characters before each k-gram."""
    counts: Indices = np.bincount(longer.suffixes, minlength=len(grams.keys))
    counts[grams.first] += 1
    return counts


def _order(
    keys: Indices, counts: Indices, shorter_p: Numbers, shorter_best: Indices, shorter_best_p: Numbers, V: int
) -> _Order:
    """The distributions from the counts of the k-grams and from the contexts without their first character:
    ``shorter_p`` for each k-gram, the other two for each context."""
    contexts = len(shorter_best)
    context = keys // V
    discount = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    total = np.bincount(context, counts, contexts)
    backoff = np.divide(np.bincount(context, discount, contexts), total, out=np.ones(contexts), where=total > 0)
    p = (counts - discount) / total[context] + backoff[context] * shorter_p
    # A character that does not follow the context is at most as probable as the best one after the shorter context.
    best, best_p = shorter_best.copy(), backoff * shorter_best_p
    ascending = np.lexsort((p, context))
    last = np.flatnonzero(np.diff(context[ascending], append=-1))
    top = ascending[last]
    better = top[p[top] > best_p[context[top]]]
    best[context[better]], best_p[context[better]] = keys[better] % V, p[better]
    return _Order(keys, p, backoff, best, best_p)


def _discounts(counts: Indices) -> tuple[float, ...]:
    n = np.bincount(counts[counts <= 4], minlength=5).astype(np.float64)
    if not n[1:].all():
        return NO_ESTIMATE
    y = n[1] / (n[1] + 2 * n[2])
    discounts = tuple(float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
    return discounts if all(0 < d <= i for i, d in enumerate(discounts, 1)) else NO_ESTIMATE


def _index_of(keys: Indices, queries: Indices) -> Indices:
    """The index of each query in the ascending keys; -1 if it is not among them."""
    indices = np.searchsorted(keys, queries)
    np.minimum(indices, len(keys) - 1, out=indices)
    return np.where(keys[indices] == queries, indices, -1)
