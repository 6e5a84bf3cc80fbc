"""What a comparison file may say: the sections of a run, shared by all arms, and what each arm changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_serializer, field_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.options import CONDITIONAL_OPTIONS, default_front_end, why_no_effect
from charlstm.config.overrides import override
from charlstm.config.problems import nearest_prefix, problems_of
from charlstm.config.schema import Config, ModelOptions
from charlstm.config.sections import Reads, RunName, TrainingConfig, WholeFile, check_name
from charlstm.config.wording import Loc, Problem, as_one_error
from charlstm.errors import UserError
from charlstm.spelling import near

_SHARED = {
    ("corpus",): "all arms share one text and one split: set it once, at the top level of the file",
    (
        "training",
        "seed",
    ): "all arms share their seeds: set training.seed at the top level, and their number with seeds",
    ("name",): "an arm has no other name than its key",
}


class CompareConfig(WholeFile):
    """Arms trained on the same text in the same order, each with the same seeds."""

    name: RunName | None = Field(
        None, description="Name of the comparison and of its folder under runs/. null: the name of the file."
    )
    corpus: CorpusConfig = Field(description="The text, shared by all arms.")
    model: ModelOptions = Field(
        ModelOptions(),
        description="The network as far as the arms share it. An option that only some arms' cells have "
        "is for those arms.",
    )
    training: TrainingConfig = Field(TrainingConfig(), description="How the arms learn, as far as they share it.")
    match: Literal["parameters", "width"] = Field(
        "width",
        description="What is held equal. width: every arm has the hidden_size that the file gives it. "
        "parameters: hidden_size of every arm but the first is chosen so that the parameter "
        "counts agree within 1%.",
    )
    seeds: int = Field(
        3, ge=1, le=1000, description="Runs of each arm, with the seeds training.seed, training.seed + 1, ..."
    )
    arms: Annotated[dict[str, dict[str, Any]], Reads("mapping of two or more arms")] = Field(
        description="The arms: a name, and what this arm changes, as dotted names (`model.cell: rnn`) or "
        "nested sections. An arm left empty is the shared settings as they are.",
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _at_least_two(cls, value: object) -> object:
        if not isinstance(value, dict) or len(value) < 2:
            raise ValueError("a comparison needs a mapping of at least two arms, each with what it changes")
        problems = []
        for arm, changes in value.items():
            try:
                check_name(str(arm))
            except ValueError as error:
                problems.append(Problem(("arms", arm), str(error)))
            if changes is not None and not isinstance(changes, dict):
                problems.append(Problem(("arms", arm), "expected what the arm changes, such as model.cell: rnn"))
        if problems:
            raise as_one_error(problems)
        return {arm: {} if changes is None else changes for arm, changes in value.items()}

    @field_validator("arms")
    @classmethod
    def _every_arm_is_valid(cls, arms: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        # A section that failed is reported by itself; the arms are then checked against its defaults.
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
                        "match: parameters chooses it; only the first arm may set it",
                    )
                )
            for problem in arm.check(training.seed + seeds - 1):
                placed = arm.place(name, problem)
                if placed not in problems:
                    problems.append(placed)
        if "model" in info.data:
            idle = [name for name in model.model_dump() if name in model.model_fields_set - used]
            problems.extend(Problem(("model", name), "has no effect in any arm. Take it out") for name in idle)
        if problems:
            raise as_one_error(problems)
        return arms

    @field_serializer("model")
    def _without_idle_options(self, model: ModelOptions) -> dict[str, Any]:
        # A default written out would count as set, and be refused where no arm has the option.
        idle = (CONDITIONAL_OPTIONS | {"front_end"}) - model.model_fields_set
        return {name: value for name, value in model.model_dump().items() if name not in idle}

    def arm_config(self, arm: str, seed: int) -> Config:
        """The configuration of one run: the arm's changes over the shared settings, with one of the seeds.

        Args:
            arm: a key of `arms`.
            seed: which of the seeds, 0 to ``seeds - 1``; it is added to the shared ``training.seed``.

        With ``match: parameters``, hidden_size is still the shared one: who counts parameters replaces it.

        Raises:
            UserError: there is no such arm.
            ValueError: there is no such seed.
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
    """The shared settings with one arm's changes; ``origin`` says which key of the arm set what."""

    def __init__(
        self, corpus: CorpusConfig, model: ModelOptions, training: TrainingConfig, changes: dict[str, Any]
    ) -> None:
        shared = {
            "corpus": corpus.model_dump(exclude_unset=True),
            "model": model.model_dump(exclude_unset=True),
            "training": training.model_dump(exclude_unset=True),
        }
        self.settings, self.origin, self.problems = override(shared, changes)
        self.sections: dict[Loc, Loc] = {}  # the sections round what the arm sets -> the first such key
        for loc, keys in self.origin.items():
            self.problems += [Problem(loc, text) for place, text in _SHARED.items() if loc[: len(place)] == place]
            for end in range(1, len(loc)):
                self.sections.setdefault(loc[:end], keys)
        chosen = self.settings["model"]
        if isinstance(chosen, dict):
            cell = str(chosen.get("cell", model.cell))
            as_chosen = {
                "front_end": default_front_end(cell),
                "num_layers": model.num_layers,
                **chosen,
                "cell": cell,
            }
            for option in list(chosen):
                if ("model", option) not in self.origin and why_no_effect(option, as_chosen):
                    del chosen[option]

    def check(self, last_seed: int) -> list[Problem]:
        """Everything wrong with the arm, located in the run's configuration."""
        settings = dict(self.settings)
        if isinstance(settings["training"], dict):
            settings["training"] = {**settings["training"], "seed": last_seed}
        try:
            Config.model_validate(settings)
        except ValidationError as error:
            seen = {problem.loc for problem in self.problems}
            return self.problems + [found for found in problems_of(error, Config) if found.loc not in seen]
        return self.problems

    def place(self, name: str, problem: Problem) -> Problem:
        """The problem, located in the comparison file: in the arm if it said so, else where all share it."""
        prefix = nearest_prefix(problem.loc, self.origin)
        if prefix is not None:
            rest = problem.loc[len(prefix) :]
            return Problem(("arms", name, *self.origin[prefix], *rest), problem.message)
        if problem.loc in self.sections:
            return Problem(("arms", name, *self.sections[problem.loc]), problem.message)
        return problem
