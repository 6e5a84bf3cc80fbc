"""The experiments section of a memory comparison: the task of each experiment and the claims it tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, field_validator, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.sections import Section, TypeText
from charlstm.config.wording import Problem

Changes = Annotated[dict[str, Any], TypeText("mapping of dotted names to values")]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Length = Annotated[int, Field(ge=1, le=100_000)]
Rates = Annotated[list[Rate], Field(min_length=1)]
Lengths = Annotated[list[Length], Field(min_length=1)]
Names = Annotated[list[str], Field(min_length=1)]
Arms = Mapping[str, Sequence[str]]
"""The arms of a file with their starts, by name: the arms that are trained for each."""


NO_RECALL = "this needs the experiment recall, whose networks or settings it uses"


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
        description="Further changes for the runs that select starts and learning rates, such as a smaller budget, as "
        "dotted names; the settings of an arm come after them. The model cannot differ.",
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


class RecallConfig(TaskExperiment):
    """A key, random letters, a query: which key was it? (Hochreiter & Schmidhuber 1997, experiment 2.)"""

    arms: Names = Field(description="Arms to train.")
    lags: Lengths = Field([5, 10, 20, 50, 100, 200], description="Numbers of letters between the key and the query.")
    longer_lags: list[Length] = Field(
        [], description="Lags at which nothing is trained: the networks of the shorter lags are tested at them, too."
    )
    mixed_arms: list[str] = Field(
        [],
        description="Arms to train at mixed_lags, where the lag consists of keys; empty: all arms, each at its best "
        "start.",
    )
    mixed_lags: list[Length] = Field(
        [],
        description="Lags at which the letters between the key and the query are drawn from the keys, so that only "
        "its position identifies the key.",
    )
    keys: int = Field(8, ge=2, le=26, description="Number of different keys.")
    letters: int = Field(16, ge=1, le=26, description="Number of different letters between the key and the query.")


class GradientConfig(Experiment):
    """How far back the gradient of the loss reaches, and what training reaches when the gradient is cut."""

    arms: Names = Field(description="Arms of recall whose gradient is measured.")
    lag: Length = Field(100, description="The lag at which the gradient is measured; must be one of recall.lags.")
    depth: Length = Field(
        102,
        description="The gradient is measured k = 0 ... depth characters before the loss. The key of recall is at "
        "k = lag + 1.",
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

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:
        return _not_of_recall(self.lag, self.arms, experiments.recall, arms)


class SurgeryConfig(Experiment):
    """Two strings with different keys swap part of their states in the middle of the lag."""

    arms: Names = Field(["lstm"], description="Arms of recall whose states are swapped.")
    lag: Length = Field(100, description="The lag of the strings; must be one of recall.lags.")
    pairs: int = Field(500, ge=1, le=1_000_000, description="Number of pairs of strings.")

    def problems(self, experiments: Experiments, arms: Arms) -> list[Problem]:
        return _not_of_recall(self.lag, self.arms, experiments.recall, arms)


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
        if not self.corpus.test_fraction:
            message = "every metric comes from the test split: set test_fraction, for example to 0.05"
            problems.append(Problem(("corpus",), message))
        if self.corpus.documents is not None:
            problems.append(
                Problem(("corpus", "documents"), "this experiment needs one running text. Remove this field")
            )
        return problems

    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.baseline_arm or self.arms[-1]


class CopyingConfig(TaskExperiment):
    """Some symbols, a long wait, the same symbols again (Tallec & Ollivier 2018)."""

    arms: Names = Field(description="Arms to train.")
    lags: Lengths = Field([20, 50, 100], description="Numbers of blanks between the symbols and the query.")
    length: int = Field(10, ge=1, le=1000, description="Number of symbols to copy.")
    symbols: int = Field(8, ge=2, le=26, description="Number of different symbols.")


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


def _not_of_recall(lag: int, used: list[str], recall: RecallConfig | None, arms: Arms) -> list[Problem]:
    if recall is None:
        return [Problem((), NO_RECALL)]
    problems = [] if lag in recall.lags else [Problem(("lag",), f"{lag} is not one of recall.lags")]
    trained = {start for arm in recall.arms for start in arms.get(arm, [])}
    missing = [arm for arm in used if not trained.issuperset(arms.get(arm, []))]
    return problems + [Problem(("arms",), f"{arm} is not one of recall.arms") for arm in missing]
