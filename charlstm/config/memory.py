"""What a file that compares memories may say: arms, and experiments that give them something to remember."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.experiments import Changes, Experiments, Rates, Trained
from charlstm.config.overrides import override
from charlstm.config.problems import problems_of
from charlstm.config.schema import Config
from charlstm.config.sections import Reads, RunName, WholeFile, check_name
from charlstm.config.wording import Problem, as_one_error, dotted, show
from charlstm.spelling import near


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
    min_seed_fraction: float = Field(0.8, gt=0, le=1, description="Share of the seeds that must solve a task: 4 of 5.")
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
        present, wrong = self.experiments.present(), set[str]()
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
            of_section = experiment.problems(self.experiments, self.arms)
            problems += [Problem((*place, *problem.loc), problem.message) for problem in of_section]
        if problems:
            raise as_one_error(list(dict.fromkeys(problems)))
        return self

    def _no_arm(self, arm: str) -> str:
        match = near(arm, self.arms)
        return f"there is no arm {arm}. {f'Did you mean {match}? ' if match else ''}Arms: {', '.join(self.arms)}"

    def _problems_of(self, experiment: str, arm: str) -> list[Problem]:
        if arm not in self.arms:
            return [Problem(("experiments", experiment), self._no_arm(arm))]
        _, problems = self._settings(experiment, arm)
        if not problems:
            try:
                self.run_config(experiment, arm, CorpusConfig(source="any"), 1.0, self.seeds)
            except ValidationError as error:
                problems = problems_of(error, Config)
        return [Problem(("arms", arm), f"in {experiment}: {dotted(one.loc)}: {one.message}") for one in problems]

    def run_config(self, experiment: str, arm: str, corpus: CorpusConfig, rate: float, seed: int) -> Config:
        """The configuration of one run: the arm's changes over the experiment's over the shared ones."""
        settings, _ = self._settings(experiment, arm)
        settings["training"] |= {"learning_rate": rate, "seed": seed}
        return Config.model_validate({**settings, "corpus": corpus.model_dump()})

    def _settings(self, experiment: str, arm: str) -> tuple[dict[str, Any], list[Problem]]:
        """What a run does not take from its corpus, rate and seed, and what is wrong with the changes."""
        settings, problems = dict[str, Any](model={}, training={}), list[Problem]()
        for changes in (self.shared, self._trained(experiment).settings, self.arms[arm]):
            settings, _, found = override(settings, changes)
            problems += found
        for section in ("model", "training"):
            if not isinstance(settings[section], dict):
                problems.append(Problem((section,), f"expected a section, found {show(settings[section])}"))
        return settings, problems

    def sized(self, arm: str) -> bool:
        """Whether the arm says itself how many units it has."""
        return ("model", "hidden_size") in override({}, self.arms[arm]).origin

    def rates(self, experiment: str) -> list[float]:
        """The grid of learning rates."""
        return list(dict.fromkeys(self._trained(experiment).learning_rates or self.learning_rates))

    def _trained(self, experiment: str) -> Trained:
        """The experiment, or recall, whose networks those take that train none."""
        section = getattr(self.experiments, experiment)
        return section if isinstance(section, Trained) else self.experiments.recall
