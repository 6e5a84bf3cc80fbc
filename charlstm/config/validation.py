"""Validates documents, with the overrides of ``--set``, as models of configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from charlstm.config.document import Document
from charlstm.config.misplaced import reject_other_command
from charlstm.config.overrides import parse_field_name, with_value
from charlstm.config.problems import error_line, locate, problems_of
from charlstm.config.reader import parse, read_yaml
from charlstm.config.schema import Config
from charlstm.config.wording import Loc, Problem, printable
from charlstm.errors import UserError

MAX_LISTED = 40
"""Maximum number of problems in one error."""

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the configuration of a run; `overrides` are ``section.field=value``, as ``--set`` takes them.

    Raises:
        UserError: all problems, one line each, with file and line (or the override).
    """
    document = read_yaml(path)
    reject_other_command(path, document.data, "train")
    return validate(Config, document, overrides)


def parse_config(mapping: Mapping[str, Any], source: str) -> Config:
    """Validate a configuration given as plain data; errors begin with `source`.

    Raises:
        UserError: all problems, one line each.
    """
    return validate(Config, Document(source, dict(mapping)))


def validate(model: type[Model], document: Document, overrides: Sequence[str] = ()) -> Model:
    """Validate a document after the overrides (``section.field=value``) are applied in order.

    A mapping in an override replaces the old value.

    Raises:
        UserError: all problems, one line each, ordered by line.
    """
    data = document.data
    lines: list[tuple[float, str]] = [
        (line, error_line(f"{document.name}:{line}", problem.loc, problem.message))
        for line, problem in document.problems
    ]
    overridden: dict[Loc, str] = {}
    for override in overrides:
        source = f"--set {printable(override, 120)}"
        try:
            loc, value = _read_override(override, source)
            data = with_value(data, loc, value)
        except UserError as error:
            lines.extend((float("inf"), line) for line in str(error).splitlines())
            continue
        except LookupError as error:
            lines.append((float("inf"), f"{source}: {error.args[0]}"))
            continue
        overridden = {old: text for old, text in overridden.items() if old[: len(loc)] != loc}
        overridden[loc] = source
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        # A value that could not be read, or a duplicate key, is already reported.
        reported = {problem.loc for _, problem in document.problems}
        of_the_file = _problems_without_overrides(model, document) if overridden else []
        for problem in problems_of(error, model):
            if problem.loc not in reported:
                caused_by = {} if problem in of_the_file else overridden
                lines.append(locate(problem, document, overridden, caused_by))
    if lines:
        messages = list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0])))
        more = [f"and {len(messages) - MAX_LISTED} more: fix these first"] if len(messages) > MAX_LISTED else []
        raise UserError("\n".join(messages[:MAX_LISTED] + more))
    return config


def _problems_without_overrides(model: type[BaseModel], document: Document) -> list[Problem]:
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        return problems_of(error, model)
    return []


def given_value(document: Document, overrides: Sequence[str], *loc: str) -> Any:
    """What a document gives for a field or a section, after the overrides: plain data, which :func:`validate` has not
    seen; None if it is left out."""
    data = document.data
    for override in overrides:
        with suppress(UserError, LookupError):
            data = with_value(data, *_read_override(override, override))
    for part in loc:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _read_override(override: str, source: str) -> tuple[Loc, Any]:
    name, sign, text = override.partition("=")
    try:
        loc = parse_field_name(name)
    except ValueError:
        sign = ""
    if not sign:
        raise UserError(f"{source}: write it as section.field=value, for example --set model.hidden_size=512")
    document = parse(text, source, with_lines=False)
    if document.problems:
        raise UserError("\n".join(f"{source}: {problem.message}" for _, problem in document.problems))
    if _is_lost(text, document.data):
        quoted = printable(f"{name}={json.dumps(text, ensure_ascii=False)}", 120)
        raise UserError(
            f"{source}: YAML has another use for these signs: put quotes around the value, --set '{quoted}'"
        )
    return loc, document.data


def _is_lost(text: str, value: Any) -> bool:
    """Whether YAML reads a text without quotes as something else: YAML syntax, such as ``---``, or a comment."""
    text = text.strip()
    if not text or text == "~" or text[0] in "\"'[{":
        return False
    return (not any(map(str.isalnum, text)) and value != text) or re.search(r"(^|\s)#", text) is not None
