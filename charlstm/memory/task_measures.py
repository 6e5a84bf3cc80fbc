"""The measures of runs that were trained on the strings of a task.

A task is specified by its class name and fields: ``{"task": "Recall", "lag": 100}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.model import LanguageModel
from charlstm.probes import tasks
from charlstm.probes.answers import continual_reber_accuracy, reber_accuracy, score_answers
from charlstm.probes.counting import accepted, counting_unit, longest_accepted, trajectory
from charlstm.probes.surgery import surgery
from charlstm.probes.tasks.counting import counting_string
from charlstm.text.vocabulary import Vocabulary

TEST_SEED = 1_000_003
"""The seed of test strings; no training string is drawn with it."""

JsonObject = dict[str, Any]


def make_task(spec: Mapping[str, Any]) -> Any:
    """Create the task of a specification."""
    return getattr(tasks, spec["task"])(**{name: value for name, value in spec.items() if name != "task"})


def answers(run: LoadedRun, task: JsonObject, strings: int) -> JsonObject:
    """The fraction of test strings that are answered correctly, and -ln p per character of their answers."""
    instance = make_task(task)
    result = score_answers(run.model, run.vocabulary, instance.strings(strings, TEST_SEED), instance.mark)
    return {
        "accuracy": result.accuracy,
        "character_accuracy": result.character_accuracy,
        "nats": finite_or_none(result.nats),
    }


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
            results[f"{part} at {moment:g}" if moments else part] = asdict(one)
    return results


def counting(run: LoadedRun, letters: str, tested: list[int], shown: int) -> JsonObject:
    """The largest n up to which all tested n are accepted, whether each is, and the counting unit at n = shown."""
    model, vocabulary = run.model, run.vocabulary
    text = counting_string(letters, shown)[:-1]
    counts = np.cumsum([1 if letter == letters[0] else -1 if letter == letters[1] else 0 for letter in text])
    states = trajectory(model, vocabulary, text)
    unit = counting_unit(states, counts)
    values = states[unit.letter][:, unit.layer, unit.unit]
    by_length = accepted(model, vocabulary, tested, letters)
    return {
        "longest": longest_accepted(by_length),
        "accepted": [by_length[n] for n in tested],
        "unit": f"{unit.letter}{unit.unit}",
        "correlation": finite_or_none(unit.correlation),
        "rise": finite_or_none(unit.rise),
        "fall": finite_or_none(unit.fall),
        "values": values.tolist(),
        "counts": counts.tolist(),
    }


def continual_reber(run: LoadedRun, characters: int) -> JsonObject:
    """Accuracy on the repeated keys of a continual Reber test text, read without a reset, and the largest absolute
    value of the state."""
    text = tasks.ContinualReber().text(characters, TEST_SEED)
    result = continual_reber_accuracy(run.model, run.vocabulary, text)
    return {
        "accuracy": result.accuracy,
        "positions": result.positions,
        "max_abs_state": finite_or_none(result.max_abs_state),
    }


def reber(run: LoadedRun, task: JsonObject, strings: int) -> JsonObject:
    """Accuracy on the repeated key, T or P, of single Reber test strings, none of which is a training string."""
    return {"accuracy": reber_accuracy(run.model, run.vocabulary, make_task(task).strings(strings, TEST_SEED))}


def with_start(model: LanguageModel, vocabulary: Vocabulary, strings: list[str]) -> Tensor:
    """The ids of strings of equal length after the id of "no character", [T + 1, N]."""
    ids = encoded(vocabulary, strings)
    return torch.cat([torch.full_like(ids[:1], model.vocabulary_size), ids])


def finite_or_none(value: float) -> float | None:
    """The number; None if it is not finite, since JSON has no such numbers."""
    return float(value) if math.isfinite(value) else None


def _string_pairs(run: LoadedRun, task: Any, pairs: int) -> tuple[Tensor, Tensor]:
    """Pairs of test strings with different answers, as ids after "no character", [T + 1, N] each."""
    strings = task.strings(4 * pairs, TEST_SEED)
    half = len(strings) // 2
    chosen = [(a, b) for a, b in zip(strings[:half], strings[half:], strict=True) if a[-1] != b[-1]][:pairs]
    first, second = (with_start(run.model, run.vocabulary, [pair[side] for pair in chosen]) for side in (0, 1))
    return first, second


def encoded(vocabulary: Vocabulary, strings: list[str]) -> Tensor:
    """Strings of equal length as ids, [T, N]."""
    return torch.from_numpy(np.stack([vocabulary.encode(string) for string in strings], 1))
