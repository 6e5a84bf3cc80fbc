"""The loss and the gradient's norm of each step, read from where they were computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PACE = 0.2  # seconds of training between two readings, about: a watcher sees life, and little is lost by waiting
FARTHEST = 256  # steps between two readings at most
UNSURE = 25.0  # nats: Adam's epsilon keeps a model that learns soundly from being surer than about 18


def has_diverged(nats: float, symbols: int) -> bool:
    """Whether a loss is not finite, or so much worse than a guess (ln V) that the weights cannot be any good.

    A text that suddenly turns to other symbols costs a sound model up to about 18 nats each, however small V is.
    The loss is computed in float32 in either precision, and bfloat16 has float32's range: the bound is the same.
    """
    return not math.isfinite(nats) or nats > max(UNSURE, 3 * math.log(symbols) + 1)


class PendingStep(NamedTuple):
    """A step that has been told to begin: the counters before it, how many targets count in it, its figures.

    ``figures`` is [2], on the device: the loss in nats and the gradient's norm.
    """

    steps_before: int
    characters_before: int
    counted: int
    figures: Tensor


class DeferredMetrics:
    """Keeps the figures of the steps that are under way.

    The CPU is done with a step when the call returns, and its figures can be read at once. Other devices are only told
    what to do and go on by themselves (``ahead``): who reads the figures waits for them, and the device then has
    nothing to do until the next step is prepared. So they are read some steps at a time, about every fifth of a second;
    how many steps that is, is found by the clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.ahead = device.type != "cpu"
        self._kept: list[PendingStep] = []
        self._together = 1
        self._seconds = 0.0

    def __len__(self) -> int:
        """How many have not been read."""
        return len(self._kept)

    @property
    def due(self) -> bool:
        """Whether it is time to read them."""
        return len(self._kept) >= self._together

    def keep(self, begun: PendingStep) -> None:
        """Those of one more step."""
        self._kept.append(begun)

    def read(self) -> Iterator[tuple[PendingStep, float, float]]:
        """All steps that were not read yet, in their order, with loss and norm; waits for them once."""
        if not self._kept:
            return
        kept, self._kept = self._kept, []
        values = torch.stack([begun.figures for begun in kept]).tolist()
        for begun, (nats, norm) in zip(kept, values, strict=True):
            yield begun, nats, norm

    def set_pace(self, steps: int, seconds: float) -> None:
        """So many steps were read, when the run had trained for so many seconds in all."""
        passed, self._seconds = max(seconds - self._seconds, 1e-9), seconds
        self._together = max(1, min(round(PACE * steps / passed), 2 * steps, FARTHEST))
