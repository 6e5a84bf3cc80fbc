"""The command ``charlstm export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import (
    RUN_HELP,
    RUNS,
    CheckpointOption,
    RunsOption,
    expand_home,
    given_options,
    load_run,
    refuse,
)
from charlstm.cli.text_arguments import REMOVE, TEXT_HELP, check_known, text_argument
from charlstm.exports.formats import DEFAULT, FORMATS, check_format, target

if TYPE_CHECKING:
    from charlstm.exports.export import Exported


def export(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            callback=expand_home,
            autocompletion=completion.runs,
            help=f"{RUN_HELP[:-1]}, or a folder exported with --to hub.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.words(*FORMATS),
            help="; ".join(f"{name}: {one.description}" for name, one in FORMATS.items()) + ".",
        ),
    ] = DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=expand_home,
            metavar="PATH",
            help="File to write, or for torch and hub the folder.",
            show_default="RUN/export/NAME.html and so on",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    prime: Annotated[
        str | None,
        typer.Option(
            help=f"Text that the page begins with, or for a backward model ends with; {TEXT_HELP}. By default a few "
            "words of the validation split. Only with html."
        ),
    ] = None,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    json_: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Export a trained model: a page that writes text in any browser, ONNX, torch.nn weights, or a hub folder.

    For example, charlstm export runs/quickstart writes runs/quickstart/export/quickstart.html, one page that works
    offline, with its weights in 8 bits. The first three formats need a model that reads in one direction.
    """
    if to != "html":
        refuse(context, "with another format than html", "prime")
    if out is None:
        refuse(context, "without --out", "overwrite")
    check_format(to, out, overwrite)
    loaded = load_run(context, run, checkpoint, runs)

    from charlstm.exports.export import write_export
    from charlstm.paths import is_folder
    from charlstm.text.decoding import decode

    encoding = loaded.config.corpus.encoding
    beginning = None
    if prime is not None:
        beginning = text_argument("--prime", prime, lambda content, name: decode(content, encoding, name))
        check_known("--prime", prime, loaded.prepare(beginning), loaded.vocabulary, REMOVE)
    home = loaded.folder if loaded.folder is not None else run if is_folder(run) else run.parent
    name = home.resolve().name
    path = target(to, out, home, name, overwrite)
    exported = write_export(loaded, to, path, name, run, beginning)
    if json_:
        _print_json(exported, to, loaded.vocabulary.unit)
    else:
        _print(exported, to, loaded.vocabulary.unit, names_others=not given_options(context, "to"))


def _print_json(exported: Exported, to: str, unit: str) -> None:
    from charlstm import console

    cost = exported.cost
    record: dict[str, object] = {
        "format": to,
        "path": str(exported.path),
        "files": [str(path) for path in exported.files],
    }
    if to == "html":
        record[f"bits_per_{unit}"] = None if cost is None else cost.original
        record[f"bits_per_{unit}_with_8_bits"] = None if cost is None else cost.quantized
        record[f"{unit}s_scored"] = None if cost is None else cost.characters
    console.out_json({**record, "bytes": exported.bytes})


def _print(exported: Exported, to: str, unit: str, names_others: bool) -> None:
    """Print what was written, and the formats that it might have been."""
    from charlstm import console

    kind = "page for any browser" if to == "html" else to
    console.out(f"{kind}: {exported.path} ({exported.bytes / 1e6:.2f} MB)")
    for line in ([] if exported.cost is None else [exported.cost.sentence(unit)]) + exported.notes:
        console.out_wrapped(line)
    if names_others:
        console.out_wrapped(f"other formats: --to {', '.join(one for one in FORMATS if one != to)}")
