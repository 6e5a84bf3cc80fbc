"""Out-of-memory errors: the memory requested and free, and which settings to lower by how much."""

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
    format_bytes,
    free_main_memory,
    is_out_of_memory,
    memory_facts,
    not_enough_memory,
    requested_bytes,
)

USABLE = 0.9  # fraction of the device memory; the rest is lost to fragmentation
DEFAULT_FACTOR = 0.5  # of a setting, where a device does not report its memory
MAX_FACTOR = 0.75  # of a setting: the current value did not fit


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory of a training run, in bytes per process, and the settings it depends on.

    ``fixed``: weights, gradients, optimizer state, resident text; grows with the square of ``hidden_size``.
    ``activations``: activations saved for backward; grows with ``batch_size``, ``sequence_length`` and ``hidden_size``.
    ``processes``: the batch is split evenly among them.
    """

    fixed: int
    activations: int
    batch_size: int
    sequence_length: int
    hidden_size: int
    processes: int = 1


@contextmanager
def report_out_of_memory(device: torch.device, describe: Callable[[], tuple[str, MemoryEstimate]]) -> Iterator[None]:
    """Raises UserError in place of an out-of-memory error in the block.

    ``describe`` returns the current work (``in step 3``) and its memory estimate.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        message = out_of_memory_message(str(error), device, *describe())  # before memory is freed
        clear_plan_cache()
        raise UserError(message) from None


def out_of_memory_message(error: str, device: torch.device, when: str, estimate: MemoryEstimate) -> str:
    """The message to the user; ``error`` is the message of torch."""
    status, requested = memory(device), requested_bytes(error)
    facts = memory_facts(requested, free_main_memory() if device.type == "cpu" else None)
    if status is not None:
        facts.append(f"{format_bytes(status.free)} of {format_bytes(status.total)} are free")
        others = status.total - status.free - status.allocated
        if others > status.total / 10:
            facts.append(f"{format_bytes(others)} are used by the driver and other programs")
    details = f": {', '.join(facts)}" if facts else ""
    lower = " or ".join(settings_to_lower(estimate, status, requested))
    return (
        f"out of memory on {device} {when}{details}. Start a new run with {lower}. These cannot change on "
        "--resume; the checkpoints of this run remain, and it can be resumed on a device with more memory"
    )


def check_weights_fit(device: torch.device, estimate: MemoryEstimate) -> None:
    """Raises UserError if weights, gradients and optimizer state do not fit into the main memory. Call it before they
    are created: the system may kill a process rather than refuse it memory."""
    free = free_main_memory()
    if device.type == "cpu" and free is not None and estimate.fixed > free:
        lower = " or ".join(settings_to_lower(estimate, Memory(free, free, 0), 0))
        raise not_enough_memory("weights, gradients and optimizer", estimate.fixed, free, f"Lower {lower}")


def settings_to_lower(estimate: MemoryEstimate, status: Memory | None, requested: int) -> list[str]:
    """Settings, each of which alone should make the run fit.

    The activations are taken to be the estimate, or the memory allocated and requested, if that is more.
    """
    fixed, batch_size, hidden_size = estimate.fixed, estimate.batch_size, estimate.hidden_size
    usable = math.inf if status is None else USABLE * (status.free + status.allocated)
    allocated = 0 if status is None else status.allocated
    activations = max(estimate.activations, allocated + requested - fixed) if estimate.activations else 0
    if not activations or fixed >= usable:
        factor = math.sqrt(min(usable / 2 / fixed, MAX_FACTOR) if status else DEFAULT_FACTOR)
        return [_lower("model.hidden_size", hidden_size, factor)]
    factor = DEFAULT_FACTOR if status is None else min((usable - fixed) / activations, MAX_FACTOR)
    settings = {
        "training.batch_size": (batch_size, estimate.processes),
        "training.sequence_length": (estimate.sequence_length, 1),
        "model.hidden_size": (hidden_size, 1),
    }
    return [_lower(name, now, factor, of) for name, (now, of) in settings.items() if now * factor >= of]


def _lower(name: str, now: int, factor: float, multiple_of: int = 1) -> str:
    return f"{name}={_round(now * factor / multiple_of) * multiple_of} (now {now})"


def _round(number: float) -> int:
    """Round down to a power of two, or to one and a half times a power of two."""
    power = 1 << (max(1, int(number)).bit_length() - 1)
    return power + power // 2 if power + power // 2 <= number else power
