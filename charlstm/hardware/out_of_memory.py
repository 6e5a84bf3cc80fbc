"""A device that has too little memory: what was asked for, what there is, and what to lower by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from charlstm.errors import UserError
from charlstm.executors import clear_plan_cache
from charlstm.hardware.device import Memory, memory
from charlstm.hardware.main_memory import (
    asked_bytes,
    does_not_fit,
    free_main_memory,
    is_shortage,
    shortage_facts,
    size_text,
)

USABLE = 0.9  # of a device's memory: the rest goes in pieces that are too small
UNKNOWN = 0.5  # what to lower to where a device does not tell its memory
LESS = 0.75  # what to lower to at most: as it was, it did not fit


@dataclass(frozen=True)
class Demand:
    """The memory that training takes, in bytes, and what it depends on.

    ``fixed``: weights, gradients, optimiser, the text if it lies there: grows with the square of ``hidden_size``.
    ``growing``: what is kept for the way back: grows with ``batch_size``, ``sequence_length`` and ``hidden_size``.
    ``processes``: how many of them share the batch evenly.
    """

    fixed: int
    growing: int
    batch_size: int
    sequence_length: int
    hidden_size: int
    processes: int = 1


@contextmanager
def enough_memory(device: torch.device, demand: Callable[[], tuple[str, Demand]]) -> Iterator[None]:
    """Raises UserError in place of a lack of memory in the block; ``demand`` tells what was done (``in step 3``) and
    what it takes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        told = shortage(str(error), device, *demand())  # before anything is given up that the work needs
        clear_plan_cache()
        raise UserError(told) from None


def shortage(message: str, device: torch.device, when: str, demand: Demand) -> str:
    """What the user is told; ``message`` is torch's own."""
    found, asked = memory(device), asked_bytes(message)
    facts = shortage_facts(asked, free_main_memory() if device.type == "cpu" else None)
    if found is not None:
        facts.append(f"{size_text(found.free)} of {size_text(found.total)} are free")
        others = found.total - found.free - found.held
        if others > found.total / 10:
            facts.append(f"{size_text(others)} are held by the driver and other programs")
    told = f": {', '.join(facts)}" if facts else ""
    lower = " or ".join(what_to_lower(demand, found, asked))
    return (
        f"out of memory on {device} {when}{told}. Begin a new run with {lower}. These cannot change on --resume; what "
        "this run has saved stays, and goes on where there is more memory"
    )


def check_weights(device: torch.device, demand: Demand) -> None:
    """Raises UserError if weights, gradients and optimiser cannot fit into the main memory: before they are made, for
    the system would rather kill a process than refuse it memory."""
    free = free_main_memory()
    if device.type == "cpu" and free is not None and demand.fixed > free:
        lower = " or ".join(what_to_lower(demand, Memory(free, free, 0), 0))
        raise does_not_fit("weights, gradients and optimiser", demand.fixed, free, f"Lower {lower}")


def what_to_lower(demand: Demand, found: Memory | None, asked: int) -> list[str]:
    """Settings, each of which alone should make it fit.

    What is kept is taken to be what was estimated, or what was found to be held and asked for, if that is more.
    """
    fixed, batch, length, units = demand.fixed, demand.batch_size, demand.sequence_length, demand.hidden_size
    room = math.inf if found is None else USABLE * (found.free + found.held)
    held = 0 if found is None else found.held
    growing = max(demand.growing, held + asked - fixed) if demand.growing else 0
    if not growing or fixed >= room:
        share = math.sqrt(min(room / 2 / fixed, LESS) if found else UNKNOWN)
        return [_lower("model.hidden_size", units, share)]
    share = UNKNOWN if found is None else min((room - fixed) / growing, LESS)
    settings = {
        "training.batch_size": (batch, demand.processes),
        "training.sequence_length": (length, 1),
        "model.hidden_size": (units, 1),
    }
    return [_lower(name, now, share, of) for name, (now, of) in settings.items() if now * share >= of]


def _lower(name: str, now: int, share: float, multiple_of: int = 1) -> str:
    return f"{name}={_round(now * share / multiple_of) * multiple_of} (now {now})"


def _round(number: float) -> int:
    """Down to a power of two, or one and a half times one."""
    power = 1 << (max(1, int(number)).bit_length() - 1)
    return power + power // 2 if power + power // 2 <= number else power
