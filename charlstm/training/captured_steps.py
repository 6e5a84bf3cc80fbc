"""Whole training steps as CUDA graphs: one launch in place of some hundred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from charlstm.distributed import ProcessGroup
from charlstm.executors import State, clear_plan_cache
from charlstm.executors.cuda_graph import CudaGraph, Pool, cause_of_failure, memory_pool
from charlstm.hardware.device import get_rng_states, set_rng_states
from charlstm.text.streams import Batch
from charlstm.training.step import TrainingStep
from charlstm.training.step_input import StepInput

T = TypeVar("T")

WARM_UP = 3
"""Steps of a layout that are launched before one is captured: they compile kernels and create the optimizer's state."""
MAX_SEEN = 1024
"""Layouts that are counted before they are captured."""
MAX_CAPTURED = 16
"""Layouts that are captured. Batches of documents have many; a running text has one, and those of the first and the
last batch of an epoch."""


def why_not_captured(device: torch.device, group: ProcessGroup) -> str | None:
    """Why steps are launched operation by operation; None if they are captured."""
    if device.type != "cuda":
        return "CUDA graphs are for NVIDIA GPUs"
    if group.size > 1:
        return "several processes add up their gradients in the middle of it"
    return None


class CapturedSteps:
    """Training steps of a device that runs asynchronously: loss, gradients, clipping, update and carried state.

    On an NVIDIA GPU, the first steps of a layout (:attr:`StepInput.layout`) are launched operation by operation, the
    next one is captured in a CUDA graph, and from then on the graph is replayed. What differs between steps is in
    tensors: the input, the carried state, the learning rates, and the step number and the random generator, which the
    graph advances. So a replayed step equals a launched one bit for bit. If a step cannot be captured, or gradients or
    an evaluation need the graphs' memory, ``on_failure`` is called with a sentence that says why, and all steps are
    launched.
    """

    def __init__(
        self, step: TrainingStep, device: torch.device, group: ProcessGroup, on_failure: Callable[[str], None]
    ) -> None:
        self._step, self._device, self._on_failure = step, device, on_failure
        self._is_capturing = why_not_captured(device, group) is None
        self._seen: Counter[tuple[object, ...]] = Counter()
        self._captured: dict[tuple[object, ...], _CapturedStep] = {}
        self._pool: Pool | None = None

    def __call__(self, batches: Sequence[Batch], carried: State, rate: float) -> tuple[Tensor, State]:
        """Train on the batches. Returns loss and gradient norm, and the state after them, as
        :meth:`TrainingStep.gradients`; the next call may overwrite this state."""
        inputs = self._step.inputs(batches)
        self._step.set_learning_rate(rate)
        captured = self._captured_step(inputs, carried) if self._is_capturing else None
        if captured is not None:
            return captured.replay(inputs, carried)
        loss_and_norm, carried = self.beside_graphs(lambda: self._step.gradients(inputs, carried))
        self._step.update(loss_and_norm[1])
        return loss_and_norm, carried

    def clear(self) -> None:
        """Free the graphs."""
        self._captured.clear()
        self._seen.clear()
        self._pool = None

    def beside_graphs(self, work: Callable[[], T]) -> T:
        """The result of ``work``, which may not change anything but the random generators: if memory runs out, free
        the graphs, and do it again."""
        if not self._captured:
            return work()
        random = get_rng_states(self._device)
        try:
            return work()
        except torch.OutOfMemoryError as error:
            self._give_up(error)
        set_rng_states(self._device, random)  # here, where no traceback holds tensors of the first attempt
        return work()

    def _give_up(self, error: BaseException) -> None:
        """Free the graphs, and launch all steps from now on."""
        self._is_capturing = False
        self.clear()
        clear_plan_cache()
        why = str(cause_of_failure(error)).partition("\n")[0]
        self._on_failure(f"training steps are not captured in CUDA graphs, so they may take longer: {why}")

    def _captured_step(self, inputs: Sequence[StepInput], carried: State) -> _CapturedStep | None:
        layout = tuple(x.layout for x in inputs)
        if layout in self._captured:
            return self._captured[layout]
        if len(self._captured) == MAX_CAPTURED or len(self._seen) == MAX_SEEN:
            return None
        self._seen[layout] += 1
        if self._seen[layout] <= WARM_UP:
            return None
        clear_plan_cache()  # of the launched steps
        if self._pool is None:
            self._pool = memory_pool(self._device)
        try:
            self._captured[layout] = _CapturedStep(self._step, inputs, carried, self._device, self._pool)
        except Exception as error:  # out of memory, or an operation that cannot be captured
            self._give_up(error)
            return None
        del self._seen[layout]
        return self._captured[layout]


class _CapturedStep:
    """A training step in a CUDA graph, with the buffers that it reads and writes."""

    def __init__(
        self,
        step: TrainingStep,
        inputs: Sequence[StepInput],
        carried: State,
        device: torch.device,
        pool: Pool | None,
    ) -> None:
        self._step, self._inputs = step, [x.clone() for x in inputs]
        self._carried = tuple(part.clone() for part in carried)
        self._loss_and_norm = torch.empty(2, device=device)
        self._graph = CudaGraph(self._run, device, warm_up=0, pool=pool)

    def replay(self, inputs: Sequence[StepInput], carried: State) -> tuple[Tensor, State]:
        for static, x in zip(self._inputs, inputs, strict=True):
            static.copy_(x)
        for buffer, part in zip(self._carried, carried, strict=True):
            if buffer is not part:
                buffer.copy_(part)
        self._graph()
        return self._loss_and_norm.clone(), self._carried

    def _run(self) -> None:
        with torch.enable_grad():
            loss_and_norm, state = self._step.gradients(self._inputs, self._carried)
        self._step.update(loss_and_norm[1])
        self._loss_and_norm.copy_(loss_and_norm)
        for buffer, part in zip(self._carried, state, strict=True):
            buffer.copy_(part)
