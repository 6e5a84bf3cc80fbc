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
from charlstm.evaluation import TokenPredictions, nats_per_character, predict_tokens
from charlstm.memory.sentence_measures import sentence_answers, sentence_gates
from charlstm.model import LanguageModel
from charlstm.probes import tasks
from charlstm.probes.ablation import ablate_units
from charlstm.probes.answers import continual_reber_accuracy, reber_accuracy, score_answers
from charlstm.probes.capacity import capacity, random_texts
from charlstm.probes.closing import Closing, closing_accuracy, find_closing_characters
from charlstm.probes.context import Far, context_curve
from charlstm.probes.counting import accepts, counting_unit, longest_accepted, trajectory
from charlstm.probes.dependencies import dependency_losses, find_dependencies
from charlstm.probes.dynamics import dynamics, spectral_radii
from charlstm.probes.gates import characters, gates
from charlstm.probes.gradients import FULL_STATE, gradient_over_lag
from charlstm.probes.ngram import NGram
from charlstm.probes.surgery import surgeries, surgery
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
    first, second = _string_pairs(run, instance, pairs)
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
        sentence_answers,
        sentence_gates,
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


def _string_pairs(run: LoadedRun, task: Any, pairs: int) -> tuple[Tensor, Tensor]:
    """Pairs of test strings with different answers, as ids after "no character", [T + 1, N] each."""
    strings = task.strings(4 * pairs, TEST_SEED)
    half = len(strings) // 2
    chosen = [(a, b) for a, b in zip(strings[:half], strings[half:], strict=True) if a[-1] != b[-1]][:pairs]
    first, second = (with_start(run.model, run.vocabulary, [pair[side] for pair in chosen]) for side in (0, 1))
    return first, second


def surgery_over_lag(run: LoadedRun, task: JsonObject, pairs: int, moments: list[float]) -> JsonObject:
    """State surgery at fractions of the lag: moment -> exchanged letters -> how often each string's answer is given.

    The letters are "" (nothing), each part of the state, and all of them; ``moments`` are 0 .. 1, such as 0.25.
    """
    instance = make_task(task)
    first, second = _string_pairs(run, instance, pairs)
    steps = {2 + int(moment * instance.lag): str(moment) for moment in moments}  # "no character", the key, the lag
    results = surgeries(run.model, first, second, list(steps))
    return {steps[at]: {part: asdict(one) for part, one in parts.items()} for at, parts in results.items()}


def state_dynamics(
    run: LoadedRun,
    steps: int,
    texts: int,
    trained: bool,
    warm_up: int = 0,
    exponents: int | None = None,
    task: JsonObject | None = None,
) -> JsonObject:
    """One-step Jacobians and Lyapunov exponents of the state, at initialization or after training.

    largest, median, smallest   singular values of d s_t / d s_{t-1}, mean over steps and texts
    spectral_radius             gate -> of its recurrent matrix in each layer
    self_connection             part of the state -> mean of d s_t[i] / d s_{t-1}[i] over units, steps and texts
    exponents                   of each text, nats per character, in descending order; null for -inf

    The texts are segments of the test split of ``warm_up + steps`` characters, or test strings of a task.
    """
    model = run.model if trained else untrained(run)
    if task is not None:
        previous = with_start(run.model, run.vocabulary, make_task(task).strings(texts, TEST_SEED))[: warm_up + steps]
    else:
        previous = _segments(test_split(run.corpus()), warm_up + steps, texts)[:-1]
    result = dynamics(model, previous, exponents, warm_up)
    return {
        "largest": float(result.largest.mean()),
        "median": float(result.median.mean()),
        "smallest": float(result.smallest.mean()),
        "spectral_radius": {gate: radii.tolist() for gate, radii in spectral_radii(model).items()},
        "self_connection": {part: float(values.mean()) for part, values in result.self_connection.items()},
        "exponents": [[_finite(x) for x in row] for row in result.exponents.tolist()],
    }


def memory_capacity(run: LoadedRun, delays: int, steps: int, texts: int, random: bool) -> JsonObject:
    """Short-term memory capacity in characters, and accuracy and R^2 of the readout of the k-th last character, k = 0
    .. delays: from the state, from the last character alone, and with shuffled targets.

    The texts have ``steps`` characters: uniform random ones, or segments of the test split.
    """
    if random:
        previous = random_texts(run.model.vocabulary_size, steps, texts, TEST_SEED)
    else:
        previous = _segments(test_split(run.corpus()), steps, texts)[:-1]
    result = capacity(run.model, previous, delays)
    return {
        name: {
            "capacity": readout.capacity,
            "accuracy": readout.accuracy.tolist(),
            "r_squared": readout.r_squared.tolist(),
        }
        for name, readout in vars(result).items()
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
    corpus = run.corpus()
    train, ids = corpus.split("train"), test_split(corpus)
    assert not isinstance(train, Documents)
    predictions = NGram(train, run.vocabulary.size, order).predict(ids, [])
    return _dependency_bins(ids, run.vocabulary, predictions, max_positions)


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


def unseen_reber(run: LoadedRun, strings: int, min_inner: int) -> JsonObject:
    """Accuracy on the repeated key of Reber test strings that stand neither in the training nor in the validation
    split, and the fraction of ordinary test strings that do (``seen``)."""
    task, seen = tasks.Reber(min_inner), _strings_of(run, "train") | _strings_of(run, "validation")
    drawn, unseen = task.strings(strings, TEST_SEED), tasks.unseen_strings(task, strings, TEST_SEED, seen)
    return {
        "accuracy": reber_accuracy(run.model, run.vocabulary, unseen),
        "seen": sum(string in seen for string in drawn) / strings,
    }


def unit_ablation(run: LoadedRun, steps: int, texts: int) -> JsonObject:
    """For closing brackets and closing quotes in segments of the test split: kind -> their ``count``, the mean loss
    there and elsewhere, and its change by holding one unit at its mean, [L, H], in nats per character."""
    ids, results = test_split(run.corpus()), {}
    for kind in ("bracket", "quote"):
        mask = np.zeros(len(ids), np.uint8)
        for character in find_closing_characters(ids, run.vocabulary):
            mask[character.positions] |= character.kind == kind
        chosen = _segments(mask, steps, texts)[1:] > 0
        if chosen.any():
            result = ablate_units(run.model, _segments(ids, steps, texts), chosen)
            results[kind] = {
                "count": int(chosen.sum()),
                "loss": result.loss,
                "loss_elsewhere": _finite(result.loss_elsewhere),
                "change": result.change.tolist(),
                "change_elsewhere": [[_finite(x) for x in row] for row in result.change_elsewhere.tolist()],
            }
    return results


def _strings_of(run: LoadedRun, split: str) -> set[str]:
    """The lines, or the documents, of a split."""
    ids = run.corpus().split(split)
    if isinstance(ids, Documents):
        return {run.vocabulary.decode(ids.ids[a:b]) for a, b in zip(ids.starts, ids.ends, strict=True)}
    return set(run.vocabulary.decode(ids).splitlines())


MEASURES |= {
    measure.__name__: measure
    for measure in (
        surgery_over_lag,
        state_dynamics,
        memory_capacity,
        far_context_loss,
        dependency_loss,
        ngram_dependency_loss,
        unseen_reber,
        unit_ablation,
    )
}
