"""What a file that compares memories may say: arms, and experiments that give them something to remember."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.problems import near, problems_of
from charlstm.config.schema import Config
from charlstm.config.sections import Reads, RunName, Section, WholeFile, check_name
from charlstm.config.wording import Problem, as_one_error

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


class SurgeryConfig(Experiment):
    """Two strings with different keys exchange a part of their states in the middle of the lag."""

    arms: Names = Field(["lstm"], description="Arms of recall that are operated on.")
    lag: Length = Field(100, description="The lag of recall: one of recall.lags.")
    pairs: int = Field(500, ge=1, le=1_000_000, description="Pairs of strings.")


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


class MemoryConfig(WholeFile):
    """Arms that are given things to remember, each with the same grid of learning rates and the same seeds."""

    name: RunName | None = Field(
        None, description="Name of the comparison and of its folder under runs/. null: the name of the file."
    )
    seeds: int = Field(5, ge=1, le=1000, description="Runs of each arm at its best learning rate: seeds 1, 2, ...")
    rate_seeds: int = Field(
        2, ge=1, le=1000, description="Seeds with which every learning rate is tried; at most as many as seeds."
    )
    learning_rates: Rates = Field(
        [3e-3, 1e-2, 3e-2],
        description="Grid of learning rates that every arm gets; the best by the validation score is kept.",
    )
    solved: float = Field(0.95, gt=0, le=1, description="Share of the fresh strings that must be answered right.")
    most_seeds: float = Field(0.8, gt=0, le=1, description="Share of the seeds that must solve a task: 4 of 5.")
    test_strings: int = Field(2000, ge=1, le=10**7, description="Fresh strings that each run is tested on.")
    shared: Changes = Field(
        {}, description="What all runs share of a run's configuration, as dotted names (`training.batch_size: 32`)."
    )
    arms: Annotated[dict[str, dict[str, Any]], Reads("mapping of arms")] = Field(
        description="The arms: a name, and its network. The hidden_size of an arm that gives none is chosen so that it "
        "has as many parameters as the first arm of the experiment, as nearly as a whole number of units allows."
    )
    experiments: Experiments = Field(description="What is to be remembered, and what is expected.")
    quick: list[str] = Field(
        [], description="What --quick changes, each as --set takes it: `experiments.recall.lags=[10, 100]`."
    )

    @field_validator("arms")
    @classmethod
    def _named(cls, arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not arms:
            raise ValueError("a comparison needs arms, each with its network")
        problems = []
        for arm in arms:
            try:
                check_name(arm)
            except ValueError as error:
                problems.append(Problem(("arms", arm), str(error)))
        if len({arm.casefold() for arm in arms}) < len(arms):
            problems.append(Problem(("arms",), "two arms have the same name but for capitals, and so the same folders"))
        if problems:
            raise as_one_error(problems)
        return arms

    @model_validator(mode="after")
    def _every_run_is_valid(self) -> MemoryConfig:
        problems: list[Problem] = []
        present, recall, wrong = self.experiments.present(), self.experiments.recall, set[str]()
        if self.rate_seeds > self.seeds:
            problems.append(Problem(("rate_seeds",), f"expected at most seeds, {self.seeds}, found {self.rate_seeds}"))
        for name, experiment in present.items():
            place = ("experiments", name)
            arms = experiment.arms_of()
            for arm in arms:
                if arm not in wrong and (found := self._problems_of(name, arm)):
                    wrong.add(arm)
                    problems += found
            for claim in experiment.claims:
                if claim.arm not in self.arms:
                    problems.append(Problem((*place, "claims"), self._no_arm(claim.arm)))
            if isinstance(experiment, TextConfig):
                problems += _unfit_texts(experiment, place)
            if isinstance(experiment, SurgeryConfig | GradientConfig):
                if experiment.lag not in recall.lags:
                    problems.append(Problem((*place, "lag"), f"{experiment.lag} is not one of recall.lags"))
                for arm in experiment.arms:
                    if arm in self.arms and arm not in recall.arms:
                        problems.append(Problem((*place, "arms"), f"{arm} is not one of recall.arms"))
            if isinstance(experiment, GatesConfig) and experiment.shown_arms:
                of_text = self.experiments.text.arms if self.experiments.text else []
                missing = [arm for arm in experiment.shown_arms if arm not in of_text]
                problems += [Problem((*place, "shown_arms"), f"{arm} is not one of text.arms") for arm in missing]
        if problems:
            raise as_one_error(list(dict.fromkeys(problems)))
        return self

    def _no_arm(self, arm: str) -> str:
        match = near(arm, self.arms)
        return f"there is no arm {arm}. {f'Did you mean {match}? ' if match else ''}Arms: {', '.join(self.arms)}"

    def _problems_of(self, experiment: str, arm: str) -> list[Problem]:
        if arm not in self.arms:
            return [Problem(("experiments", experiment), self._no_arm(arm))]
        try:
            self.run_config(experiment, arm, CorpusConfig(source="any"), 1.0, self.seeds)
        except ValidationError as error:
            return [
                Problem(("arms", arm), f"in {experiment}: {'.'.join(map(str, problem.loc))}: {problem.message}")
                for problem in problems_of(error, Config)
            ]
        return []

    def run_config(self, experiment: str, arm: str, corpus: CorpusConfig, rate: float, seed: int) -> Config:
        """The configuration of one run: the arm's changes over the experiment's over the shared ones."""
        section, settings = self._trained(experiment), dict[str, Any](model={}, training={})
        for changes in (self.shared, section.settings, self.arms[arm]):
            _lay(changes, settings)
        settings["training"] |= {"learning_rate": rate, "seed": seed}
        return Config.model_validate({**settings, "corpus": corpus.model_dump()})

    def sized(self, arm: str) -> bool:
        """Whether the arm says itself how many units it has."""
        settings: dict[str, Any] = {}
        _lay(self.arms[arm], settings)
        return "hidden_size" in settings.get("model", {})

    def rates(self, experiment: str) -> list[float]:
        """The grid of learning rates."""
        return list(dict.fromkeys(self._trained(experiment).learning_rates or self.learning_rates))

    def _trained(self, experiment: str) -> Trained:
        """The experiment, or recall, whose networks those take that train none."""
        section = getattr(self.experiments, experiment)
        return section if isinstance(section, Trained) else self.experiments.recall


def _unfit_texts(experiment: TextConfig, place: tuple[str, ...]) -> list[Problem]:
    problems = []
    for name, corpus in (("corpus", experiment.corpus), ("signs", experiment.signs)):
        if corpus is not None and not corpus.test_fraction:
            message = "it is to be measured on text that chose nothing: give it a test_fraction, such as 0.05"
            problems.append(Problem((*place, name), message))
        if corpus is not None and corpus.documents is not None:
            problems.append(Problem((*place, name, "documents"), "one running text is wanted here. Take it out"))
    return problems


def _lay(changes: dict[str, Any], settings: dict[str, Any]) -> None:
    """Put changes, with dotted names or nested sections, into the settings."""
    for key, value in changes.items():
        first, _, rest = str(key).partition(".")
        if rest or isinstance(value, dict):
            section = settings.get(first)
            if not isinstance(section, dict):
                section = settings[first] = {}
            _lay({rest: value} if rest else value, section)
        else:
            settings[first] = value
