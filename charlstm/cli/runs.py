"""The command ``charlstm runs``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.options import expand_home
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.runs.listing import RunSummary

NONE = "–"
CURVE = 8
AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def runs(
    runs: Annotated[Path, typer.Option(callback=expand_home, help="Folder that holds the folders of the runs.")] = RUNS,
    all_: Annotated[bool, typer.Option("--all", help="List the runs of comparisons, too, as COMPARISON/RUN.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """List the runs, the one trained last first: text, cell, size, best held-out score, and whether it is complete.

    A name in this list, or latest, stands for the folder of the run in every command:
    charlstm sample latest --prime "Once".
    """
    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.paths import is_folder, path_exists
    from charlstm.runs.listing import list_runs

    if not is_folder(runs) and (runs != RUNS or path_exists(runs)):
        raise UserError(
            f"--runs {runs}: " + ("this is not a folder" if path_exists(runs) else "there is no such folder")
        )
    listed = list_runs(runs, all_) if is_folder(runs) else []
    if json_:
        console.out_json([run.to_json() for run in listed], indent=2)
        return
    if not listed:
        hint = "" if all_ else " To list the runs of comparisons: add --all"
        console.note(f"no runs in {runs}. To train one:  charlstm train my-text.txt.{hint}")
        return
    rows = [["name", "text", "cell", "parameters", "best bits", "age", "state"], *map(_row, listed)]
    if console.is_terminal():  # elsewhere, only what programs may read
        curves = (console.sparkline(run.held_out_nats, CURVE) for run in listed)
        rows = [[*row[:5], curve, *row[5:]] for row, curve in zip(rows, ("held out", *curves), strict=True)]
    console.table(rows, optional=["held out", "parameters", "age", "text", "cell"])
    for run in listed:
        if run.problem:
            console.note(f"{run.name} is damaged: {run.problem}")


def _row(run: RunSummary) -> list[str]:
    return [
        run.name,
        _text(run.source) + (f", from {run.initial_run}" if run.initial_run else ""),
        " ".join(filter(None, [run.cell, _size(run), "" if run.direction in ("", "forward") else run.direction])),
        NONE if run.parameters is None else f"{run.parameters:,}",
        _score(run),
        age(time.time() - run.trained_at),
        run.state,
    ]


def _text(source: tuple[str, ...]) -> str:
    return source[0] if len(source) == 1 else f"{len(source)} files" if source else NONE


def _size(run: RunSummary) -> str:
    if run.hidden_size is None:
        return ""
    return str(run.hidden_size) if run.num_layers in (None, 1) else f"{run.num_layers} x {run.hidden_size}"


def _score(run: RunSummary) -> str:
    """The best held-out score in bits, or without one the latest of the training text; what is not comparable with the
    others, that, a pseudo-likelihood or the score of a sample, is named."""
    from charlstm.units import bits

    nats = run.training_split_nats if run.best_nats is None else run.best_nats
    if nats is None:
        return NONE
    kinds = {
        "pseudo": run.direction == "bidirectional",
        "training text": run.best_nats is None,
        "sample": run.best_is_sampled,
    }
    names = ", ".join(name for name, applies in kinds.items() if applies)
    return f"{bits(nats):.3f}" + (f" ({names})" if names else "")


def age(seconds: float) -> str:
    """``3 min``, ``5 h``, ``12 d``: the largest unit that fits at least once."""
    size, unit = next((each for each in AGES if seconds >= each[0]), AGES[-1])
    return f"{max(0, int(seconds / size))} {unit}"
