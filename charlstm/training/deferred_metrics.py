"""Loss and gradient norm of each step, read from the device some steps at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

READ_INTERVAL = 0.2  # seconds of training between two reads: the progress line stays live, the device busy
MAX_PENDING = 256  # steps between two reads, at most


class PendingStep(NamedTuple):
    """A launched step: the counters before it, its number of targets, its loss and gradient norm.

    ``loss_and_norm`` is [2], on the device: the loss in nats and the gradient norm.
    """

    steps_before: int
    characters_before: int
    num_targets: int
    loss_and_norm: Tensor


class DeferredMetrics:
    """Loss and gradient norm of the steps that have been launched on the device and not been read yet.

    On the CPU a step is complete when the call returns, and its metrics can be read at once. Other devices run
    asynchronously: reading the metrics waits for the device, which is then idle until the next step is launched. So
    they are read for several steps at once, about every ``READ_INTERVAL`` seconds.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_asynchronous = device.type != "cpu"
        self._pending: list[PendingStep] = []
        self._read_every = 1
        self._seconds = 0.0

    def __len__(self) -> int:
        """Number of steps not read yet."""
        return len(self._pending)

    @property
    def is_due(self) -> bool:
        """Whether it is time to read them."""
        return len(self._pending) >= self._read_every

    def append(self, pending: PendingStep) -> None:
        """Add a launched step."""
        self._pending.append(pending)

    def read(self) -> Iterator[tuple[PendingStep, float, float]]:
        """All steps not read yet, in order, with loss and gradient norm; waits for the device once."""
        if not self._pending:
            return
        steps, self._pending = self._pending, []
        values = torch.stack([pending.loss_and_norm for pending in steps]).tolist()
        for pending, (nats, norm) in zip(steps, values, strict=True):
            yield pending, nats, norm

    def set_pace(self, steps: int, seconds: float) -> None:
        """Set how many steps are launched before the next read, given that ``steps`` steps have just been read after
        ``seconds`` of training in all."""
        elapsed, self._seconds = max(seconds - self._seconds, 1e-9), seconds
        self._read_every = max(1, min(round(READ_INTERVAL * steps / elapsed), 2 * steps, MAX_PENDING))
