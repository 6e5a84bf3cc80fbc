"""Batches on the training device: cut from a resident text, or prefetched from the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from charlstm.config import Config
from charlstm.executors.transfer import to_device
from charlstm.text.block_streams import BlockStreams
from charlstm.text.corpus import Corpus
from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents
from charlstm.text.streams import Batch, Streams

MAX_TEXT_FRACTION = 0.25
"""Fraction of the free device memory that a resident text may take."""


HostBatches = Streams | BlockStreams | DocumentBatches


def training_batches(config: Config, corpus: Corpus) -> HostBatches:
    """The batches of the training split, as configured."""
    training, text, direction = config.training, corpus.split("train"), config.model.direction
    shape = (corpus.vocabulary.size, training.batch_size, training.sequence_length)
    if isinstance(text, Documents) and not text.is_running_text:
        return DocumentBatches(text, *shape, direction, training.seed)
    options = (direction == "backward", config.model.washout)
    if isinstance(text, Documents):
        return BlockStreams(text, *shape, *options)
    return Streams(text, *shape, *options, training.sequence_length_std, training.seed)


def next_chunks(source: BatchSource, count: int) -> list[Batch]:
    """The next ``count`` batches; fewer at the end of an epoch, which they do not cross."""
    chunks = [source.next_batch()]
    while len(chunks) < count and source.state_dict()["position"]:
        chunks.append(source.next_batch())
    return chunks


def make_batch_source(streams: HostBatches, device: torch.device, free: int | None) -> BatchSource:
    """The batches of the streams, each on the device. On the CPU these are the streams themselves.

    On other devices a continuous text that takes at most ``MAX_TEXT_FRACTION`` of the ``free`` bytes becomes resident;
    a longer one, one with holes, and documents are copied batch by batch.
    """
    if device.type == "cpu":
        return streams
    if isinstance(streams, Streams) and free is not None and streams.required_bytes <= MAX_TEXT_FRACTION * free:
        streams.to_device(device)
        return streams
    return PrefetchLoader(streams, device)


class PrefetchLoader:
    """Copies the batches of streams or documents to a device, each during the training step before it.

    Its position and ``state_dict`` are those after the batches returned so far.
    """

    resident_bytes = 0
    """Bytes of the text resident on the device."""

    def __init__(self, streams: HostBatches, device: torch.device) -> None:
        self._streams, self._device = streams, device
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._prefetched: Batch | None = None
        self.notice = streams.notice
        self._update_position()

    def _update_position(self) -> None:
        streams = self._streams
        self.batch_size, self.sequence_length = streams.batch_size, streams.sequence_length
        self.longest_chunk = streams.longest_chunk
        self.steps_per_epoch, self.progress = streams.steps_per_epoch, streams.progress
        self._position = streams.state_dict()

    def next_batch(self) -> Batch:
        """The next batch, on the device; starts to copy the one after it."""
        batch = self._fetch() if self._prefetched is None else self._prefetched
        self._sync_copy(batch)
        self._update_position()
        self._prefetched = self._fetch()
        return batch

    def _fetch(self) -> Batch:
        batch = self._streams.next_batch()
        with self._on_copy_stream():
            tensors: dict[str, Any] = {name: to_device(t, self._device) for name, t in _tensors(batch).items()}
            return Batch(**{**vars(batch), **tensors})

    def _on_copy_stream(self) -> AbstractContextManager[object]:
        """Run the block on the copy stream, concurrently with training."""
        return nullcontext() if self._copy_stream is None else torch.cuda.stream(self._copy_stream)

    def _sync_copy(self, batch: Batch) -> None:
        """Make the current CUDA stream wait for the copies of the batch; the CPU does not wait."""
        if self._copy_stream is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._copy_stream)
        for t in _tensors(batch).values():
            t.record_stream(current)

    def state_dict(self) -> dict[str, int]:
        """The position of the streams after the batches returned so far."""
        return self._position

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position of :meth:`state_dict`; raises as the streams do."""
        self._streams.load_state_dict(state)
        self._prefetched = None
        self._update_position()


BatchSource = HostBatches | PrefetchLoader


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: t for name, t in vars(batch).items() if isinstance(t, Tensor)}
