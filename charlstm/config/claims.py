"""The claims of a memory comparison, and the verdict on each."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field, model_validator

from charlstm.config.sections import Section


class Bounded(Protocol):
    """A value that is known to be between two bounds."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Claim(Section):
    """An expectation and the threshold that decides it, both fixed before anything is run."""

    statement: str = Field(min_length=1, max_length=300, description="The claim in plain words.")
    metric: str = Field(description="The metric of the experiment that decides the claim, such as `longest lag`.")
    arm: str = Field(description="The arm whose metric is tested.")
    at_least: float | None = Field(
        None, description="The claim holds if the metric is at least this value: if its lower 95% bound is."
    )
    at_most: float | None = Field(
        None, description="The claim holds if the metric is at most this value: if its upper 95% bound is."
    )

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Claim:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a claim needs a threshold: give either at_least or at_most")
        return self

    def verdict(self, metric: Bounded) -> Literal["held", "not held", "undecided"]:
        """Whether the metric meets the threshold; undecided if its interval has values on both sides, or is NaN."""
        if self.at_least is not None:
            is_met, is_missed = metric.low >= self.at_least, metric.high < self.at_least
        else:
            assert self.at_most is not None
            is_met, is_missed = metric.high <= self.at_most, metric.low > self.at_most
        return "held" if is_met else "not held" if is_missed else "undecided"


class Revision(Section):
    """A claim of an earlier version of the file that was changed or dropped after it was tested."""

    claim: str = Field(min_length=1, max_length=300, description="The earlier claim in plain words.")
    result: str = Field(min_length=1, max_length=300, description="Its result.")
    now: str = Field(min_length=1, max_length=300, description="The claim that replaces it, or that it was dropped.")
    why: str = Field(min_length=1, max_length=600, description="Why it was changed.")
