"""Write the generated parts of the READMEs: commands, options, fields, configurations, packages.

    python tests/reference.py

A generated part is between ``<!-- generated: NAME -->`` and ``<!-- end -->``; NAME is a key of ``PARTS``.
``test_docs.py`` fails if one is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from charlstm.cli import app
from charlstm.config import (
    CompareConfig,
    Config,
    CorpusConfig,
    MemoryConfig,
    ModelOptions,
    SweepConfig,
    TrainingConfig,
    as_yaml,
)
from charlstm.config.fields import alternatives, is_decided_by_others, section_model, type_text
from charlstm.config.search_space import Range
from charlstm.training.size_defaults import SMALLEST, TABLE, largest_alphabet

ROOT = Path(__file__).parent.parent
COMMAND = "python tests/reference.py"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SHARED = {CorpusConfig: "corpus", ModelOptions: "model", TrainingConfig: "training"}
"""Sections of a run's configuration that other configurations share."""


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    folders = (".github", "charlstm", "configs", "data", "tests")
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))])


def refreshed(text: str) -> str:
    """The text of a document with its generated parts up to date. Raises KeyError for an unknown part."""
    return re.sub(
        r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)",
        lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}",
        text,
        flags=re.DOTALL,
    )


def _table(*rows: tuple[str, ...]) -> str:
    first, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, ("---",) * len(first), *rest))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def _sentences(text: str, number: int) -> str:
    return " ".join(re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(text.split()))[:number])


def _table_of_commands() -> str:
    rows = [(f"[`charlstm {n}`](charlstm/cli/README.md#charlstm-{n})", _cell(_summary(n))) for n in COMMANDS]
    return _table(("command", "what it does"), *rows)


def _summary(name: str) -> str:
    return COMMANDS[name].help.strip().splitlines()[0]


def _reference_of_commands() -> str:
    return "\n\n".join(_command(name) for name in COMMANDS)


def _command(name: str) -> str:
    command = COMMANDS[name]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["[OPTIONS]", *(p.metavar or p.name.upper() + "..." * (p.nargs < 0) for p in arguments)])
    lines = [f"### charlstm {name}", f"Usage: **charlstm {name}** `{usage}`", "\n\n".join(_paragraphs(command.help))]
    if arguments:
        lines.append("\n".join(f"- `{p.metavar or p.name.upper()}`: {_prose(p.help)}" for p in arguments))
    return "\n\n".join([*lines, _table(("option", "meaning", "default"), *map(_option, options))])


def _paragraphs(text: str) -> list[str]:
    return [_prose(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip())]


def _prose(text: str) -> str:
    """Plain help text as Markdown: options and commands are code."""
    return re.sub(r"torchrun [^.]+|--set [\w.]+=[\w.]*|--[a-z][\w-]*", r"`\g<0>`", " ".join(text.split()))


def _option(option: Any) -> tuple[str, str, str]:
    value = "" if option.is_flag else f" {option.metavar or option.name.strip('_').upper()}"
    names = ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))
    ranged = option if hasattr(option, "min") else option.type  # Typer before 0.29
    low, high = (getattr(ranged, end, None) for end in ("min", "max"))
    limits = [f"{word} {limit}" for word, limit in (("at least", low), ("at most", high)) if limit is not None]
    help_text = re.sub(r"[;.] [Mm]ay be repeated\.$", ".", option.help)
    sentences = [_prose(help_text), " and ".join(limits).capitalize() + "." if limits else ""]
    meaning = " ".join(filter(None, [*sentences, "May be repeated." if option.multiple else ""]))
    if isinstance(option.show_default, str):
        default = option.show_default
    elif option.is_flag or option.default in (None, "", ()):
        return names, _cell(meaning), ""
    else:
        default = f"`{option.default}`"
    return names, _cell(meaning), _cell(default)


def _reference_of_fields(model: type[BaseModel]) -> str:
    return "\n\n".join(_sections(model, "", None, set()))


def _sections(model: type[BaseModel], path: str, values: Any, described: set[type[BaseModel]]) -> Iterator[str]:
    """The fields of a section, then those of the sections in it.

    `values` holds the defaults of the section; `described` collects the members of lists.
    """
    plain, inner = [], list[tuple[str, type[BaseModel], Any]]()
    for name, field in model.model_fields.items():
        section, member = section_model(field), _member(field)
        is_null = field.is_required() or is_decided_by_others(field)
        value = None if is_null else getattr(values, name, field.get_default())
        if section in SHARED and model is not Config:
            plain.append(f"- `{name}`: section, as [`{SHARED[section]}`](#{SHARED[section]}) of a run. {_text(field)}")
        elif section:
            inner.append((f"{path}.{name}" if path else name, section, value))
        elif member:
            title = member.__name__.lower()
            plain.append(f"- `{name}`: list of sections, each [as here](#{title}). {_text(field)}")
            inner += [] if member in described else [(title, member, None)]
            described.add(member)
        else:
            default = "required" if field.is_required() else f"default `{_default(value)}`"
            plain.append(f"- `{name}`: {_type(field)}; {default}. {_text(field)}")
    if path:
        yield f"### {path}\n\n{' '.join(str(model.__doc__).split())}"
    if plain:
        yield "\n".join(plain)
    for full, section, value in inner:
        yield from _sections(section, full, value, described)


