"""Writing text step by step on any device: nothing waits for a character."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from charlstm.executors.cuda_graph import CudaGraph
from charlstm.generation.incremental import IncrementalModel

ROWS = 1024  # characters of each text that are written between two readings from the device, or read at a time
LONG = 8  # characters from which on reading them is recorded, which takes as long as reading a few

Draw = Callable[[Tensor, Tensor], Tensor]
"""Logits [B, V] and chances [B] to ids [B]."""


class StepDecoder:
    """B texts that go on from the beginning.

    One character of all texts is one :class:`~charlstm.executors.cuda_graph.CudaGraph`: the draw from the logits, where
    it is noted, and the step that reads it; a long beginning is read by one too. Chances for many characters are put on
    the device ahead, and what was written is read from it at once, so that the device never waits for its host in
    between.
    """

    def __init__(self, stepper: IncrementalModel, batch_size: int, draw: Draw) -> None:
        self._stepper, self._draw = stepper, draw
        device, size = stepper.device, (ROWS, batch_size)
        # MPS has no float64
        self._chances = torch.zeros(size, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        self._ids = torch.zeros(size, dtype=torch.int64, device=device)
        self._log_probabilities = torch.zeros(size, device=device)
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._character = self._recorded(self._write_one)

    def _recorded(self, work: Callable[[], None]) -> CudaGraph:
        """The work, which moves the state and the row on; the state is then as before, and the row to be set."""
        first = self._stepper.state
        self._row.zero_()
        with torch.no_grad():
            recording = CudaGraph(work, self._stepper.device)
        self._stepper.state = first
        return recording

    def _read_one(self) -> None:
        ids = self._ids.index_select(0, self._row)[0]
        self._row.add_(1)
        self._stepper(ids)

    def _read(self, ids: Tensor) -> None:
        """Read the characters ids [N, B]."""
        step: Callable[[], None] = self._recorded(self._read_one) if len(ids) > LONG else self._read_one
        for block in torch.split(ids, ROWS):
            self._ids[: len(block)] = block
            self._row.zero_()
            for _ in range(len(block)):
                step()

    def _write_one(self) -> None:
        logits = self._stepper.logits
        ids = self._draw(logits, self._chances.index_select(0, self._row)[0])
        chosen = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        self._ids.index_copy_(0, self._row, ids[None])
        self._log_probabilities.index_copy_(0, self._row, chosen[None].float())
        self._row.add_(1)
        self._stepper(ids)

    def write(self, chances: Tensor, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read the characters ``read`` [N, B], without which nothing can be written at first, then write as many as
        ``chances`` [T, B] says.

        Returns the ids written and the natural logarithms of their probabilities at temperature 1, both [T, B], on the
        CPU.
        """
        found: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            if read is not None:
                self._read(read)
            for block in torch.split(chances, ROWS):
                count = len(block)
                self._chances[:count] = block
                self._row.zero_()
                for _ in range(count):
                    self._character()
                found.append(
                    (self._ids[:count].to("cpu", copy=True), self._log_probabilities[:count].to("cpu", copy=True))
                )
        ids, log_probabilities = zip(*found, strict=True)
        return torch.cat(ids), torch.cat(log_probabilities)
