"""The command ``charlstm compare`` for a file with experiments on memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import MemoryConfig


def run_memory_comparison(
    signals: Signals,
    config: MemoryConfig,
    folder: Path,
    command_line: Sequence[object],
    only: list[str],
    jobs: int | None,
    cluster: str | None,
    overwrite: bool,
    keep: str,
    full: MemoryConfig | None = None,
) -> None:
    """Run the remaining jobs, and report. The first ending signal saves the runs in training and exits."""
    from charlstm import console
    from charlstm.cli.pool import saved_pool
    from charlstm.cli.steps_progress import show_steps
    from charlstm.comparison.tables import BOUNDS, untested_claims, verdict_rows
    from charlstm.jobs.processes import default_number
    from charlstm.memory.comparison import MemoryComparison
    from charlstm.memory.overwriting import delete_results
    from charlstm.progress_line import ProgressLine

    def make_comparison() -> MemoryComparison:
        return MemoryComparison(config, folder, folder.name, command_line, only, keep, full)

    comparison = None if overwrite else make_comparison()
    with console.as_log():
        for line in _plan(config, folder, only, full)[0] if comparison is None else comparison.describe():
            console.out_wrapped(line)
        again = "all are repeated" if overwrite else "complete ones are not repeated"
        console.out_wrapped(f"runs and measurements in {folder}: {again}")
        with (
            saved_pool(signals, jobs or default_number(), cluster, folder, overwrite) as pool,
            ProgressLine() as live,
        ):
            if comparison is None:  # only now, when there is somebody to train the runs again
                delete_results(config, folder, only, full)
                comparison = make_comparison()
            show_steps(comparison.run(pool), live)
    files, document = comparison.write(folder / "report")
    if rows := verdict_rows(document.verdicts):
        console.table(rows, comparison.title, prose=True, optional=["criterion", BOUNDS, "measured"])
    for line in untested_claims(document.verdicts):
        console.out_wrapped(line)
    for line in comparison.remarks(document.verdicts):
        console.out_wrapped(line)
    for sentence in document.headline:
        console.out_wrapped(sentence)
    console.out(f"report: {files[0]}")
    console.out(f"{folder}: {comparison.size_on_disk() / 1e6:,.1f} MB on disk with --keep {keep}")


def print_memory_plan(config: MemoryConfig, folder: Path, only: list[str], full: MemoryConfig | None) -> None:
    """Print what would be trained."""
    from charlstm import console

    lines, rows = _plan(config, folder, only, full)
    for line in lines:
        console.out_wrapped(line)
    console.table(rows, config.name or folder.name)
    console.out_wrapped(f"runs and measurements would be in {folder}, where complete ones are not repeated")


def _plan(
    config: MemoryConfig, folder: Path, only: list[str], full: MemoryConfig | None
) -> tuple[list[str], list[list[str]]]:
    """What would be trained if there were no runs yet, in lines and as a table. The texts of the tasks, whose alphabets
    decide the sizes of networks, are written to a temporary folder, so that nothing in ``folder`` is looked at or
    changed."""
    from charlstm.memory.comparison import MemoryComparison

    with TemporaryDirectory() as temporary:
        comparison = MemoryComparison(config, Path(temporary), folder.name, [], only, full=full)
        return comparison.describe(), comparison.networks()
