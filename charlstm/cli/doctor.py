"""The command ``charlstm doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli.options import expand_home
from charlstm.paths import RUNS


def doctor(
    runs: Annotated[Path, typer.Option(callback=expand_home, help="Folder in which runs are to be written.")] = RUNS,
    json_: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Report what this machine has and lacks for training, and what to do about it.

    For example: charlstm doctor. It checks versions, GPU, C++ compiler, memory, disk and
    folders, and writes only to its cache.
    """
    from dataclasses import asdict

    from charlstm import console
    from charlstm.benchmark.checkup import checks

    results = list(checks(runs))
    if json_:
        console.out_json([asdict(check) for check in results], indent=2)
        return
    console.table([["", "here", "to do"], *([check.name, check.result, check.remedy] for check in results)], prose=True)
    todo = sum(bool(check.remedy) for check in results)
    console.out_wrapped(
        "nothing is missing" if todo == 0 else f"{todo} of {len(results)} could be better; charlstm works as it is"
    )
