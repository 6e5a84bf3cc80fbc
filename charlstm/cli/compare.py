"""The command ``charlstm compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.arms import print_arms_plan, train_arms
from charlstm.cli.memory import print_memory_plan, run_memory_comparison
from charlstm.cli.options import (
    ClusterOption,
    check_choice,
    expand_home,
    folder_name,
    given_options,
    refuse,
    repeated_options,
)
from charlstm.paths import RUNS, is_folder, path_exists

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


KEEP = "weights"
YAML = (".yaml", ".yml")
INSPECTED = 2000
"""Characters of the validation split on which the arms are inspected side by side."""


def compare(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            callback=expand_home,
            autocompletion=completion.runs_and_configurations,
            metavar="COMPARISON|RUN...",
            help="One comparison in YAML, or existing runs: their folders, their names in runs/, or latest.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            autocompletion=completion.comparison_fields,
            help="Set a field of the comparison, such as seeds=5. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the comparison. Default: the value of name in the file, else the file's name."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(callback=expand_home, help="Folder that holds the folder of the comparison.")
    ] = RUNS,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete all runs of the comparison first, and train them again."),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Run the short form, as quick in the file defines it. Only for experiments on memory."
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPERIMENT", help="Experiment to run. Only for experiments on memory. May be repeated."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Number of runs at a time, each in a process with one thread. Default: 1, with all threads; for "
            "experiments on memory, one per CPU core, or per GPU.",
        ),
    ] = None,
    cluster: ClusterOption = None,
    keep: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.words("weights", "nothing", "all"),
            help="What is kept of measured runs. all: their checkpoints; weights: the best checkpoint; nothing: "
            "metrics and measurements, so that the runs cannot be sampled. Default: weights. Only for experiments "
            "on memory.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the networks and the number of runs, and train nothing.")
    ] = False,
) -> None:
    """Compare networks: train the arms of a comparison on the same text in the same order, or take existing runs.

    Prints a table and writes report/index.html, plots and report.json. Completed runs are not trained again, so the
    same command resumes a stopped comparison. For a single run, its own report is written into its folder: charlstm
    compare latest.

    A file with experiments tests what networks remember, and reports for each of its claims whether it is held, not
    held or undecided. The folders of two such comparisons, one of them with other seeds, are compared claim by claim.
    """
    from charlstm import console
    from charlstm.config.ready import ready_configs
    from charlstm.errors import UserError
    from charlstm.runs.contents import check_folder
    from charlstm.runs.names import find_run

    keep_files = KEEP if keep is None else check_choice("--keep", keep, "weights", "nothing", "all")
    if len(paths) == 1 and not path_exists(paths[0]) and (ready := ready_configs().get(str(paths[0]))):
        paths = [ready]
    named, paths = paths, [path if path.suffix in YAML else find_run(path, runs) for path in paths]
    if dry_run:
        refuse(context, "with --dry-run, which trains and deletes nothing", "overwrite", "jobs", "cluster", "keep")
    if cluster is not None:
        refuse(context, "with --cluster: each of its workers runs one job at a time", "jobs")
    if len(paths) == 1 and not is_folder(paths[0]):
        from charlstm.config import load_comparison

        config = load_comparison(paths[0], list(set_ or []), quick)
        from charlstm.config import CompareConfig  # with its models, which reading the file has loaded by now

        if not isinstance(config, CompareConfig):
            folder = _folder(runs, name or (config.name or paths[0].stem) + ("-quick" if quick else ""), cluster)
            command_line: list[object] = ["compare", paths[0], *(["--quick"] if quick else [])]
            command_line += repeated_options(name, runs, set_)
            full = load_comparison(paths[0], list(set_ or [])) if quick else None
            assert not isinstance(full, CompareConfig)
            if dry_run:
                print_memory_plan(config, folder, list(only or []), full)
                return
            check_folder(folder, "experiments on memory")
            run_memory_comparison(
                context.obj, config, folder, command_line, list(only or []), jobs, cluster, overwrite, keep_files, full
            )
            return
        if given := given_options(context, "quick", "only", "keep"):
            raise UserError(f"{given[0]} is only for experiments on memory: {paths[0]} has no experiments")
        folder, title = _folder(runs, name or config.name or paths[0].stem, cluster), paths[0].stem
        if dry_run:
            print_arms_plan(config, folder, title)
            return
        check_folder(folder, "a comparison of arms")
        with console.as_log():
            comparison, compared = train_arms(context.obj, config, folder, title, overwrite, jobs or 1, cluster)
    else:
        if configs := [path for path in paths if path.suffix in YAML and not is_folder(path)]:
            raise UserError(f"{configs[0]}: compare takes either one comparison in YAML or the folders of runs")
        if given := given_options(context, "set_", "quick", "only", "jobs", "cluster", "keep", "dry_run"):
            raise UserError(f"{given[0]} is only for a comparison in YAML: existing runs are compared as they are")
        refuse(context, "on existing runs, which are compared as they are", "overwrite")
        if paths == named and len(paths) == 1 and name is None:
            refuse(context, "with a single run, whose report goes into its folder: add --name", "runs")
        if name is not None:
            folder = _folder(runs, name)
            check_folder(folder, "a comparison of arms")

        from charlstm.comparison.collect import compare_runs, report_folder
        from charlstm.memory.agreement import is_memory_comparison

        if len(paths) > 1 and all(map(is_memory_comparison, paths)):
            refuse(context, "with experiments on memory, whose verdicts are only printed", "runs", "name")
            _print_agreement(paths)
            return
        if len(paths) == 1 and name is None:
            _report_run(paths[0])
            return
        comparison = compare_runs(paths)
        compared = dict(zip((arm.name for arm in comparison.arms), paths, strict=True))
        if name is None:
            folder = report_folder(runs, paths)
    from charlstm.comparison.headline import headline
    from charlstm.comparison.report import write_report
    from charlstm.comparison.tables import summary_table

    files = write_report(comparison, folder / "report")
    inside = _inspect(compared, folder / "report" / "inspection")
    for causal in (True, False):
        rows = summary_table(comparison, causal=causal)
        if rows:
            console.table(rows, comparison.title)
    for line in headline(comparison):
        console.out_wrapped(line)
    console.out(f"report: {files[0]}")
    if inside is not None:
        console.out(f"inside: {inside}")


def _report_run(path: Path) -> None:
    """Write the report of a single run, and print its scores."""
    from charlstm import console
    from charlstm.comparison.tables import summary_table
    from charlstm.run_report.page import RunReport

    report = RunReport(path)
    assert report.comparison is not None
    files = report.write()
    for causal in (True, False):
        if rows := summary_table(report.comparison, causal=causal):
            console.table(rows, report.name)
    if not report.config.corpus.has_validation:
        console.out_wrapped(" ".join(report.headline()))
    console.out(f"report: {files[0]}")


def _print_agreement(paths: list[Path]) -> None:
    """Print whether repetitions of experiments on memory come to the same verdicts."""
    from charlstm import console
    from charlstm.memory.agreement import agreement_rows, summary

    rows = agreement_rows(paths)
    console.table(rows, prose=True, optional=rows[0][-2:0:-1])
    console.out_wrapped(summary(rows))


def _folder(runs: Path, name: str, cluster: str | None = None) -> Path:
    """The folder of a comparison; for the workers of a cluster, an absolute path."""
    folder = runs / folder_name(name)
    return folder if cluster is None else folder.absolute()


def _inspect(runs: dict[str, Path], folder: Path) -> Path | None:
    """The page that shows the runs side by side on a typical passage of the validation split; None if fewer than two
    can be shown. A bidirectional model is left out, as it has no state that is carried over a text; of any other that
    cannot be inspected, a note says why."""
    from charlstm import console
    from charlstm.api import load
    from charlstm.errors import UserError
    from charlstm.inspection.inspect import Inspection, inspect_run
    from charlstm.inspection.page import write_page
    from charlstm.inspection.passages import InspectedText, same_text, text_of_run

    first: tuple[LoadedRun, InspectedText] | None = None
    inspections: list[Inspection] = []
    for name, path in runs.items() if len(runs) > 1 else ():
        try:
            run = load(path, device="cpu")
            if run.model.bidirectional:
                continue
            if first is None:
                first = run, text_of_run(run, INSPECTED)
            inspections.append(inspect_run(run, name, same_text(*first, run, name), with_ngram=False))
        except UserError as error:
            console.note(f"{name} is not on the page of the units: {error}")
    return write_page(inspections, folder)[0] if len(inspections) > 1 else None
