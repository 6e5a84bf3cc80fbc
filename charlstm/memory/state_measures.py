"""The measures of states and gradients, along the strings of a task or a real text."""

from __future__ import annotations

import numpy as np

from charlstm.api import LoadedRun
from charlstm.memory.task_measures import TEST_SEED, JsonObject, finite_or_none, make_task, with_start
from charlstm.memory.text_measures import segments, segments_of_halves, test_split
from charlstm.model import LanguageModel
from charlstm.probes.ablation import ablate_units
from charlstm.probes.capacity import capacity, random_texts
from charlstm.probes.closing import find_closing_characters
from charlstm.probes.dynamics import dynamics, spectral_radii
from charlstm.probes.gradients import gradient_over_lag
from charlstm.training.initial_state import untrained_model


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
        result = gradient_over_lag(model, segments(test_split(run.corpus()), 2 * depth + 1, texts), depth)
    return {part: np.nan_to_num(result.relative(part), posinf=np.finfo(float).max).tolist() for part in result.norms}


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
        previous = segments(test_split(run.corpus()), warm_up + steps, texts)[:-1]
    result = dynamics(model, previous, exponents, warm_up)
    return {
        "largest": float(result.largest.mean()),
        "median": float(result.median.mean()),
        "smallest": float(result.smallest.mean()),
        "spectral_radius": {gate: radii.tolist() for gate, radii in spectral_radii(model).items()},
        "self_connection": {part: float(values.mean()) for part, values in result.self_connection.items()},
        "exponents": [[finite_or_none(x) for x in row] for row in result.exponents.tolist()],
    }


def memory_capacity(run: LoadedRun, delays: int, steps: int, texts: int, random: bool) -> JsonObject:
    """Short-term memory capacity in characters, and accuracy and R^2 of the readout of the k-th last character, k = 0
    .. delays: from the state, from the last character alone, and with shuffled targets.

    The texts have ``steps`` characters: uniform random ones, or segments of the test split. The readout is trained on
    segments of its first half, and tested on those of the second.
    """
    if random:
        previous = random_texts(run.model.vocabulary_size, steps, texts, TEST_SEED)
    else:
        previous = segments_of_halves(test_split(run.corpus()), steps, texts)[:-1]
    result = capacity(run.model, previous, delays)
    return {
        name: {
            "capacity": readout.capacity,
            "accuracy": readout.accuracy.tolist(),
            "r_squared": readout.r_squared.tolist(),
        }
        for name, readout in vars(result).items()
    }


def unit_ablation(run: LoadedRun, steps: int, texts: int) -> JsonObject:
    """For closing brackets and closing quotes in segments of the test split: kind -> their ``count``, the mean loss
    there and elsewhere, and its change by holding one unit at its mean, [L, H], in nats per character."""
    ids, results = test_split(run.corpus()), {}
    for kind in ("bracket", "quote"):
        mask = np.zeros(len(ids), np.uint8)
        for character in find_closing_characters(ids, run.vocabulary):
            mask[character.positions] |= character.kind == kind
        chosen = segments(mask, steps, texts)[1:] > 0
        if chosen.any():
            result = ablate_units(run.model, segments(ids, steps, texts), chosen)
            results[kind] = {
                "count": int(chosen.sum()),
                "loss": result.loss,
                "loss_elsewhere": finite_or_none(result.loss_elsewhere),
                "change": result.change.tolist(),
                "change_elsewhere": [[finite_or_none(x) for x in row] for row in result.change_elsewhere.tolist()],
            }
    return results


def untrained(run: LoadedRun) -> LanguageModel:
    """The initial model of a run, before training."""
    return untrained_model(run.config, run.corpus(), run.model.head.weight.device)
