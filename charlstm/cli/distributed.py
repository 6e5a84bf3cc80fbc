"""A command that several processes work at together, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import typer

from charlstm.standard_streams import flush

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import Config
    from charlstm.distributed import ProcessGroup
    from charlstm.text.corpus import Corpus


def work_together(team: ProcessGroup, signals: Signals, work: Callable[[], int]) -> None:
    """Do the work, which gives the exit code, and leave with it: all processes of the team with the same.

    The first of them speaks for all. An error that all have met is printed once; one of another process alone, with its
    rank in front.
    """
    from charlstm import console
    from charlstm.distributed import ProcessLostError, SynchronizedError
    from charlstm.errors import UserError

    if team.size == 1:
        code = work()
    else:
        if not team.first:
            console.only_errors(f"rank {team.rank}")
        try:
            with team.joined():
                try:
                    code = work()
                except SynchronizedError as problem:
                    code = 2
                    if str(problem):
                        console.error(str(problem))
                team.barrier()  # as soon as one has left with an error, torchrun ends the others
        except UserError as problem:
            console.error(str(problem))
            lost = isinstance(problem, ProcessLostError) and signals.number is not None
            _leave(signals.exit_code if lost else 2)
    if code:
        raise typer.Exit(code)


def _leave(code: int) -> NoReturn:
    """Leave without the end of the interpreter, in which threads that still wait for others now and then abort it."""
    flush()
    os._exit(code)


def agree(team: ProcessGroup, signals: Signals) -> None:
    """Have every process know the ending signal that came to any of them."""
    (number,) = team.all_reduce_max(signals.number or 0)
    signals.number = int(number) or None


def load_together(team: ProcessGroup, settings: Config) -> Corpus:
    """The corpus of a configuration; on each machine one process reads it first, and the others find it in the cache.

    Raises UserError if configuration or corpus are not the same for all.
    """
    from charlstm.text.corpus import load_corpus

    for turn in (True, False):
        with team.sync_errors():
            if (team.local_rank == 0) == turn:
                corpus = load_corpus(**settings.corpus.model_dump())
    theirs = {**settings.model_dump(mode="json"), "corpus": corpus.digest}
    team.assert_equal_across_ranks(
        theirs, "configuration or corpus here are not those of rank 0: all machines need the same files"
    )
    return corpus
