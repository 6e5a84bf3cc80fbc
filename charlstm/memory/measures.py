"""The measures of a trained run, by name; arguments and results are JSON objects.

A task is specified by its class name and fields: ``{"task": "Recall", "lag": 100}``.
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
from charlstm.probes.answers import continual_reber_accuracy, reber_accuracy, score_answers
from charlstm.probes.closing import Closing, closing_accuracy, find_closing_characters
from charlstm.probes.context import context_curve
from charlstm.probes.counting import accepts, counting_unit, longest_accepted, trajectory
from charlstm.probes.gates import characters, gates
from charlstm.probes.gradients import FULL_STATE, gradient_over_lag
from charlstm.probes.ngram import NGram
from charlstm.probes.surgery import surgery
from charlstm.probes.tasks.counting import counting_string
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.vocabulary import Vocabulary

TEST_SEED = 1_000_003
"""The seed of test strings; no training string is drawn with it."""

VERSION = 1
"""Incremented whenever the meaning of a measure changes: old results are then measured again."""

STREAMS = 32
"""Number of text segments on which gates are measured."""

BLOCKS = 100
"""Number of blocks of equal length over which a text's score is averaged."""

JsonObject = dict[str, Any]


def make_task(spec: Mapping[str, Any]) -> Any:
    """Create the task of a specification."""
    return getattr(tasks, spec["task"])(**{name: value for name, value in spec.items() if name != "task"})


def answers(run: LoadedRun, task: JsonObject, strings: int) -> JsonObject:
    """The fraction of test strings that are answered correctly, and -ln p per character of their answers."""
    instance = make_task(task)
    result = score_answers(run.model, run.vocabulary, instance.strings(strings, TEST_SEED), instance.mark)
    return {"accuracy": result.accuracy, "character_accuracy": result.character_accuracy, "nats": _finite(result.nats)}


def gradient(run: LoadedRun, depth: int, texts: int, trained: bool, task: JsonObject | None = None) -> JsonObject:
    """Norms of the gradient over lag for each part of the state, [depth + 1], at initialization or after training.

    The norms of each text are relative to that of its full state at lag 0, and averaged over texts. The texts are
    test strings of a task; without a task, segments of the test split.
    """
    model = run.model if trained else untrained(run)
    if task is not None:
        instance = make_task(task)
        strings = with_start(model, run.vocabulary, instance.strings(texts, TEST_SEED))
        result = gradient_over_lag(model, strings, min(depth, len(strings) - 2))
    else:
        result = gradient_over_lag(model, _segments(test_split(run.corpus()), 2 * depth + 1, texts), depth)
    first = result.norms[FULL_STATE][0]
    is_positive = first > 0
    if not is_positive.any():
        return {part: np.zeros(len(norms)).tolist() for part, norms in result.norms.items()}
    relative = {part: (norms[:, is_positive] / first[is_positive]).mean(1) for part, norms in result.norms.items()}
    return {part: np.nan_to_num(curve, posinf=np.finfo(float).max).tolist() for part, curve in relative.items()}


def longer(run: LoadedRun, tasks: dict[str, JsonObject], strings: int) -> JsonObject:
    """The fraction of test strings that are answered correctly, for each of several tasks, such as longer lags."""
    return {name: answers(run, task, strings)["accuracy"] for name, task in tasks.items()}


def state_surgery(
    run: LoadedRun, task: JsonObject, pairs: int, parts: list[str], moments: list[float] | None = None
) -> JsonObject:
    """State surgery at some fractions of the lag, for each part: how often each string's answer is given.

    The names of the results are those of the parts, followed by the moment if there are several: ``c at 0.25``.
    """
    instance = make_task(task)
    strings = instance.strings(4 * pairs, TEST_SEED)
    half = len(strings) // 2
    chosen = [(a, b) for a, b in zip(strings[:half], strings[half:], strict=True) if a[-1] != b[-1]][:pairs]
    first, second = (with_start(run.model, run.vocabulary, [pair[side] for pair in chosen]) for side in (0, 1))
    results = {}
    for moment in moments or [0.5]:
        step = 2 + int(instance.lag * moment)  # "no character", the key, a part of the lag
        for part in parts:
            one = surgery(run.model, first, second, step, part)
            results[f"{part} at {moment:g}" if moments else part] = {**asdict(one), "exchanged": part}
    return results


def counting(run: LoadedRun, letters: str, tested: list[int], shown: int) -> JsonObject:
    """The largest n up to which all tested n are accepted, whether each is, and the counting unit at n = shown."""
    model, vocabulary = run.model, run.vocabulary
    text = counting_string(letters, shown)[:-1]
    counts = np.cumsum([1 if letter == letters[0] else -1 if letter == letters[1] else 0 for letter in text])
    states = trajectory(model, vocabulary, text)
    unit = counting_unit(states, counts)
    values = states[unit.letter][:, unit.layer, unit.unit]
    return {
        "longest": longest_accepted(model, vocabulary, tested, letters),
        "accepted": [accepts(model, vocabulary, n, letters) for n in tested],
        "unit": f"{unit.letter}{unit.unit}",
        "correlation": _finite(unit.correlation),
        "rise": _finite(unit.rise),
        "fall": _finite(unit.fall),
        "values": values.tolist(),
        "counts": counts.tolist(),
    }