def _member(field: FieldInfo) -> type[BaseModel] | None:
    """The model of the items of a list of sections."""
    kinds = [kind for item in alternatives(field.annotation) for kind in get_args(item) if get_origin(kind) is None]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _type(field: FieldInfo) -> str:
    """The alternatives of a field; literal values as code."""
    kinds = {"text", "number", "mapping", "list"}
    parts = type_text(field).split(" | ")
    *parts, last = [part if part in kinds or not re.fullmatch(r"[\w:-]+", part) else f"`{part}`" for part in parts]
    return f"{', '.join(parts)} or {last}" if parts else last


def _text(field: FieldInfo) -> str:
    return " ".join(str(field.description).split())


def _default(value: object) -> str:
    return as_yaml(int(value) if isinstance(value, float) and value.is_integer() else value)


def _ready_configurations() -> str:
    folder = ROOT / "configs"
    rows = []
    for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]:
        name = path.relative_to(folder).as_posix()
        shows, _, expect = _comment(path).partition("What to expect: ")
        expected = _sentences(expect, 2)
        rows.append((f"[`{name}`]({name})", _cell(_sentences(shows, 1)), _cell(expected[:1].upper() + expected[1:])))
    return _table(("configuration", "what it shows", "what to expect"), *rows)


def _comment(path: Path) -> str:
    """The comment at the head of a configuration, without its indented commands."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("# ") for line in lines if not line.startswith("#  "))


def _size_defaults() -> str:
    """What is chosen for texts of a size."""
    rows, below = [], 0.0
    for row in TABLE:
        size = f"up to {row.characters:,.0f}" if row.characters < float("inf") else f"more than {below:,.0f}"
        shape, rates = (row.batch_size, row.sequence_length), (row.learning_rate, row.fine_tuning_rate)
        units = str(row.hidden_size)
        if row.hidden_size > SMALLEST:
            units += f", or {row.hidden_size // 2} for more than {largest_alphabet(row):,} different characters"
        values = (row.dropout, *shape, *rates, row.epochs)
        rows.append((size, units, *(_default(value) for value in values)))
        below = row.characters
    fields = ("hidden_size", "dropout", "batch_size", "sequence_length", "learning_rate", "with `--from`")
    header = [name if "`" in name else f"`{name}`" for name in (*fields, "budget.epochs")]
    return _table(("characters to train on", *header), *rows)


def _packages() -> str:
    package = ROOT / "charlstm"
    inits = sorted(package.glob("*/__init__.py"))
    modules = sorted(path for path in package.glob("*.py") if not path.name.startswith("__"))
    rows = [(f"[`{p.parent.name}/`]({p.parent.name}/)", _cell(_docstring(p))) for p in inits]
    rows += [(f"[`{p.name}`]({p.name})", _cell(_docstring(p))) for p in modules]
    return _table(("package or module", "what it holds"), *rows)


def _layers() -> str:
    """The layers of the import contract in pyproject.toml, from top to bottom."""
    contract = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S)
    assert contract is not None
    layers = [line.strip(' ",').split(" | ") for line in contract[1].splitlines()]
    return "\n".join(f"{n}. {', '.join(f'`{name}`' for name in layer)}" for n, layer in enumerate(layers, 1))


def _docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0].rstrip(".")


PARTS: dict[str, Callable[[], str]] = {
    "table-of-commands": _table_of_commands,
    "commands": _reference_of_commands,
    "fields": partial(_reference_of_fields, Config),
    "comparison-fields": partial(_reference_of_fields, CompareConfig),
    "experiment-fields": partial(_reference_of_fields, MemoryConfig),
    "sweep-fields": partial(_reference_of_fields, SweepConfig),
    "range-fields": partial(_reference_of_fields, Range),
    "size-defaults": _size_defaults,
    "configurations": _ready_configurations,
    "layers": _layers,
    "packages": _packages,
}


def main() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (new := refreshed(text)) != text:
            path.write_text(new, encoding="utf-8", newline="\n")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
