"""The learning-rate range test of ``charlstm train --range-test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charlstm import console
from charlstm.cli.options import folder_name
from charlstm.config import Config
from charlstm.paths import command
from charlstm.progress_line import ProgressLine
from charlstm.terminal_layout import Part
from charlstm.text.corpus import Corpus
from charlstm.units import bits

SUFFIX = "-range-test"


def run_range_test(settings: Config, corpus: Corpus, runs: Path, words: Sequence[object]) -> None:
    """Run the test, print its table and write its page into ``NAME-range-test`` in the folder of runs.

    words: the command line without ``charlstm`` and ``--range-test``.
    """
    from charlstm.run_report.range_report import sentence, table, write_range_report
    from charlstm.training.range_test import (
        HIGHEST,
        LOWEST,
        STEPS,
        STEPS_PER_DECADE,
        RangeStep,
        range_test,
        suggested_rate,
    )

    folder = runs / folder_name(f"{settings.name}{SUFFIX}")
    unit = corpus.vocabulary.unit
    console.out_wrapped(
        f"learning rates from {LOWEST:g} to at most {HIGHEST:g}, {STEPS_PER_DECADE} steps for each factor of ten; no "
        "run is changed"
    )
    steps: list[RangeStep] = []
    with ProgressLine() as live:
        for step in range_test(settings, corpus):
            steps.append(step)
            parts = [
                Part(f"step {step.number:,}", 4),
                Part(f"  learning rate {step.rate:.2g}"),
                Part(f"  loss {step.nats:.3f} nats,", 2),
                Part(f" {bits(step.nats):.3f} bits/{unit.removesuffix('acter')}", 1),
            ]
            live.update(step.number / STEPS, lambda parts=parts: parts)  # type: ignore[misc]
    files = write_range_report(steps, str(settings.name), unit, command(*words, "--range-test"), folder / "report")
    console.table(table(steps, unit), f"{settings.name}{SUFFIX}")
    console.out_wrapped(sentence(steps))
    console.out(f"report: {files[0]}")
    console.out(f"next:   {command(*words, '--set', f'training.learning_rate={suggested_rate(steps):g}')}")
