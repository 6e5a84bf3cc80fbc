"""Commands for a run that several pages and messages propose."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from charlstm.config import Config, as_yaml
from charlstm.paths import RUNS, command, path_exists


def evaluate_command(path: Path, config: Config) -> str:
    """The command that scores the held-out text of a run, or its training text if nothing is held out."""
    return command("evaluate", path, *([] if config.corpus.has_validation else ["--split", "train"]))


def continue_command(path: Path, config: Config) -> str:
    """The command that starts a new run from the weights of one, on its text as it is now, read in the same way."""
    source, here = config.corpus.source, Path.cwd()
    texts = [Path(text) for text in ([source] if isinstance(source, str) else source)]
    fields = config.corpus.model_dump(mode="json", exclude_defaults=True, exclude={"source", "characters"})
    return command(
        "train",
        *(text.relative_to(here) if text.is_relative_to(here) else text for text in texts),
        "--from",
        path,
        *(word for name, value in fields.items() for word in ("--set", f"corpus.{name}={as_yaml(value)}")),
        *_new_name(path),
    )


def train_again_command(path: Path) -> str:
    """The command that trains a new run with the settings of one."""
    return command("train", path / "config.yaml", *_new_name(path))


def _new_name(path: Path) -> list[object]:
    """The options with which a run gets a new name beside another one."""
    name = next(name for n in count(2) if not path_exists(path.with_name(name := f"{path.name}-{n}")))
    return ["--name", name, *([] if path.parent == RUNS else ["--runs", path.parent])]
