"""The command line. Every command is a thin file of its own; torch is loaded only inside the commands that need it.

Exit codes: 0 done; 1 a bug (its traceback is in a file, which is named); 2 wrong input: usage, configuration, files, or
something that the machine lacks; 3 training diverged; 130, 143 or 129 stopped by a signal (Ctrl-C, TERM, HUP), 141
because nobody reads the output any more. Each process that torchrun starts ends with one of these; what
torchrun itself ends with is its own.
"""

from __future__ import annotations

import os

import typer

from charlstm import console
from charlstm import standard_streams as streams
from charlstm.cli import bench, compare, config, evaluate, guard, sample, signals, train
from charlstm.errors import UserError

app = typer.Typer(
    name="charlstm",
    cls=guard.Commands,
    help="Train, sample and compare character-level recurrent language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (train.train, sample.sample, evaluate.evaluate, compare.compare, config.config, bench.bench)
"""In the order of ``charlstm --help``; each has the name of its function."""
for command in COMMANDS:
    app.command(command.__name__)(command)


def main() -> None:
    """Run the command line; whatever goes wrong ends in one clear message and an exit code."""
    # GNU OpenMP's threads spin for milliseconds by default where they wait; on a machine with other work to do that
    # halts training. It reads this when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Without it cuDNN's recurrent layers may round differently from one run to the next (notes of torch.nn.LSTM).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Pictures go into files and look alike everywhere: a notebook's backend or a broken matplotlibrc shall not matter.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)
    streams.open_missing()
    console.show_log()
    with signals.handled() as received:
        try:
            app(obj=received)
        except UserError as problem:
            console.error(str(problem))
            guard.tell_saved(received.work)
            raise SystemExit(2) from None
        except Exception as problem:
            raise SystemExit(guard.explain(problem, received.work)) from None
        finally:
            streams.flush()
