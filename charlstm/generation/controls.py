"""Controls of a text as a whole: what depends on its length, and on the characters that are already written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from charlstm.errors import UserError
from charlstm.generation.sampling import Sampling
from charlstm.text.automaton import Automaton


@dataclass(frozen=True)
class Controls:
    """What controls a text beyond the sampling of each character.

    final_temperature  the temperature changes linearly from the first character to this one at the last of ``length``:
                       T_k = T_1 + (T_L - T_1) (k - 1) / (L - 1); None: it is constant
    no_repeat          passages of more characters than this are unlikely to be repeated
                       (:mod:`charlstm.generation.repetition`); 0: off
    automaton          the text without the prompt matches its pattern; None: it is free

    Raises UserError for values out of range.
    """

    final_temperature: float | None = None
    no_repeat: int = 0
    automaton: Automaton | None = None

    def __post_init__(self) -> None:
        if self.no_repeat < 0:
            raise UserError(f"no-repeat must be 0 (off) or more, found {self.no_repeat}")
        if self.final_temperature is not None:
            Sampling(self.final_temperature)

    def simplified(self, sampling: Sampling) -> Controls:
        """Without a schedule of the temperature if it ends where it begins."""
        return replace(self, final_temperature=None) if self.final_temperature == sampling.temperature else self

    def sampling_at(self, sampling: Sampling, written: int, length: int) -> Sampling:
        """How the character after ``written`` others is sampled, in a text of ``length``."""
        if self.final_temperature is None or length < 2:
            return sampling
        change = (self.final_temperature - sampling.temperature) * written / (length - 1)
        return replace(sampling, temperature=max(0.0, sampling.temperature + change))


NO_CONTROLS = Controls()
