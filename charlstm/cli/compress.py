"""The command ``charlstm compress``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.file_arguments import STREAM, output_path, read_bytes, write_bytes
from charlstm.cli.options import CheckpointOption, RunArgument, RunsOption, load_run
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.compression.codec import Coder, Progress
    from charlstm.progress_line import ProgressLine

SUFFIX = ".clstm"


def compress(
    context: typer.Context,
    run: RunArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to compress; - reads standard input.")],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The file to write; - writes to standard output.", show_default=f"FILE{SUFFIX}"
        ),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Number of pieces that are compressed in parallel. More are faster, up to about 128, and each adds "
            "about 8 bytes.",
            show_default="one for each 8,192 characters, up to 128",
        ),
    ] = None,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn",
            help="Train the output layer on each character once it is coded, which often makes the file smaller. "
            "The run is not changed.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file to write if it exists.")] = False,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    json_: Annotated[bool, typer.Option("--json", help="Print the sizes as JSON.")] = False,
) -> None:
    """Compress a file by the predictions of a model; decompress restores it exactly, on any machine.

    The better the model predicts, the smaller the file: charlstm compress runs/war-and-peace chapter.txt writes
    chapter.txt.clstm, which takes as many bits as charlstm evaluate measures, within 1% from about 50 KB on. Any file
    can be compressed, but only text like that of the run becomes small. Decompressing
    needs the same checkpoint.
    """
    import time

    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.progress_line import ProgressLine

    content = read_bytes("FILE", file, 1 << 30)
    path = output_path(output or (STREAM if file == STREAM else file + SUFFIX), overwrite)
    if path is None and json_:
        raise UserError("--json has no effect with --output -, which writes the compressed file to standard output")
    coder = load_coder(context, run, checkpoint, runs)
    from charlstm.compression import codec
    from charlstm.probes import compressors

    start = time.perf_counter()
    with ProgressLine(on_stderr=True) as line:
        container = codec.compress(coder, content, streams, progress(line, len(content)), codec.RATE * learn)
    seconds = time.perf_counter() - start
    packed = container.pack()
    write_bytes(path, packed)
    sizes = {"xz": compressors.xz_size(content), "zstd": compressors.zstd_size(content)}
    bits = codec.bits_per_character(container, len(packed))
    unit = coder.vocabulary.unit
    if json_:
        record = {
            "file": str(path),
            "bytes_before": len(content),
            "bytes_after": len(packed),
            f"{unit}s": container.symbols,
            f"unknown_{unit}s": container.escapes,
            f"bits_per_{unit}": bits,
            "xz_bytes": sizes["xz"],
            "zstd_bytes": sizes["zstd"],
            "streams": container.streams,
            "learning": learn,
            "seconds": seconds,
        }
        console.out_json(record)
        return
    rate = f", {bits:.3f} bits per {unit}" if container.symbols else ""
    others = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size is not None)
    missing = "" if sizes["zstd"] is not None else "; zstd is not installed"
    text = f"{len(content):,} -> {len(packed):,} bytes{rate} ({others}{missing}), {speed(len(content), seconds)}"
    (console.note if path is None else console.out)(f"{'standard output' if path is None else path}: {text}")
    if container.escapes:
        console.note(
            f"note: {container.escapes:,} of {container.symbols:,} {unit}s are not in the vocabulary of the run: they "
            "are stored separately"
        )


def load_coder(context: typer.Context, run: Path, checkpoint: str, runs: Path) -> Coder:
    """The coder of a run. Raises UserError if it is unsuitable."""
    loaded = load_run(context, run, checkpoint, runs)
    from charlstm.compression.codec import coder_of

    return coder_of(loaded.model, loaded.vocabulary, loaded.config, loaded.header.get("counters", {}).get("step", 0))


def progress(line: ProgressLine, size: int) -> Progress:
    """Shows the progress over a file of ``size`` bytes on a ProgressLine."""
    import time

    from charlstm.terminal_layout import Part
    from charlstm.units import duration

    start = time.perf_counter()

    def show(done: int, total: int) -> None:
        fraction = done / total

        def text() -> list[Part]:
            seconds = time.perf_counter() - start
            left = duration(seconds / fraction - seconds)
            return [
                Part(f"{_size(size * fraction)} of {_size(size)}", 3),
                Part(f"  {speed(size * fraction, seconds)}", 4),
                Part(f"  {left} left"),
            ]

        line.update(fraction, text)

    return show


def _size(count: float) -> str:
    return f"{count / 1e3:,.0f} KB" if count < 1e7 else f"{count / 1e6:,.0f} MB"


def speed(count: float, seconds: float) -> str:
    """A speed in bytes per second, as text."""
    return f"{count / 1e3 / max(seconds, 1e-9):,.1f} KB/s"
