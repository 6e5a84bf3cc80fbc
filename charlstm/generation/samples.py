"""Sampled texts, which print as text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 60  # characters in a repr


def shortened(text: str) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


@dataclass(frozen=True)
class Sample:
    """One text: the prompt, the sampled text, and ln p of each sampled character under the model (temperature 1).

    ``backward``: the text was sampled from right to left and precedes the prompt. ``ids``: ids of prompt and text,
    lossless even if bytes are not UTF-8; ``prompt_length`` of them are the prompt's. ``ended``: the text reached
    ``until``, or matches a pattern. If ``until`` was removed from the text, ``log_probabilities`` still includes it, at
    its end.
    """

    prime: str
    text: str
    log_probabilities: list[float]
    backward: bool = False
    ids: Sequence[int] = ()
    ended: bool = False
    prompt_length: int = 0

    def __str__(self) -> str:
        return self.full_text

    def __repr__(self) -> str:
        return f"<Sample of {len(self.text):,} characters: {shortened(self.full_text)!r}>"

    @property
    def full_text(self) -> str:
        """Prompt and sampled text, in reading order."""
        return self.text + self.prime if self.backward else self.prime + self.text

    @property
    def score(self) -> float:
        """The mean ln p per character under the model; 0 for an empty text."""
        return sum(self.log_probabilities) / max(len(self.log_probabilities), 1)


class Samples(list[Sample]):
    """Sampled texts; as a string, all of them, numbered if there are several."""

    def best(self, count: int) -> Samples:
        """The ``count`` texts with the highest mean ln p per character, best first; empty texts, without one, last."""
        ranked = sorted(self, key=lambda sample: (bool(sample.log_probabilities), sample.score), reverse=True)
        return Samples(ranked[:count])

    def __str__(self) -> str:
        if len(self) == 1:
            return self[0].full_text
        return "\n".join(f"--- {number} of {len(self)}\n{sample}" for number, sample in enumerate(self, 1))

    def _repr_html_(self) -> str:
        """The texts for a notebook."""
        return "".join(f"<pre>{html.escape(sample.full_text)}</pre>" for sample in self)
