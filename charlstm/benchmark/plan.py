"""The plan of a benchmark, and its execution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from charlstm.benchmark.candidates import (
    BASELINE,
    CAPTURED,
    CHARACTERS,
    CPU,
    MATMUL,
    SAMPLER,
    Candidates,
    Key,
    MultiplyAdds,
    matmuls,
    sampling,
    training,
)
from charlstm.benchmark.environment import cleanup, default_precisions, notes, synchronizer, untimed_runs, warm_up_runs
from charlstm.benchmark.networks import Size
from charlstm.benchmark.results import Measurement, Result, Workload, title
from charlstm.benchmark.round_robin import Outcome, Speed, Turn, round_robin
from charlstm.cells import CELLS
from charlstm.executors import executors
from charlstm.executors.precision import float32_matmul_precision
from charlstm.hardware.device import retain_freed_memory

SIZES = (Size(1, 256, 32, 64), Size(2, 512, 64, 100), Size(1, 1024, 32, 128))
NETS = ((1, 256), (1, 512), (2, 512), (1, 1024))
CUDA_SIZES = (Size(1, 512, 64, 128), Size(2, 1024, 128, 128), Size(3, 2048, 128, 128))
TEXTS = (1, 64)
TURN_SECONDS = 0.2
MATMUL_SIZES = (1024, 2048)
CUDA_MATMUL_SIZES = (8192,)
SLOW_MATMUL_SIZES = (256,)
"""For emulated precisions, in which a larger product would take seconds."""

QUICK_CELLS = ("lstm", "gru", "peephole")
QUICK_SECONDS = 36.0
QUICK_TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """What to measure; None means the default.

    precisions  by default those of :func:`charlstm.benchmark.environment.default_precisions`
    executors   names of :func:`charlstm.executors.executors`, ``torch.nn`` and ``torch.nn-captured``; by default
                all that support the device and that ``auto`` may select
    sizes       of training; sampling uses their layers and hidden sizes, by default on the CPU also one layer of 512
    texts       numbers of texts that are sampled in parallel
    quick       by default one small size and three cells; as many of the rounds as fit into QUICK_SECONDS

    torch.nn.LSTM, the baseline of all ratios, is always measured.
    """

    cells: Sequence[str] | None = None
    executors: Sequence[str] | None = None
    precisions: Sequence[str] | None = None
    sizes: Sequence[Size] | None = None
    texts: Sequence[int] = TEXTS
    rounds: int = 5
    training: bool = True
    sampling: bool = True
    quick: bool = False
    device: torch.device = CPU

    def parts(self) -> list[tuple[Workload, Size]]:
        """The measurements, in order."""
        cuda = self.device.type == "cuda"
        defaults = CUDA_SIZES if cuda else SIZES
        sizes = self.sizes or (defaults[:1] if self.quick else defaults)
        from_sizes = self.sizes or self.quick or cuda
        nets = dict.fromkeys((s.layers, s.hidden_size) for s in sizes) if from_sizes else NETS
        parts: list[tuple[Workload, Size]] = [("training", size) for size in sizes] if self.training else []
        if self.sampling:
            parts += [("sampling", Size(*net, texts, CHARACTERS)) for net in nets for texts in self.texts]
        return parts


@dataclass(frozen=True)
class Progress:
    """Part ``number`` of ``parts``, the running candidate, the completed fraction of the part, and the seconds left for
    it (None in the warm-up)."""

    title: str
    number: int
    parts: int
    candidate: str
    fraction: float
    seconds_left: float | None


def measure(plan: Plan) -> Iterator[Progress | Measurement]:
    """Run the plan; a Measurement ends each part. On an NVIDIA GPU float32 matrix products use TF32."""
    retain_freed_memory()
    with float32_matmul_precision(plan.device, tf32=True):
        yield from _measure(plan)


def _measure(plan: Plan) -> Iterator[Progress | Measurement]:
    device, parts = plan.device, plan.parts()
    device_notes = notes(device)
    options: dict[str, Any] = {
        "wait": synchronizer(device),
        "warm_up_runs": warm_up_runs(device),
        "untimed_runs": untimed_runs(device),
        "after": cleanup(device),
    }
    matmul_sizes = CUDA_MATMUL_SIZES if device.type == "cuda" else MATMUL_SIZES
    weights = [3 if workload == "training" else 1 for workload, _ in parts]
    for number, (workload, size) in enumerate(parts):
        limit = QUICK_SECONDS * weights[number] / sum(weights) if plan.quick else math.inf
        candidates, multiply_adds = _candidates(plan, workload, size)
        precisions = dict.fromkeys(key.precision for key in candidates)
        peaks: Candidates = {}
        for precision in precisions:
            slow = device.type == "cpu" and precision not in default_precisions(device)
            chosen = SLOW_MATMUL_SIZES if slow else matmul_sizes[: 1 if plan.quick else None]
            peaks |= matmuls([precision], chosen, device)
        turn_seconds = QUICK_TURN_SECONDS if plan.quick else TURN_SECONDS
        for event in round_robin(peaks | candidates, plan.rounds, turn_seconds, limit, **options):
            if isinstance(event, Turn):
                part = (title(workload, size), number + 1, len(parts))
                yield Progress(*part, str(event.key), event.fraction, event.seconds_left)
            else:
                yield _measurement(workload, size, multiply_adds, event, device_notes)


def _candidates(plan: Plan, workload: Workload, size: Size) -> tuple[Candidates, MultiplyAdds]:
    """All candidates, torch.nn.LSTM first: with too little time, the later ones are left out."""
    device = plan.device.type
    supported = (e.name for e in executors().values() if e.automatic and (e.devices is None or device in e.devices))
    torchs = [BASELINE, CAPTURED] if device == "cuda" else [BASELINE]
    names = [*torchs, *supported] if plan.executors is None else plan.executors
    cells = plan.cells or (QUICK_CELLS if plan.quick else CELLS)
    precisions = plan.precisions or default_precisions(plan.device)
    if workload == "sampling":
        baseline, multiply_adds = sampling(size, ["lstm"], [BASELINE], ["float32"], plan.device)
        others, more_multiply_adds = sampling(size, cells, names, precisions, plan.device)
    else:
        baseline, multiply_adds = training(
            size, ["lstm"], [BASELINE], dict.fromkeys(["float32", *precisions]), plan.device
        )
        others, more_multiply_adds = training(size, cells, names, precisions, plan.device)
    return baseline | others, multiply_adds | more_multiply_adds


def _measurement(
    workload: Workload, size: Size, multiply_adds: MultiplyAdds, outcome: Outcome[Key], device_notes: list[str]
) -> Measurement:
    results: list[Result] = []
    peaks: dict[str, Speed] = {}
    for key, speed in outcome.speeds.items():
        if key.executor == MATMUL:
            peaks[key.precision] = max(speed, peaks.get(key.precision, speed), key=lambda s: s.median)
        else:
            results.append(Result(key, speed, multiply_adds[key.cell]))
    cells, order = [*CELLS], [BASELINE, CAPTURED, *executors(), SAMPLER]
    results.sort(key=lambda r: (cells.index(r.key.cell), order.index(r.key.executor)))
    return Measurement(workload, size, results, peaks, outcome.left_out, outcome.rounds, device_notes)
