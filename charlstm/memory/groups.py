"""Groups of runs: an arm on a dataset with its initializations, and the results of their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from charlstm.config import ModelConfig
from charlstm.memory.datasets import Dataset
from charlstm.memory.dynamics import DynamicsMeasurement
from charlstm.text.visible import visible


@dataclass(frozen=True)
class RunGroup:
    """All runs of one arm on one dataset, with the settings of an experiment.

    Attributes:
        initializations: the groups of its initializations, of which the best is judged; empty for an arm without
            several ones, or with one of them.
        previous: the group of the same arm at the next shorter lag: if none of its judged runs has learned anything,
            this one is not trained.
        dynamics: what is measured during training; None for nothing.
    """

    experiment: str
    dataset: Dataset
    arm: str
    model: ModelConfig
    parameters: int
    initializations: tuple[RunGroup, ...] = ()
    previous: RunGroup | None = None
    dynamics: DynamicsMeasurement | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.dataset.name, self.arm

    @property
    def members(self) -> tuple[RunGroup, ...]:
        """The groups that are trained: those of its initializations, or the group itself."""
        return self.initializations or (self,)


@dataclass(frozen=True)
class Outcome:
    """The validation result of a run.

    Attributes:
        nats: its best score; None without one.
        target_nats: the score that ends a run; 0 if there is none.
        steps: the number of steps of the run.
        steps_to_target: the step of the first evaluation that reached the target; None if it was not reached.
        diverged: whether it ended because it diverged.
    """

    nats: float | None
    target_nats: float
    steps: int
    steps_to_target: int | None = None
    diverged: bool = False


@dataclass(frozen=True)
class Search:
    """The scores of the learning rates that were tried, on the search seeds, and the best of them.

    ``rank`` orders the initializations of an arm, the best first: by the mean score over the seeds, then by the number
    of rates of the grid at which every seed reaches the target, then by the mean number of steps.
    """

    scores: dict[float, list[float | None]]
    learning_rate: float
    rank: tuple[float, int, float]


@dataclass(frozen=True)
class BestRuns:
    """The judged runs of a group with its best initialization and learning rate, one per seed; the scores of all rates.

    ``group`` is the group of the best initialization, or the group itself. ``paths`` is empty if the group was not
    trained, since no seed learned a shorter lag.
    """

    group: RunGroup
    learning_rate: float
    paths: list[Path]
    scores: dict[float, list[float | None]]

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest of several."""
        return len(self.scores) > 1 and self.learning_rate in (min(self.scores), max(self.scores))


def with_previous(groups: Iterable[RunGroup]) -> list[RunGroup]:
    """The groups, each once and after those of shorter lags."""
    ordered: dict[tuple[str, str], RunGroup] = {}

    def add(group: RunGroup) -> None:
        if group.previous is not None:
            add(group.previous)
        ordered.setdefault(group.key, group)

    for group in groups:
        add(group)
    return list(ordered.values())


def networks_table(groups: Iterable[RunGroup]) -> list[list[str]]:
    """A row for each network, an arm with one initialization: its size, and on how many texts it is trained."""
    members = {member.key: member for group in groups for member in group.members}
    texts = Counter(
        (
            one.experiment,
            visible(one.arm),
            one.model.cell,
            f"{one.model.num_layers} x {one.model.hidden_size}",
            f"{one.parameters:,}",
        )
        for one in members.values()
    )
    header = ["experiment", "arm", "cell", "units", "parameters", "texts"]
    return [header, *([*row, str(count)] for row, count in texts.items())]
