"""The command ``charlstm sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import (
    ClusterOption,
    check_choice,
    expand_home,
    folder_name,
    refuse,
    repeated_options,
)
from charlstm.paths import RUNS, command, path_exists

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.sweep.sweep import Sweep

SHOWN = 15
"""Rows of the table that a terminal shows."""


def sweep(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            callback=expand_home,
            autocompletion=completion.sweeps,
            help="A sweep in YAML, or the name of a ready one, such as cell-and-rate.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            autocompletion=completion.sweep_fields,
            help="Set a field of the sweep, such as trials=40. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the sweep. Default: the value of name in the file, else the file's name."),
    ] = None,
    runs: Annotated[Path, typer.Option(callback=expand_home, help="Folder that holds the folder of the sweep.")] = RUNS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete all runs of the sweep first, and train them again.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Number of runs at a time. Default: one per CPU core, or per GPU."),
    ] = None,
    cluster: ClusterOption = None,
    keep: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("weights", "nothing", "all"),
            help="What is kept on the disk. weights: the best checkpoint of each run that had the whole budget; "
            "all: also what the other runs need to be continued, if trials is raised later; nothing: only metrics.",
        ),
    ] = "weights",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the candidates, and train nothing.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Search for good settings among many candidates; those that are behind stop early.

    Prints a table, best first, and writes the best as a configuration, runs/NAME/best.yaml, and report/index.html with
    plots. The best is chosen by the validation split only. Ctrl-C saves, and the same command continues. Interruptions
    and the number of jobs do not change the result, except for rounding with --jobs 1: a run then uses all threads.
    """
    from charlstm import console
    from charlstm.config import load_sweep
    from charlstm.config.ready import ready_configs

    check_choice("--keep", keep, "weights", "nothing", "all")
    if dry_run:
        refuse(context, "with --dry-run, which trains and deletes nothing", "overwrite", "jobs", "cluster", "keep")
    if cluster is not None:
        refuse(context, "with --cluster: each of its workers runs one job at a time", "jobs")
    ready = None if path_exists(path) else ready_configs().get(str(path))
    file = ready or path
    config = load_sweep(file, list(set_ or []))
    folder = runs / folder_name(name or config.name or file.stem)
    if cluster is not None:
        folder = folder.absolute()  # for its workers

    from charlstm.sweep.sweep import Sweep

    planned = Sweep(config, folder, file.parent, overwrite, keep)
    if dry_run:
        _print_plan(planned, json_)
        return
    with console.as_log():
        say = console.note if json_ else console.out_wrapped
        for line in _plan(planned):
            say(line)
        planned.prepare()
        _train(context.obj, planned, jobs, cluster, json_)
    _print_result(planned, command("sweep", path, *repeated_options(name, runs, set_)), json_)


def _train(signals: Signals, sweep: Sweep, jobs: int | None, cluster: str | None, on_stderr: bool) -> None:
    """Train what is missing. The first ending signal saves the runs in training and exits."""
    from charlstm import console
    from charlstm.cli.pool import saved_pool
    from charlstm.cli.steps_progress import show_steps
    from charlstm.jobs.processes import default_number
    from charlstm.progress_line import ProgressLine

    say = console.note if on_stderr else console.out
    with (
        saved_pool(signals, jobs or default_number(), cluster, sweep.folder, sweep.overwrite, say) as pool,
        ProgressLine(on_stderr=on_stderr) as live,
    ):
        show_steps(sweep.run(pool), live)


def _plan(sweep: Sweep) -> list[str]:
    """What the text is, and how much is trained on it."""
    return [sweep.corpus.describe(), *sweep.corpus.changes, *sweep.describe()]


def _print_plan(sweep: Sweep, as_json: bool) -> None:
    """Print the candidates and how far they are trained."""
    from charlstm import console
    from charlstm.config.sweep import value_text

    candidates, space = sweep.config.candidates, sweep.config.space
    if as_json:
        console.out_json([{"trial": number, "values": one} for number, one in enumerate(candidates, start=1)], indent=2)
        return
    for line in _plan(sweep):
        console.out_wrapped(line)
    rows = [
        [str(number), *(value_text(one[name]) if name in one else "-" for name in space)]
        for number, one in enumerate(candidates, start=1)
    ]
    console.table([["trial", *space], *rows], sweep.folder.name)


def _print_result(sweep: Sweep, line: str, as_json: bool) -> None:
    """Write the report and the best configuration, and print the table."""
    from charlstm import console
    from charlstm.sweep.report import best_of, headline, record, table, write_report

    standings = sweep.standings()
    best = best_of(standings)
    files = write_report(sweep, standings, line, sweep.folder / "report")
    if best is None:
        sweep.best_file.unlink(missing_ok=True)
    written = None if best is None else sweep.write_best(best)
    if as_json:
        console.out_json(record(sweep, standings), indent=2)
        return
    rows = table(standings, list(sweep.config.space), sweep.corpus.vocabulary.unit)
    shown = rows[: SHOWN + 1] if console.is_terminal() else rows
    console.table(shown, sweep.folder.name, optional=["lowest to highest", "seeds", "steps"])
    if len(shown) < len(rows):
        console.out(f"and {len(rows) - len(shown)} more in the report")
    for sentence in headline(sweep, standings):
        console.out_wrapped(sentence)
    console.out(f"report: {files[0]}")
    if best is not None:
        console.out(f"best:   {written}")
        run = sweep.trial(best.number, 0).directory.path
        if sweep.keep != "nothing":
            console.out(f"next:   {command('sample', run)}")
