"""Commands that run in several processes, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from charlstm.standard_streams import flush

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import Config
    from charlstm.distributed import ProcessGroup
    from charlstm.text.corpus import Corpus


def run_distributed(group: ProcessGroup, signals: Signals, work: Callable[[], int]) -> None:
    """Run ``work``, which returns the exit code, and exit with it.

    Only rank 0 prints. An error that all processes have is printed once; an error of a single process is printed with
    its rank.
    """
    from charlstm import console
    from charlstm.distributed import ProcessLostError, SynchronizedError
    from charlstm.errors import UserError

    if group.size == 1:
        code = work()
    else:
        if not group.is_rank0:
            console.print_errors_only(f"rank {group.rank}")
        try:
            with group.connect():
                try:
                    code = work()
                except SynchronizedError as error:
                    code = 2
                    if str(error):
                        console.error(str(error))
                group.barrier()  # torchrun kills the others as soon as one exits with an error
        except UserError as error:
            console.error(str(error))
            lost_after_signal = isinstance(error, ProcessLostError) and signals.number is not None
            _exit_at_once(signals.exit_code if lost_after_signal else 2)
    if code:
        raise typer.Exit(code)


def _exit_at_once(code: int) -> NoReturn:
    """Exit without finalizing the interpreter, which threads that still wait for other processes may abort."""
    flush()
    os._exit(code)


def sync_signals(group: ProcessGroup, signals: Signals) -> None:
    """Give all processes the number of the ending signal that any of them received."""
    (number,) = group.all_reduce_max(signals.number or 0)
    signals.number = int(number) or None


def load_shared_corpus(group: ProcessGroup, settings: Config, config_file: Path | None = None) -> Corpus:
    """Load the corpus: on each machine, local rank 0 first, then the others from its cache.

    config_file: of the run whose text it is; None for a new run.

    Raises UserError if configuration or corpus differ between processes.
    """
    from charlstm.text.corpus import load_corpus
    from charlstm.text.relocation import recorded_in

    for is_first in (True, False):
        with group.sync_errors():
            if (group.local_rank == 0) == is_first:
                with recorded_in(config_file):
                    corpus = load_corpus(**settings.corpus.model_dump())
    shared = {**settings.model_dump(mode="json"), "corpus": corpus.digest}
    group.assert_equal_across_ranks(
        shared, "configuration or corpus differ from those of rank 0: use the same files on all machines"
    )
    return corpus
