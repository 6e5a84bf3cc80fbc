"""The learning-rate range test (Smith 2017): train while the rate grows, and see where the loss falls and where it
diverges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from charlstm.config import Config
from charlstm.distributed import SINGLE_PROCESS
from charlstm.errors import UserError
from charlstm.hardware.device import resolve_device, resolve_precision
from charlstm.model.language_model import cell_of
from charlstm.text.corpus import Corpus
from charlstm.training.divergence import is_finite_loss
from charlstm.training.initial_state import initial_state
from charlstm.training.initial_weights import InitialWeights
from charlstm.training.loader import next_chunks
from charlstm.training.step import TrainingStep

LOWEST, HIGHEST = 1e-5, 100.0
STEPS_PER_DECADE = 50
STEPS = 351
"""The steps from LOWEST to HIGHEST."""
SMOOTHED_STEPS = 13
"""Steps, about a quarter of a decade, over whose losses a smoothed loss is the mean."""
DIVERGED = 1.1
"""A smoothed loss above this many times the first one ends the test: the network is worse than untrained."""
FALLEN = 0.98
"""A lowest smoothed loss above this many times the first one is noise."""
BELOW_MINIMUM = 3.0
"""The suggested rate is the rate of the lowest smoothed loss, divided by this: near the best rates of lstm, gru and rnn
in runs of some thousand steps. The tenth that is often taken is too low for them."""


@dataclass(frozen=True)
class RangeStep:
    """A step of the test: its learning rate, and the loss of its batch before its update, in nats."""

    number: int
    rate: float
    nats: float


def range_test(config: Config, corpus: Corpus) -> Iterator[RangeStep]:
    """Train a new network while the rate grows exponentially: rate_i = LOWEST * 10 ** (i / STEPS_PER_DECADE).

    Ends at HIGHEST, or when the loss has diverged. Batches, network, optimizer and clipping are those of a run with
    this configuration; schedule and warmup have no part in it. No file is written.

    Raises UserError as the start of a run does.
    """
    training = config.training
    device = resolve_device(training.device, SINGLE_PROCESS)
    precision = resolve_precision(training.precision, device, cell_of(config.model), config.model.executor)
    state = initial_state(config, corpus, device, SINGLE_PROCESS)
    InitialWeights(config, corpus.vocabulary, state, SINGLE_PROCESS).take()
    step = TrainingStep(training, state.model, state.optimizer, precision)
    losses = list[float]()
    for number in range(STEPS):
        rate = LOWEST * 10 ** (number / STEPS_PER_DECADE)
        batches = next_chunks(state.streams, training.gradient_accumulation)
        loss_and_norm, state.carried = step.gradients(step.inputs(batches), state.carried)
        nats, norm = loss_and_norm.tolist()
        if not is_finite_loss(nats) or not math.isfinite(norm):
            return
        losses.append(nats)
        yield RangeStep(number, rate, nats)
        if fmean(losses[-SMOOTHED_STEPS:]) > DIVERGED * losses[0]:
            return
        step.set_learning_rate(rate)
        step.update(loss_and_norm[1])
        if not all(bool(torch.isfinite(p).all()) for p in state.model.parameters()):
            return


def smoothed(steps: Sequence[RangeStep]) -> list[float]:
    """For each step, the mean loss of the ``SMOOTHED_STEPS`` around it; of fewer at the ends."""
    nats, last = [step.nats for step in steps], len(steps) - 1
    halves = [min(SMOOTHED_STEPS // 2, number, last - number) for number in range(len(nats))]
    return [fmean(nats[number - half : number + half + 1]) for number, half in enumerate(halves)]


def lowest_rate(steps: Sequence[RangeStep]) -> float:
    """The rate at which the smoothed loss is lowest. Raises UserError if the loss did not fall."""
    curve = smoothed(steps)
    if not curve or min(curve) > FALLEN * curve[0]:
        raise UserError("the loss does not fall at any learning rate: the range test suggests none")
    return steps[min(range(len(curve)), key=curve.__getitem__)].rate


def suggested_rate(steps: Sequence[RangeStep]) -> float:
    """The rate of the lowest smoothed loss divided by ``BELOW_MINIMUM``, with two significant digits.

    At that rate itself the loss is about to rise, and a run holds its highest rate for much longer than the test.
    Raises UserError if the loss did not fall.
    """
    return float(f"{lowest_rate(steps) / BELOW_MINIMUM:.2g}")
