"""Configuration files: YAML to validated, frozen models and back. The only user of yaml.

The dialect is YAML 1.2's core schema without anchors and tags: only ``true`` and ``false`` are booleans,
``1e-4`` is a number, ``1:30`` and ``010`` stay text. All problems are reported at once, each with its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from charlstm.config.claims import Claim
from charlstm.config.compare import CompareConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.config.device import check_device_name
from charlstm.config.fields import FieldDoc, describe_fields, json_schema
from charlstm.config.memory import MemoryConfig
from charlstm.config.options import CELL_OPTIONS
from charlstm.config.overrides import parse_field_name, with_value
from charlstm.config.problems import Document, error_line, locate, problems_of
from charlstm.config.reader import parse
from charlstm.config.schema import Config, ModelConfig, ModelOptions
from charlstm.config.sections import BudgetConfig
from charlstm.config.text import read_text, resolve
from charlstm.config.training import TrainingConfig
from charlstm.config.wording import Loc, printable
from charlstm.errors import UserError

__all__ = [
    "CELL_OPTIONS",
    "COMPARISON_MODELS",
    "BudgetConfig",
    "CompareConfig",
    "Config",
    "CorpusConfig",
    "Document",
    "FieldDoc",
    "MemoryConfig",
    "ModelConfig",
    "ModelOptions",
    "TrainingConfig",
    "as_yaml",
    "check_device_name",
    "describe_fields",
    "dump_changes",
    "dump_yaml",
    "json_schema",
    "load_compare",
    "load_comparison",
    "load_config",
    "parse_config",
    "read_unchecked",
    "read_yaml",
    "validate",
]

COMPARISON_MODELS: dict[str, type[BaseModel]] = {
    "A comparison of arms on one text": CompareConfig,
    "Experiments on memory: a comparison file with experiments": MemoryConfig,
    "A claim: an item of claims in an experiment": Claim,
}
"""The models of comparison files and of the items of their lists, by what they are."""

MAX_LISTED = 40
"""Maximum number of problems in one error."""

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the configuration of a run; `overrides` are ``section.field=value``, as ``--set`` takes them.

    Raises:
        UserError: all problems, one line each, with file and line (or the override).
    """
    return validate(Config, read_yaml(path), overrides)


def load_compare(path: Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison file. Raises UserError as `load_config`; problems of an arm have the line of the arm."""
    return validate(CompareConfig, read_yaml(path), overrides)


def load_comparison(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> CompareConfig | MemoryConfig:
    """Read a comparison file of either kind: a memory comparison has ``experiments``. With ``quick``, the changes of
    its `quick` field are applied before the overrides.

    Raises UserError as `load_compare` does, and with ``quick`` if the file has no `quick` field.
    """
    document = read_yaml(path)
    changes = document.data.get("quick") or []
    if quick and not (isinstance(changes, list) and changes and all(isinstance(change, str) for change in changes)):
        raise UserError(f"{path} has no quick form: quick must be a list of changes, such as seeds=2")
    if "experiments" not in document.data:
        return load_compare(path, overrides)
    return validate(MemoryConfig, document, [*changes, *overrides] if quick else overrides)


def parse_config(mapping: Mapping[str, Any], source: str) -> Config:
    """Validate a configuration given as plain data; errors begin with `source`.

    Raises:
        UserError: all problems, one line each.
    """
    return validate(Config, Document(source, dict(mapping)))


def read_yaml(path: Path) -> Document:
    """Read a YAML file into plain data with line numbers.

    Raises:
        UserError: the file is missing, not UTF-8, not YAML, empty, or not a mapping.
    """
    document = parse(read_text(path), str(path))
    if document.data is None:
        raise UserError(f"{path}: the file is empty; it needs at least a corpus section")
    if not isinstance(document.data, dict):
        raise UserError(
            f"{path}:1: expected sections such as 'model:' at the top level of the file, not a list or text"
        )
    return document


def read_unchecked(path: Path) -> dict[str, Any]:
    """The plain data of a configuration that this program has written, faster than `load_config`, but not validated.
    Raises UserError if the file cannot be read, or is not a YAML mapping."""
    data = parse(read_text(path), str(path)).data
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected sections such as 'model:'")
    return data


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
        for problem in problems_of(error, model):
            if problem.loc not in reported:
                lines.append(locate(problem, document, overridden))
    if lines:
        messages = list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0])))
        more = [f"and {len(messages) - MAX_LISTED} more: fix these first"] if len(messages) > MAX_LISTED else []
        raise UserError("\n".join(messages[:MAX_LISTED] + more))
    return config


def dump_yaml(config: BaseModel) -> str:
    """The configuration as YAML, with every field in declared order; `load_config` reads an equal one from it.

    Options without effect for the chosen cell are omitted.
    """
    text: str = yaml.dump(
        config.model_dump(mode="json"),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return text


def dump_changes(config: Config) -> str:
    """The configuration as YAML with the source of its text and only the fields that differ from the defaults of its
    cell; `load_config` reads an equal one from it."""
    settings = config.model_dump(mode="json")
    cell, source = settings["model"]["cell"], settings["corpus"]["source"]
    defaults = parse_config({"corpus": {"source": source}, "model": {"cell": cell}}, "defaults").model_dump(mode="json")
    changes: dict[str, Any] = {"corpus": {"source": source}, "model": {"cell": cell}}
    for section, fields in settings.items():
        if not isinstance(fields, dict):
            continue
        for name, value in fields.items():
            if name not in defaults[section] or value != defaults[section][name]:
                changes.setdefault(section, {})[name] = value
    budget = changes.get("training", {}).get("budget")
    if budget:
        changes["training"]["budget"] = {name: limit for name, limit in budget.items() if limit is not None}
    text: str = yaml.dump(changes, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text


def as_yaml(value: object) -> str:
    """A value as YAML on one line: ``null``, ``true``, ``[1, 2]``, ``{steps: 20}``."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


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
    return loc, document.data


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 readers both read the same text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        plain = resolve(text) is text and text.isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
