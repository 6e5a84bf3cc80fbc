"""Writes configurations and values as YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from charlstm.config.text import resolve

if TYPE_CHECKING:
    from pydantic import BaseModel

    from charlstm.config.schema import Config


def dump_yaml(config: BaseModel) -> str:
    """The configuration as YAML, with every field in declared order; `load_config` reads an equal one from it.

    Options without effect for the chosen cell are omitted.
    """
    return _dump(config.model_dump(mode="json"))


def dump_changes(config: Config) -> str:
    """The configuration as YAML with the source of its text and only the fields that differ from the defaults of its
    cell; `load_config` reads an equal one from it."""
    from charlstm.config.validation import parse_config

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
    return _dump(changes)


def as_yaml(value: object) -> str:
    """A value as YAML on one line: ``null``, ``true``, ``[1, 2]``, ``{steps: 20}``."""
    return _dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _dump(value: object, **options: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"), **options)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 readers both read the same text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        plain = resolve(text) is text and text.isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
