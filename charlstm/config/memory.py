"""The schema of a memory comparison file: arms, and experiments that test what each arm remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from charlstm.config.claims import Revision
from charlstm.config.corpus import CorpusConfig
from charlstm.config.experiments import Experiments
from charlstm.config.experiments.base import Changes, Rates, TrainingExperiment
from charlstm.config.overrides import override
from charlstm.config.problems import problems_of
from charlstm.config.schema import Config
from charlstm.config.sections import ConfigFile, RunName, TypeText, check_name
from charlstm.config.wording import Loc, Problem, as_one_error, dotted, format_value
from charlstm.spelling import near

INITIALIZATIONS = "initializations"
"""The field of an arm that is no section of a run's configuration."""

SEARCH_OFFSET = 1000
"""What the first seed of the search is above the first judged seed; no run that is judged has a seed of the search."""


class MemoryConfig(ConfigFile):
    """Arms compared on memory tasks, all with the same grid of learning rates and the same seeds."""

    name: RunName | None = Field(
        None, description="Name of the comparison and of its folder under runs/. null: the name of the file."
    )
    seeds: int = Field(
        10,
        ge=1,
        le=1000,
        description="Number of runs of each arm that are judged, with successive seeds, with its best "
        "initialization and learning rate.",
    )
    first_seed: int = Field(
        1,
        ge=1,
        le=900_000,
        description="The first of the judged seeds. To repeat the whole comparison with other seeds, change it, to "
        "seeds that neither judged nor searched before, and give the repetition another name.",
    )
    search_seeds: int = Field(
        2,
        ge=1,
        le=1000,
        description="Number of seeds with which every initialization and learning rate is tried, from first_seed + "
        "1000 on. These runs are never judged.",
    )
    learning_rates: Rates = Field(
        [1e-3, 3e-3, 1e-2, 3e-2],
        description="Learning rates to try for every initialization of every arm: the middle one (or the lower of the "
        "two middle ones) of those at which every search seed reaches target_nats is used, or else the one with the "
        "best mean validation score.",
    )
    widenings: int = Field(
        2,
        ge=0,
        le=10,
        description="While the best learning rate lies at an edge of the grid, another rate beyond that edge is tried, "
        "at most this many on each side; a grid of one rate is not widened.",
    )
    solve_threshold: float = Field(
        0.95, gt=0, le=1, description="Fraction of the test strings that a run must answer correctly to solve a task."
    )
    min_seed_fraction: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Fraction of the seeds that must solve a length for it to count in the longest one of an arm.",
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
        "hidden_size whose number of parameters is nearest to that of the first arm of the experiment. "
        "`initializations` is a mapping of names to further settings, mostly of the initial weights: the arm `lstm` "
        "with the initializations `bias 1` and `chrono` is trained as `lstm, bias 1` and as `lstm, chrono`, and the "
        "search seeds select the best one on each dataset."
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
        problems, names = [], dict[str, str]()
        for arm, settings in arms.items():
            above, given = ("arms", arm, INITIALIZATIONS), settings.get(INITIALIZATIONS, {})
            if INITIALIZATIONS in settings and not (
                isinstance(given, dict) and given and all(isinstance(changes, dict) for changes in given.values())
            ):
                message = "expected a mapping of names to settings, such as bias 5: {model.forget_bias: 5}"
                problems.append(Problem(above, message))
                given = {}
            locs = {arm: ("arms", arm)} | {f"{arm}, {one}": (*above, one) for one in given}
            for name, loc in locs.items():
                try:
                    check_name(name)
                except ValueError as error:
                    problems.append(Problem(loc, str(error)))
                if (other := names.setdefault(name.casefold(), name)) is not name:
                    same = "there is another arm" if other == name else f"the name differs only in case from {other}"
                    problems.append(Problem(loc, f"{name}: {same}, so their folders would be the same: rename one"))
        if problems:
            raise as_one_error(problems)
        return arms

    @model_validator(mode="after")
    def _every_run_is_valid(self) -> MemoryConfig:
        problems: list[Problem] = []
        if not self.experiments.present():
            names = ", ".join(Experiments.model_fields)
            problems.append(Problem(("experiments",), f"there is none. Experiments: {names}"))
        trained, reported = self.trained_by_name(), set[str]()
        for name, experiment in self.experiments.present().items():
            loc = ("experiments", name)
            for field, arms in experiment.arm_fields().items():
                problems += [Problem((*loc, field), self._no_arm(arm)) for arm in arms if arm not in trained]
                for arm in self.trained(arm for arm in arms if arm in trained):
                    if arm not in reported and (arm_problems := self._problems_of(name, arm)):
                        reported.add(arm)
                        problems += arm_problems
            for claim in experiment.claims:
                if claim.arm not in trained:
                    problems.append(Problem((*loc, "claims"), self._no_arm(claim.arm)))
            problems += [
                Problem((*loc, *problem.loc), problem.message)
                for problem in experiment.problems(self.experiments, trained)
            ]
        if problems:
            raise as_one_error(list(dict.fromkeys(problems)))
        return self

    def judged_seeds(self) -> range:
        """The seeds of the runs that are judged."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def seeds_of_search(self) -> range:
        """The seeds of the runs that select initializations and learning rates."""
        first = self.first_seed + SEARCH_OFFSET
        return range(first, first + self.search_seeds)

    def initializations(self, arm: str) -> list[str]:
        """The arms that are trained for an arm: ``lstm, chrono`` and so on for each of its initializations; without
        them, or if it is one of them, the arm itself."""
        names = self.arms.get(arm, {}).get(INITIALIZATIONS)
        return [f"{arm}, {name}" for name in names] if names else [arm]

    def trained(self, arms: Iterable[str]) -> list[str]:
        """The arms that are trained for some arms, each once."""
        return list(dict.fromkeys(one for arm in arms for one in self.initializations(arm)))

    def trained_by_name(self) -> dict[str, list[str]]:
        """Each name that an experiment or a claim can use, of an arm or of an arm with one of its initializations, and
        the arms trained for it."""
        by_name: dict[str, list[str]] = {}
        for arm in self.arms:
            by_name |= {arm: self.initializations(arm)} | {one: [one] for one in self.initializations(arm)}
        return by_name

    def _no_arm(self, arm: str) -> str:
        names = self.trained_by_name()
        match = near(arm, names)
        return f"there is no arm {arm}. {f'Did you mean {match}? ' if match else ''}Arms: {'; '.join(names)}"

    def _source(self, arm: str) -> tuple[str, str | None]:
        """The key of the arm in the file, and of its initialization, of a name."""
        return next(
            (key, initialization)
            for key, settings in self.arms.items()
            for initialization in (None, *settings.get(INITIALIZATIONS, {}))
            if arm == (key if initialization is None else f"{key}, {initialization}")
        )

    def _layers(self, arm: str) -> list[Mapping[str, Any]]:
        """The settings of an arm, then those of its initialization, if the name has one."""
        key, initialization = self._source(arm)
        settings = {name: value for name, value in self.arms[key].items() if name != INITIALIZATIONS}
        return [settings] if initialization is None else [settings, self.arms[key][INITIALIZATIONS][initialization]]

    def _problems_of(self, experiment: str, arm: str) -> list[Problem]:
        key, initialization = self._source(arm)
        settings, problems = self._settings(experiment, arm, is_search=True)
        if not problems and "evaluation_characters" in settings["training"]:
            reason = "has no effect: these experiments score whole splits. Remove it"
            problems = [Problem(("training", "evaluation_characters"), reason)]
        if not problems:
            reason = "has no effect: {} is from {}. Remove it"
            of_grid = {"learning_rate": "learning_rates", "seed": "first_seed"}
            problems = [
                Problem(("training", name), reason.format("that of a run", where))
                for name, where in of_grid.items()
                if name in settings["training"]
            ]
            if "corpus" in settings:
                problems.append(Problem(("corpus",), reason.format("the text", "the experiment")))
        if not problems:
            try:
                for seed in (self.first_seed, self.seeds_of_search()[0]):
                    self.run_config(experiment, arm, CorpusConfig(source="any"), 1.0, seed)
            except ValidationError as error:
                problems = problems_of(error, Config, [INITIALIZATIONS] if initialization is None else [])
        loc = ("arms", key) if initialization is None else ("arms", key, INITIALIZATIONS, initialization)
        return [Problem(loc, f"in {experiment}: {dotted(one.loc)}: {one.message}") for one in problems]

    def run_config(self, experiment: str, arm: str, corpus: CorpusConfig, rate: float, seed: int) -> Config:
        """The configuration of one run: the shared settings, changed by the experiment, the arm and its
        initialization; and by ``search`` of the experiment, for a seed of the search."""
        settings, _ = self._settings(experiment, arm, seed in self.seeds_of_search())
        settings["training"] |= {"learning_rate": rate, "seed": seed}
        return Config.model_validate({**settings, "corpus": corpus.model_dump()})

    def _settings(self, experiment: str, arm: str, is_search: bool) -> tuple[dict[str, Any], list[Problem]]:
        """The settings of a run without its corpus, learning rate and seed, and the problems of the changes."""
        settings, problems = dict[str, Any](model={}, training={}), list[Problem]()
        training = self._training_experiment(experiment)
        search = [training.search] if is_search else []
        for changes in (self.shared, training.settings, *search, *self._layers(arm)):
            settings, _, override_problems = override(settings, changes)
            problems += override_problems
        for section in ("model", "training"):
            if not isinstance(settings[section], dict):
                problems.append(Problem((section,), f"expected a section, found {format_value(settings[section])}"))
        return settings, problems

    def sets(self, arm: str, *fields: Loc) -> bool:
        """Whether the arm or its initialization sets one of these fields, or of those in these sections."""
        given = [loc for changes in self._layers(arm) for loc in override({}, changes).origin]
        return any(loc[: len(field)] == field for loc in given for field in fields)

    def rates(self, experiment: str) -> list[float]:
        """The grid of learning rates of an experiment, ascending."""
        return sorted(set(self._training_experiment(experiment).learning_rates or self.learning_rates))

    def _training_experiment(self, experiment: str) -> TrainingExperiment:
        """The experiment; recall for experiments that train no networks and use those of recall."""
        section = getattr(self.experiments, experiment)
        return section if isinstance(section, TrainingExperiment) else self.experiments.recall or TrainingExperiment()
