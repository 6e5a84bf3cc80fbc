"""The experiments of a file that compares memories: what each gives its arms to remember, and what is claimed of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.sections import Reads, Section
from charlstm.config.wording import Problem

Changes = Annotated[dict[str, Any], Reads("mapping of dotted names to values")]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Length = Annotated[int, Field(ge=1, le=100_000)]
Rates = Annotated[list[Rate], Field(min_length=1)]
Lengths = Annotated[list[Length], Field(min_length=1)]
Names = Annotated[list[str], Field(min_length=1)]


class Claim(Section):
    """What is expected, with the threshold at which it counts as held: fixed before anything is run."""

    say: str = Field(min_length=1, max_length=300, description="The claim in plain words.")
    figure: str = Field(description="The figure of the experiment that decides it, such as `longest lag`.")
    arm: str = Field(description="The arm whose figure it is.")
    at_least: float | None = Field(None, description="The claim is held if the figure is this or more.")
    at_most: float | None = Field(None, description="The claim is held if the figure is this or less.")

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Claim:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a claim needs a threshold: give either at_least or at_most")
        return self

    def held(self, value: float) -> bool:
        """Whether the measured figure meets the threshold; what is not a number does not."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)


class Experiment(Section):
    """What all experiments share."""

    claims: list[Claim] = Field([], description="What is expected of its figures.")

    def arms_of(self) -> list[str]:
        """The arms that it trains or measures, each once."""
        return list(dict.fromkeys(arm for name, value in self if name.endswith("arms") for arm in value or []))

    def problems(self, experiments: Experiments, arms: Collection[str]) -> list[Problem]:  # noqa: ARG002
        """What is wrong beside the other experiments and the arms of the file, each at its field within this one."""
        return []


class Trained(Experiment):
    """What those share that train networks of their own."""

    settings: Changes = Field(
        {}, description="What this experiment changes in the shared settings, for all its arms, as dotted names."
    )
    learning_rates: Rates | None = Field(
        None, description="The grid of learning rates, if not the one that all experiments share."
    )


class Tasks(Trained):
    """What those share that train on the strings of a task."""

    strings: int = Field(10_000, ge=20, le=10_000_000, description="Strings to train on.")


class RecallConfig(Tasks):
    """A key, random letters, a query: which key was it? (Hochreiter & Schmidhuber 1997, experiment 2.)"""

    arms: Names = Field(description="The arms that are trained on it.")
    lags: Lengths = Field([5, 10, 20, 50, 100, 200], description="Numbers of letters between the key and the query.")
    keys: int = Field(8, ge=2, le=26, description="Different keys.")
    letters: int = Field(16, ge=1, le=26, description="Different letters between.")


class GradientConfig(Experiment):
    """How far back an error reaches, and what happens where it is cut."""

    arms: Names = Field(description="Arms of recall whose gradient is measured; those of text too, on text.")
    lag: Length = Field(100, description="The lag of recall on which it is measured: one of recall.lags.")
    depth: Length = Field(
        102, description="Characters back from the loss, k = 0 ... depth. Recall's key stands lag + 1 back."
    )
    texts: int = Field(200, ge=1, le=100_000, description="Places of the text, or strings, that are averaged.")
    cut_arms: list[str] = Field(
        [], description="Arms that are trained on recall once more, with cuts and without, at cut_lags."
    )
    cut_lags: Lengths = Field([10, 50, 100], description="Lags of recall that the cut_arms are trained on.")

    def problems(self, experiments: Experiments, arms: Collection[str]) -> list[Problem]:
        return _not_of_recall(self.lag, self.arms, experiments.recall, arms)


class SurgeryConfig(Experiment):
    """Two strings with different keys exchange a part of their states in the middle of the lag."""

    arms: Names = Field(["lstm"], description="Arms of recall that are operated on.")
    lag: Length = Field(100, description="The lag of recall: one of recall.lags.")
    pairs: int = Field(500, ge=1, le=1_000_000, description="Pairs of strings.")

    def problems(self, experiments: Experiments, arms: Collection[str]) -> list[Problem]:
        return _not_of_recall(self.lag, self.arms, experiments.recall, arms)


