"""Batches of contiguous streams: every character of a split is a target exactly once an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.errors import UserError
from charlstm.text.memory_map import release

IGNORE = -100
"""The target that does not count."""

DAMAGED = "cannot resume: the saved place in the text is damaged. Begin a new run."

RELEASE_AFTER = 1 << 26
"""Characters read before the pages of a memory map that hold them are given back."""

LAID_AT_A_TIME = 1 << 22
"""Characters that are read at a time where the whole text is put on a device."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One chunk of every stream, time-major. All tensors are int64 ``[T, B]``, on the CPU unless the streams are put
    elsewhere.

    ``previous``, ``targets`` and ``following`` are the characters at t-1, t and t+1 in reading direction;
    the id V where there is none (before the first, after the last character of the split). Targets that do
    not count are `IGNORE`. The three may share memory: they are for reading.
    """

    previous: torch.Tensor
    targets: torch.Tensor
    following: torch.Tensor
    fresh: bool
    """The chunk begins something new in every row: carried state no longer fits."""
    count: int
    """Number of targets that count."""
    lengths: torch.Tensor | None = None
    """How much of each row is text, int64 ``[B]``, where what follows is only filled up; None: all of it."""


class Streams:
    """A text of N characters as B contiguous streams, cut into chunks of T.

    Stream b has the targets ``[N*b//B, N*(b+1)//B)``, so lengths differ by at most one. The last chunk may be
    shorter than T; in its last row the streams that are shorter by one do not count. There is no random
    state: the order of batches is fixed, and `epoch` and `position` say all.

    A text too short for B streams of T is cut into fewer streams, at least one, each of them min(N, T) long
    or longer; `batch_size` is the number used, and `notice` says so in a sentence.

    With a washout, the first so many targets of every stream do not count: a network that starts from zero has not
    read enough yet. At least one row of the first chunk counts, whatever the washout.

    Args:
        ids: ``[N]``, any integer dtype, may be a memory map; it is never copied as a whole.
        vocabulary_size: V.
        batch_size: B wished for.
        sequence_length: T.
        reverse: read the text from right to left.
        washout: targets at the start of each stream that do not count, from 0.

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
    ) -> None:
        if batch_size < 1 or sequence_length < 1:
            raise ValueError("batch_size and sequence_length must be at least 1")
        if len(ids) == 0:
            raise UserError("there is no text to read: the split is empty. Give a longer text or change the fractions.")
        self.ids = np.asarray(ids)
        self.vocabulary_size = vocabulary_size
        self.sequence_length = sequence_length
        self.reverse = reverse
        self.characters = len(ids)
        self.batch_size = min(batch_size, max(1, self.characters // sequence_length))
        self.notice: str | None = None
        if self.batch_size < batch_size:
            streams = "1 stream is" if self.batch_size == 1 else f"{self.batch_size} streams are"
            self.notice = (
                f"The text of {self.characters:,} characters is too short for {batch_size} streams of "
                f"{sequence_length}: {streams} used instead."
            )
        self.epoch = 0
        """Epochs completed."""
        self.position = 0
        """Index, within the epoch, of the chunk that comes next."""
        self._unreleased = 0
        bounds = np.array([self.characters * b // self.batch_size for b in range(self.batch_size + 1)], np.int64)
        lengths = np.diff(bounds)
        self._longest = int(lengths.max())
        self._washout = min(washout, self._longest - 1, sequence_length - 1)
        self._short = torch.from_numpy(lengths < self._longest)
        self._short_count = int(self._short.sum())
        self._places = bounds[:-1] + np.arange(-1, sequence_length + 1, dtype=np.int64)[:, None]
        self._laid: torch.Tensor | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return -(-self._longest // self.sequence_length)

    @property
    def progress(self) -> float:
        """Epochs read so far, as a fraction."""
        return (self.epoch * self.steps_per_epoch + self.position) / self.steps_per_epoch

    @property
    def bytes_to_lay(self) -> int:
        """The memory that :meth:`put_on` takes."""
        return (self._longest + 2) * self.batch_size * self._laid_dtype.itemsize

    @property
    def bytes_laid(self) -> int:
        """The memory that :meth:`put_on` took; 0 where the text is read from where it lies."""
        return 0 if self._laid is None else self._laid.nbytes

    def put_on(self, device: torch.device) -> None:
        """Lay the whole text out on a device, the streams side by side, in a small type: batches are then cut out
        there, and nothing is copied any more. They are the same."""
        laid = torch.empty(self._longest + 2, self.batch_size, dtype=self._laid_dtype, device=device)
        rows = max(1, LAID_AT_A_TIME // self.batch_size)
        for begin in range(0, len(laid), rows):
            part = laid[begin : begin + rows]
            part.copy_(torch.from_numpy(self._read(begin, len(part))))
            release(self.ids)
        self._laid, self._short = laid, self._short.to(device)

    @property
    def _laid_dtype(self) -> torch.dtype:
        """The smallest type that holds the ids, V too."""
        return next(d for d in (torch.uint8, torch.int16, torch.int32) if self.vocabulary_size <= torch.iinfo(d).max)

    def _read(self, begin: int, rows: int) -> npt.NDArray[np.int64]:
        """The characters at the offsets ``begin - 1`` to ``begin - 1 + rows`` of every stream, [rows, B]."""
        if rows <= len(self._places):
            place = self._places[:rows] + begin
        else:
            place = self._places[0] + np.arange(begin, begin + rows)[:, None]
        source = self.characters - 1 - place if self.reverse else place
        window = np.take(self.ids, source, mode="clip").astype(np.int64)
        if begin == 0 or begin + rows == self._longest + 2:
            window[(place < 0) | (place >= self.characters)] = self.vocabulary_size
        return window

    def next_batch(self) -> Batch:
        """The batch at `position`; moves on by one chunk, and after the last one to the next epoch."""
        begin = self.position * self.sequence_length
        rows = min(self.sequence_length, self._longest - begin)
        if self._laid is None:
            window = torch.from_numpy(self._read(begin, rows + 2))
            self._unreleased += window.numel()
        else:
            window = self._laid[begin : begin + rows + 2].to(torch.int64)
        last = self.position == self.steps_per_epoch - 1
        targets = window[1:-1]
        unread = self._washout if self.position == 0 else 0
        if last or unread:
            targets = targets.clone()
            targets[:unread] = IGNORE
        if last:
            targets[-1].masked_fill_(self._short, IGNORE)
        batch = Batch(
            previous=window[:-2],
            targets=targets,
            following=window[2:],
            fresh=self.position == 0,
            count=targets.numel() - unread * self.batch_size - (self._short_count if last else 0),
        )
        if self._unreleased >= RELEASE_AFTER:
            release(self.ids)
            self._unreleased = 0
        self.position += 1
        if self.position == self.steps_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0
        return batch

    def state_dict(self) -> dict[str, int]:
        """Where the reading stands, with the shape it holds for: plain integers."""
        return {"epoch": self.epoch, "position": self.position, **self._shape()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            UserError: the state was taken with another text length, batch size, sequence length or
                direction, or is damaged.
        """
        epoch, position = saved_place(state, self._shape())
        if position >= self.steps_per_epoch:
            raise UserError(DAMAGED)
        self.epoch, self.position = epoch, position

    def _shape(self) -> dict[str, int]:
        return {
            "characters": self.characters,
            "batch_size": self.batch_size,
            "sequence_length": self.sequence_length,
            "reverse": int(self.reverse),
        }


def saved_place(state: Mapping[str, int], mine: Mapping[str, int]) -> tuple[int, int]:
    """Epoch and position of a saved state, if the shape that it holds for is ``mine``.

    Raises:
        UserError: it was saved with another one, or is damaged.
    """
    other = {key: state.get(key) for key in mine}
    if other != mine:
        differing = ", ".join(f"{key} {other[key]} then, {mine[key]} now" for key in mine if other[key] != mine[key])
        raise UserError(
            f"cannot resume: the batches are cut differently from the saved run ({differing}). "
            "Resume with the same text, batch_size, sequence_length and direction, or begin a new run."
        )
    epoch, position = state.get("epoch", -1), state.get("position", -1)
    if epoch < 0 or position < 0:
        raise UserError(DAMAGED)
    return epoch, position
