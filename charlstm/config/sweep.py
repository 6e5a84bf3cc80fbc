"""The schema of a sweep file: the sections of a run, shared by all trials, and the fields that differ between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_serializer, field_validator, model_validator

from charlstm.config.corpus import CorpusConfig
from charlstm.config.options import without_idle_options, without_unset_options
from charlstm.config.overrides import parse_field_name, with_value
from charlstm.config.problems import problems_of
from charlstm.config.schema import Config, ModelOptions
from charlstm.config.search_space import Candidate, Range, Values, grid_candidates, random_candidates
from charlstm.config.search_values import NOT_IN_SPACE, ValueProblems, begins, field_values, takes_whole_numbers
from charlstm.config.sections import EVALUATIONS, ConfigFile, RunName, TypeText
from charlstm.config.training import TrainingConfig
from charlstm.config.wording import Loc, Problem, as_one_error, format_value

TRIALS = 20
MAX_TRIALS = 10_000
CHECKED = 200
"""Candidates that are checked when a file is read."""

SET_BY_SWEEP: dict[str, Any] = {"evaluate_every": None, "sample_length": 0, "evaluation_characters": "all"}
"""Fields of the training section that are the same in all trials."""


class SweepConfig(ConfigFile):
    """A search for the settings with the best validation score: trials that differ in some fields."""

    name: RunName | None = Field(
        None, description="Name of the sweep and of its folder under runs/. null: the name of the file."
    )
    base: str | None = Field(
        None,
        description="Configuration whose sections all trials share: a file, searched beside this one, or the name of a "
        "ready one. The sections below change it. Its evaluate_every, evaluation_characters and sample_length do not "
        "count. null: the sections below are all there is.",
    )
    space: Annotated[dict[str, Any], TypeText("mapping of fields to lists or ranges")] = Field(
        description="The fields that differ, as dotted names, each with a list of values or with a range: "
        "`training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}`. An option of the model is left out where it has "
        "no effect beside the other values.",
    )
    method: Literal["random", "grid"] = Field(
        "random",
        description="random: candidates are drawn from the space, each different (Bergstra & Bengio 2012). grid: every "
        f"combination of the values, at most {MAX_TRIALS:,}.",
    )
    trials: int | None = Field(
        None,
        ge=1,
        le=MAX_TRIALS,
        description=f"Number of candidates with method: random. null: {TRIALS}, or as many as there are. It may be "
        "raised later: the first candidates stay the same, and what is trained of them counts.",
    )
    search_seed: int = Field(1, ge=0, le=2**32 - 1, description="Seed of the random candidates.")
    seeds: int = Field(
        1,
        ge=1,
        le=100,
        description="Runs of each candidate, with the seeds training.seed, training.seed + 1, ...; its score is their "
        "mean.",
    )
    rungs: list[float] = Field(
        [0.1, 0.3],
        description="Fractions of the budget, each a multiple of 0.1, at which most of the candidates stop (successive "
        "halving, Jamieson & Talwalkar 2016). The best are resumed, to the next rung or the end of the budget. []: "
        "every candidate gets the whole budget.",
    )
    reduction_factor: float = Field(
        3.0,
        gt=1,
        le=1000,
        description="At a rung, one in this many candidates goes on, by the best validation score so far, rounded up.",
    )
    corpus: CorpusConfig = Field(description="The text, shared by all trials; needed here or in base.")
    model: ModelOptions = Field(
        ModelOptions(),
        description="Model settings shared by the trials. An option that only some of their cells have applies to "
        "those trials.",
    )
    training: TrainingConfig = Field(
        TrainingConfig(),
        description="Training settings shared by the trials. budget is that of a trial which is never stopped, and "
        "every schedule is that of this budget from the start.",
    )

    @field_validator("corpus")
    @classmethod
    def _holds_text_out(cls, corpus: CorpusConfig) -> CorpusConfig:
        if not corpus.has_validation:
            message = "trials are compared by their held-out scores: set it above 0"
            raise as_one_error([Problem(("corpus", "validation_fraction"), message)])
        return corpus

    @field_validator("training")
    @classmethod
    def _sets_no_evaluations(cls, training: TrainingConfig) -> TrainingConfig:
        problems = [
            Problem(("training", name), f"has no effect: {NOT_IN_SPACE[f'training.{name}'].split(':')[0]}. Remove it")
            for name in SET_BY_SWEEP
            if name in training.model_fields_set
        ]
        if problems:
            raise as_one_error(problems)
        return training

    @field_validator("space", mode="before")
    @classmethod
    def _has_values(cls, value: object) -> object:
        if not isinstance(value, dict) or not value:
            raise ValueError(
                "expected a mapping of fields, such as training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}"
            )
        problems: list[Problem] = []
        read: dict[str, Values] = {}
        for name, values in value.items():
            try:
                read[str(name)] = field_values(str(name), values)
            except ValueProblems as wrong:
                problems += [Problem(("space", name, *problem.loc), problem.message) for problem in wrong.problems]
        if problems:
            raise as_one_error(problems)
        return read

    @field_validator("rungs")
    @classmethod
    def _are_tenths(cls, rungs: list[float]) -> list[float]:
        tenths = [round(EVALUATIONS * rung) for rung in rungs]
        is_multiple = all(abs(EVALUATIONS * rung - tenth) < 1e-9 for rung, tenth in zip(rungs, tenths, strict=True))
        if not is_multiple or tenths != sorted(set(tenths)) or not all(0 < tenth < EVALUATIONS for tenth in tenths):
            raise ValueError(
                "expected ascending multiples of 0.1 between 0 and 1, such as [0.1, 0.3], "
                f"found {', '.join(f'{rung:g}' for rung in rungs)}"
            )
        return rungs

    @model_validator(mode="after")
    def _fits_the_method(self) -> SweepConfig:
        is_grid = self.method == "grid"
        ranges = {name: values for name, values in self.space.items() if isinstance(values, Range)}
        wrong = {name for name, values in ranges.items() if (values.count is None) is is_grid}
        advice = (
            "method: grid needs it: a number of values" if is_grid else "has no effect without method: grid. Remove it"
        )
        problems = [Problem(("space", name, "count"), advice) for name in sorted(wrong)]
        if is_grid and self.trials is not None:
            problems.append(
                Problem(("trials",), "has no effect with method: grid: every combination is tried. Remove it")
            )
        combinations = math.prod(
            values.count or 1 if isinstance(values, Range) else len(values) for values in self.space.values()
        )
        if is_grid and combinations > MAX_TRIALS:
            message = f"method: grid makes {combinations:,} combinations of the values, and at most {MAX_TRIALS:,} are"
            problems.append(Problem(("space",), f"{message} tried. Write method: random, or fewer values"))
        if not is_grid and not problems and len(self.candidates) < (self.trials or 0):
            message = f"the space has only {len(self.candidates)} different candidates. Write {len(self.candidates)}"
            problems.append(Problem(("trials",), message))
        if not problems:
            problems = list(self._problems_of_candidates())
        if problems:
            raise as_one_error(problems)
        return self

    @field_serializer("model")
    def _omit_idle_options(self, model: ModelOptions) -> dict[str, Any]:
        return without_unset_options(model)

    @field_serializer("training")
    def _omit_evaluations(self, training: TrainingConfig) -> dict[str, Any]:
        return {name: value for name, value in training.model_dump().items() if name not in SET_BY_SWEEP}

    @field_serializer("space")
    def _without_null(self, space: dict[str, Any]) -> dict[str, Any]:
        return {
            name: values.model_dump(exclude_none=True) if isinstance(values, Range) else values
            for name, values in space.items()
        }

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The values of each trial, always in the same order."""
        whole = {name for name in self.space if takes_whole_numbers(name)}
        if self.method == "grid":
            return grid_candidates(self.space, whole, self._with_effect)
        drawn = random_candidates(self.space, whole, self.search_seed, self._with_effect)
        return [candidate for candidate, _ in zip(drawn, range(self.trials or TRIALS), strict=False)]

    def trial_config(self, number: int, seed: int) -> Config:
        """The configuration of one run.

        Args:
            number: of the trial, from 1.
            seed: index of the seed, 0 to ``seeds - 1``; it is added to the shared ``training.seed``.
        """
        settings = self._settings(self.candidates[number - 1])
        settings["training"] |= {**SET_BY_SWEEP, "seed": self.training.seed + seed}
        return Config.model_validate(settings)

    def _settings(self, candidate: Candidate) -> dict[str, Any]:
        """The plain settings of a run of a candidate, without options that have no effect. Raises LookupError if a name
        goes through a field that is no section."""
        settings: dict[str, Any] = {
            "corpus": self.corpus.model_dump(exclude_unset=True),
            "model": self.model.model_dump(exclude_unset=True),
            "training": self.training.model_dump(exclude_unset=True),
        }
        for name, value in candidate.items():
            settings = with_value(settings, parse_field_name(name), value)
        settings["model"] = without_idle_options(settings["model"], self.model.model_dump(), ())
        return settings

    def _with_effect(self, candidate: Candidate) -> Candidate:
        """The candidate without values that have no effect beside the others."""
        model = self._settings(candidate)["model"]
        names = {f"model.{name}" for name in model}
        return {name: value for name, value in candidate.items() if not name.startswith("model.") or name in names}

    def _problems_of_candidates(self) -> Iterator[Problem]:
        """What is wrong with the candidates, once for each field, located in the space or in a section."""
        seen: set[Loc] = set()
        candidates = self.candidates[:CHECKED]
        for number, candidate in enumerate(candidates, start=1):
            try:
                self.trial_config(number, self.seeds - 1)
            except ValidationError as error:
                for problem in problems_of(error, Config):
                    field = next((name for name in candidate if begins(problem.loc, name)), None)
                    loc = problem.loc if field is None else ("space", field)
                    if loc not in seen:
                        seen.add(loc)
                        where = "" if field is not None else f" (in trial {number}: {describe(candidate)})"
                        yield Problem(loc, problem.message + where)
        tried = {name for candidate in candidates for name in candidate}
        for name in self.space:
            if name not in tried and not seen:
                yield Problem(("space", name), "has no effect in any trial. Remove it")
        if self.base is None and not seen:
            used = {name for candidate in candidates for name in self._settings(candidate)["model"]}
            for name in sorted(self.model.model_fields_set - used):
                yield Problem(("model", name), "has no effect in any trial. Remove it")


SWEEP_MODELS: dict[str, type[BaseModel]] = {"A sweep": SweepConfig, "A range: a value in space": Range}
"""The models of sweep files and of the values of their mappings, by what they are."""


def describe(candidate: Candidate) -> str:
    """``learning_rate 0.004, cell lstm``."""
    return ", ".join(f"{name.rpartition('.')[2]} {value_text(value)}" for name, value in candidate.items())


def value_text(value: object) -> str:
    """A value of a candidate in tables and messages."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else format_value(value) if isinstance(value, bool | None) else str(value)
