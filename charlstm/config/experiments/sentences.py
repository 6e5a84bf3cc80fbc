"""Sentences whose last word is decided far before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from charlstm.config.corpus import CorpusConfig
from charlstm.config.experiments.base import Arms, Length, Lengths, Names, TaskExperiment
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.experiments import Experiments


class SentencesConfig(TaskExperiment):
    """Sentences whose last word depends on a word far before it: I was born in France ... I speak French."""

    arms: Names = Field(description="Arms to train.")
    filler_en: CorpusConfig | None = Field(
        None, description="The text between the words of English sentences; null: no English sentences."
    )
    filler_zh: CorpusConfig | None = Field(
        None, description="The text between the words of Chinese sentences; null: no Chinese sentences."
    )
    filler_characters: int = Field(
        20_000,
        ge=100,
        le=10**8,
        description="Number of characters of a filler to use. Clauses with a cue or an answer are left out.",
    )
    filler_symbols: int = Field(
        400,
        ge=2,
        le=100_000,
        description="Clauses with a character that is not among that many most frequent characters of the filler are "
        "left out: otherwise the parameters of a Chinese network are almost all in its embedding.",
    )
    kinds: Annotated[list[Literal["birthplace", "replaced_subject", "control"]], Field(min_length=1)] = Field(
        ["birthplace", "replaced_subject", "control"],
        description="birthplace: I was born in France ... I speak French; replaced_subject: Anna ran, ... Peter ran, "
        "... yet he; control: ... the clouds are in the sky.",
    )
    distances: Lengths = Field(
        [5, 10, 20, 50, 100, 200, 400],
        description="Numbers of characters between the cue and the answer. Distances that are too short for the words "
        "of the question are left out.",
    )
    train_distances: Lengths | None = Field(
        None,
        description="Distances of the training sentences; null: all of distances, of which the short ones teach the "
        "long ones. A single long distance is harder.",
    )
    other_cues: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Probability, in training, of each of the other cues before and after the cue that decides. Test "
        "sentences have all of them.",
    )
    gate_arms: list[str] = Field([], description="Arms whose forget gate is plotted over a sentence; some of arms.")
    gate_distance: Length = Field(100, description="Distance of the sentences on which gates are measured.")

    def fillers(self) -> dict[str, CorpusConfig]:
        """Language -> filler."""
        fillers = {"en": self.filler_en, "zh": self.filler_zh}
        return {language: corpus for language, corpus in fillers.items() if corpus is not None}

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:  # noqa: ARG002
        problems = [
            Problem(("gate_arms",), f"{arm} is not one of sentences.arms")
            for arm in self.gate_arms
            if arm in arms and arm not in self.arms
        ]
        if not self.fillers():
            problems.append(Problem((), "no text between the words: set filler_en, filler_zh or both"))
        return problems
