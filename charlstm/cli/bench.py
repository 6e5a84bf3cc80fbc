"""``charlstm bench``."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.options import home_expanded, refuse
from charlstm.paths import is_folder

if TYPE_CHECKING:
    from charlstm.benchmark import Measurement, Progress

LEAST_BAR, LONGEST_BAR = 8, 24
EIGHTHS = " ▏▎▍▌▋▊▉"
NONE = "–"
RATIO = "to\nnn.LSTM\n"
WORK, PEAK, SPREAD, BARS = "per\nmulti-\nply-add", "of\npeak", "spread", ""
FIRST_TO_GO = (WORK, PEAK, RATIO + "bfloat16", SPREAD)
LEGEND = """\
Ratios are the result; char/s are this machine's. Bars: the ratio to nn.LSTM float32.
spread: highest less lowest round, over the median.
of peak: multiply-adds that a character asks of its cell, per second, over those
of torch.mm in the same precision, measured in the same rounds.
per multiply-add: the same over our LSTM's, its fastest executor in this precision."""


def bench(
    context: typer.Context,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="LAYERSxUNITS,BATCH,STEPS; may be repeated.",
            show_default="1x256,32,64 2x512,64,100 1x1024,32,128; on a GPU 1x512,64,128 2x1024,128,128 3x2048,128,128",
        ),
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only this cell; may be repeated.", show_default="all")] = None,
    executor: Annotated[
        list[str] | None,
        typer.Option(
            help="Train only with this executor, or torch.nn; may be repeated.", show_default="all but reference"
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="float32 or bfloat16; may be repeated.", show_default="both; float32 where bfloat16 is only imitated"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every contender; the median counts.")] = 5,
    training: Annotated[bool, typer.Option("--training", help="Measure training only.")] = False,
    sampling: Annotated[
        bool,
        typer.Option("--sampling", help="Measure sampling only, one character at a time."),
    ] = False,
    texts: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Texts that are sampled side by side; may be repeated.", show_default="1 and 64"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One small size, three cells, as many rounds as fit: less than a minute.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; auto: a GPU where there is one.")
    ] = "auto",
    plot: Annotated[
        Path | None, typer.Option(callback=home_expanded, metavar="FILE.png", help="Draw the ratios as a bar chart.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure speed, on a GPU where there is one: every cell and executor against torch.nn, by turns in one process.

    Ratios are to torch.nn.LSTM of the same size in a plain loop. All sizes together take many minutes, --quick less
    than one. Let nothing else run meanwhile. Columns for which a narrow terminal has no room are in the JSON.
    """
    from charlstm import console
    from charlstm.benchmark import (
        BASELINE,
        PRECISIONS,
        TEXTS,
        Measurement,
        Plan,
        Size,
        described,
        machine,
        measure,
        usual_precisions,
    )
    from charlstm.cells import CELLS
    from charlstm.cli.options import one_of
    from charlstm.errors import UserError
    from charlstm.executors import executors
    from charlstm.hardware.device import resolve_device

    if training and not sampling:
        refuse(context, "with --training: it is of sampling", "texts")
    plan = Plan(
        cells=[one_of("--cell", name, *CELLS) for name in cell] if cell else None,
        executors=[one_of("--executor", name, BASELINE, *executors()) for name in executor] if executor else None,
        precisions=[one_of("--precision", name, *PRECISIONS) for name in precision] if precision else None,
        sizes=[Size.parse(text) for text in size] if size else None,
        texts=texts or TEXTS,
        rounds=rounds,
        training=training or not sampling,
        sampling=sampling or not training,
        quick=quick,
        device=resolve_device(device),
    )
    if plot is not None:
        _check_plot(plot)
    if not quick and len(plan.parts()) > 1:
        console.note(f"{len(plan.parts())} measurements; large nets take minutes each; --quick takes under a minute")
    measured: list[Measurement] = []
    facts = machine(plan.device)
    if not precision and len(usual_precisions(plan.device)) == 1:
        console.note("bfloat16 is left out: this CPU only imitates it, slowly; --precision bfloat16 measures it")
    if not json_:
        console.out(described(facts))
    announced = 0
    with console.LiveLine(on_stderr=True) as live:
        for event in measure(plan):
            if isinstance(event, Measurement):
                measured.append(event)
                if not json_:
                    _show(event)
                continue
            estimated = event.seconds_left is not None
            if estimated or live.live:
                first = estimated and event.number > announced
                announced = event.number if first else announced
                live.update(event.fraction, partial(progress_text, event), at_once=first)
    if json_:
        console.out_json({"machine": facts, "measurements": [m.to_json() for m in measured]}, indent=2)
    else:
        console.out(LEGEND)
    if plot is not None:
        from charlstm.benchmark.chart import draw

        try:
            plot.write_bytes(draw(measured, facts))
        except OSError as problem:
            raise UserError(f"--plot {plot}: cannot write it: {problem.strerror}") from problem
        console.note(f"bar chart: {plot}")


def progress_text(progress: Progress) -> str:
    """``[1 of 3] training 1x256,32,64: about 0:12 left, lstm cpp float32``."""
    from charlstm import console

    part = f"[{progress.number} of {progress.parts}] {progress.title}: "
    if progress.seconds_left is None:
        return f"{part}warming up"
    return f"{part}about {console.duration(progress.seconds_left)} left, {progress.contender}"


def _check_plot(path: Path) -> None:
    """Before anything is measured: a mistake is better heard of now. Raises UserError."""
    from charlstm.errors import UserError

    if path.suffix.lower() != ".png":
        raise UserError(f"--plot {path}: the chart is a PNG file; give it a name that ends in .png")
    if not is_folder(path.parent):
        raise UserError(f"--plot {path}: no folder {path.parent}")
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as problem:
        raise UserError(f"--plot {path}: cannot write it: {problem.strerror}") from None
    if path.exists() and not path.is_file():
        raise UserError(f"--plot {path}: " + ("that is a folder" if path.is_dir() else "that is no regular file"))


def _show(measured: Measurement) -> None:
    from charlstm import console

    console.out("")
    width = shutil.get_terminal_size().columns if console.is_terminal() else 200
    console.table(table(measured, width), f"{measured.title}, rounds: {measured.rounds}")
    reached = (f"{speed.median / 1e9:,.0f} in {precision}" for precision, speed in measured.peaks.items())
    console.out(f"peak (torch.mm), thousand million multiply-adds per second: {', '.join(reached)}")
    for line in (*measured.notes, *left_out(measured)):
        console.out(line)


def left_out(measured: Measurement) -> list[str]:
    """Who was not measured: which executors refused which cells, and for whom there was no time or memory."""
    from charlstm.benchmark import NO_MEMORY, NO_TIME

    lacking = {NO_TIME: "no time left for", NO_MEMORY: "no memory left for"}
    ran = {(r.key.cell, r.key.executor) for r in measured.results}
    groups: dict[str, dict[str, None]] = {}
    for key, reason in measured.left_out.items():
        in_part = (key.cell, key.executor) in ran
        if reason in lacking:
            groups.setdefault(lacking[reason], {})[str(key)] = None
        else:
            what = f"{key.executor} refuses {key.precision} ({reason})" if in_part else f"{key.executor} refuses"
            groups.setdefault(what, {})[key.cell] = None
    return [f"{what}: {', '.join(who)}" for what, who in groups.items()]


def table(measured: Measurement, width: int) -> list[list[str]]:
    """Header and rows, without the columns that hold no figure and those for which the width has no room."""
    float32 = [measured.ratio(r, "float32") for r in measured.results]
    columns = {
        "cell": [r.key.cell for r in measured.results],
        "executor": [r.key.executor for r in measured.results],
        "precision": [r.key.precision for r in measured.results],
        "char/s": [f"{r.speed.median:,.0f}" for r in measured.results],
        SPREAD: [f"{r.speed.spread:.0%}" if measured.rounds > 1 else NONE for r in measured.results],
        RATIO + "float32": [_ratio(ratio) for ratio in float32],
        RATIO + "bfloat16": [_ratio(measured.ratio(r, "bfloat16")) for r in measured.results],
        PEAK: [NONE if (share := measured.share_of_peak(r)) is None else f"{share:.0%}" for r in measured.results],
        WORK: [_ratio(measured.work_to_own_lstm(r)) for r in measured.results],
    }
    columns = {name: cells for name, cells in columns.items() if set(cells) != {NONE}}

    def room() -> int:
        """For the bars: what the other columns leave, less the bars' own frame."""
        return width - 4 - sum(3 + max(map(len, (*name.split("\n"), *cells))) for name, cells in columns.items())

    for name in FIRST_TO_GO:
        if room() < LEAST_BAR:
            columns.pop(name, None)
    longest = max((ratio for ratio in float32 if ratio is not None), default=1.0)
    length = max(LEAST_BAR, min(LONGEST_BAR, room()))
    columns[BARS] = [bar((ratio or 0.0) / longest, length) for ratio in float32]
    return [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]


def bar(share: float, width: int) -> str:
    """A bar of this share of the width, in eighths of a character, filled up to the width."""
    whole, eighths = divmod(round(share * width * 8), 8)
    return ("█" * whole + EIGHTHS[eighths] * (eighths > 0)).ljust(width) + "▏"  # rich would take bare spaces away


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
