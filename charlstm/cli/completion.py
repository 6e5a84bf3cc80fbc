"""What the shell completes: runs, configurations, fields, cells and other words. Loads no torch.

If there is no completion, the shell completes the names of files.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charlstm import console
from charlstm.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

INSTRUCTION = "_CHARLSTM_COMPLETE"
"""The variable with which a shell requests completions."""
Complete = Callable[[str], list[str]]


def is_requested() -> bool:
    """Whether this process was started by a shell, to complete a command line."""
    return INSTRUCTION in os.environ


def print_completions(run: Callable[[], object]) -> None:
    """Let ``run`` print the completions that the shell requests, or its script; raises SystemExit as it does.

    Bash takes ``=`` for the beginning of a new word, and replaces only the text after it.
    """
    if os.environ[INSTRUCTION] != "complete_bash":
        run()
        return
    prefix, printed = join_words(os.environ), io.StringIO()
    try:
        with redirect_stdout(printed):
            run()
    finally:
        for line in printed.getvalue().splitlines():
            console.out(line.removeprefix(prefix))


def join_words(environment: MutableMapping[str, str]) -> str:
    """Join the words of bash that were one before it cut them at ``=``; returns what precedes the last word."""
    words = environment.get("COMP_WORDS", "").split("\n")
    index = environment.get("COMP_CWORD", "")
    if not index.isdecimal() or int(index) >= len(words):
        return ""
    joined, last, prefix = list[str](), 0, ""
    for number, word in enumerate(words[: int(index) + 1]):
        if joined and number > 1 and ("=" in (word, words[number - 1])):
            prefix, joined[-1] = joined[-1] + ("=" if word == "=" else ""), joined[-1] + word
        else:
            joined, prefix = [*joined, word], ""
        last = len(joined) - 1
    environment.update(COMP_WORDS="\n".join(joined), COMP_CWORD=str(last))
    return prefix


def words(*allowed: str) -> Complete:
    """Completes one of these words."""
    return lambda incomplete: _matching(allowed, incomplete)


devices = words("auto", "cpu", "cuda", "cuda:0", "mps")


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the runs in the folder of ``--runs``, the one trained last first; ``latest`` comes before them."""
    from charlstm.paths import RUNS
    from charlstm.runs.names import LATEST, run_names

    folder = context.params.get("runs")
    names = list[str]()
    with suppress(UserError, OSError):
        names = run_names(Path(folder) if isinstance(folder, str | Path) else RUNS, is_deep="/" in incomplete)
    return _matching([*([LATEST] if names else []), *names], incomplete)


def _configurations(incomplete: str, command: str) -> list[str]:
    """The YAML files in the folder of the incomplete path and, if it names no folder, in ``configs/``; the names of
    the ready configurations that a command takes."""
    from charlstm.config.ready import command_of, ready_configs

    parent = incomplete[: incomplete.rfind("/") + 1]
    folders = [parent] if parent else ["", "configs/"]
    files = list[str]()
    with suppress(OSError):
        for folder in folders:
            files += sorted(folder + path.name for path in Path(folder).expanduser().glob("*.y*ml"))
    ready = (name for name, file in ready_configs().items() if command_of(file) == command)
    return _matching([*files, *ready], incomplete)


def texts_or_runs(context: typer.Context, incomplete: str) -> list[str]:
    """What can be trained on: texts, configurations, names of the catalog; with ``--resume``, runs come before them."""
    from charlstm.text.catalog import catalog_names

    named = [
        *(runs(context, incomplete) if context.params.get("resume") else []),
        *_configurations(incomplete, "train"),
    ]
    return list(dict.fromkeys([*named, *_matching(catalog_names(), incomplete), *_paths(incomplete)]))


def _paths(incomplete: str) -> list[str]:
    """The files and folders that the incomplete path can become, without hidden ones."""
    parent = incomplete[: incomplete.rfind("/") + 1]
    with suppress(OSError):
        entries = sorted(Path(parent or ".").expanduser().iterdir())
        names = (parent + path.name + "/" * path.is_dir() for path in entries if not path.name.startswith("."))
        return _matching(names, incomplete)
    return []


def runs_and_configurations(context: typer.Context, incomplete: str) -> list[str]:
    """The names of runs, and configurations."""
    return [*runs(context, incomplete), *_configurations(incomplete, "compare")]


def sweeps(incomplete: str) -> list[str]:
    """Sweep files, and the names of ready ones."""
    return _configurations(incomplete, "sweep")


def fields(incomplete: str) -> list[str]:
    """The fields of a configuration, as ``model.cell=``, and after the sign the words that a field allows."""
    from charlstm.config import Config

    return _fields(Config, incomplete)


def comparison_fields(incomplete: str) -> list[str]:
    """The fields of a comparison of arms."""
    from charlstm.config import CompareConfig

    return _fields(CompareConfig, incomplete)


def sweep_fields(incomplete: str) -> list[str]:
    """The fields of a sweep."""
    from charlstm.config import SweepConfig

    return _fields(SweepConfig, incomplete)


def _fields(model: type[BaseModel], incomplete: str) -> list[str]:
    """If one field is left, its values are there at once: after a single completion, a shell adds a space."""
    from charlstm.config import describe_fields
    from charlstm.config.fields import alternatives, choices, find_field

    name, sign, _ = incomplete.partition("=")
    docs = [doc for doc in describe_fields(model) if (doc.path == name if sign else doc.path.startswith(name))]
    if len(docs) != 1:
        return [f"{doc.path}=" for doc in docs]
    (doc,) = docs
    field = find_field(model, doc.path.split("."))
    if doc.path == "corpus.source":
        values = _catalog()
    elif doc.path == "training.device":
        values = devices("")
    elif field is not None and choices(field):
        values = choices(field)
    elif field is not None and bool in alternatives(field.annotation):
        values = ["true", "false"]
    else:
        values = [] if doc.default == "required" else [doc.default]
    return _matching([f"{doc.path}=", *(f"{doc.path}={value}" for value in values)], incomplete)


def _catalog() -> list[str]:
    from charlstm.text.catalog import catalog_names

    return catalog_names()


def _matching(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def cells(incomplete: str) -> list[str]:
    """The names of cells."""
    from charlstm.cells import CELLS

    return _matching(CELLS, incomplete)


def executors(incomplete: str) -> list[str]:
    """The names of executors, and the peers that they are compared with."""
    from charlstm.config import Config
    from charlstm.config.fields import choices, find_field

    field = find_field(Config, ("model", "executor"))
    names = [] if field is None else [name for name in choices(field) if name != "auto"]
    return _matching([*names, "torch.nn", "torch.nn-captured"], incomplete)


def corpora(incomplete: str) -> list[str]:
    """The names of the catalog."""
    return _matching(_catalog(), incomplete)


def corpora_or_files(incomplete: str) -> list[str]:
    """The names of the catalog, and the files that begin so."""
    with suppress(OSError):
        parent = incomplete[: incomplete.rfind("/") + 1]
        files = sorted(parent + path.name for path in Path(parent).expanduser().iterdir() if path.name[0] != ".")
        return [*corpora(incomplete), *_matching(files, incomplete)]
    return corpora(incomplete)
