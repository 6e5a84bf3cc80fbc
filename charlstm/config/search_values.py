"""Reads the values of a field in the search space of a sweep."""

from __future__ import annotations

from pydantic import ValidationError

from charlstm.config.fields import alternatives, find_field, find_section
from charlstm.config.overrides import parse_field_name
from charlstm.config.problems import problems_of
from charlstm.config.schema import Config
from charlstm.config.search_space import Range, Values
from charlstm.config.wording import Loc, Problem, format_value

NOT_IN_SPACE = {
    "corpus": "all trials share one text and one split: set it once, outside of space",
    "name": "trials are numbered: remove this field",
    "training.seed": "all trials share their seeds: set training.seed outside of space, and their number with seeds",
    "training.budget": "all trials have the same budget, or the longest would win: set it outside of space",
    "training.evaluate_every": "every trial is evaluated after each tenth of its budget: remove this field",
    "training.sample_length": "trials print no samples: remove this field",
    "training.evaluation_characters": "every evaluation scores the whole validation split: remove this field",
}
"""Fields that cannot differ between trials, and why."""


class ValueProblems(Exception):  # noqa: N818 (it is caught where the file is checked)
    """What is wrong with the values of a field."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems


def field_values(name: str, values: object) -> Values:
    """The list or range of a field. Raises ValueProblems."""
    try:
        loc = parse_field_name(name)
    except ValueError as error:
        raise ValueProblems(Problem((), str(error))) from None
    for prefix, reason in NOT_IN_SPACE.items():
        if begins(loc, prefix):
            raise ValueProblems(Problem((), reason))
    if find_section(Config, loc) is not None:
        inner = next(iter(values), "FIELD") if isinstance(values, dict) else "FIELD"
        raise ValueProblems(Problem((), f"this is a section: write its fields as dotted names, such as {name}.{inner}"))
    if isinstance(values, list):
        if not values or any(value in values[:index] for index, value in enumerate(values)):
            raise ValueProblems(Problem((), "expected a list of different values"))
        return values
    if not isinstance(values, dict):
        message = f"expected a list of values or a range, found {format_value(values)}. Write [{format_value(values)}]"
        raise ValueProblems(Problem((), message))
    try:
        span = Range.model_validate(values)
    except ValidationError as error:
        raise ValueProblems(*problems_of(error, Range)) from None
    if takes_whole_numbers(name) and not (span.min.is_integer() and span.max.is_integer()):
        raise ValueProblems(Problem((), f"{name} takes whole numbers: min and max must be whole"))
    return span


def takes_whole_numbers(name: str) -> bool:
    """Whether a field takes whole numbers only."""
    field = find_field(Config, parse_field_name(name))
    kinds = alternatives(field.annotation) if field else ()
    return int in kinds and float not in kinds


def begins(loc: Loc, name: str) -> bool:
    """Whether a location is the field of this dotted name, or within it."""
    parts = tuple(name.split("."))
    return loc[: len(parts)] == parts
