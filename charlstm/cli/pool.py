"""The pool in which a command of many runs trains them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from charlstm import console
from charlstm.cli.guard import SavedWork
from charlstm.cli.signals import Signals
from charlstm.jobs.base import Pool, Stopped
from charlstm.jobs.pools import make_pool


@contextmanager
def saved_pool(
    signals: Signals,
    jobs: int,
    cluster: str | None,
    folder: Path,
    overwrite: bool,
    say: Callable[[str], None] = console.out,
) -> Iterator[Pool]:
    """A pool of so many processes, or of the workers of a cluster. The first ending signal saves the runs in training,
    and ends the command with a message.

    overwrite: the command deletes the runs first, which the message says must not happen again.
    """
    again = " without --overwrite" if overwrite else ""
    try:
        with (
            make_pool(jobs, cluster, folder) as pool,
            signals.saving(pool, SavedWork(folder, f"the same command{again}")),
        ):
            yield pool
    except Stopped:
        say(f"saved; to resume, run the same command{again or ' again'}")
        raise typer.Exit(signals.exit_code) from None
