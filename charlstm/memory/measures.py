"""Measurements of one trained run, by name: from arguments in JSON types to figures in JSON types.

A task is given as its class's name and fields: ``{"task": "Recall", "lag": 100}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character, predict_tokens
from charlstm.model import LanguageModel
from charlstm.probes import tasks
from charlstm.probes.answers import answered, critical_accuracy, critical_share
from charlstm.probes.closing import Closing, closing_accuracy, closing_signs
from charlstm.probes.context import context_curve
from charlstm.probes.counting import accepts, counting_unit, longest_accepted, trajectory
from charlstm.probes.gates import characters, gates
from charlstm.probes.gradients import WHOLE, gradient_over_lag
from charlstm.probes.ngram import NGram
from charlstm.probes.surgery import surgery
from charlstm.probes.tasks.counting import counting_string
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.vocabulary import Vocabulary

FRESH = 1_000_003
"""The seed of fresh strings: none that is trained on is drawn with it."""

VERSION = 1
"""Raised whenever a measure changes its meaning: what was measured before is measured again."""

STREAMS = 32
"""Places of a text from which gates are watched."""

BLOCKS = 100
"""Stretches of equal length into which a text's score is divided."""

Figures = dict[str, Any]


def make_task(spec: Mapping[str, Any]) -> Any:
    """The task that a specification stands for."""
    return getattr(tasks, spec["task"])(**{name: value for name, value in spec.items() if name != "task"})


def answers(run: LoadedRun, task: Figures, strings: int) -> Figures:
    """How many of so many fresh strings are answered right, and -ln p per character of their answers."""
    made = make_task(task)
    found = answered(run.model, run.vocabulary, made.strings(strings, FRESH), made.mark)
    return {"share": found.share, "characters_right": found.characters_right, "nats": _plain(found.nats)}


def gradient(run: LoadedRun, depth: int, texts: int, trained: bool, task: Figures | None = None) -> Figures:
    """Norms of the gradient over lag, as it starts or as it is trained: of each part of the state, [depth + 1].

    Each text's are relative to that of its whole state at lag 0; their mean over texts. On fresh strings of a task;
    without one, at places of the test split, with real context behind them.
    """
    model = run.model if trained else untrained(run)
    if task is not None:
        made = make_task(task)
        strings = _encoded(run.vocabulary, made.strings(texts, FRESH))
        begun = torch.cat([torch.full_like(strings[:1], model.vocabulary_size), strings])
        found = gradient_over_lag(model, begun, min(depth, len(strings) - 1))
    else:
        found = gradient_over_lag(model, _places(test_split(run.corpus()), 2 * depth + 1, texts), depth)
    first = found.norms[WHOLE][0]
    there = first > 0
    if not there.any():
        return {part: np.zeros(len(norms)).tolist() for part, norms in found.norms.items()}
    relative = {part: (norms[:, there] / first[there]).mean(1) for part, norms in found.norms.items()}
    return {part: np.nan_to_num(curve, posinf=np.finfo(float).max).tolist() for part, curve in relative.items()}


def exchange(run: LoadedRun, task: Figures, pairs: int, parts: list[str]) -> Figures:
    """State surgery in the middle of the lag, for each choice of parts: whose answers are given."""
    made = make_task(task)
    strings = made.strings(4 * pairs, FRESH)
    half = len(strings) // 2
    chosen = [(a, b) for a, b in zip(strings[:half], strings[half:], strict=True) if a[-1] != b[-1]][:pairs]
    first, second = (_begun(run, [pair[side] for pair in chosen]) for side in (0, 1))
    at = 2 + made.lag // 2  # "no character", the key, half of the lag
    found = {part: surgery(run.model, first, second, at, part) for part in parts}
    return {part: {**asdict(one), "exchanged": part} for part, one in found.items()}


def counted(run: LoadedRun, letters: str, tested: list[int], shown: int) -> Figures:
    """Up to which n of those tested all are counted right, which of them are, and the unit that counts at n = shown."""
    model, vocabulary = run.model, run.vocabulary
    text = counting_string(letters, shown)[:-1]
    counts = np.cumsum([1 if letter == letters[0] else -1 if letter == letters[1] else 0 for letter in text])
    along = trajectory(model, vocabulary, text)
    unit = counting_unit(along, counts)
    values = along[unit.letter][:, unit.layer, unit.unit]
    return {
        "longest": longest_accepted(model, vocabulary, tested, letters),
        "accepted": [accepts(model, vocabulary, n, letters) for n in tested],
        "unit": f"{unit.letter}{unit.unit}",
        "correlation": _plain(unit.correlation),
        "rise": _plain(unit.rise),
        "fall": _plain(unit.fall),
        "values": values.tolist(),
        "counts": counts.tolist(),
    }


def critical(run: LoadedRun, characters: int) -> Figures:
    """The critical symbol of a fresh continual Reber text that is read at one go, and the largest state."""
    text = tasks.ContinualReber().text(characters, FRESH)
    found = critical_accuracy(run.model, run.vocabulary, text)
    return {"share": found.accuracy, "places": found.places, "largest": _plain(found.largest)}


