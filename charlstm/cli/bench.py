"""The command ``charlstm bench``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.bench_output import LEGEND, progress_parts, show, show_loops
from charlstm.cli.options import check_choice, check_png, expand_home, refuse

if TYPE_CHECKING:
    from charlstm.benchmark import Measurement

PRECISIONS = ("float32", "bfloat16", "float16")


def bench(
    context: typer.Context,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Size to measure: LAYERSxHIDDEN,BATCH,STEPS. May be repeated.",
            show_default="1x256,32,64 2x512,64,100 1x1024,32,128; on a GPU 1x512,64,128 2x1024,128,128 3x2048,128,128",
        ),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(autocompletion=completion.cells, help="Cell to measure. May be repeated.", show_default="all"),
    ] = None,
    executor: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=completion.executors,
            help="Executor to train with, or torch.nn; on an NVIDIA GPU also torch.nn-captured, whose training "
            "steps are CUDA graphs, as those of all executors there. May be repeated.",
            show_default="all but reference",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=completion.words(*PRECISIONS),
            help="float32 or bfloat16; on an NVIDIA GPU, for torch.nn, also float16. May be repeated.",
            show_default="all; float32 where bfloat16 is emulated",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Number of rounds, in each of which every candidate has a turn; the median counts."),
    ] = 5,
    training: Annotated[bool, typer.Option("--training", help="Measure training only.")] = False,
    sampling: Annotated[
        bool,
        typer.Option("--sampling", help="Measure sampling only."),
    ] = False,
    texts: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Number of texts that are sampled in parallel. May be repeated.", show_default="1 and 64"
        ),
    ] = None,
    loops: Annotated[
        bool,
        typer.Option(
            "--loops",
            help="Measure the loops over time alone, on an NVIDIA GPU: charlstm's two and cuDNN's.",
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure one small size and three cells, for less than a minute.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            autocompletion=completion.devices,
            help="auto, cpu, cuda, cuda:N or mps; auto: a GPU if there is one, else the CPU.",
        ),
    ] = "auto",
    plot: Annotated[
        Path | None,
        typer.Option(
            callback=expand_home, metavar="FILE.png", help="Write a bar chart of the ratios to this PNG file."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure the speed of every cell and executor against torch.nn, on a GPU if there is one.

    Ratios are to torch.nn.LSTM of the same size in a plain loop. All sizes together take many minutes, --quick less
    than one. Run nothing else meanwhile. A narrow terminal shows fewer columns; --json has all values.
    """
    from charlstm.cells import CELLS

    for name in cell or ():
        check_choice("--cell", name, *CELLS)
    for name in precision or ():
        check_choice("--precision", name, *PRECISIONS)
    if training and not sampling:
        refuse(context, "with --training: it is an option of sampling", "texts")
    if plot is not None:
        check_png("--plot", plot)

    if loops:
        refuse(context, "with --loops", "executor", "precision", "training", "sampling", "texts", "quick", "plot")
        _measure_loops(size or [], cell or ["lstm"], rounds, device, json_)
        return

    from charlstm import console
    from charlstm.benchmark import (
        BASELINE,
        CAPTURED,
        TEXTS,
        TORCH,
        Measurement,
        Plan,
        Size,
        default_precisions,
        describe_machine,
        machine_facts,
        measure,
    )
    from charlstm.errors import UserError
    from charlstm.executors import executors
    from charlstm.hardware.device import resolve_device
    from charlstm.progress_line import ProgressLine

    known = BASELINE, CAPTURED, *executors()
    plan = Plan(
        cells=cell or None,
        executors=[check_choice("--executor", name, *known) for name in executor] if executor else None,
        precisions=precision or None,
        sizes=[Size.parse(text) for text in size] if size else None,
        texts=texts or TEXTS,
        rounds=rounds,
        training=training or not sampling,
        sampling=sampling or not training,
        quick=quick,
        device=resolve_device(device),
    )
    for option, name, given in (("--executor", CAPTURED, executor), ("--precision", "float16", precision)):
        if name in (given or ()) and plan.device.type != "cuda":
            raise UserError(f"{option} {name} is for NVIDIA GPUs; the device is {plan.device}")
    if "float16" in (precision or ()) and (others := [name for name in executor or () if name not in TORCH]):
        raise UserError(f"--precision float16 is for torch.nn; {others[0]} computes in float32 or bfloat16")
    if CAPTURED in (executor or ()) and not plan.training:
        raise UserError(f"--executor {CAPTURED} captures training steps: leave out --sampling")
    if not quick and len(plan.parts()) > 1:
        console.note(
            f"{len(plan.parts())} measurements; large networks take minutes each; --quick takes less than a minute"
        )
    measurements: list[Measurement] = []
    facts = machine_facts(plan.device)
    if not precision and len(default_precisions(plan.device)) == 1:
        console.note("bfloat16 is left out: this CPU only emulates it, slowly; --precision bfloat16 measures it")
    if not json_:
        console.out(describe_machine(facts))
    last_shown = 0
    with ProgressLine(on_stderr=True) as live:
        for event in measure(plan):
            if isinstance(event, Measurement):
                measurements.append(event)
                if not json_:
                    show(event)
                continue
            has_estimate = event.seconds_left is not None
            if has_estimate or live.live:
                first = has_estimate and event.number > last_shown
                last_shown = event.number if first else last_shown
                live.update(event.fraction, partial(progress_parts, event), at_once=first)
    if json_:
        console.out_json({"machine": facts, "measurements": [m.to_json() for m in measurements]}, indent=2)
    else:
        console.out_wrapped(LEGEND)
    if plot is not None:
        from charlstm.benchmark.chart import draw

        try:
            plot.write_bytes(draw(measurements, facts))
        except OSError as error:
            raise UserError(f"--plot {plot}: cannot write it: {error.strerror}") from error
        console.note(f"bar chart: {plot}")


def _measure_loops(sizes: list[str], cells: list[str], rounds: int, device: str, as_json: bool) -> None:
    from charlstm import console
    from charlstm.benchmark import Size, describe_machine, machine_facts
    from charlstm.benchmark.loops import STEPS, LoopTimes, default_sizes, measure_all, summary
    from charlstm.errors import UserError
    from charlstm.hardware.device import resolve_device

    parsed = [Size.parse(text) for text in sizes]
    if any(size.layers > 1 for size in parsed):
        raise UserError("--loops measures one layer: write 1xHIDDEN,BATCH,STEPS")
    if (gpu := resolve_device(device)).type != "cuda":
        raise UserError(f"--loops needs an NVIDIA GPU; the device is {gpu}")
    facts = machine_facts(gpu)
    shapes = [(s.hidden_size, s.batch, s.steps) for s in parsed] or [(*size, STEPS) for size in default_sizes()]
    measured: list[LoopTimes] = []
    for one in measure_all(cells, shapes, rounds, gpu):
        measured.append(one)
        console.note(summary(one))  # also what an interrupted measurement leaves
    if as_json:
        console.out_json({"machine": facts, "measurements": [one.to_json() for one in measured]}, indent=2)
        return
    console.out(describe_machine(facts))
    show_loops(measured, rounds)
