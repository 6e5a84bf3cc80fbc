"""Communication between the processes of a distributed run, started by torchrun.

Control messages (requests, metrics, errors, carried states) are CPU tensors sent by gloo; gradients and losses on GPUs
are sent by NCCL. All processes call the same methods in the same order; in a single process the methods do not
communicate.
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

CONTROL_TIMEOUT = timedelta(hours=24)  # rank 0 may score a large validation split, or write, while the others wait
POLL_SECONDS = 0.02  # seconds between two checks for a message from rank 0


class SynchronizedError(UserError):
    """Raised in all processes of a group; the message is empty in all but the process that reports it."""


class ProcessLostError(UserError):
    """Another process of the group cannot be reached; the message includes that of torch."""

    def __init__(self, cause: BaseException) -> None:
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        reason = ": ".join(dict.fromkeys([lines[0][:300], lines[-1][:300]]))  # NCCL has its reason in the last line
        super().__init__(
            "another process of this run has ended, or cannot be reached. The checkpoints remain: "
            f"start all processes again with --resume ({reason})"
        )


@dataclass(frozen=True)
class ProcessGroup:
    """Process ``rank`` of ``size``, and ``local_rank`` of the ``local_size`` processes on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @staticmethod
    def from_environment() -> ProcessGroup:
        """From torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE); else a single process.

        Raises UserError if one of them is missing or invalid.
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
                "WORLD_SIZE is set, but RANK, LOCAL_RANK or LOCAL_WORLD_SIZE is missing or invalid: start them "
                "with torchrun -m charlstm train ..., or unset WORLD_SIZE"
            ) from None
        return ProcessGroup(rank, size, local_rank, local_size)

    @property
    def is_rank0(self) -> bool:
        """Whether this is rank 0, which writes, prints, scores and samples."""
        return self.rank == 0

    @contextmanager
    def connect(self) -> Iterator[None]:
        """Connect to the other processes during the block. Raises ProcessLostError if they cannot be reached."""
        if self.size == 1:
            yield
            return
        # Functions in this module have the default group as a default argument. Imported later, by
        # DistributedDataParallel, they would keep its threads alive until the interpreter exits, which may then abort.
        importlib.import_module("torch.distributed.nn.functional")
        cuda = torch.cuda.is_available() and distributed.is_nccl_available()
        with detect_lost_processes():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            # Gradients keep the default timeout of torch, which detects a lost machine.
            _CONTROL.append(distributed.new_group(backend="gloo", timeout=CONTROL_TIMEOUT))
        yield
        _CONTROL.clear()
        gc.collect()  # drop other references to the group
        distributed.destroy_process_group()  # not after an error: NCCL would wait forever

    def columns(self, batch_size: int) -> slice:
        """The batch columns of this process."""
        count = batch_size // self.size
        return slice(self.rank * count, (self.rank + 1) * count)

    def check(self, batch_size: int, requested: int) -> None:
        """Raises UserError if the batch cannot be divided among the processes.

        ``requested``: training.batch_size; a short text may give fewer streams, ``batch_size``.
        """
        if batch_size % self.size == 0:
            return
        lower = batch_size // self.size * self.size
        sizes = [lower] * (lower > 0) + [lower + self.size] * (batch_size == requested)
        start = f"Set training.batch_size to {' or '.join(map(str, sizes))}, or start" if sizes else "Start"
        what = (
            f"training.batch_size {requested}"
            if batch_size == requested
            else f"A batch of {batch_size} (the text is short)"
        )
        raise UserError(
            f"{what} cannot be divided evenly among {self.size} processes. {start} another number of processes"
        )

    def all_reduce_max(self, *numbers: float) -> tuple[float, ...]:
        """The maximum over all processes of each number."""
        if self.size == 1:
            return numbers
        maxima = torch.tensor(numbers, dtype=torch.float64)
        with detect_lost_processes():
            distributed.all_reduce(maxima, distributed.ReduceOp.MAX, group=_CONTROL[0])
        return tuple(maxima.tolist())

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """Sum x over all processes, in place."""
        if self.size > 1:
            with detect_lost_processes():
                distributed.all_reduce(x)
        return x

    def broadcast_from_rank0(self, make: Callable[[], Any]) -> Any:
        """Broadcast the JSON value that ``make`` returns in rank 0; the others wait, and still handle signals."""
        if self.size == 1:
            return make()
        value = make() if self.is_rank0 else None
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        self._broadcast(length)
        if not self.is_rank0:
            content = torch.empty(int(length), dtype=torch.uint8)
        self._broadcast(content)
        return json.loads(bytes(content.tolist()))

    @staticmethod
    def _broadcast(x: Tensor) -> None:
        with detect_lost_processes():
            work = distributed.broadcast(x, 0, group=_CONTROL[0], async_op=True)
            while not work.is_completed():
                time.sleep(POLL_SECONDS)
            work.wait()

    def gather(self, state: State) -> State:
        """In rank 0 the state with the columns of all processes; in others ``state``."""
        if self.size == 1:
            return state
        gathered = []
        for part in state:
            local = part.cpu().contiguous()
            parts = [torch.empty_like(local) for _ in range(self.size)] if self.is_rank0 else None
            with detect_lost_processes():
                distributed.gather(local, parts, 0, group=_CONTROL[0])
            gathered.append(part if parts is None else torch.cat(parts, 1))
        return tuple(gathered)

    @contextmanager
    def sync_errors(self) -> Iterator[None]:
        """Synchronize the end of the block: if it raises UserError in any process, all raise SynchronizedError.

        The message is that of the lowest rank with an error. In the block, processes may wait for each other only in
        collective calls.
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
        """Raises SynchronizedError in all processes unless all have the same JSON value."""
        with self.sync_errors():
            if self.broadcast_from_rank0(lambda: value) != value:
                raise UserError(problem)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.all_reduce_max(0)

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """Wrap the module in DistributedDataParallel, with the weights of rank 0. Its backward pass gives the sum, not
        the mean, of the gradients of all processes."""
        with detect_lost_processes():
            wrapped = nn.parallel.DistributedDataParallel(module)
        # a lambda: torch rejects annotations that are strings
        wrapped.register_comm_hook(None, lambda _, bucket: _sum(bucket.buffer()))
        return wrapped


SINGLE_PROCESS = ProcessGroup()
"""The group of a run without torchrun."""

_CONTROL: list[distributed.ProcessGroup] = []
"""The gloo group of the control messages, while connected."""


@contextmanager
def detect_lost_processes() -> Iterator[None]:
    """Raise ProcessLostError for a communication error; out-of-memory errors pass through."""
    try:
        yield
    except RuntimeError as error:  # gloo errors have no separate type, only the path of its source
        is_lost = (distributed.is_available() and isinstance(error, distributed.DistError)) or "gloo/" in str(error)
        if is_lost and "out of memory" not in str(error):
            raise ProcessLostError(error) from error
        raise


def _sum(x: Tensor) -> torch.futures.Future[Tensor]:
    work = distributed.all_reduce(x, async_op=True)
    total: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return total
