"""Recall, and the experiments on its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from charlstm.config.experiments.base import NO_RECALL, Arms, Experiment, Length, Lengths, Names, TaskExperiment
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.experiments import Experiments


class RecallConfig(TaskExperiment):
    """A key, random letters, a query: which key was it? (Hochreiter & Schmidhuber 1997, experiment 2.)"""

    arms: Names = Field(description="Arms to train.")
    lags: Lengths = Field([5, 10, 20, 50, 100, 200], description="Numbers of letters between the key and the query.")
    longer_lags: list[Length] = Field(
        [], description="Lags at which nothing is trained: the networks of the shorter lags are tested at them, too."
    )
    mixed_arms: list[str] = Field(
        [],
        description="Arms to train at mixed_lags, where the lag consists of keys; empty: all arms, each with its best "
        "initialization.",
    )
    mixed_lags: list[Length] = Field(
        [],
        description="Lags at which the letters between the key and the query are drawn from the keys, so that only "
        "its position identifies the key.",
    )
    keys: int = Field(8, ge=2, le=26, description="Number of different keys.")
    letters: int = Field(16, ge=1, le=26, description="Number of different letters between the key and the query.")


class NetworksOfRecall(Experiment):
    """An experiment on networks that were trained on recall at one lag."""

    arms: Names
    lag: Length | None = None

    def lag_of(self, recall: RecallConfig) -> int:
        """The lag, which may be given by those of recall."""
        return self.lag or max(recall.lags)

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:
        recall, lag = experiments.recall, self.lag
        if recall is None:
            return [Problem((), NO_RECALL)]
        problems = [] if lag is None or lag in recall.lags else [Problem(("lag",), f"{lag} is not one of recall.lags")]
        trained = {one for arm in recall.arms for one in arms.get(arm, [])}
        missing = [arm for arm in self.arms if not trained.issuperset(arms.get(arm, []))]
        return problems + [Problem(("arms",), f"{arm} is not one of recall.arms") for arm in missing]


class GradientConfig(NetworksOfRecall):
    """How far back the gradient of the loss reaches, and what training reaches when the gradient is cut."""

    arms: Names = Field(description="Arms of recall whose gradient is measured.")
    lag: Length | None = Field(
        None,
        description="The lag at which the gradient is measured; must be one of recall.lags. null: the longest of them.",
    )
    depth: Length | None = Field(
        None,
        description="The gradient is measured k = 0 ... depth characters before the loss. The key of recall is at "
        "k = lag + 1. null: lag + 2, the whole string.",
    )
    texts: int = Field(200, ge=1, le=100_000, description="Number of strings to average over.")
    training_texts: int = Field(
        20,
        ge=0,
        le=100_000,
        description="Number of strings on which the gradient is also measured at every evaluation of the runs at this "
        "lag; 0: not during training.",
    )
    cut_arms: list[str] = Field(
        [], description="Arms to train on recall at cut_lags, to compare cut gradients with full ones."
    )
    cut_lags: Lengths = Field([10, 50, 100], description="Lags at which cut_arms are trained.")

    def depth_of(self, recall: RecallConfig) -> int:
        """The depth, which may be given by the lag; at most that of a whole string."""
        whole = self.lag_of(recall) + 2
        return min(self.depth or whole, whole)


class SurgeryConfig(NetworksOfRecall):
    """Two strings with different keys swap part of their states in the middle of the lag."""

    arms: Names = Field(["lstm"], description="Arms of recall whose states are swapped.")
    lag: Length | None = Field(
        None, description="The lag of the strings; must be one of recall.lags. null: the longest of them."
    )
    pairs: int = Field(500, ge=1, le=1_000_000, description="Number of pairs of strings.")
