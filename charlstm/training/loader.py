"""Batches where they are trained on: cut out there, or copied there ahead of their step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from charlstm.config import Config
from charlstm.executors.transfer import to_device
from charlstm.text.corpus import Corpus
from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents
from charlstm.text.streams import Batch, Streams

SHARE = 0.25
"""Of the free memory of a device that a text may take up, so as to be there once and for all."""


def training_batches(config: Config, corpus: Corpus) -> Streams | DocumentBatches:
    """The training split as the configuration wants it read."""
    training, text, direction = config.training, corpus.split("train"), config.model.direction
    shape = (corpus.vocabulary.size, training.batch_size, training.sequence_length)
    if isinstance(text, Documents):
        return DocumentBatches(text, *shape, direction, training.seed)
    return Streams(text, *shape, reverse=direction == "backward", washout=config.model.washout)


def make_batch_source(streams: Streams | DocumentBatches, device: torch.device, free: int | None) -> BatchSource:
    """The batches of the streams, each on the device. On the CPU these are the streams themselves.

    Elsewhere a running text that takes at most ``SHARE`` of the ``free`` bytes is put there whole; a longer one, and
    documents, are copied batch by batch.
    """
    if device.type == "cpu":
        return streams
    if isinstance(streams, Streams) and free is not None and streams.bytes_to_lay <= SHARE * free:
        streams.put_on(device)
        return streams
    return PrefetchLoader(streams, device)


class PrefetchLoader:
    """Streams or documents whose batches are copied to a device, each while the one before it is trained on.

    The place that it tells, and saves, is that after the batches it has given.
    """

    bytes_laid = 0
    """Bytes of the text that lie on the device for good."""

    def __init__(self, streams: Streams | DocumentBatches, device: torch.device) -> None:
        self._streams, self._device = streams, device
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._ahead: Batch | None = None
        self.notice = streams.notice
        self._look()

    def _look(self) -> None:
        streams = self._streams
        self.batch_size, self.sequence_length = streams.batch_size, streams.sequence_length
        self.steps_per_epoch, self.progress = streams.steps_per_epoch, streams.progress
        self._place = streams.state_dict()

    def next_batch(self) -> Batch:
        """The batch whose turn it is, on the device; begins to copy the one after it."""
        batch = self._fetched() if self._ahead is None else self._ahead
        self._wait_for(batch)
        self._look()
        self._ahead = self._fetched()
        return batch

    def _fetched(self) -> Batch:
        batch = self._streams.next_batch()
        with self._beside():
            there: dict[str, Any] = {name: to_device(t, self._device) for name, t in _tensors(batch).items()}
            return Batch(**{**vars(batch), **there})

    def _beside(self) -> AbstractContextManager[object]:
        """What is done meanwhile is done on the GPU beside other work, not after it."""
        return nullcontext() if self._side is None else torch.cuda.stream(self._side)

    def _wait_for(self, batch: Batch) -> None:
        """Whatever the GPU is given from now on comes after the copies; the CPU does not wait."""
        if self._side is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._side)
        for t in _tensors(batch).values():
            t.record_stream(current)

    def state_dict(self) -> dict[str, int]:
        """As of the streams, where the batches given end."""
        return self._place

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where ``state_dict`` was taken; raises as the streams do."""
        self._streams.load_state_dict(state)
        self._ahead = None
        self._look()


BatchSource = Streams | DocumentBatches | PrefetchLoader


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: t for name, t in vars(batch).items() if isinstance(t, Tensor)}
