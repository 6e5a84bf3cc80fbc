"""``charlstm compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.memory import compare_memories
from charlstm.cli.options import goes_on, home_expanded, refuse
from charlstm.paths import is_folder, is_there

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.comparison.results import Comparison
    from charlstm.config import CompareConfig


def compare(
    context: typer.Context,
    what: Annotated[
        list[Path], typer.Argument(callback=home_expanded, help="One comparison in YAML, or the folders of runs.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field of the comparison, such as seeds=5. May be repeated.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the comparison; else its own, or its file's name.")] = None,
    runs: Annotated[
        Path, typer.Option(callback=home_expanded, help="Folder in which the comparison's own folder is made.")
    ] = Path("runs"),
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Delete the runs of all arms first, even those that are done, and train them again."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A shorter form of a comparison of memories, as its file has it.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPERIMENT", help="One experiment of a comparison of memories. May be repeated."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Runs at a time in a comparison of memories; else one for each core of the CPU."
        ),
    ] = None,
) -> None:
    """Compare networks: train the arms of a comparison on the same text in the same order, or take runs that exist.

    Prints a table and writes report/index.html, plots and report.json; of a single run, into its own folder. Arms that
    are done are not trained again, so a comparison that was stopped goes on where it was.

    A file with experiments compares memories: it gives its arms things to remember, and prints and writes whether each
    claim about them was held.
    """
    from charlstm import console
    from charlstm.comparison.report import headline, summary_table, write_report
    from charlstm.config import MemoryConfig, load_comparison
    from charlstm.errors import UserError

    given = {"--quick": quick, "--only": only, "--jobs": jobs}
    for_memory = next((option for option, value in given.items() if value), None)
    if len(what) == 1 and not is_folder(what[0]):
        config = load_comparison(what[0], list(set_ or []), quick)
        if isinstance(config, MemoryConfig):
            place = _folder(runs, name or (config.name or what[0].stem) + ("-quick" if quick else ""))
            words: list[object] = ["compare", what[0], *(["--quick"] if quick else [])]
            words += ["--name", name] if name else []
            words += [] if runs == Path("runs") else ["--runs", runs]
            words += [word for change in set_ or [] for word in ("--set", change)]
            compare_memories(context.obj, config, place, words, list(only or []), jobs, overwrite)
            return
        if for_memory:
            raise UserError(f"{for_memory} belongs to a comparison of memories: {what[0]} has no experiments")
        folder = _folder(runs, name or config.name or what[0].stem)
        with console.as_log():
            comparison = _train_arms(context.obj, config, folder, what[0].stem, overwrite)
    else:
        from charlstm.comparison.collect import compare_runs, own_folder

        if odd := [path for path in what if path.suffix in (".yaml", ".yml") and not is_folder(path)]:
            raise UserError(f"{odd[0]}: compare takes one comparison in YAML alone, or the folders of runs")
        if set_ or for_memory:
            option = "--set" if set_ else for_memory
            raise UserError(f"{option} belongs to a comparison in YAML; runs that exist are compared as they are")
        refuse(context, "on runs that exist, which are compared as they are", "overwrite")
        if len(what) == 1 and name is None:
            refuse(context, "with a single run, whose report is put into its own folder: add --name", "runs")
        comparison = compare_runs(what)
        if name is not None:
            folder = _folder(runs, name)
            if is_there(folder / "config.yaml"):
                raise UserError(f"{folder} is a run, which has a report of its own. Give another name: --name NAME")
        else:
            folder = what[0] if len(what) == 1 else own_folder(runs, what)
    files = write_report(comparison, folder / "report")
    for causal in (True, False):
        rows = summary_table(comparison, causal=causal)
        if rows:
            console.table(rows, comparison.title)
    for line in headline(comparison):
        console.out(line)
    console.out(f"report: {files[0]}")


def _folder(runs: Path, name: str) -> Path:
    from charlstm.cli.train import folder_name

    return runs / folder_name(name)


def _train_arms(signals: Signals, config: CompareConfig, folder: Path, title: str, overwrite: bool) -> Comparison:
    """Train what is not trained yet; the result."""
    from charlstm import console
    from charlstm.cli.guard import Work
    from charlstm.cli.progress import follow
    from charlstm.comparison.experiment import Experiment

    experiment = Experiment(config, folder, title, overwrite)
    done = {trial.directory.path for trial in experiment.trials() if trial.finished}
    console.out(experiment.corpus.describe())
    for line in experiment.describe():
        console.out(line)
    if overwrite:
        experiment.forget()
    for trial in experiment.trials():
        prefix = f"[{trial.label}] "
        if trial.directory.path in done:
            console.out(f"{prefix}done already")
            continue
        with trial.directory.writing():
            trainer = trial.trainer()
            with signals.saving(trainer, Work(trial.directory.path, "the same command")):
                ended = follow(trainer.run(), prefix, samples=False, unit=experiment.corpus.vocabulary.unit)
        if signals.number is not None:  # also where it came too late for this run to be cut short
            console.out(f"{prefix}{goes_on(overwrite)}")
            raise typer.Exit(signals.exit_code)
        if ended.why == "diverged":
            console.note(f"{prefix}{ended.advice}")
    return experiment.comparison()
