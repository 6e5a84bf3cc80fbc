"""What is measured, and measuring it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from charlstm.benchmark.candidates import (
    BASELINE,
    CHARACTERS,
    CPU,
    OWN_SAMPLER,
    PRODUCT,
    Candidates,
    Key,
    MultiplyAdds,
    Size,
    products,
    sampling,
    training,
)
from charlstm.benchmark.environment import after_turn, before_turn, notes, usual_precisions, waiting, warm_up
from charlstm.benchmark.results import Measurement, Result, What, title
from charlstm.benchmark.round_robin import Outcome, Speed, Turn, round_robin
from charlstm.cells import CELLS
from charlstm.executors import executors
from charlstm.executors.precision import float32_products
from charlstm.hardware.device import keep_memory

SIZES = (Size(1, 256, 32, 64), Size(2, 512, 64, 100), Size(1, 1024, 32, 128))
NETS = ((1, 256), (1, 512), (2, 512), (1, 1024))
CUDA_SIZES = (Size(1, 512, 64, 128), Size(2, 1024, 128, 128), Size(3, 2048, 128, 128))
TEXTS = (1, 64)
TURN_SECONDS = 0.2
PRODUCT_SIDES = (1024, 2048)
CUDA_PRODUCT_SIDES = (8192,)
SLOW_PRODUCT_SIDES = (256,)
"""Where larger products would take seconds each."""

QUICK_CELLS = ("lstm", "gru", "peephole")
QUICK_SECONDS = 36.0
QUICK_TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """What to measure; None means the default.

    precisions  by default those of :func:`charlstm.benchmark.environment.usual_precisions`
    executors   names of :func:`charlstm.executors.executors`, and ``torch.nn``; by default all that are made for the
                device and that ``auto`` may select
    sizes       of training; sampling takes their nets, and by default on the CPU one layer of 512 too
    texts       how many texts are sampled side by side
    quick       by default one small size and three cells; as many of the rounds as fit into QUICK_SECONDS

    torch.nn.LSTM, to which ratios are given, always takes part.
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

    def parts(self) -> list[tuple[What, Size]]:
        """What is measured, in order."""
        cuda = self.device.type == "cuda"
        usual = CUDA_SIZES if cuda else SIZES
        sizes = self.sizes or (usual[:1] if self.quick else usual)
        own_nets = self.sizes or self.quick or cuda
        nets = dict.fromkeys((s.layers, s.units) for s in sizes) if own_nets else NETS
        found: list[tuple[What, Size]] = [("training", size) for size in sizes] if self.training else []
        if self.sampling:
            found += [("sampling", Size(*net, texts, CHARACTERS)) for net in nets for texts in self.texts]
        return found


@dataclass(frozen=True)
class Progress:
    """Part ``number`` of ``parts``, whose turn it is, the share of this part that is done, and the seconds that are
    left for it (None while contenders warm up)."""

    title: str
    number: int
    parts: int
    contender: str
    fraction: float
    seconds_left: float | None


def measure(plan: Plan) -> Iterator[Progress | Measurement]:
    """Carry out the plan; a Measurement ends each part. On an NVIDIA GPU float32 products are made in TF32."""
    keep_memory()
    with float32_products(plan.device, rounded=True):
        yield from _measure(plan)


def _measure(plan: Plan) -> Iterator[Progress | Measurement]:
    device, parts = plan.device, plan.parts()
    remarks = notes(device)
    habits: dict[str, Any] = {
        "wait": waiting(device),
        "warm_up": warm_up(device),
        "before": before_turn(device),
        "after": after_turn(device),
    }
    sides = CUDA_PRODUCT_SIDES if device.type == "cuda" else PRODUCT_SIDES
    weights = [3 if what == "training" else 1 for what, _ in parts]
    for number, (what, size) in enumerate(parts):
        limit = QUICK_SECONDS * weights[number] / sum(weights) if plan.quick else math.inf
        field, multiply_adds = _field(plan, what, size)
        precisions = dict.fromkeys(key.precision for key in field)
        peaks: Candidates = {}
        for precision in precisions:
            slow = precision not in usual_precisions(device)
            peaks |= products([precision], SLOW_PRODUCT_SIDES if slow else sides[: 1 if plan.quick else None], device)
        turn_seconds = QUICK_TURN_SECONDS if plan.quick else TURN_SECONDS
        for event in round_robin(peaks | field, plan.rounds, turn_seconds, limit, **habits):
            if isinstance(event, Turn):
                place = (title(what, size), number + 1, len(parts))
                yield Progress(*place, str(event.key), event.fraction, event.seconds_left)
            else:
                yield _measurement(what, size, multiply_adds, event, remarks)


def _field(plan: Plan, what: What, size: Size) -> tuple[Candidates, MultiplyAdds]:
    """All contenders, torch.nn.LSTM first among them: it is the last to be left out."""
    device = plan.device.type
    here = (e.name for e in executors().values() if e.automatic and (e.devices is None or device in e.devices))
    known = [BASELINE, *here]
    names = known if plan.executors is None else plan.executors
    cells = plan.cells or (QUICK_CELLS if plan.quick else CELLS)
    precisions = plan.precisions or usual_precisions(plan.device)
    if what == "sampling":
        base, work = sampling(size, ["lstm"], [BASELINE], ["float32"], plan.device)
        others, more = sampling(size, cells, names, precisions, plan.device)
    else:
        base, work = training(size, ["lstm"], [BASELINE], dict.fromkeys(["float32", *precisions]), plan.device)
        others, more = training(size, cells, names, precisions, plan.device)
    return base | others, work | more


def _measurement(
    what: What, size: Size, multiply_adds: MultiplyAdds, outcome: Outcome[Key], remarks: list[str]
) -> Measurement:
    results: list[Result] = []
    peaks: dict[str, Speed] = {}
    for key, speed in outcome.speeds.items():
        if key.executor == PRODUCT:
            peaks[key.precision] = max(speed, peaks.get(key.precision, speed), key=lambda s: s.median)
        else:
            results.append(Result(key, speed, multiply_adds[key.cell]))
    cells, runners = [*CELLS], [BASELINE, *executors(), OWN_SAMPLER]
    results.sort(key=lambda r: (cells.index(r.key.cell), runners.index(r.key.executor)))
    return Measurement(what, size, results, peaks, outcome.left_out, outcome.rounds, remarks)
