"""Real text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from charlstm.config.corpus import CorpusConfig
from charlstm.config.experiments.base import Arms, Names, TrainingExperiment
from charlstm.config.wording import Problem

if TYPE_CHECKING:
    from charlstm.config.experiments import Experiments


class TextConfig(TrainingExperiment):
    """Real text: the loss of each arm, and where memory pays."""

    arms: Names = Field(description="Arms to train on the text.")
    corpus: CorpusConfig = Field(
        description="The text. test_fraction must be above 0: every metric comes from the test split, which is used "
        "for nothing else."
    )
    context_lengths: Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1)] = Field(
        [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000],
        description="Numbers of characters before the target that the network reads.",
    )
    targets: int = Field(
        2000, ge=100, le=10**7, description="Number of held-out characters to predict at each context length."
    )
    ngram: int = Field(7, ge=1, le=20, description="Order of the n-gram model that the networks are compared with.")
    far_lengths: list[Annotated[int, Field(ge=0, le=100_000)]] = Field(
        [],
        description="Numbers of characters before the target that are left as they are, where those further away are "
        "cut off, shuffled, or replaced by other text, up to the longest of context_lengths; empty: not measured.",
    )
    baseline_arm: str | None = Field(
        None,
        description="The arm whose loss is subtracted from that of the others; null: the last of arms.",
    )
    dependency_positions: int = Field(
        0,
        ge=0,
        le=10**7,
        description="Largest number of positions, for each kind and distance, of characters that depend on something "
        "earlier, such as closing quotes and repeated words; 0: not measured.",
    )
    passage_characters: int = Field(
        0,
        ge=0,
        le=10**7,
        description="Passages where the best arm and the baseline lead each other most are looked for in this many "
        "characters of the test split; 0: not looked for.",
    )
    ablated_arms: list[str] = Field(
        [], description="Arms whose units are ablated at closing quotes and brackets; some of arms."
    )
    capacity_delays: int = Field(
        0,
        ge=0,
        le=1900,
        description="Longest delay k at which a linear readout of the state recovers the k-th last character; 0: not "
        "measured.",
    )
    gradient_depth: int = Field(
        0,
        ge=0,
        le=100_000,
        description="The gradient on the text is measured k = 0 ... gradient_depth characters before the loss; 0: not "
        "measured.",
    )
    training_steps: list[Annotated[int, Field(ge=0, le=10**9)]] = Field(
        [],
        description="Numbers of training steps after which the gradient, the half-lives and the state are measured on "
        "the validation split, gradient_depth characters back; empty: not during training.",
    )
    gate_arms: list[str] = Field(
        [], description="Arms whose gate activations, saturation and half-lives are plotted; some of arms."
    )

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:  # noqa: ARG002
        used = {"gate_arms": self.gate_arms, "ablated_arms": self.ablated_arms, "baseline_arm": [self.baseline()]}
        problems = [
            Problem((field,), f"{arm} is not one of text.arms")
            for field, names in used.items()
            for arm in names
            if arm not in self.arms and (arm in arms or field == "baseline_arm")
        ]
        if self.far_lengths and max(self.far_lengths) >= max(self.context_lengths):
            problems.append(Problem(("far_lengths",), "must be below the longest of context_lengths"))
        if self.training_steps and not self.gradient_depth:
            problems.append(Problem(("training_steps",), "needs gradient_depth above 0"))
        if not self.corpus.test_fraction:
            message = "every metric comes from the test split: set test_fraction, for example to 0.05"
            problems.append(Problem(("corpus",), message))
        if not self.corpus.has_validation:
            message = "learning rates are selected by held-out scores: set validation_fraction above 0"
            problems.append(Problem(("corpus", "validation_fraction"), message))
        if self.corpus.encoding == "bytes":
            message = "this experiment counts characters. Use a text encoding"
            problems.append(Problem(("corpus", "encoding"), message))
        if self.corpus.documents is not None:
            problems.append(
                Problem(("corpus", "documents"), "this experiment needs one running text. Remove this field")
            )
        if self.corpus.validation != "tail":
            problems.append(
                Problem(("corpus", "validation"), "this experiment needs contiguous splits, validation: tail")
            )
        return problems

    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.baseline_arm or self.arms[-1]
