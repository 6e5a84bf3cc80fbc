"""The fields that experiments share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from charlstm.config.claims import Claim
from charlstm.config.sections import Section, TypeText
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.experiments import Experiments

Changes = Annotated[dict[str, Any], TypeText("mapping of dotted names to values")]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Length = Annotated[int, Field(ge=1, le=100_000)]
Rates = Annotated[list[Rate], Field(min_length=1)]
Lengths = Annotated[list[Length], Field(min_length=1)]
Names = Annotated[list[str], Field(min_length=1)]
Arms = Mapping[str, Sequence[str]]
"""The arms of a file with their initializations, by name: the arms that are trained for each."""
NO_RECALL = "this needs the experiment recall, whose networks or settings it uses"


class Experiment(Section):
    """The fields that all experiments have."""

    claims: list[Claim] = Field([], description="Claims about the metrics of this experiment.")

    def arm_fields(self) -> dict[str, list[str]]:
        """The fields with the arms that this experiment trains or measures."""
        return {name: value for name, value in self if name.endswith("arms") and value}

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:  # noqa: ARG002
        """Conflicts with the other experiments and with the arms of the file, located within this experiment."""
        return []


class TrainingExperiment(Experiment):
    """The fields of experiments that train networks."""

    settings: Changes = Field(
        {}, description="Changes to the shared settings for all arms of this experiment, as dotted names."
    )
    learning_rates: Rates | None = Field(
        None, description="Grid of learning rates of this experiment; null: the grid of the file."
    )
    search: Changes = Field(
        {},
        description="Further changes for the runs that select initializations and learning rates, such as a smaller "
        "budget, as dotted names; the settings of an arm come after them. The model cannot differ. With a smaller "
        "budget, also set training.schedule to constant: a cosine that ends sooner selects rates that are too high.",
    )

    @field_validator("search")
    @classmethod
    def _has_the_same_model(cls, changes: dict[str, Any]) -> dict[str, Any]:
        if any(name.split(".")[0] == "model" for name in changes):
            raise ValueError("the runs of the search must have the same model: change only training")
        return changes


class TaskExperiment(TrainingExperiment):
    """The fields of experiments that train on the strings of a synthetic task."""

    strings: int = Field(10_000, ge=20, le=10_000_000, description="Number of training strings.")
