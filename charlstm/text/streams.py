"""Batches of contiguous streams; every character of a split is a target exactly once per epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.text.chunk_lengths import chunk_bounds, longest_chunk
from charlstm.text.epochs import EpochReader, check_shape, too_short
from charlstm.text.memory_map import release

IGNORE = -100
"""Target index that does not count in the loss, as ``ignore_index`` in torch."""

COPY_BLOCK = 1 << 22
"""Characters copied at a time when the whole text is copied to a device."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One chunk of every stream, time-major. All tensors are int64 ``[T, B]``, on the CPU or on the device of the
    streams.

    ``previous``, ``targets`` and ``following`` are the characters at t-1, t and t+1 in reading direction;
    V before the first and after the last character of the split. Targets that do not count are `IGNORE`. The three
    tensors may share memory: do not modify them.
    """

    previous: torch.Tensor
    targets: torch.Tensor
    following: torch.Tensor
    reset_state: bool
    """Whether a new sequence begins in every row, so that the carried state must be reset."""
    count: int
    """Number of targets that count in the loss."""
    lengths: torch.Tensor | None = None
    """Length of the text in each column, int64 ``[B]``, before the padding; None: no padding."""
    fresh: torch.Tensor | None = None
    """The rows of the batch in which a new sequence begins, bool ``[B]``: their carried state must be reset. None: as
    ``reset_state`` says."""


class Streams(EpochReader):
    """A text of N characters as B contiguous streams, cut into chunks of T.

    Stream b has the targets ``[N*b//B, N*(b+1)//B)``, so lengths differ by at most one. The last chunk may be
    shorter than T; in its last row the streams that are shorter by one do not count. The order of batches is fixed,
    so `epoch` and `position` are the full state.

    With ``length_std`` above 0 the lengths of the chunks are random (`chunk_bounds`), by ``seed`` and the epoch.

    A text too short for B streams of length T is cut into fewer streams, each of length min(N, T) or longer;
    `batch_size` is the number used, and `notice` reports it.

    With a washout, the first ``washout`` targets of every stream do not count, since the state starts from zero. At
    least one row of the first chunk always counts; with random lengths, that chunk is longer than the washout.

    Args:
        ids: ``[N]``, any integer dtype, may be a memory map; it is never copied at once.
        vocabulary_size: V.
        batch_size: the requested B.
        sequence_length: T.
        reverse: read the text from right to left.
        washout: number of targets at the start of each stream that do not count.
        length_std: standard deviation of the length of a chunk; 0: all have length T.
        seed: seed of random lengths.

    Raises:
        UserError: the text is empty.
        ValueError: B or T is below 1.
    """

    def __init__(
        self,
        ids: npt.NDArray[np.integer],
        vocabulary_size: int,
        batch_size: int,
        sequence_length: int,
        reverse: bool = False,
        washout: int = 0,
        length_std: int = 0,
        seed: int = 1,
    ) -> None:
        check_shape(batch_size, sequence_length, len(ids))
        self.ids = np.asarray(ids)
        self.vocabulary_size = vocabulary_size
        self.sequence_length = sequence_length
        self.reverse = reverse
        self.characters = len(ids)
        self.batch_size = min(batch_size, max(1, self.characters // sequence_length))
        self.notice = too_short(self.characters, batch_size, sequence_length, self.batch_size)
        self.settings = {
            "characters": self.characters,
            "batch_size": self.batch_size,
            "sequence_length": sequence_length,
            "reverse": int(reverse),
        }
        self.longest_chunk = longest_chunk(sequence_length, length_std)
        self._washout, self._length_std, self._seed = washout, length_std, seed
        bounds = np.array([self.characters * b // self.batch_size for b in range(self.batch_size + 1)], np.int64)
        lengths = np.diff(bounds)
        self._longest = int(lengths.max())
        self._ends_early = torch.from_numpy(lengths < self._longest)
        self._ends_early_count = int(self._ends_early.sum())
        self._positions = bounds[:-1] + np.arange(-1, sequence_length + 1, dtype=np.int64)[:, None]
        self._resident: torch.Tensor | None = None
        self._begin_epoch(0)

    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        self._bounds = chunk_bounds(self._longest, self.sequence_length, self._length_std, self._seed, epoch)
        first = min(self._washout + 1, self._longest)
        if self._length_std and self._bounds[1] < first:
            ends = np.asarray(self._bounds)
            self._bounds = np.concatenate([[0, first], ends[ends > first]])

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in the current epoch; with random lengths it differs between epochs."""
        return len(self._bounds) - 1

    @property
    def required_bytes(self) -> int:
        """Bytes of device memory that :meth:`to_device` needs."""
        return (self._longest + 2) * self.batch_size * self._resident_dtype.itemsize

    @property
    def resident_bytes(self) -> int:
        """Bytes of device memory that :meth:`to_device` has allocated; 0 if the text is read from the host."""
        return 0 if self._resident is None else self._resident.nbytes

    def to_device(self, device: torch.device) -> None:
        """Copy the whole text to a device as [length, B] in the smallest dtype; batches are then sliced there, without
        further copies. The batches do not change."""
        resident = torch.empty(self._longest + 2, self.batch_size, dtype=self._resident_dtype, device=device)
        rows = max(1, COPY_BLOCK // self.batch_size)
        for begin in range(0, len(resident), rows):
            part = resident[begin : begin + rows]
            part.copy_(torch.from_numpy(self._read(begin, len(part))))
            release(self.ids)
        self._resident, self._ends_early = resident, self._ends_early.to(device)

    @property
    def _resident_dtype(self) -> torch.dtype:
        """The smallest dtype that can represent the ids and V."""
        return next(d for d in (torch.uint8, torch.int16, torch.int32) if self.vocabulary_size <= torch.iinfo(d).max)

    def _read(self, begin: int, rows: int) -> npt.NDArray[np.int64]:
        """The characters at the offsets ``begin - 1`` to ``begin - 1 + rows`` of every stream, [rows, B]."""
        if rows <= len(self._positions):
            positions = self._positions[:rows] + begin
        else:
            positions = self._positions[0] + np.arange(begin, begin + rows)[:, None]
        source = self.characters - 1 - positions if self.reverse else positions
        window = np.take(self.ids, source, mode="clip").astype(np.int64)
        if begin == 0 or begin + rows == self._longest + 2:
            window[(positions < 0) | (positions >= self.characters)] = self.vocabulary_size
        return window

    def next_batch(self) -> Batch:
        """The batch at `position`; advances by one chunk, after the last chunk to the next epoch."""
        begin = int(self._bounds[self.position])
        rows = min(int(self._bounds[self.position + 1]), self._longest) - begin
        if self._resident is None:
            window = torch.from_numpy(self._read(begin, rows + 2))
        else:
            window = self._resident[begin : begin + rows + 2].to(torch.int64)
        last = self.position == self.steps_per_epoch - 1
        targets = window[1:-1]
        ignored = min(self._washout, rows - 1) if self.position == 0 else 0
        if last or ignored:
            targets = targets.clone()
            targets[:ignored] = IGNORE
        if last:
            targets[-1].masked_fill_(self._ends_early, IGNORE)
        batch = Batch(
            previous=window[:-2],
            targets=targets,
            following=window[2:],
            reset_state=self.position == 0,
            count=targets.numel() - ignored * self.batch_size - (self._ends_early_count if last else 0),
        )
        self._advance(self.ids, window.numel() if self._resident is None else 0)
        return batch
