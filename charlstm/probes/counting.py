"""Whether a model counts a^n b^n and a^n b^n c^n, and with which unit.

Gers & Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and context-sensitive languages"; Weiss,
Goldberg & Yahav 2018, "On the practical computational power of finite precision RNNs for language recognition".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes import reading
from charlstm.probes.tasks.counting import counting_string
from charlstm.text.vocabulary import Vocabulary

BATCH = 32  # strings per batch

Values: TypeAlias = npt.NDArray[np.floating]


@dataclass(frozen=True)
class CountingUnit:
    """The unit whose value follows a count most closely.

    letter, layer, unit   part of the state by its letter, layer and unit from 0
    correlation           Pearson's, signed; 0 if no unit changes
    rise, fall            mean change of its value per character while the count rises, and while it falls; NaN if it
                          never does
    """

    letter: str
    layer: int
    unit: int
    correlation: float
    rise: float
    fall: float


def trajectory(model: LanguageModel, vocabulary: Vocabulary, text: str) -> dict[str, Values]:
    """The state after each character of a text, from its beginning, by the reference executor in float64.

    Each part by its letter: [T, L, H].

    Raises UserError for a symbol that is not in the vocabulary, and for a model whose direction is not forward.
    """
    network = reading.float64_copy(_forward(model))
    ids = torch.from_numpy(vocabulary.encode(text))[:, None].to(network.head.weight.device)
    states = reading.trajectory(network, _with_no_character(ids, model.vocabulary_size), network.initial_state(1))
    return {letter: part[2:, :, 0].cpu().numpy() for letter, part in states.items()}


def counting_unit(states: Mapping[str, Values], counts: npt.ArrayLike) -> CountingUnit:
    """The unit with the highest absolute correlation with ``counts`` [T], such as the number of a minus the number of b
    so far, over a text's :func:`trajectory`.

    Raises ValueError if there is not one count for each step, or all counts are equal.
    """
    count = np.asarray(counts, np.float64)
    letters, steps = list(states), len(next(iter(states.values())))
    if len(count) != steps or not count.std():
        raise ValueError(f"expected {steps} counts, one for each step, and not all the same")
    values = np.stack([states[letter] for letter in letters]).astype(np.float64)
    centered, count_centered = values - values.mean(1, keepdims=True), count - count.mean()
    spread = np.sqrt((centered**2).sum(1) * (count_centered**2).sum())
    correlations = np.einsum("stlh,t->slh", centered, count_centered) / np.where(spread > 0, spread, np.inf)
    part, layer, unit = np.unravel_index(np.abs(correlations).argmax(), correlations.shape)
    changes, count_changes = np.diff(values[part, :, layer, unit]), np.diff(count)
    rise, fall = (
        float(changes[mask].mean()) if mask.any() else float("nan") for mask in (count_changes > 0, count_changes < 0)
    )
    return CountingUnit(letters[part], int(layer), int(unit), float(correlations[part, layer, unit]), rise, fall)


def accepted(
    model: LanguageModel, vocabulary: Vocabulary, lengths: Iterable[int], letters: str = "ab"
) -> dict[int, bool]:
    """Whether the model predicts a^n b^n (``letters`` "abc": a^n b^n c^n) correctly from the second letter on, for each
    of the lengths n, ascending.

    The string and its end are encoded from the beginning; each character after the first b must be the most probable
    one: b exactly n times, then c or the end.

    Raises:
        ValueError: a length is below 1.
        UserError: a symbol is not in the vocabulary, or the model's direction is not forward.
    """
    ascending, by_length = sorted(set(lengths)), dict[int, bool]()
    for first in range(0, len(ascending), BATCH):
        batch = ascending[first : first + BATCH]
        by_length |= zip(batch, _accepted(model, vocabulary, batch, letters), strict=True)
    return by_length


def longest_accepted(by_length: Mapping[int, bool]) -> int:
    """The largest of ascending lengths up to which all are :func:`accepted`; 0 if the first is not."""
    return max(takewhile(by_length.__getitem__, by_length), default=0)


@torch.no_grad()
def _accepted(model: LanguageModel, vocabulary: Vocabulary, lengths: list[int], letters: str) -> list[bool]:
    """Whether each length is accepted, as one batch; padding after a string's end does not count."""
    if min(lengths) < 1:
        raise ValueError(f"a string has at least one of each letter, not {min(lengths)}")
    strings = [vocabulary.encode(counting_string(letters, n)) for n in lengths]
    ids = torch.full((max(map(len, strings)), len(strings)), int(strings[0][-1]))
    for column, string in enumerate(strings):
        ids[: len(string), column] = torch.from_numpy(string)
    ids = ids.to(model.head.weight.device)
    with reading.probe_mode(_forward(model)):
        y, _ = model.encode(_with_no_character(ids, model.vocabulary_size)[:-1])
        predicted = model.head(y).argmax(-1)
    position, first = torch.arange(len(ids))[:, None], torch.tensor(lengths) + 1
    is_scored = (position >= first) & (position < torch.tensor([len(string) for string in strings]))
    correct: list[bool] = ((predicted == ids).cpu() | ~is_scored).all(0).tolist()
    return correct


def _forward(model: LanguageModel) -> LanguageModel:
    if model.direction != "forward":
        raise UserError(f"counting is measured from left to right; this model has direction: {model.direction}")
    return model


def _with_no_character(ids: Tensor, none: int) -> Tensor:
    """Ids [T, B] with "no character" before them, [T + 1, B]."""
    return torch.cat([ids.new_full((1, ids.shape[1]), none), ids])
