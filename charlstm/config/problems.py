"""The error messages of a configuration: one line per problem, with the nearest spelling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlstm.config.document import Document
from charlstm.config.fields import alternatives, choices, find_field, find_section, iter_fields, type_text
from charlstm.config.wording import Loc, Problem, dotted, format_value
from charlstm.spelling import near

MAX_PROBLEMS = 100

SYNONYMS = {
    "lr": "learning_rate",
    "hidden": "hidden_size",
    "rnn_size": "hidden_size",
    "layers": "num_layers",
    "n_layers": "num_layers",
    "rnn_type": "cell",
    "bidirectional": "direction",
    "embedding_dim": "embedding_size",
    "seq_length": "sequence_length",
    "seq_len": "sequence_length",
    "bptt": "sequence_length",
    "grad_clip": "clip_grad_norm",
    "max_steps": "steps",
    "num_epochs": "epochs",
    "dtype": "precision",
    "file": "source",
    "path": "source",
    "without": "ablate",
    "hidden_input": "input_masking",
    "scored_after": "score_after",
    "nats": "target_nats",
    "most_seeds": "min_seed_fraction",
    "rate_seeds": "search_seeds",
    "starts": "initializations",
    "solved": "solve_threshold",
    "say": "statement",
    "figure": "metric",
    "kept": "context_lengths",
    "shown_arms": "gate_arms",
    "sequence": "eager",
    "library": "vendor",
    "native": "cpp",
}
"""The name of a field, or of a value, in other tools or in earlier versions -> its name here."""


def problems_of(error: ValidationError, model: type[BaseModel], further: Sequence[str] = ()) -> list[Problem]:
    """The first hundred problems of a pydantic error, raised by the validation of `model`. ``further`` are fields that
    are also allowed beside those of the model."""
    problems: list[Problem] = []
    seen: set[Loc] = set()
    for item in error.errors(include_url=False)[:MAX_PROBLEMS]:
        loc = _without_union_members(tuple(item["loc"]), model)
        if loc != item["loc"] and loc in seen:
            continue
        seen.add(loc)
        if item["type"] == "charlstm_problems":
            problems.extend(item["ctx"]["problems"])
        else:
            problems.append(Problem(loc, _message(item["type"], loc, item["input"], item["msg"], model, further)))
    return problems


def _without_union_members(loc: Loc, model: type[BaseModel]) -> Loc:
    """The location of the field: pydantic appends the name of each member of a union that it tries."""
    for end in range(1, len(loc)):
        field = find_field(model, loc[:end])
        if field and not find_section(model, loc[:end]) and len(set(alternatives(field.annotation)) - {type(None)}) > 1:
            return loc[:end]
    return loc


def _message(kind: str, loc: Loc, value: object, message: str, model: type[BaseModel], further: Sequence[str]) -> str:
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(loc, model, further if len(loc) == 1 else ())
    field = find_field(model, loc)
    if kind == "missing":
        return f"missing, and it has no default. {field.description if field else ''}".rstrip()
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    section = find_section(model, loc)
    if section:
        what = "a section" if loc else "sections"
        return f"expected {what} with {', '.join(section.model_fields)}, found {format_value(value)}"
    if field is None:
        return f"{message[:1].lower()}{message[1:]}, found {format_value(value)}"
    return f"expected {type_text(field)}, found {format_value(value)}{_hint(field, value)}"


BOOLEANS = dict.fromkeys(("yes", "y", "on", "true"), "true") | dict.fromkeys(("no", "n", "off", "false"), "false")
"""Texts that YAML 1.1, other formats or quotes make of booleans."""


def _hint(field: FieldInfo, value: object) -> str:
    kinds = alternatives(field.annotation)
    if get_origin(field.annotation) is list and not isinstance(value, list | dict | None):
        return f". Write [{format_value(value)}]"
    numeric = int in kinds or float in kinds
    if isinstance(value, str):
        if bool in kinds and (word := BOOLEANS.get(value.lower())):
            return f". Write {word}"
        if choices(field):
            match = near(_current_name(value), choices(field))
            return f". Did you mean {match}?" if match else ""
        if numeric and re.fullmatch(r"[-+]?0[0-9]+(\.[0-9]*)?", value):
            return f". Write {value.lstrip('+').lstrip('0') or '0'}, without leading zeros"
        if numeric and re.fullmatch(r"[0-9]+(_[0-9]+)+(\.[0-9]*)?", value):
            return f". Write {value.replace('_', '')}"
        if numeric and re.fullmatch(r"[-+]?[0-9]+,[0-9]+", value):
            return f". Write {value.replace(',', '.')}"
    if isinstance(value, float) and float not in kinds and int in kinds and value.is_integer() and abs(value) < 1e15:
        return f". Write {int(value)}"
    if isinstance(value, bool | int | float) and not numeric and bool not in kinds and not choices(field):
        return ". Put it in quotes to mean text"
    if value is None:
        return ". Remove the field to use its default"
    return ""


def _unknown(loc: Loc, model: type[BaseModel], further: Sequence[str]) -> str:
    section = find_section(model, loc[:-1])
    allowed = [*(section.model_fields if section else []), *further]
    return f"unknown field. {_suggestion(loc, allowed, model)}Allowed here: {', '.join(allowed)}"


def _suggestion(loc: Loc, allowed: list[str], model: type[BaseModel]) -> str:
    name = str(loc[-1])
    paths = [path for path, _ in iter_fields(model)]
    by_leaf: dict[str, tuple[str, ...]] = {path[-1]: path for path in reversed(paths)}
    known = _current_name(name)
    *sections, leaf = known.split(".")
    if sections and tuple(known.split(".")) in paths:
        return f"{leaf} belongs under {'.'.join(sections)}. "
    if known in allowed:
        return f"Did you mean {known}? "
    if known in by_leaf:
        section = ".".join(by_leaf[known][:-1])
        return f"{known} belongs {f'under {section}' if section else 'at the top level'}. "
    if match := near(name, allowed):
        return f"Did you mean {match}? "
    if match := near(name, by_leaf, cutoff=0.75):
        return f"Did you mean {'.'.join(by_leaf[match])}? "
    return ""


def _current_name(name: str) -> str:
    return SYNONYMS.get(name.lower().replace("-", "_"), name)


def longest_prefix(loc: Loc, known: dict[Loc, Any]) -> Loc | None:
    """The longest prefix of `loc` that is a key of `known`."""
    return next((loc[:end] for end in range(len(loc), -1, -1) if loc[:end] in known), None)


def locate(
    problem: Problem, document: Document, overridden: dict[Loc, str], caused_by: dict[Loc, str]
) -> tuple[float, str]:
    """The line to sort by, and the message, which begins with an override or with a line of the file. A problem of a
    line that the file alone does not have ends with the overrides that cause it, of which ``caused_by`` has all that
    may: those that the message names, or all."""
    above = longest_prefix(problem.loc, overridden)
    within = [loc for loc in overridden if loc[: len(problem.loc)] == problem.loc]
    if above is not None or (within and problem.loc):
        override = overridden[within[0] if above is None else above]
        return float("inf"), error_line(override, () if above == problem.loc else problem.loc, problem.message)
    known = longest_prefix(problem.loc, document.lines)
    line = document.lines[known] if known else None
    named = [text for loc, text in caused_by.items() if str(loc[-1]) in problem.message] or list(caused_by.values())
    message = f"{problem.message} (after {', '.join(named)})" if named else problem.message
    return line or 0, error_line(f"{document.name}:{line}" if line else document.name, problem.loc, message)


def error_line(source: str, loc: Loc, message: str) -> str:
    return f"{source}: {dotted(loc)}: {message}" if loc else f"{source}: {message}"
