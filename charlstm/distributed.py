"""The processes that train one run together, as torchrun starts them.

Control messages (what was asked for, figures, errors, carried states) are tensors on the CPU and go by gloo; gradients
and losses go by NCCL where they are on a GPU. All processes call the same methods in the same order; a single one calls
them too, and talks to nobody.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from charlstm.errors import UserError
from charlstm.executors import State

PATIENCE = timedelta(hours=24)  # the first one may score a large held-out text, or write, while the others wait
POLL = 0.02  # seconds between two looks for something that may be long in coming


class SynchronizedError(UserError):
    """All processes of a team end with it; its message is empty in all but the one that tells it."""


class ProcessLostError(UserError):
    """Another process of the team cannot be reached, now or any more; with torch's own words for it."""

    def __init__(self, cause: BaseException) -> None:
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        words = ": ".join(dict.fromkeys([lines[0][:300], lines[-1][:300]]))  # NCCL gives its reason in the last one
        super().__init__(
            "another process of this run has ended, or cannot be reached. What was saved is kept: "
            f"start all of them again with --resume ({words})"
        )


@dataclass(frozen=True)
class ProcessGroup:
    """Who takes part: ``rank`` of ``size`` processes, and ``local_rank`` of the ``local_size`` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @staticmethod
    def from_environment() -> ProcessGroup:
        """As torchrun's variables say (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE); alone without them.

        Raises UserError if one of them is missing or no fitting number.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return SINGLE_PROCESS
        try:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            local_rank = int(os.environ["LOCAL_RANK"])
            local_size = int(os.environ["LOCAL_WORLD_SIZE"])
            if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
                raise ValueError
        except (KeyError, ValueError):
            raise UserError(
                "WORLD_SIZE is set, but RANK, LOCAL_RANK and LOCAL_WORLD_SIZE do not fit it: start the processes with "
                "torchrun -m charlstm train ..., or unset WORLD_SIZE"
            ) from None
        return ProcessGroup(rank, size, local_rank, local_size)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints, scores and samples."""
        return self.rank == 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be in touch with the others while the block lasts. Raises LostError if they cannot be reached."""
        if self.size == 1:
            yield
            return
        # Functions there have the group as a default: imported later, by DistributedDataParallel, they would keep it
        # and its threads to the end of the interpreter, which then now and then aborts.
        importlib.import_module("torch.distributed.nn.functional")
        cuda = torch.cuda.is_available() and distributed.is_nccl_available()
        with detect_lost_processes():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            # Gradients are never long in coming: torch's own patience finds a machine that is gone.
            _CONTROL.append(distributed.new_group(backend="gloo", timeout=PATIENCE))
        yield
        _CONTROL.clear()
        gc.collect()  # what else has the group
        distributed.destroy_process_group()  # not after an error: NCCL would wait for what never comes

    def columns(self, batch_size: int) -> slice:
        """Which columns of a batch are this process's."""
        share = batch_size // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def check(self, batch_size: int, asked: int) -> None:
        """Raises UserError if this many streams, fewer than were asked for in a short text, cannot be divided."""
        if batch_size % self.size == 0:
            return
        lower = batch_size // self.size * self.size
        fitting = [lower] * (lower > 0) + [lower + self.size] * (batch_size == asked)
        mend = f"Set training.batch_size to {' or '.join(map(str, fitting))}, or start" if fitting else "Start"
        what = f"training.batch_size {asked}" if batch_size == asked else f"A batch of {batch_size} (the text is short)"
        raise UserError(f"{what} cannot be divided evenly among {self.size} processes. {mend} another number of them")

    def all_reduce_max(self, *numbers: float) -> tuple[float, ...]:
        """The largest that any of the processes gives, of each of the numbers."""
        if self.size == 1:
            return numbers
        found = torch.tensor(numbers, dtype=torch.float64)
        with detect_lost_processes():
            distributed.all_reduce(found, distributed.ReduceOp.MAX, group=_CONTROL[0])
        return tuple(found.tolist())

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """The sum of all processes' x, put into x."""
        if self.size > 1:
            with detect_lost_processes():
                distributed.all_reduce(x)
        return x

    def broadcast_from_rank0(self, make: Callable[[], Any]) -> Any:
        """What the first process makes, fit for JSON; the others wait for it, and hear signals meanwhile."""
        if self.size == 1:
            return make()
        made = make() if self.first else None
        content = torch.frombuffer(bytearray(json.dumps(made).encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        self._wait_for_first(length)
        if not self.first:
            content = torch.empty(int(length), dtype=torch.uint8)
        self._wait_for_first(content)
        return json.loads(bytes(content.tolist()))

    @staticmethod
    def _wait_for_first(x: Tensor) -> None:
        with detect_lost_processes():
            work = distributed.broadcast(x, 0, group=_CONTROL[0], async_op=True)
            while not work.is_completed():
                time.sleep(POLL)
            work.wait()

    def gather(self, state: State) -> State:
        """In the first process a state with the columns of all; elsewhere as it is."""
        if self.size == 1:
            return state
        whole = []
        for part in state:
            own = part.cpu().contiguous()
            others = [torch.empty_like(own) for _ in range(self.size)] if self.first else None
            with detect_lost_processes():
                distributed.gather(own, others, 0, group=_CONTROL[0])
            whole.append(part if others is None else torch.cat(others, 1))
        return tuple(whole)

    @contextmanager
    def sync_errors(self) -> Iterator[None]:
        """End the block in all processes together: if it raises UserError in any of them, all raise AgreedError.

        The message is that of the lowest rank which has one. The block itself must not wait for others but in ways in
        which all of them take part.
        """
        if self.size == 1:
            yield
            return
        caught: UserError | None = None
        try:
            yield
        except ProcessLostError:
            raise
        except UserError as problem:
            caught = problem
        (lowest,) = self.all_reduce_max(0 if caught is None or not str(caught) else self.size - self.rank)
        if lowest:
            raise SynchronizedError(str(caught) if lowest == self.size - self.rank else "")
        if caught is not None:
            raise caught

    def assert_equal_across_ranks(self, value: Any, problem: str) -> None:
        """Raises AgreedError with the problem in all processes unless all have the same value, which is fit for
        JSON."""
        with self.sync_errors():
            if self.broadcast_from_rank0(lambda: value) != value:
                raise UserError(problem)

    def barrier(self) -> None:
        """Wait until all have come here."""
        self.all_reduce_max(0)

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """The module under DistributedDataParallel: a backward pass through it leaves the sum, not the mean, of all
        processes' gradients in each. With the module of the first process's weights."""
        with detect_lost_processes():
            wrapped = nn.parallel.DistributedDataParallel(module)
        # a lambda: torch takes no annotations that are strings
        wrapped.register_comm_hook(None, lambda _, bucket: _sum(bucket.buffer()))
        return wrapped


SINGLE_PROCESS = ProcessGroup()
"""The ordinary case."""

_CONTROL: list[distributed.ProcessGroup] = []
"""The group by which control messages go, while there is one."""


@contextmanager
def detect_lost_processes() -> Iterator[None]:
    """Raise LostError for an error of the connection to other processes; a lack of memory stays what it is."""
    try:
        yield
    except RuntimeError as error:  # gloo has no type of its own for its errors, only its source's path in each
        ours = (distributed.is_available() and isinstance(error, distributed.DistError)) or "gloo/" in str(error)
        if ours and "out of memory" not in str(error):
            raise ProcessLostError(error) from error
        raise


def _sum(x: Tensor) -> torch.futures.Future[Tensor]:
    work = distributed.all_reduce(x, async_op=True)
    found: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return found