def closing_symbol(run: LoadedRun, strings: int) -> Figures:
    """The critical symbol of fresh single Reber strings: the share in which T is told from P."""
    return {"share": critical_share(run.model, run.vocabulary, tasks.Reber().strings(strings, FRESH))}


def kept_context(run: LoadedRun, kept: list[int], targets: int) -> Figures:
    """-ln p of the same characters of the test split with so many characters of context, [kept, targets]; and with
    all of it before each: the mean over the split, and over each of so many stretches of it."""
    ids = test_split(run.corpus())
    found = context_curve(run.model, ids, kept, targets)
    whole = nats_per_character(run.model, ids).astype(np.float64)
    blocks = [float(block.mean()) for block in np.array_split(whole, min(BLOCKS, len(whole)))]
    return {"nats": found.nats.astype(float).round(5).tolist(), "all": float(whole.mean()), "blocks": blocks}


def signs(run: LoadedRun) -> Figures:
    """Closing signs and line ends of the test split by distance: kind -> bins."""
    ids = test_split(run.corpus())
    found = closing_signs(ids, run.vocabulary)
    return closings(closing_accuracy(found, predict_tokens(run.model, ids, [sign.id for sign in found])))


def ngram(run: LoadedRun, order: int) -> Figures:
    """An n-gram model on the same text: its score on the test split, and what it makes of the signs."""
    corpus = run.corpus()
    train, ids = corpus.split("train"), test_split(corpus)
    assert not isinstance(train, Documents)
    found = closing_signs(ids, run.vocabulary)
    foresight = NGram(train, run.vocabulary.size, order).foresee(ids, [sign.id for sign in found])
    return {
        "nats": float(np.mean(foresight.nats, dtype=np.float64)),
        "signs": closings(closing_accuracy(found, foresight)),
    }


def gate_values(run: LoadedRun, length: int, shown: int) -> Figures:
    """Every gate over the test split: saturation of each unit, half-lives, and the forget gate along a piece of it."""
    ids, model = test_split(run.corpus()), run.model
    found = gates(model, _places(ids, length, STREAMS)[:-1])
    saturations = {letter: found.saturation(letter) for letter in found.values}
    piece = torch.from_numpy(np.asarray(ids[:shown]).astype(np.int64))[:, None]
    along = gates(model, piece)
    letter = model.recurrent.cell.forget_gate or next(iter(found.values))
    return {
        "saturation": {
            letter: {name: values.ravel().tolist() for name, values in asdict(one).items()}
            for letter, one in saturations.items()
        },
        "half_lives": None if found.half_lives is None else [_plain(x) for x in found.half_lives.ravel().tolist()],
        "letter": letter,
        "series": along.series(letter).round(4).tolist(),
        "characters": characters(run.vocabulary, piece[:, 0]),
    }


MEASURES: dict[str, Callable[..., Figures]] = {
    measure.__name__: measure
    for measure in (
        answers,
        gradient,
        exchange,
        counted,
        critical,
        closing_symbol,
        kept_context,
        signs,
        ngram,
        gate_values,
    )
}
"""By name, so that a measurement is a line of text to any process."""


def untrained(run: LoadedRun) -> LanguageModel:
    """The model of a run as its training began."""
    state = torch.get_rng_state()
    torch.manual_seed(run.config.training.seed)
    model = LanguageModel(run.config.model, run.vocabulary.size)
    torch.set_rng_state(state)
    return model.to(run.model.head.weight.device)


def test_split(corpus: Corpus) -> npt.NDArray[np.unsignedinteger]:
    """The end of a running text, which chose neither a checkpoint nor a learning rate."""
    ids = corpus.split("test")
    assert not isinstance(ids, Documents)
    return ids


def closings(found: tuple[Closing, ...]) -> Figures:
    return {
        one.kind: [
            {"low": b.low, "high": b.high, "count": b.count, "right": b.right, "nats": _plain(b.nats)} for b in one.bins
        ]
        for one in found
    }


def _encoded(vocabulary: Vocabulary, strings: list[str]) -> Tensor:
    """Strings of one length as ids, [T, N]."""
    return torch.from_numpy(np.stack([vocabulary.encode(string) for string in strings], 1))


def _begun(run: LoadedRun, strings: list[str]) -> Tensor:
    ids = _encoded(run.vocabulary, strings)
    return torch.cat([torch.full_like(ids[:1], run.model.vocabulary_size), ids])


def _places(ids: npt.NDArray[np.unsignedinteger], length: int, count: int) -> Tensor:
    """The characters up to each of so many places, evenly spread, the place included: [length + 1, count].

    Raises UserError for a text that is shorter.
    """
    if len(ids) <= length:
        raise UserError(
            f"the test split has {len(ids):,} characters, and {length + 1:,} are needed: give a longer text"
        )
    ends = np.linspace(length, len(ids) - 1, count).astype(np.int64)
    return torch.from_numpy(ids[ends + np.arange(-length, 1)[:, None]].astype(np.int64))


def _plain(value: float) -> float | None:
    """A figure that JSON has; None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
