"""What is measured, and measuring it."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from charlstm import __version__
from charlstm.benchmark.contenders import (
    BASELINE,
    CHARACTERS,
    OWN_SAMPLER,
    PRECISIONS,
    PRODUCT,
    Contenders,
    Key,
    MultiplyAdds,
    Size,
    products,
    sampling,
    training,
)
from charlstm.benchmark.results import Measurement, Result, What, title
from charlstm.benchmark.turns import Outcome, Speed, Turn, by_turns
from charlstm.cells import CELLS
from charlstm.executors import executors
from charlstm.training.hardware import keep_memory

SIZES = (Size(1, 256, 32, 64), Size(2, 512, 64, 100), Size(1, 1024, 32, 128))
NETS = ((1, 256), (1, 512), (2, 512), (1, 1024))
TEXTS = (1, 64)
TURN_SECONDS = 0.2
PRODUCT_SIDES = (1024, 2048)

QUICK_CELLS = ("lstm", "gru", "peephole")
QUICK_SECONDS = 36.0
QUICK_TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """What to measure; None means the default.

    executors   names of :func:`charlstm.executors.executors`, and ``torch.nn``; by default all but ``reference``
    sizes       of training; sampling takes their nets, and by default one layer of 512 too
    texts       how many texts are sampled side by side
    quick       by default one small size and three cells; as many of the rounds as fit into QUICK_SECONDS

    torch.nn.LSTM, to which ratios are given, always takes part.
    """

    cells: Sequence[str] | None = None
    executors: Sequence[str] | None = None
    precisions: Sequence[str] = tuple(PRECISIONS)
    sizes: Sequence[Size] | None = None
    texts: Sequence[int] = TEXTS
    rounds: int = 5
    training: bool = True
    sampling: bool = True
    quick: bool = False

    def parts(self) -> list[tuple[What, Size]]:
        """What is measured, in order."""
        sizes = self.sizes or (SIZES[:1] if self.quick else SIZES)
        nets = NETS if not self.sizes and not self.quick else dict.fromkeys((s.layers, s.units) for s in sizes)
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
    """Carry out the plan; a Measurement ends each part."""
    keep_memory()
    parts = plan.parts()
    weights = [3 if what == "training" else 1 for what, _ in parts]
    for number, (what, size) in enumerate(parts):
        limit = QUICK_SECONDS * weights[number] / sum(weights) if plan.quick else math.inf
        field, multiply_adds = _field(plan, what, size)
        peaks = products(dict.fromkeys(key.precision for key in field), PRODUCT_SIDES[: 1 if plan.quick else None])
        turn_seconds = QUICK_TURN_SECONDS if plan.quick else TURN_SECONDS
        for event in by_turns(peaks | field, plan.rounds, turn_seconds, limit):
            if isinstance(event, Turn):
                place = (title(what, size), number + 1, len(parts))
                yield Progress(*place, str(event.key), event.fraction, event.seconds_left)
            else:
                yield _measurement(what, size, multiply_adds, event)


def _field(plan: Plan, what: What, size: Size) -> tuple[Contenders, MultiplyAdds]:
    """All contenders, torch.nn.LSTM first among them: it is the last to be left out."""
    known = [BASELINE, *(name for name in executors() if name != "reference")]
    names = known if plan.executors is None else plan.executors
    cells = plan.cells or (QUICK_CELLS if plan.quick else CELLS)
    if what == "sampling":
        base, work = sampling(size, ["lstm"], [BASELINE], ["float32"])
        others, more = sampling(size, cells, names, plan.precisions)
    else:
        base, work = training(size, ["lstm"], [BASELINE], dict.fromkeys(["float32", *plan.precisions]))
        others, more = training(size, cells, names, plan.precisions)
    return base | others, work | more


def _measurement(what: What, size: Size, multiply_adds: MultiplyAdds, outcome: Outcome[Key]) -> Measurement:
    results: list[Result] = []
    peaks: dict[str, Speed] = {}
    for key, speed in outcome.speeds.items():
        if key.executor == PRODUCT:
            peaks[key.precision] = max(speed, peaks.get(key.precision, speed), key=lambda s: s.median)
        else:
            results.append(Result(key, speed, multiply_adds[key.cell]))
    cells, runners = [*CELLS], [BASELINE, *executors(), OWN_SAMPLER]
    results.sort(key=lambda r: (cells.index(r.key.cell), runners.index(r.key.executor)))
    return Measurement(what, size, results, peaks, outcome.left_out, outcome.rounds)


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpu": _cpu(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "torch": torch.__version__,
        "charlstm": __version__,
    }


def _cpu() -> str | None:
    """The processor's name as Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor()) or None
