"""The other synthetic tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from charlstm.config.experiments.base import NO_RECALL, Arms, Length, Lengths, Names, TaskExperiment
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.experiments import Experiments


class GatesConfig(TaskExperiment):
    """Gate ablations: networks without one gate, on tasks that need it."""

    continual_arms: list[str] = Field(
        [],
        description="Arms to train on the continual embedded Reber grammar: one running text, without state resets.",
    )
    reber_arms: list[str] = Field([], description="Arms to train on single strings of the embedded Reber grammar.")
    min_inner: int = Field(
        20,
        ge=0,
        le=1000,
        description="Smallest number of symbols of the inner string of each single Reber string, over which its second "
        "symbol must be remembered.",
    )
    recall_arms: list[str] = Field([], description="Arms to train on recall with its settings, at recall_lag.")
    recall_lag: Length = Field(100, description="The lag at which recall_arms are trained.")
    characters: int = Field(1_000_000, ge=1000, le=10**9, description="Characters of continual Reber text to train on.")
    test_characters: int = Field(
        100_000,
        ge=100,
        le=10**8,
        description="Characters of new continual Reber text to test on, read without a state reset.",
    )

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:  # noqa: ARG002
        needs_recall = self.recall_arms and experiments.recall is None
        return [Problem(("recall_arms",), NO_RECALL)] if needs_recall else []


class CountingConfig(TaskExperiment):
    """Strings a^n b^n, tested with larger n than any in training (Weiss et al. 2018)."""

    arms: Names = Field(description="Arms to train.")
    letters: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2,26}$")]], Field(min_length=1)] = Field(
        ["ab", "abc"], description="One task for each item: ab means a^n b^n, abc means a^n b^n c^n."
    )
    longest: Length = Field(50, description="The largest n in training.")
    tested: Lengths = Field([5, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000], description="The values of n to test.")


class OrderConfig(TaskExperiment):
    """Temporal order and adding (Hochreiter & Schmidhuber 1997, experiments 4 and 6)."""

    arms: Names = Field(description="Arms to train on both tasks.")
    lengths: Lengths = Field([50, 100], description="Lengths of the strings.")


class CopyingConfig(TaskExperiment):
    """Some symbols, a long wait, the same symbols again (Tallec & Ollivier 2018)."""

    arms: Names = Field(description="Arms to train.")
    lags: Lengths = Field([20, 50, 100], description="Numbers of blanks between the symbols and the query.")
    length: int = Field(10, ge=1, le=1000, description="Number of symbols to copy.")
    symbols: int = Field(8, ge=2, le=26, description="Number of different symbols.")