class GatesConfig(Tasks):
    """What each gate is for: networks without it, on tasks that need it."""

    continual_arms: list[str] = Field(
        [], description="Arms trained on the continual embedded Reber grammar: one running text without resets."
    )
    reber_arms: list[str] = Field([], description="Arms trained on single strings of the embedded Reber grammar.")
    recall_arms: list[str] = Field([], description="Arms trained on recall at recall_lag, as recall trains its own.")
    recall_lag: Length = Field(100, description="The lag of recall for the recall_arms.")
    characters: int = Field(1_000_000, ge=1000, le=10**9, description="Characters of continual Reber text to train on.")
    test_characters: int = Field(
        100_000, ge=100, le=10**8, description="Characters of fresh continual Reber text that are read at one go."
    )
    shown_arms: list[str] = Field(
        [], description="Arms of text whose gates are shown over a text, with saturation and half-lives."
    )

    def problems(self, experiments: Experiments, arms: Collection[str]) -> list[Problem]:  # noqa: ARG002
        of_text = experiments.text.arms if experiments.text else []
        missing = [arm for arm in self.shown_arms if arm not in of_text]
        return [Problem(("shown_arms",), f"{arm} is not one of text.arms") for arm in missing]


class CountingConfig(Tasks):
    """Strings of n times a and n times b, with larger n than any in training (Weiss et al. 2018)."""

    arms: Names = Field(description="The arms that are trained on it.")
    letters: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2,26}$")]], Field(min_length=1)] = Field(
        ["ab", "abc"], description="One task for each: ab is a^n b^n, abc is a^n b^n c^n."
    )
    longest: Length = Field(50, description="The largest n in training.")
    tested: Lengths = Field([5, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000], description="The n that are tested.")


class OrderConfig(Tasks):
    """Temporal order and adding (Hochreiter & Schmidhuber 1997, experiments 4 and 6)."""

    arms: Names = Field(description="The arms that are trained on both.")
    lengths: Lengths = Field([50, 100], description="Lengths of the strings.")


class TextConfig(Trained):
    """What networks use of real text: loss against the context that is kept, and signs that close what is open."""

    arms: Names = Field(description="The arms that are trained on the text.")
    corpus: CorpusConfig = Field(
        description="The text, with a test_fraction: everything is measured on the test split, which chooses nothing."
    )
    kept: Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1)] = Field(
        [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000],
        description="Characters of context that are kept before the target.",
    )
    targets: int = Field(2000, ge=100, le=10**7, description="Held-out characters that are predicted at each of them.")
    ngram: int = Field(7, ge=1, le=20, description="Order of the n-gram model beside the networks.")
    signs: CorpusConfig | None = Field(
        None, description="Another text for closing brackets and quotes, with networks of its own; null: the same text."
    )
    signs_arms: list[str] = Field([], description="The arms that are trained on the text for signs; none: all.")

    def problems(self, experiments: Experiments, arms: Collection[str]) -> list[Problem]:  # noqa: ARG002
        problems = []
        for name, corpus in (("corpus", self.corpus), ("signs", self.signs)):
            if corpus is not None and not corpus.test_fraction:
                message = "it is to be measured on text that chose nothing: give it a test_fraction, such as 0.05"
                problems.append(Problem((name,), message))
            if corpus is not None and corpus.documents is not None:
                problems.append(Problem((name, "documents"), "one running text is wanted here. Take it out"))
        return problems


class CopyingConfig(Tasks):
    """Some symbols, a long wait, the same symbols again (Tallec & Ollivier 2018)."""

    arms: Names = Field(description="The arms that are trained on it.")
    lags: Lengths = Field([20, 50, 100], description="Blanks between the symbols and the query.")
    length: int = Field(10, ge=1, le=1000, description="Symbols to copy.")
    symbols: int = Field(8, ge=2, le=26, description="Different symbols.")


class Experiments(Section):
    """The experiments, by name; one that is null or left out is not run."""

    recall: RecallConfig = Field(description="Recall over a lag; those of surgery and gradient go on from it.")
    gradient: GradientConfig | None = Field(None, description="Gradient over lag, and cutting it.")
    surgery: SurgeryConfig | None = Field(None, description="State surgery.")
    gates: GatesConfig | None = Field(None, description="Ablations, saturation, half-lives.")
    counting: CountingConfig | None = Field(None, description="Counting.")
    order: OrderConfig | None = Field(None, description="Temporal order and adding.")
    text: TextConfig | None = Field(None, description="Real text.")
    copying: CopyingConfig | None = Field(None, description="Copying, and the forget bias as a horizon.")

    def present(self) -> dict[str, Experiment]:
        """Those that are to be run, by name."""
        return {name: value for name, value in self if value is not None}


def _not_of_recall(lag: int, own: list[str], recall: RecallConfig, arms: Collection[str]) -> list[Problem]:
    wrong = [] if lag in recall.lags else [Problem(("lag",), f"{lag} is not one of recall.lags")]
    missing = [arm for arm in own if arm in arms and arm not in recall.arms]
    return wrong + [Problem(("arms",), f"{arm} is not one of recall.arms") for arm in missing]
