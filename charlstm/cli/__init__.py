"""The command line. Every command is a thin module; torch is imported only inside the commands that need it.

Exit codes: 0 success; 1 a bug (the message names the file with its traceback); 2 wrong input: usage, configuration,
files, or something that the machine lacks; 3 training diverged; 130, 143 or 129 stopped by a signal (Ctrl-C, TERM,
HUP), 141 stopped because standard output is closed. Each process that torchrun starts ends with one of these codes;
torchrun itself has other exit codes.
"""

from __future__ import annotations

import os
import platform
from functools import partial
from importlib.metadata import version
from typing import Annotated

import typer

from charlstm import __version__, console
from charlstm import standard_streams as streams
from charlstm.cli import (
    bench,
    compare,
    completion,
    compress,
    config,
    corpus,
    doctor,
    evaluate,
    export,
    guard,
    init,
    inspect,
    novelty,
    plot,
    runs,
    sample,
    signals,
    train,
)
from charlstm.errors import UserError


def print_version(is_requested: bool) -> None:
    """Callback of ``--version``: the versions of this program, of torch, which is not loaded, and of Python."""
    if is_requested:
        console.out(f"charlstm {__version__}, torch {version('torch')}, Python {platform.python_version()}")
        raise typer.Exit


app = typer.Typer(
    name="charlstm",
    cls=guard.Commands,
    help="Train, sample and compare character-level recurrent language models.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (
    train.train,
    sample.sample,
    evaluate.evaluate,
    inspect.inspect,
    novelty.novelty,
    compare.compare,
    runs.runs,
    plot.plot,
    export.export,
    compress.compress,
    compress.decompress,
    init.init,
    config.config,
    corpus.corpus,
    doctor.doctor,
    bench.bench,
)
"""In the order of ``charlstm --help``; a command has the name of its function."""
for command in COMMANDS:
    app.command(command.__name__)(command)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the versions, and exit."),
    ] = False,
) -> None:
    """Train, sample and compare character-level recurrent language models."""


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    # By default, waiting threads of GNU OpenMP spin for milliseconds, which stalls training on a busy machine. It reads
    # this when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Without it cuDNN's recurrent layers are not deterministic (see the notes of torch.nn.LSTM).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Plots go into files and look the same everywhere, whatever the user's backend or matplotlibrc.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)
    streams.open_missing()
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
        except Exception as error:
            raise SystemExit(guard.report_error(error, received.work)) from None
        finally:
            streams.flush()
