"""Deletes the results of experiments on memory, so that they start again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from charlstm.config import MemoryConfig
from charlstm.errors import UserError
from charlstm.memory.claims import write_claims
from charlstm.memory.comparison import MemoryComparison
from charlstm.memory.datasets import delete_texts
from charlstm.memory.groups import with_previous
from charlstm.runs.directory import RunDirectory

RATE = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"


def delete_results(
    config: MemoryConfig, folder: Path, only: Sequence[str] = (), full: MemoryConfig | None = None
) -> None:
    """Delete the runs on the texts of the experiments of a file, or of those in ``only``, with their measurements and
    these texts, and rename the file with the claims. What is then trained may have other settings.

    Raises UserError, before anything is deleted, if the file asks for something that cannot be trained, or if one of
    the runs is being trained.
    """
    everything, chosen = (_datasets(config, names, full) for names in ((), only))
    runs = _runs_of(chosen, everything, folder)
    for path in runs:
        with RunDirectory(path).writing():
            pass
    try:
        for path in runs:
            RunDirectory(path).delete()
        delete_texts(folder, chosen)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot delete it: {error.strerror or error}") from error
    write_claims(config, folder, overwrite=True)


def _datasets(config: MemoryConfig, only: Sequence[str], full: MemoryConfig | None) -> set[str]:
    """The names of the datasets of some experiments, or of all."""
    with TemporaryDirectory() as temporary:
        groups = MemoryComparison(config, Path(temporary), "", [], only, full=full).run_groups()
    return {group.dataset.name for group in with_previous(groups)}


def _runs_of(chosen: Iterable[str], everything: Iterable[str], folder: Path) -> list[Path]:
    """The folders of all runs on the chosen datasets, which experiments may share. Of datasets whose names begin alike,
    the longest name that fits is that of a run."""
    names = "|".join(map(re.escape, sorted(everything, key=len, reverse=True)))
    pattern = re.compile(rf"({names})-.+-{RATE}-seed\d+")
    paths = [(path, pattern.fullmatch(path.name)) for path in sorted((folder / "cells").glob("*-seed*"))]
    return [path for path, match in paths if match and match[1] in chosen]
