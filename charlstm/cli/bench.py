"""``charlstm bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from charlstm.benchmark import Result


def bench(
    size: Annotated[
        list[str] | None, typer.Option(help="LAYERSxUNITS,BATCH,STEPS; may be repeated.", show_default="1x512,64,64")
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only this cell; may be repeated.", show_default="all")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="float32 or bfloat16; may be repeated.", show_default="both")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every contender; the median counts.")] = 5,
    sampling: Annotated[
        bool, typer.Option("--sampling", help="Measure sampling, one character at a time, instead of training.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure speed on the CPU: every cell and executor against torch.nn, by turns in one process.

    Ratios are to torch.nn.LSTM in float32 of the same size. Let nothing else run meanwhile.
    """
    import json
    from dataclasses import asdict

    from charlstm import benchmark, console
    from charlstm.cells import CELLS
    from charlstm.cli.sample import one_of

    cells = [one_of("--cell", name, *CELLS) for name in cell or CELLS]
    precisions = [one_of("--precision", name, *benchmark.PRECISIONS) for name in precision or benchmark.PRECISIONS]
    for text in size or ["1x512,64,64"]:
        measured = benchmark.Size.parse(text)
        if sampling:
            results = list(benchmark.sampling(measured, cells, rounds))
        else:
            results = list(benchmark.training(measured, cells, precisions, rounds))
        if json_:
            console.out(json.dumps({"size": str(measured), "characters_per_second": [asdict(r) for r in results]}))
        else:
            what = "sampling" if sampling else "training"
            console.table(_rows(results), f"{what} {measured}: characters per second on this machine")


def _rows(results: list[Result]) -> list[list[str]]:
    from charlstm.benchmark import BASELINE

    key = ("lstm", BASELINE, "float32")
    reference = next((r.median for r in results if (r.cell, r.executor, r.precision) == key), None)
    rows = [["cell", "executor", "precision", "median", "lowest to highest", "to nn.LSTM float32"]]
    for r in results:
        ratio = "–" if reference is None else f"{r.median / reference:.2f}"
        spread = f"{r.lowest:,.0f} to {r.highest:,.0f}"
        rows.append([r.cell, r.executor, r.precision, f"{r.median:,.0f}", spread, ratio])
    return rows
