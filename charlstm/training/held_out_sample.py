"""How much of the validation split the evaluations of a run score, so that they take little of its time."""

from __future__ import annotations

from typing import NamedTuple

from charlstm.config import TrainingConfig
from charlstm.text.corpus import SAMPLE_CHARACTERS

READ_PER_TRAINED = 1 / 8
"""Characters that an evaluation reads for each that was trained on since the one before. On a CPU, scoring in float32
takes a quarter to four fifths of the time per character of training, which is in bfloat16 if the CPU multiplies that
faster: LSTM of 128 to 512 units. So evaluations take at most a tenth of the training time."""
READ_PER_SCORED = 1.5
"""Characters of a sample of a running text that are read for each that is scored."""
MIN_CHARACTERS = 10_000
"""Characters of the smallest sample, however often a run is evaluated: it takes about a tenth of a second."""


class HeldOutSample(NamedTuple):
    """The number of ``characters`` of the validation split that evaluations score, ``of`` those that it has.

    They are the same ones each time, so the scores of a run are compared character by character: of Python's standard
    library, the scores of 30,000 characters by an LSTM of 256 units had a standard error of 0.04 nats, and the
    difference between two evaluations in a row one of 0.0025.
    """

    characters: int
    of: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole split."""
        return self.characters >= self.of

    def describe(self, unit: str) -> str:
        """What evaluations score, in one sentence."""
        if self.is_whole:
            return f"evaluations score all {self.of:,} held-out {unit}s"
        return (
            f"evaluations score an evenly spread sample of about {self.characters:,} of the {self.of:,} held-out "
            f"{unit}s, the same each time; all of them are scored when training ends (training.evaluation_characters)"
        )


def held_out_sample(training: TrainingConfig, trained: int, characters: int) -> HeldOutSample:
    """The part of a validation split with so many ``characters`` that evaluations score.

    Args:
        trained: characters trained on before the first evaluation.
    """
    setting, size = training.evaluation_characters, characters
    if setting == "auto":
        read, scores = READ_PER_TRAINED * trained, 2 if training.averages_weights else 1
        # Beside the sample of the training split, which is as long, but has at most SAMPLE_CHARACTERS.
        read = max((read - SAMPLE_CHARACTERS) / scores, read / (scores + 1))
        if read < characters:
            size = max(MIN_CHARACTERS, int(read / READ_PER_SCORED))
    elif setting != "all":
        size = setting
    return HeldOutSample(min(size, characters), characters)
