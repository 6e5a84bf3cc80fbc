"""Measures which executor trains a model fastest on this machine."""

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

TIE_RATIO = 1.03
"""The first candidate within this ratio of the shortest time wins: timings are noisy."""
ELIMINATION_RATIO = 1.25
"""A candidate slower than this ratio of the shortest time takes no part in further rounds."""
WARM_UP_ROUNDS, MIN_ROUNDS, MAX_ROUNDS = 2, 2, 12
TIME_LIMIT = 1.5
"""Seconds after which no further round starts."""
MAX_MULTIPLY_ADDS = 1e9
"""Of a measured step: larger steps are measured with a shorter sequence."""


def trial_seconds(step: TrainingStep, model: LanguageModel, batch_size: int, sequence_length: int) -> dict[str, float]:
    """Seconds of a training step of [sequence_length, batch_size] characters on the CPU, for each executor that
    ``auto`` may take.

    Every candidate runs steps of the model at its real size, round robin, and its shortest time counts (with a single
    thread, CPU time). The result is cached on this machine for all models of the same configuration and size. Empty if
    there is no choice: another device, a configured executor, one candidate, ``CHARLSTM_MEASURE=0`` in the environment,
    or time steps so large that all candidates spend their time in the same matmuls. Changes neither weights nor RNG
    state; gradients are cleared.
    """
    if os.environ.get("CHARLSTM_MEASURE") == "0":
        return {}
    device = model.head.weight.device
    per_step = training_multiply_adds(model, batch_size, 2) / 2
    if device.type != "cpu" or model.config.executor != "auto" or per_step > MAX_MULTIPLY_ADDS:
        return {}
    ids = (
        torch.arange(batch_size)
        .remainder(model.vocabulary_size)
        .expand(int(MAX_MULTIPLY_ADDS // per_step), -1)[:sequence_length]
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=step.precision == "bfloat16"):
        names = model.candidates(ids)
    if len(names) < 2:
        return {}
    facts = [model.config.model_dump_json(), model.vocabulary_size, *ids.shape, step.precision, *names]
    times = cached_measurement("executors", facts, lambda: _measure(step, model, ids, names))
    return {name: value for name in names if isinstance(value := times.get(name), (int, float)) and value > 0}


def pick(seconds: Mapping[str, float]) -> str:
    """The first name whose time is within ``TIE_RATIO`` of the shortest."""
    shortest = min(seconds.values())
    return next(name for name, time_ in seconds.items() if time_ <= TIE_RATIO * shortest)


def measure_round_robin(runs: Mapping[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """Shortest seconds of each run, in rounds over all runs; far slower ones are eliminated early."""
    for run in runs.values():
        for _ in range(WARM_UP_ROUNDS):
            run()
    seconds: dict[str, float] = dict.fromkeys(runs, float("inf"))
    start_time = clock()
    for round_number in range(MAX_ROUNDS):
        limit = ELIMINATION_RATIO * min(seconds.values())
        for name, run in runs.items():
            if round_number >= MIN_ROUNDS and seconds[name] > limit:
                continue
            start = clock()
            run()
            seconds[name] = min(seconds[name], clock() - start)
        if round_number + 1 >= MIN_ROUNDS and clock() - start_time > TIME_LIMIT:
            break
    return seconds


def _measure(step: TrainingStep, model: LanguageModel, ids: torch.Tensor, names: Sequence[str]) -> dict[str, float]:
    batch = Batch(previous=ids, targets=ids, following=ids, reset_state=True, count=ids.numel())
    carried = model.initial_state(ids.shape[1])

    def run(name: str) -> Callable[[], None]:
        def run_step() -> None:
            model.prefer(name)
            step.gradients(step.inputs([batch]), carried)

        return run_step

    try:
        with torch.random.fork_rng([]):
            # Other work on the machine, which lengthens some of the steps, does not count for a single thread.
            clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
            return measure_round_robin({name: run(name) for name in names}, clock)
    finally:
        model.prefer(None)
        model.zero_grad()
