"""Microseconds per time step of the recurrent loop of one layer on an NVIDIA GPU: charlstm's two loops, and cuDNN's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from charlstm.benchmark.networks import VOCABULARY
from charlstm.cells import CELLS, Cell
from charlstm.executors.precision import float32_matmul_precision
from charlstm.executors.triton.choice import division_of
from charlstm.executors.triton.plans import Plan, Shape
from charlstm.executors.triton.trial import TOLERANCES, Example, differing, gpu_seconds
from charlstm.executors.vendor import flatten_weights

BATCHES, HIDDEN_SIZES, STEPS = (16, 32, 64, 128, 256), (256, 512, 1024, 2048), 128
GRAPH, KERNEL, CUDNN = "graph", "one kernel", "cuDNN"
WARM_UP = 3

Passes = tuple[Callable[[], object], Callable[[], object]]
"""The forward and the backward pass."""
Time = Callable[[Callable[[], object]], float]
"""Runs a function and returns its seconds."""


@dataclass(frozen=True)
class LoopTimes:
    """Medians over rounds in which the loops take turns, in microseconds per time step, forward and then backward.

    The loops of charlstm, in bfloat16, do not include the products of the inputs and those of the weights' gradients;
    those of cuDNN, with inputs of ``hidden_size``, do. ``left_out`` says why a loop was not measured.
    """

    cell: str
    hidden_size: int
    batch: int
    steps: int
    microseconds: dict[str, tuple[float, float]]
    left_out: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def default_sizes() -> list[tuple[int, int]]:
    """Pairs of hidden size and batch size."""
    return [*product(HIDDEN_SIZES, BATCHES)]


def measure_loops(
    cell: Cell, hidden_size: int, batch: int, steps: int, rounds: int, device: torch.device, time: Time
) -> LoopTimes:
    """Measure the loops of one layer."""
    passes: dict[str, Passes] = {}
    left_out: dict[str, str] = {}
    with float32_matmul_precision(device, tf32=True):
        for name, make in _candidates(cell, hidden_size, batch, steps, device):
            try:
                both = make()
                for _ in range(WARM_UP):
                    for run in both:
                        run()
            except Exception as error:  # of Triton, of CUDA, or of cuDNN
                left_out[name] = str(error).partition("\n")[0] or type(error).__name__
            else:
                passes[name] = both
        seconds: dict[str, list[list[float]]] = {name: [[], []] for name in passes}
        for _ in range(rounds):
            for name, both in passes.items():
                for times, run in zip(seconds[name], both, strict=True):
                    times.append(time(run))
    microseconds = {
        name: (1e6 * median(forward) / steps, 1e6 * median(backward) / steps)
        for name, (forward, backward) in seconds.items()
    }
    return LoopTimes(cell.name, hidden_size, batch, steps, microseconds, left_out)


def summary(one: LoopTimes) -> str:
    """The times of a size in a line."""
    times = ("{} {:.2f} and {:.2f}".format(name, *both) for name, both in one.microseconds.items())
    return f"{one.cell}, {one.hidden_size} units, batch {one.batch}: {', '.join(times) or 'nothing was measured'}"


def rows(measured: Sequence[LoopTimes]) -> list[list[str]]:
    """A table with a row for each size."""
    names = list(dict.fromkeys(name for one in measured for name in (*one.microseconds, *one.left_out)))
    header = ["cell", "units", "batch", *(f"{name}\nforward, backward" for name in names)]
    body = [
        [
            one.cell,
            str(one.hidden_size),
            str(one.batch),
            *("{:.2f}, {:.2f}".format(*one.microseconds[name]) if name in one.microseconds else "–" for name in names),
        ]
        for one in measured
    ]
    return [header, *body]


def _candidates(
    cell: Cell, hidden_size: int, batch: int, steps: int, device: torch.device
) -> Iterator[tuple[str, Callable[[], Passes]]]:
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    precision = torch.backends.cuda.matmul.fp32_precision
    shape = Shape(
        cell,
        steps,
        batch,
        hidden_size,
        VOCABULARY,
        torch.bfloat16 if device.type == "cuda" else torch.float32,
        torch.float32,
        True,
        device,
        stream,
        precision,
    )
    graph = cache(partial(Plan, shape, capture=True))
    yield GRAPH, lambda: _plan_passes(graph(), graph())
    division = division_of(shape)

    def one_kernel() -> Passes:
        if isinstance(division, str):
            raise ValueError(division)
        return _plan_passes(Plan(shape, True, division), graph())

    yield KERNEL, one_kernel
    for dtype in (torch.bfloat16, torch.float16) if cell.torch is not None else ():
        name = f"{CUDNN} {str(dtype).removeprefix('torch.')}"
        yield name, partial(_torch_passes, cell, hidden_size, batch, steps, device, dtype)


def _plan_passes(plan: Plan, graph: Plan) -> Passes:
    """The loops of a plan, on buffers that are filled, and whose results are those of the graph."""
    run = Example(plan.shape)
    expected, results = run(graph, graph), run(plan, graph)
    if differs := differing(run.names, expected, results, TOLERANCES[plan.shape.compute_dtype]):
        raise ValueError(f"its results differ from those of the graph: {differs}")
    forward, backward = plan.loops
    return forward, backward


def _torch_passes(
    cell: Cell, hidden_size: int, batch: int, steps: int, device: torch.device, dtype: torch.dtype
) -> Passes:
    layer: nn.Module = getattr(nn, cell.torch or "")(hidden_size, hidden_size, **cell.torch_options)
    layer.to(device, dtype)
    flatten_weights(cell, 1, list(layer.parameters()))  # which torch.nn does not do in bfloat16
    generator = torch.Generator(device).manual_seed(1)
    size = (steps, batch, hidden_size)
    x, d = (torch.randn(size, device=device, generator=generator).to(dtype) for _ in range(2))
    x.requires_grad_()
    output: list[Tensor] = []

    def forward() -> None:
        output[:] = [layer(x)[0]]

    def backward() -> None:
        for tensor in (x, *layer.parameters()):
            tensor.grad = None
        torch.autograd.backward(output, [d])

    return forward, backward


def measure_all(
    cells: Sequence[str], sizes: Sequence[tuple[int, int, int]], rounds: int, device: torch.device
) -> Iterator[LoopTimes]:
    """The times of each cell and size (hidden size, batch, steps), on an NVIDIA GPU."""
    for name, (hidden_size, batch, steps) in product(cells, sizes):
        with torch.cuda.device(device):  # whose stream the events are recorded on
            one = measure_loops(CELLS[name], hidden_size, batch, steps, rounds, device, gpu_seconds)
            torch.cuda.empty_cache()
        yield one
