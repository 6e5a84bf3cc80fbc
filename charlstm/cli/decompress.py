"""The command ``charlstm decompress``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.compress import SUFFIX, load_coder, progress, speed
from charlstm.cli.file_arguments import STREAM, output_path, read_bytes, write_bytes
from charlstm.cli.options import CheckpointOption, RunsOption, expand_home
from charlstm.paths import RUNS


def decompress(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            callback=expand_home,
            autocompletion=completion.runs,
            metavar="RUN",
            help="The run or checkpoint file that compressed the file.",
        ),
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The compressed file; - reads standard input.")],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The file to write; - writes to standard output.",
            show_default=f"FILE without {SUFFIX}",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file to write if it exists.")] = False,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
) -> None:
    """Restore a file that charlstm compress compressed, with the same run, and check that it is the original.

    charlstm decompress runs/war-and-peace chapter.txt.clstm writes chapter.txt. A damaged file and another checkpoint,
    even of the same run, are refused, and nothing is written.
    """
    import time

    from charlstm import console
    from charlstm.compression.container import unpack
    from charlstm.errors import UserError
    from charlstm.progress_line import ProgressLine

    packed = read_bytes("FILE", file, 1 << 31)
    container = unpack(packed, "standard input" if file == STREAM else file)
    if output is None and file != STREAM:
        if not file.endswith(SUFFIX) or not Path(file).stem:
            raise UserError(f"{file}: its name does not end in {SUFFIX}: name the file to write with --output")
        output = file.removesuffix(SUFFIX)
    path = output_path(output or STREAM, overwrite)
    coder = load_coder(context, run, checkpoint, runs)
    from charlstm.compression import codec

    start = time.perf_counter()
    with ProgressLine(on_stderr=True) as line:
        content = codec.decompress(coder, container, file, progress(line, container.length))
    seconds = time.perf_counter() - start
    write_bytes(path, content)
    text = f"{len(packed):,} -> {len(content):,} bytes, {speed(len(content), seconds)}"
    (console.note if path is None else console.out)(f"{'standard output' if path is None else path}: {text}")
