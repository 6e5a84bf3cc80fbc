"""The schema of a comparison file: the sections of a run, shared by all arms, and the changes of each arm."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_serializer, field_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.options import without_idle_options, without_unset_options
from charlstm.config.overrides import override
from charlstm.config.problems import longest_prefix, problems_of
from charlstm.config.schema import Config, ModelOptions
from charlstm.config.sections import ConfigFile, RunName, TypeText, check_name
from charlstm.config.training import TrainingConfig
from charlstm.config.wording import Loc, Problem, as_one_error
from charlstm.errors import UserError
from charlstm.spelling import near

_NOT_IN_ARMS = {
    ("corpus",): "all arms share one text and one split: set it once, at the top level of the file",
    (
        "training",
        "seed",
    ): "all arms share their seeds: set training.seed at the top level, and their number with seeds",
    ("name",): "the name of an arm is its key: remove this field",
}


class CompareConfig(ConfigFile):
    """Arms trained on the same text in the same order, each with the same seeds."""

    name: RunName | None = Field(
        None, description="Name of the comparison and of its folder under runs/. null: the name of the file."
    )
    corpus: CorpusConfig = Field(description="The text, shared by all arms.")
    model: ModelOptions = Field(
        ModelOptions(),
        description="Model settings shared by the arms. An option that only some of their cells have applies to those "
        "arms.",
    )
    training: TrainingConfig = Field(TrainingConfig(), description="Training settings shared by the arms.")
    match: Literal["parameters", "width"] = Field(
        "width",
        description="What is equal between the arms. width: every arm has the hidden_size set in the file. parameters: "
        "the hidden_size of every arm but the first is chosen so that the numbers of parameters agree within 1%.",
    )
    seeds: int = Field(
        3, ge=1, le=1000, description="Number of runs of each arm, with the seeds training.seed, training.seed + 1, ..."
    )
    arms: Annotated[dict[str, dict[str, Any]], TypeText("mapping of two or more arms")] = Field(
        description="The arms: for each name, the changes to the shared settings, as dotted names (`model.cell: rnn`) "
        "or nested sections. An empty arm uses the shared settings unchanged.",
    )

    @field_validator("corpus")
    @classmethod
    def _holds_text_out(cls, corpus: CorpusConfig) -> CorpusConfig:
        if not corpus.has_validation:
            message = "arms are compared by their held-out scores: set it above 0"
            raise as_one_error([Problem(("corpus", "validation_fraction"), message)])
        return corpus

    @field_validator("arms", mode="before")
    @classmethod
    def _has_two_arms(cls, value: object) -> object:
        if not isinstance(value, dict) or len(value) < 2:
            raise ValueError("a comparison needs a mapping of at least two arms, each with its changes")
        problems = []
        for arm, changes in value.items():
            try:
                check_name(str(arm))
            except ValueError as error:
                problems.append(Problem(("arms", arm), str(error)))
            if changes is not None and not isinstance(changes, dict):
                problems.append(Problem(("arms", arm), "expected a mapping of changes, such as model.cell: rnn"))
        if problems:
            raise as_one_error(problems)
        return {arm: {} if changes is None else changes for arm, changes in value.items()}

    @field_validator("arms")
    @classmethod
    def _arms_are_valid(cls, arms: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        # An invalid section is reported alone; the arms are then checked against its defaults.
        corpus = info.data.get("corpus", CorpusConfig(source="any"))
        model = info.data.get("model", ModelOptions())
        training = info.data.get("training", TrainingConfig())
        seeds = int(info.data.get("seeds", 1))
        problems: list[Problem] = []
        used: set[str] = set()
        for number, (name, changes) in enumerate(arms.items()):
            arm = _Arm(corpus, model, training, changes)
            used |= arm.settings["model"].keys() if isinstance(arm.settings["model"], dict) else set()
            if number and info.data.get("match") == "parameters" and ("model", "hidden_size") in arm.origin:
                arm.problems.append(
                    Problem(
                        ("model", "hidden_size"),
                        "match: parameters chooses this value; only the first arm may set it",
                    )
                )
            for problem in arm.check(training.seed + seeds - 1):
                located = arm.locate(name, problem)
                if located not in problems:
                    problems.append(located)
        if "model" in info.data:
            idle = [name for name in model.model_dump() if name in model.model_fields_set - used]
            problems.extend(Problem(("model", name), "has no effect in any arm. Remove it") for name in idle)
        if problems:
            raise as_one_error(problems)
        return arms

    @field_serializer("model")
    def _omit_idle_options(self, model: ModelOptions) -> dict[str, Any]:
        return without_unset_options(model)

    def arm_config(self, arm: str, seed: int) -> Config:
        """The configuration of one run: the shared settings with the changes of the arm and one of the seeds.

        Args:
            arm: a key of `arms`.
            seed: index of the seed, 0 to ``seeds - 1``; it is added to the shared ``training.seed``.

        With ``match: parameters``, hidden_size is still the shared one; the caller replaces it.

        Raises:
            UserError: there is no such arm.
            ValueError: the seed index is out of range.
        """
        if arm not in self.arms:
            match = near(arm, self.arms)
            hint = f" Did you mean {match}?" if match else ""
            raise UserError(f"there is no arm {arm}.{hint} Arms: {', '.join(self.arms)}")
        if not 0 <= seed < self.seeds:
            raise ValueError(f"seed index {seed} is not in 0..{self.seeds - 1}")
        settings = _Arm(self.corpus, self.model, self.training, self.arms[arm]).settings
        settings["training"]["seed"] = self.training.seed + seed
        return Config.model_validate(settings)


class _Arm:
    """The shared settings with the changes of one arm; ``origin`` maps each changed field to the key that set it."""

    def __init__(
        self, corpus: CorpusConfig, model: ModelOptions, training: TrainingConfig, changes: dict[str, Any]
    ) -> None:
        shared = {
            "corpus": corpus.model_dump(exclude_unset=True),
            "model": model.model_dump(exclude_unset=True),
            "training": training.model_dump(exclude_unset=True),
        }
        self.settings, self.origin, self.problems = override(shared, changes)
        self.sections: dict[Loc, Loc] = {}  # sections with a field that the arm sets -> the first key that sets one
        for loc, keys in self.origin.items():
            self.problems += [Problem(loc, text) for head, text in _NOT_IN_ARMS.items() if loc[: len(head)] == head]
            for end in range(1, len(loc)):
                self.sections.setdefault(loc[:end], keys)
        if isinstance(chosen := self.settings["model"], dict):
            set_here = {str(loc[1]) for loc in self.origin if loc[0] == "model" and len(loc) > 1}
            self.settings["model"] = without_idle_options(chosen, model.model_dump(), set_here)

    def check(self, last_seed: int) -> list[Problem]:
        """All problems of the arm, located in the configuration of the run."""
        settings = dict(self.settings)
        if isinstance(settings["training"], dict):
            settings["training"] = {**settings["training"], "seed": last_seed}
        try:
            Config.model_validate(settings)
        except ValidationError as error:
            reported = {problem.loc for problem in self.problems}
            return self.problems + [one for one in problems_of(error, Config) if one.loc not in reported]
        return self.problems

    def locate(self, name: str, problem: Problem) -> Problem:
        """The problem, located in the comparison file: in the arm if the arm set the field, else in the shared part."""
        prefix = longest_prefix(problem.loc, self.origin)
        if prefix is not None:
            rest = problem.loc[len(prefix) :]
            return Problem(("arms", name, *self.origin[prefix], *rest), problem.message)
        if problem.loc in self.sections:
            return Problem(("arms", name, *self.sections[problem.loc]), problem.message)
        return problem
