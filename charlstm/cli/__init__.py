"""The command line. Every command is a thin module; torch is imported only inside the commands that need it.

Exit codes: 0 success; 1 a bug (the message names the file with its traceback); 2 wrong input: usage, configuration,
files, or something that the machine lacks; 3 training diverged; 130, 143 or 129 stopped by a signal (Ctrl-C, TERM,
HUP), 141 stopped because standard output is closed. Each process that torchrun starts ends with one of these codes;
torchrun itself has other exit codes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from functools import partial
from typing import Annotated

import typer

from charlstm import __version__, console
from charlstm import standard_streams as streams
from charlstm.cli import commands, completion, guard, signals
from charlstm.errors import UserError
from charlstm.hardware.environment import set_environment


def print_version(is_requested: bool) -> None:
    """Callback of ``--version``: the versions of this program, of torch, which is not loaded, and of Python."""
    if is_requested:
        import platform
        from importlib.metadata import version

        console.out(f"charlstm {__version__}, torch {version('torch')}, Python {platform.python_version()}")
        raise typer.Exit


app = typer.Typer(
    name="charlstm",
    cls=commands.Commands,
    help="Train, sample and compare character-level recurrent language models.",
    no_args_is_help=True,
    context_settings=commands.HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the versions, and exit."),
    ] = False,
) -> None:
    """Train, sample and compare character-level recurrent language models."""


def skip_last_collection() -> None:
    """At its exit, Python looks for cycles among all objects, which takes a fifth of the time of a refusal. Libraries
    that come with torch report leaks if it does not."""
    if "torch" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    set_environment()
    # Plots go into files and look the same everywhere, whatever the user's backend or matplotlibrc.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)
    atexit.register(skip_last_collection)
    streams.open_missing()
    streams.buffer_output()
    console.show_log()
    with signals.handled() as received:
        try:
            if completion.is_requested():
                completion.print_completions(partial(app, prog_name="charlstm"))
            app(obj=received)
        except UserError as error:
            console.error(str(error))
            guard.note_saved(received.work)
            raise SystemExit(2) from None
        except SystemExit:
            if received.is_forced:
                guard.note_saved(received.work)
            raise
        except Exception as error:
            raise SystemExit(guard.report_error(error, received.work)) from None
        finally:
            streams.flush()
