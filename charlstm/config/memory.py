"""The schema of a memory comparison file: arms, and experiments that test what each arm remembers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.experiments import Changes, Experiments, Rates, Revision, TrainingExperiment
from charlstm.config.overrides import override
from charlstm.config.problems import problems_of
from charlstm.config.schema import Config
from charlstm.config.sections import ConfigFile, RunName, TypeText, check_name
from charlstm.config.wording import Problem, as_one_error, dotted, format_value
from charlstm.spelling import near


class MemoryConfig(ConfigFile):
    """Arms compared on memory tasks, all with the same grid of learning rates and the same seeds."""

    name: RunName | None = Field(
        None, description="Name of the comparison and of its folder under runs/. null: the name of the file."
    )
    seeds: int = Field(
        5, ge=1, le=1000, description="Number of runs of each arm at its best learning rate, with the seeds 1, 2, ..."
    )
    rate_seeds: int = Field(
        2, ge=1, le=1000, description="Number of seeds with which each learning rate is tried; at most seeds."
    )
    learning_rates: Rates = Field(
        [3e-3, 1e-2, 3e-2],
        description="Learning rates to try for every arm; the one with the best validation score is used.",
    )
    solve_threshold: float = Field(
        0.95, gt=0, le=1, description="Fraction of the test strings that a run must answer correctly to solve a task."
    )
    min_seed_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Fraction of the seeds that must solve a task for the arm to solve it; 0.8: four of five.",
    )
    test_strings: int = Field(
        2000, ge=1, le=10**7, description="Number of strings, not used in training, that each run is tested on."
    )
    shared: Changes = Field(
        {},
        description="Settings of a run's configuration that all runs share, as dotted names "
        "(`training.batch_size: 32`).",
    )
    arms: Annotated[dict[str, dict[str, Any]], TypeText("mapping of arms")] = Field(
        description="The arms: for each name, the settings of its network. Without hidden_size, an arm gets the "
        "hidden_size whose number of parameters is nearest to that of the first arm of the experiment."
    )
    experiments: Experiments = Field(description="The tasks, and the claims about their metrics.")
    revised: list[Revision] = Field(
        [], description="Claims of earlier versions of this file that were changed or dropped, and why."
    )
    quick: list[str] = Field(
        [],
        description="Changes that --quick makes, each as --set takes it: `experiments.recall.lags=[10, 100]`.",
    )

    @field_validator("arms")
    @classmethod
    def _have_valid_names(cls, arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not arms:
            raise ValueError("a comparison needs at least one arm with its network")
        problems = []
        for arm in arms:
            try:
                check_name(arm)
            except ValueError as error:
                problems.append(Problem(("arms", arm), str(error)))
        if len({arm.casefold() for arm in arms}) < len(arms):
            problems.append(
                Problem(
                    ("arms",),
                    "the names of two arms differ only in case, so their folders would be the same: rename one",
                )
            )
        if problems:
            raise as_one_error(problems)
        return arms

    @model_validator(mode="after")
    def _every_run_is_valid(self) -> MemoryConfig:
        problems: list[Problem] = []
        present, reported = self.experiments.present(), set[str]()
        if self.rate_seeds > self.seeds:
            problems.append(Problem(("rate_seeds",), f"expected at most seeds, {self.seeds}, found {self.rate_seeds}"))
        for name, experiment in present.items():
            loc = ("experiments", name)
            for arm in experiment.arm_names():
                if arm not in reported and (arm_problems := self._problems_of(name, arm)):
                    reported.add(arm)
                    problems += arm_problems
            for claim in experiment.claims:
                if claim.arm not in self.arms:
                    problems.append(Problem((*loc, "claims"), self._no_arm(claim.arm)))
            problems += [
                Problem((*loc, *problem.loc), problem.message)
                for problem in experiment.problems(self.experiments, self.arms)
            ]
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
        """The configuration of one run: the shared settings, changed by the experiment, then by the arm."""
        settings, _ = self._settings(experiment, arm)
        settings["training"] |= {"learning_rate": rate, "seed": seed}
        return Config.model_validate({**settings, "corpus": corpus.model_dump()})

    def _settings(self, experiment: str, arm: str) -> tuple[dict[str, Any], list[Problem]]:
        """The settings of a run without its corpus, learning rate and seed, and the problems of the changes."""
        settings, problems = dict[str, Any](model={}, training={}), list[Problem]()
        for changes in (self.shared, self._training_experiment(experiment).settings, self.arms[arm]):
            settings, _, override_problems = override(settings, changes)
            problems += override_problems
        for section in ("model", "training"):
            if not isinstance(settings[section], dict):
                problems.append(Problem((section,), f"expected a section, found {format_value(settings[section])}"))
        return settings, problems

    def sized(self, arm: str) -> bool:
        """Whether the arm sets its hidden_size."""
        return ("model", "hidden_size") in override({}, self.arms[arm]).origin

    def rates(self, experiment: str) -> list[float]:
        """The grid of learning rates of an experiment, each once."""
        return list(dict.fromkeys(self._training_experiment(experiment).learning_rates or self.learning_rates))

    def _training_experiment(self, experiment: str) -> TrainingExperiment:
        """The experiment; recall for experiments that train no networks and use those of recall."""
        section = getattr(self.experiments, experiment)
        return section if isinstance(section, TrainingExperiment) else self.experiments.recall
