"""How a model is trained on this machine: device, precision, the executor of each layer, and estimated memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from charlstm import __version__
from charlstm.config import TrainingConfig
from charlstm.distributed import ProcessGroup
from charlstm.executors import Choice, explain_trials, loop_facts, restore_loops
from charlstm.hardware.out_of_memory import MemoryEstimate
from charlstm.training.fastest_executor import pick, trial_seconds
from charlstm.training.loader import BatchSource
from charlstm.training.memory_estimate import BatchShape, memory_breakdown, summarize_memory
from charlstm.training.state import TrainingState
from charlstm.training.step import TrainingStep


class Execution:
    """Chooses the executor of each layer, estimates the memory per process, and describes both."""

    def __init__(
        self,
        training: TrainingConfig,
        state: TrainingState,
        step: TrainingStep,
        batches: BatchSource,
        group: ProcessGroup,
    ) -> None:
        self._training, self._state, self._step, self._batches, self._group = training, state, step, batches, group
        self._model, self._device = state.model, state.device
        self._executor_chosen = False
        self._trial_seconds: dict[str, float] = {}

    @property
    def precision(self) -> str:
        """Precision of the matmuls: ``float32`` or ``bfloat16``."""
        return self._step.precision

    def facts(self) -> dict[str, Any]:
        """Device, precision and versions of the run, for the metrics and the checkpoint header."""
        return {
            "device": self._device_name,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "processes": self._group.size,
            "versions": {"charlstm": __version__, "torch": torch.__version__},
            "parameters": sum(self._model.parameter_counts().values()),
            "executors": self.executors(),
            "preferred_executor": self._model.recurrent.preferred_executor,
            **loop_facts(),
        }

    @property
    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Use the executor of a saved run, and with ``precision: auto`` its precision, given its :meth:`facts`."""
        if self._training.precision == "auto":
            self._step.precision = facts["precision"]
        self._prefer(facts.get("preferred_executor"))
        if facts.get("device") == self._device_name:
            restore_loops(facts)
        self._executor_chosen, self._trial_seconds = True, {}

    def choose_executor(self) -> None:
        """Choose the fastest executor for ``model.executor: auto``, measured at the first call. After :meth:`restore`,
        the run keeps its executor; several processes take the first candidate."""
        if not self._executor_chosen and self._group.size == 1:
            batch_size, sequence_length = self._batches.batch_size, self._training.sequence_length
            self._trial_seconds = trial_seconds(self._step, self._model, batch_size, sequence_length)
            self._prefer(pick(self._trial_seconds) if self._trial_seconds else None)
        self._executor_chosen = True

    def _prefer(self, executor: str | None) -> None:
        for model in (self._model, self._state.evaluated_model):
            model.prefer(executor)

    def choices(self) -> list[Choice]:
        """For each layer, the chosen executor and the reason. Raises UserError if a configured one cannot run here."""
        local_batch_size = self._batches.batch_size // self._group.size
        ids = torch.zeros(self._training.sequence_length, local_batch_size, dtype=torch.int64, device=self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            choices = list(self._model.choices(ids))
        return [explain_trials(choice, self._trial_seconds) for choice in choices] if self._trial_seconds else choices

    def executors(self) -> list[str]:
        """The name of the executor of each layer."""
        return [choice.executor.name for choice in self.choices()]

    def memory_breakdown(self) -> dict[str, int]:
        """Estimated bytes per process, by purpose."""
        executors = [choice.executor for choice in self.choices()]
        return memory_breakdown(
            self._training, self._model, self._batch_shape(), executors, self._device, self.precision
        )

    def estimate_memory(self) -> MemoryEstimate:
        """Estimated bytes per process, by the settings they depend on."""
        return summarize_memory(self.memory_breakdown(), self._batch_shape(), self._model.config.hidden_size)

    def _batch_shape(self) -> BatchShape:
        batches = self._batches
        return BatchShape(batches.batch_size, batches.longest_chunk, self._group.size, batches.resident_bytes)
