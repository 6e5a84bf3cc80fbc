"""Reading a text again in each epoch: the position in it, and its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.memory_map import release

RELEASE_AFTER = 1 << 26
"""Number of characters read before the pages of the memory map are released."""


class EpochReader(ABC):
    """Reads all chunks of a text in each epoch; ``epoch`` and ``position`` are the whole state.

    Attributes:
        epoch: epochs completed.
        position: index of the next chunk in the epoch.
    """

    settings: Mapping[str, int]
    """The settings that a position is valid for."""

    epoch = position = 0
    _characters_since_release = 0

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Number of batches in the current epoch."""

    @property
    def progress(self) -> float:
        """Epochs read so far, as a fraction."""
        return (self.epoch * self.steps_per_epoch + self.position) / self.steps_per_epoch

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0

    def _advance(self, ids: npt.NDArray[np.integer], read: int) -> None:
        """Go on to the next chunk, after the last one to the next epoch. ``read`` characters of the memory map ``ids``
        were read for this one."""
        self._characters_since_release += read
        if self._characters_since_release >= RELEASE_AFTER:
            release(ids)
            self._characters_since_release = 0
        self.position += 1
        if self.position == self.steps_per_epoch:
            self._begin_epoch(self.epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """The position, with the settings that it is valid for: plain integers."""
        return {"epoch": self.epoch, "position": self.position, **self.settings}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from the position of a `state_dict`.

        Raises:
            UserError: the state was saved with another text or other settings, or is damaged.
        """
        saved = {key: state.get(key) for key in self.settings}
        if saved != self.settings:
            differing = ", ".join(
                f"{key} was {saved[key]}, is {now}" for key, now in self.settings.items() if saved[key] != now
            )
            raise UserError(
                f"cannot resume: the batches are cut differently from the saved run ({differing}). "
                "Resume with the same text, batch_size, sequence_length and direction, or start a new run."
            )
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch >= 0:
            self._begin_epoch(epoch)
        if epoch < 0 or not 0 <= position < self.steps_per_epoch:
            raise UserError("cannot resume: the saved position in the text is damaged. Start a new run.")
        self.position = position


def check_shape(batch_size: int, sequence_length: int, text: int) -> None:
    """Raise ValueError unless both are at least 1, and UserError if the text is empty."""
    if batch_size < 1 or sequence_length < 1:
        raise ValueError("batch_size and sequence_length must be at least 1")
    if text == 0:
        raise UserError("there is no text to read: the split is empty. Use a longer text or change the fractions.")


def too_short(characters: int, batch_size: int, sequence_length: int, used: int) -> str | None:
    """The notice that a text has fewer streams than requested; None if it has as many."""
    if used == batch_size:
        return None
    streams = "1 stream is" if used == 1 else f"{used} streams are"
    return (
        f"The text of {characters:,} characters is too short for {batch_size} streams of {sequence_length}: {streams} "
        "used instead."
    )
