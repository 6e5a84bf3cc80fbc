"""The experiments section of a memory comparison: the task of each experiment and the claims it tests."""

from __future__ import annotations

from pydantic import Field

from charlstm.config.experiments.base import Experiment
from charlstm.config.experiments.recall import GradientConfig, RecallConfig, SurgeryConfig
from charlstm.config.experiments.sentences import SentencesConfig
from charlstm.config.experiments.tasks import CopyingConfig, CountingConfig, GatesConfig, OrderConfig
from charlstm.config.experiments.text import TextConfig
from charlstm.config.sections import Section


class Experiments(Section):
    """The experiments, by name; an experiment that is null or left out is not run."""

    recall: RecallConfig | None = Field(
        None, description="Recall of a key over a lag; surgery and gradient use the networks trained here."
    )
    gradient: GradientConfig | None = Field(
        None, description="Gradient as a function of the lag, and training with the gradient cut."
    )
    surgery: SurgeryConfig | None = Field(None, description="Swapping states between strings.")
    gates: GatesConfig | None = Field(None, description="Networks without one of the gates.")
    counting: CountingConfig | None = Field(None, description="Counting.")
    order: OrderConfig | None = Field(None, description="Temporal order and adding.")
    text: TextConfig | None = Field(None, description="A real text: who predicts better, and where memory pays.")
    copying: CopyingConfig | None = Field(None, description="Copying, and how the forget bias limits the lag.")
    sentences: SentencesConfig | None = Field(None, description="Sentences whose last word is decided far before it.")

    def present(self) -> dict[str, Experiment]:
        """The experiments to run, by name."""
        return {name: value for name, value in self if value is not None}
