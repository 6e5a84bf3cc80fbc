"""``charlstm compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.comparison.results import Comparison


def compare(
    context: typer.Context,
    what: Annotated[list[Path], typer.Argument(help="One comparison in YAML, or the folders of runs.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field of the comparison, such as seeds=5. May be repeated.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the comparison; else its own, or its file's name.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which the comparison's own folder is made.")] = Path("runs"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train all arms anew, even those that are done.")
    ] = False,
) -> None:
    """Compare networks: train the arms of a comparison on the same text in the same order, or take runs that exist.

    Prints a table and writes report/index.html, plots and report.json; of a single run, into its own folder. Arms that
    are done are not trained again, so a comparison that was stopped goes on where it was.
    """
    from charlstm import console
    from charlstm.comparison.report import headline, summary_table, write_report

    if len(what) == 1 and not what[0].is_dir():
        folder, comparison = _train_arms(context.obj, what[0], list(set_ or []), name, runs, overwrite)
    else:
        from charlstm.comparison.collect import compare_runs
        from charlstm.errors import UserError

        if set_:
            raise UserError("--set belongs to a comparison in YAML; runs that exist are compared as they are")
        comparison = compare_runs(what)
        joined = "-".join(path.resolve().name for path in what)[:80]
        folder = what[0] if len(what) == 1 and name is None else runs / (name or f"compare-{joined}")
    files = write_report(comparison, folder / "report")
    for causal in (True, False):
        rows = summary_table(comparison, causal=causal)
        if rows:
            console.table(rows, comparison.title)
    for line in headline(comparison):
        console.out(line)
    console.out(f"report: {files[0]}")


def _train_arms(
    signals: Signals, path: Path, overrides: list[str], name: str | None, runs: Path, overwrite: bool
) -> tuple[Path, Comparison]:
    """Train what is not trained yet; the comparison's folder and its result."""
    from charlstm import console
    from charlstm.cli.progress import follow
    from charlstm.cli.train import folder_name
    from charlstm.comparison.experiment import Experiment
    from charlstm.config import load_compare

    config = load_compare(path, overrides)
    folder = runs / folder_name(name or config.name or path.stem)
    experiment = Experiment(config, folder, path.stem, overwrite)
    console.out(experiment.corpus.describe())
    for line in experiment.describe():
        console.out(line)
    for trial in experiment.trials():
        prefix = f"[{trial.label}] "
        if trial.finished:
            console.out(f"{prefix}done already")
            continue
        with trial.directory.writing():
            trainer = trial.trainer()
            with signals.saving(trainer):
                ended = follow(trainer.run(), prefix, samples=False, unit=experiment.corpus.vocabulary.unit)
        if signals.number is not None:  # also where it came too late for this run to be cut short
            console.out(f"{prefix}saved; the same command goes on from here")
            raise typer.Exit(signals.exit_code)
        if ended.why == "diverged":
            console.note(f"{prefix}{ended.advice}")
    return folder, experiment.comparison()
