"""The command ``charlstm compare`` for a file with experiments on memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charlstm.cli.options import resume_hint

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
    overwrite: bool,
    keep: str,
    full: MemoryConfig | None = None,
) -> None:
    """Run the remaining jobs, and report. The first ending signal saves the runs in training and exits."""
    from charlstm import console
    from charlstm.cli.guard import SavedWork
    from charlstm.comparison.tables import verdict_rows
    from charlstm.memory.comparison import MemoryComparison
    from charlstm.memory.workers import Stopped, Workers, processes

    comparison = MemoryComparison(config, folder, folder.name, command_line, only, overwrite, keep, full)
    work = SavedWork(folder, "the same command" + (" without --overwrite" if overwrite else ""))
    with console.as_log():
        for line in comparison.describe():
            console.out(line)
        try:
            with Workers(jobs or processes()) as workers, signals.saving(workers, work), console.ProgressLine() as live:
                for step in comparison.run(workers):
                    text = f"{step.phase}: {step.done:,} of {step.total:,}, {step.label}"
                    live.update(step.done / step.total, lambda text=text: text)  # type: ignore[misc]
        except Stopped:
            console.out(resume_hint(overwrite))
            raise typer.Exit(signals.exit_code) from None
    files, document = comparison.write(folder / "report")
    if rows := verdict_rows(document.verdicts):
        console.table(rows, comparison.title, prose=True)
    for sentence in document.headline:
        console.out(sentence)
    console.out(f"report: {files[0]}")
    console.out(f"{folder}: {comparison.size_on_disk() / 1e6:,.1f} MB on disk with --keep {keep}")
