"""The command ``charlstm plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import RunsOption, check_choice, check_png, expand_home, find_folder, refuse
from charlstm.paths import RUNS

POLL = 2.0  # seconds
ALONG = ("characters", "seconds", "steps")


def plot(
    context: typer.Context,
    named: Annotated[
        list[Path],
        typer.Argument(
            callback=expand_home,
            autocompletion=completion.runs,
            metavar="RUN...",
            help="Runs: their folders, their names in runs/, or latest.",
        ),
    ],
    output: Annotated[
        Path, typer.Option(callback=expand_home, metavar="FILE.png", help="The PNG file to write.")
    ] = Path("curves.png"),
    along: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words(*ALONG), help="The x axis: characters trained on, seconds or steps."
        ),
    ] = "characters",
    training: Annotated[bool, typer.Option("--training", help="Draw the training losses, too, as thin lines.")] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write event files for TensorBoard into RUN/tensorboard instead: all scores, learning rate, gradient "
            "norm, speed, samples and settings.",
        ),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --tensorboard: continue as long as the runs are trained.")
    ] = False,
    runs: RunsOption = RUNS,
) -> None:
    """Plot the learning curves of runs into a PNG file, also while they are trained.

    For example: charlstm plot latest wider --along seconds --output curves.png.
    With charlstm plot latest --tensorboard --follow, tensorboard --logdir runs shows a run while it is trained.
    """
    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.runs.directory import RunDirectory
    from charlstm.runs.names import distinct_names

    check_choice("--along", along, *ALONG)
    if tensorboard:
        refuse(context, "with --tensorboard, which draws nothing", "output", "along", "training")
    else:
        refuse(context, "without --tensorboard", "follow")
        check_png("--output", output)
    directories = [RunDirectory(find_folder(context, run, runs)) for run in named]
    names = distinct_names([directory.path for directory in directories])
    configs = [directory.config() for directory in directories]
    if tensorboard:
        _write_event_files([directory.path for directory in directories], follow)
        return
    units = {"byte" if config.corpus.encoding == "bytes" else "character" for config in configs}
    if len(units) > 1:
        raise UserError("bits per byte and bits per character are not comparable: plot these runs separately")

    from charlstm.run_report.curves import read_curves, several_curves

    curves = {name: read_curves(directory.metrics()) for name, directory in zip(names, directories, strict=True)}
    if len({curve.is_pseudo_likelihood for curve in curves.values() if len(curve.evaluations)}) > 1:
        raise UserError("a pseudo-likelihood is not comparable with a likelihood: plot these runs separately")
    figure = several_curves(curves, units.pop(), along, training)  # type: ignore[arg-type]
    if figure is None:
        raise UserError("these runs have no scores yet")
    if figure.error:
        raise UserError(figure.error)
    try:
        output.write_bytes(figure.png)
    except OSError as error:
        raise UserError(f"--output {output}: cannot write it: {error.strerror}") from error
    console.out(str(output))


def _write_event_files(runs: list[Path], follow: bool) -> None:
    """Write event files of runs, and with ``follow`` add to them until no run is trained any more."""
    import os
    import time
    from contextlib import ExitStack, closing

    from charlstm import console
    from charlstm.paths import command
    from charlstm.run_report.event_files import EventFiles, check_package

    check_package()
    parents = {run.parent for run in runs}
    folder = parents.pop() if len(parents) == 1 else os.path.commonpath([parent.absolute() for parent in parents])
    with ExitStack() as stack:
        files = [stack.enter_context(closing(EventFiles(run))) for run in runs]
        for each in files:
            each.update()
            console.out(f"event files: {each.folder}")
        console.out(f"show them:   {command('--logdir', folder, start='tensorboard')}")
        while follow:
            is_training = [each.is_training for each in files]
            changed = [each.update() for each in files]  # also what was recorded at the very end
            if not any(is_training) and not any(changed):
                return
            time.sleep(POLL)
