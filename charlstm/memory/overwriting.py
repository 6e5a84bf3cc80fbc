"""Deletes the results of a comparison of memories, so that it starts again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from charlstm.config import MemoryConfig
from charlstm.errors import UserError
from charlstm.memory.claims import write_claims
from charlstm.memory.comparison import MemoryComparison
from charlstm.memory.datasets import delete_texts
from charlstm.memory.groups import RunGroup, with_previous
from charlstm.runs.directory import RunDirectory

RATE = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"


def delete_results(
    config: MemoryConfig, folder: Path, only: Sequence[str] = (), full: MemoryConfig | None = None
) -> None:
    """Delete the runs of the experiments of a file, or of those in ``only``, with their measurements and their texts,
    and rename the file with the claims. What is then trained may have other settings.

    Raises UserError, before anything is deleted, if the file asks for something that cannot be trained, or if one of
    the runs is being trained.
    """
    with TemporaryDirectory() as temporary:
        groups = MemoryComparison(config, Path(temporary), "", [], only, full=full).run_groups()
    runs = list(_runs_of(groups, folder))
    for path in runs:
        with RunDirectory(path).writing():
            pass
    try:
        for path in runs:
            shutil.rmtree(path)
        delete_texts(folder, {group.dataset.name for group in with_previous(groups)})
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot delete it: {error.strerror or error}") from error
    write_claims(config, folder, overwrite=True)


def _runs_of(groups: Sequence[RunGroup], folder: Path) -> Iterator[Path]:
    """The folders of the runs of these groups, at any learning rate and with any seed."""
    members = {(m.dataset.name, m.arm) for group in with_previous(groups) for m in group.members}
    names = "|".join(re.escape(f"{dataset}-{arm}") for dataset, arm in sorted(members))
    pattern = re.compile(rf"(?:{names})-{RATE}-seed\d+")
    yield from (path for path in sorted((folder / "cells").glob("*-seed*")) if pattern.fullmatch(path.name))