def continual_reber(run: LoadedRun, characters: int) -> JsonObject:
    """Accuracy on the repeated keys of a continual Reber test text, read without a reset, and the largest absolute
    value of the state."""
    text = tasks.ContinualReber().text(characters, TEST_SEED)
    result = continual_reber_accuracy(run.model, run.vocabulary, text)
    return {"accuracy": result.accuracy, "positions": result.positions, "max_abs_state": _finite(result.max_abs_state)}


def reber(run: LoadedRun, strings: int) -> JsonObject:
    """Accuracy on the repeated key, T or P, of single Reber test strings."""
    return {"accuracy": reber_accuracy(run.model, run.vocabulary, tasks.Reber().strings(strings, TEST_SEED))}


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


def closing_characters(run: LoadedRun) -> JsonObject:
    """Predictions of closing characters and line ends of the test split by distance: kind -> bins."""
    ids = test_split(run.corpus())
    closing = find_closing_characters(ids, run.vocabulary)
    return closings(closing_accuracy(closing, predict_tokens(run.model, ids, [character.id for character in closing])))


def ngram(run: LoadedRun, order: int) -> JsonObject:
    """An n-gram model of the same text: its score on the test split, and its predictions of closing characters."""
    corpus = run.corpus()
    train, ids = corpus.split("train"), test_split(corpus)
    assert not isinstance(train, Documents)
    closing = find_closing_characters(ids, run.vocabulary)
    predictions = NGram(train, run.vocabulary.size, order).predict(ids, [character.id for character in closing])
    return {
        "nats": float(np.mean(predictions.nats, dtype=np.float64)),
        "closing_characters": closings(closing_accuracy(closing, predictions)),
    }


def gate_values(run: LoadedRun, length: int, shown: int) -> JsonObject:
    """All gates over the test split: saturation and half-life of each unit, and the forget gate over an excerpt."""
    ids, model = test_split(run.corpus()), run.model
    result = gates(model, _segments(ids, length, STREAMS)[:-1])
    saturations = {letter: result.saturation(letter) for letter in result.values}
    excerpt = torch.from_numpy(np.asarray(ids[:shown]).astype(np.int64))[:, None]
    excerpt_gates = gates(model, excerpt)
    letter = model.recurrent.cell.forget_gate or next(iter(result.values))
    return {
        "saturation": {
            letter: {name: values.ravel().tolist() for name, values in asdict(one).items()}
            for letter, one in saturations.items()
        },
        "half_lives": None if result.half_lives is None else [_finite(x) for x in result.half_lives.ravel().tolist()],
        "letter": letter,
        "series": excerpt_gates.series(letter).round(4).tolist(),
        "characters": characters(run.vocabulary, excerpt[:, 0]),
    }


MEASURES: dict[str, Callable[..., JsonObject]] = {
    measure.__name__: measure
    for measure in (
        answers,
        gradient,
        longer,
        state_surgery,
        counting,
        continual_reber,
        reber,
        context_loss,
        closing_characters,
        ngram,
        gate_values,
    )
}
"""Measures by name, so that a measurement job can be sent to another process as text."""


def untrained(run: LoadedRun) -> LanguageModel:
    """The initial model of a run, before training."""
    state = torch.get_rng_state()
    torch.manual_seed(run.config.training.seed)
    model = LanguageModel(run.config.model, run.vocabulary.size)
    torch.set_rng_state(state)
    return model.to(run.model.head.weight.device)


def test_split(corpus: Corpus) -> npt.NDArray[np.unsignedinteger]:
    """The test split of a continuous text, which selected neither a checkpoint nor a learning rate."""
    ids = corpus.split("test")
    assert not isinstance(ids, Documents)
    return ids


def closings(results: tuple[Closing, ...]) -> JsonObject:
    """The results by kind, in JSON types."""
    return {
        one.kind: [
            {"low": b.low, "high": b.high, "count": b.count, "correct": b.correct, "nats": _finite(b.nats)}
            for b in one.bins
        ]
        for one in results
    }


def _encoded(vocabulary: Vocabulary, strings: list[str]) -> Tensor:
    """Strings of equal length as ids, [T, N]."""
    return torch.from_numpy(np.stack([vocabulary.encode(string) for string in strings], 1))


def with_start(model: LanguageModel, vocabulary: Vocabulary, strings: list[str]) -> Tensor:
    """The ids of strings of equal length after the id of "no character", [T + 1, N]."""
    ids = _encoded(vocabulary, strings)
    return torch.cat([torch.full_like(ids[:1], model.vocabulary_size), ids])


def _segments(ids: npt.NDArray[np.unsignedinteger], length: int, count: int) -> Tensor:
    """Evenly spaced segments of a text: [length + 1, count].

    Raises UserError if the text is shorter than a segment.
    """
    if len(ids) <= length:
        raise UserError(f"the test split has {len(ids):,} characters, but {length + 1:,} are needed: use a longer text")
    ends = np.linspace(length, len(ids) - 1, count).astype(np.int64)
    return torch.from_numpy(ids[ends + np.arange(-length, 1)[:, None]].astype(np.int64))


def _finite(value: float) -> float | None:
    """The number; None if it is not finite, since JSON has no such numbers."""
    return float(value) if math.isfinite(value) else None
