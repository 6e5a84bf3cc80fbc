"""Which executor trains a model fastest on this machine, by measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from charlstm.executors.measurement_cache import cached_measurement
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import training_multiply_adds
from charlstm.text.streams import Batch
from charlstm.training.step import TrainingStep

TIE = 1.03
"""The first in order is taken if it needs at most this many times as long as the fastest: timings are noisy."""
HOPELESS = 1.25
"""How many times as long as the fastest one may have needed to take part in further rounds."""
WARM_UP, FIRST_ROUNDS, ROUNDS = 2, 2, 12
SECONDS = 1.5
"""Rounds end when they have taken so long."""
WORK = 1e9
"""Multiply-adds of a step that is measured, at most: fewer characters in a row are taken for a larger one."""


def fastest_executor(step: TrainingStep, model: LanguageModel, batch_size: int, sequence_length: int) -> str | None:
    """The executor that ``auto`` should take for training steps of [sequence_length, batch_size] characters on the CPU.

    Every candidate takes steps of the model at its real size, by turns, and the shortest time counts. The result is
    remembered on this machine for all models of the same configuration and size. None where there is nothing to choose:
    another device, an executor that was asked for, one candidate, ``CHARLSTM_MEASURE=0`` in the environment, or time
    steps so large that all spend their time in the same matrix products. Changes neither weights nor random state;
    gradients are dropped.
    """
    if os.environ.get("CHARLSTM_MEASURE") == "0":
        return None
    device = model.head.weight.device
    per_step = training_multiply_adds(model, batch_size, 2) / 2
    if device.type != "cpu" or model.config.executor != "auto" or per_step > WORK:
        return None
    ids = torch.arange(batch_size).remainder(model.vocabulary_size).expand(int(WORK // per_step), -1)[:sequence_length]
    with torch.autocast("cpu", torch.bfloat16, enabled=step.precision == "bfloat16"):
        names = model.candidates(ids)
    if len(names) < 2:
        return None
    facts = [model.config.model_dump_json(), model.vocabulary_size, *ids.shape, step.precision, *names]
    measured = cached_measurement("executors", facts, lambda: _measured(step, model, ids, names))
    seconds = {name: value for name in names if isinstance(value := measured.get(name), (int, float))}
    return pick(seconds) if seconds else None


def pick(seconds: Mapping[str, float]) -> str:
    """The first name whose time is within a tie of the shortest."""
    shortest = min(seconds.values())
    return next(name for name, time_ in seconds.items() if time_ <= TIE * shortest)


def measure_by_turns(
    runs: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Shortest seconds of each run, all by turns; one that proves hopeless takes no further part."""
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    seconds: dict[str, float] = dict.fromkeys(runs, float("inf"))
    began = clock()
    for number in range(ROUNDS):
        limit = HOPELESS * min(seconds.values())
        for name, run in runs.items():
            if number >= FIRST_ROUNDS and seconds[name] > limit:
                continue
            start = clock()
            run()
            seconds[name] = min(seconds[name], clock() - start)
        if number + 1 >= FIRST_ROUNDS and clock() - began > SECONDS:
            break
    return seconds


def _measured(step: TrainingStep, model: LanguageModel, ids: torch.Tensor, names: Sequence[str]) -> dict[str, float]:
    batch = Batch(previous=ids, targets=ids, following=ids, fresh=True, count=ids.numel())
    carried = model.initial_state(ids.shape[1])

    def run(name: str) -> Callable[[], None]:
        def one() -> None:
            model.prefer(name)
            step.gradients(batch, carried)

        return one

    try:
        with torch.random.fork_rng([]):
            return measure_by_turns({name: run(name) for name in names})
    finally:
        model.prefer(None)
        model.zero_grad()
