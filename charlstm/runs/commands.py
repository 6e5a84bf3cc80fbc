"""Commands for a run that several pages and messages propose."""

from __future__ import annotations

from pathlib import Path

from charlstm.config import Config
from charlstm.paths import command


def evaluate_command(path: Path, config: Config) -> str:
    """The command that scores the held-out text of a run, or its training text if nothing is held out."""
    return command("evaluate", path, *([] if config.corpus.has_validation else ["--split", "train"]))
