"""``charlstm compare`` of a file with experiments on memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charlstm.cli.options import goes_on

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import MemoryConfig


def compare_memories(
    signals: Signals,
    config: MemoryConfig,
    folder: Path,
    words: Sequence[object],
    only: list[str],
    jobs: int | None,
    overwrite: bool,
) -> None:
    """Do what is not done yet, and report; the first ending signal saves what is being trained and leaves."""
    from charlstm import console
    from charlstm.cli.guard import Work
    from charlstm.comparison.tables import verdict_rows
    from charlstm.memory.comparison import MemoryComparison
    from charlstm.memory.workers import Stopped, Workers, processes

    comparison = MemoryComparison(config, folder, folder.name, words, only, overwrite)
    work = Work(folder, "the same command" + (" without --overwrite" if overwrite else ""))
    with console.as_log():
        for fact in comparison.describe():
            console.out(fact)
        try:
            with Workers(jobs or processes()) as workers, signals.saving(workers, work), console.LiveLine() as line:
                for step in comparison.run(workers):
                    text = f"{step.phase}: {step.done:,} of {step.total:,}, {step.label}"
                    line.update(step.done / step.total, lambda text=text: text)  # type: ignore[misc]
        except Stopped:
            console.out(goes_on(overwrite))
            raise typer.Exit(signals.exit_code) from None
    files, document = comparison.write(folder / "report")
    if rows := verdict_rows(document.verdicts):
        console.table(rows, comparison.title, prose=True)
    for sentence in document.headline:
        console.out(sentence)
    console.out(f"report: {files[0]}")
