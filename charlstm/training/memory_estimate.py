"""Estimates the memory of a training run before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from charlstm.config import Config, TrainingConfig
from charlstm.executors import Executor
from charlstm.hardware.out_of_memory import MemoryEstimate
from charlstm.model import LanguageModel
from charlstm.model.head_loss import logits_held
from charlstm.model.zoneout import NAME as ZONEOUT
from charlstm.optimization import state_per_weight

GRAPH = "CUDA graph of a step"


@dataclass(frozen=True)
class BatchShape:
    """The shape of a batch: ``batch_size`` B over all processes, ``sequence_length`` T, the number of processes that
    split B, and the bytes of the text resident on each device."""

    batch_size: int
    sequence_length: int
    processes: int = 1
    text_bytes: int = 0

    @property
    def characters(self) -> int:
        """Characters of a batch per process."""
        return self.batch_size // self.processes * self.sequence_length


def memory_breakdown(
    training: TrainingConfig,
    model: LanguageModel,
    batches: BatchShape,
    executors: Sequence[Executor],
    device: torch.device,
    precision: str,
) -> dict[str, int]:
    """Bytes per process, by purpose: weights with gradients, optimizer, activations saved for backward, logits.

    ``executors`` has one entry per layer; each executor and the front end report their saved bytes per character. The
    logits in memory at a time count three times (logits, probabilities, gradients). With several processes, a copy of
    the gradients is needed for the all-reduce. The CUDA graph of a step keeps its own activations and gradients, beside
    those of steps that are launched, such as the last of an epoch.
    """
    cell = model.recurrent.cell
    compute_dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    saved, reads_ids = model.front_end.saved_bytes(), model.front_end.outputs_ids
    masks = len(cell.parameters.get(ZONEOUT, "")) + bool(model.config.state_dropout)
    if model.config.input_dropout:  # vectors with their mask and gradients
        saved, reads_ids = saved + 3 * 4 * model.front_end.output_size, False
    for layer, executor in enumerate(executors if not cell.is_reservoir else ()):
        ids = model.vocabulary_size if layer == 0 and reads_ids else 0
        saved += executor.saved_bytes(cell, model.recurrent.hidden_size, compute_dtype, ids)
        saved += 4 * masks * model.recurrent.hidden_size
    vocabulary_size, hidden_size = model.head.weight.shape
    logits = 3 * 4 * logits_held(batches.characters, vocabulary_size, hidden_size, device)
    activations = batches.characters * saved * (2 if model.bidirectional else 1)
    graph = activations + logits + 4 * sum(model.parameter_counts().values())
    is_captured = device.type == "cuda" and batches.processes == 1
    return {
        **weights_breakdown(training, model, batches.processes),
        "saved activations": activations,
        "logits": logits,
        **({GRAPH: graph} if is_captured else {}),
        **({"dropped matrices": dropped} if (dropped := _dropped_bytes(model)) else {}),
        **({"text": batches.text_bytes} if batches.text_bytes else {}),
    }


def _dropped_bytes(model: LanguageModel) -> int:
    """Bytes of the recurrent matrices with elements dropped, their masks and their gradients."""
    if not model.config.weight_drop:
        return 0
    return 3 * 4 * sum(p.numel() for name, p in model.named_parameters() if ".weight_hh_" in name)


def weights_breakdown(training: TrainingConfig, model: LanguageModel, processes: int = 1) -> dict[str, int]:
    """Bytes of the weights with their gradients, of their average if there is one, and of the optimizer state."""
    weights, frozen = 4 * sum(model.parameter_counts().values()), 4 * model.frozen_count()
    optimizer = state_per_weight(training) * weights
    return {
        "weights and gradients": (2 if processes == 1 else 3) * weights + frozen,
        **({"averaged weights": weights + frozen} if training.averages_weights else {}),
        "optimizer": optimizer,
    }


def estimate_weights(config: Config, vocabulary_size: int) -> MemoryEstimate:
    """Bytes of weights, gradients and optimizer state of a single process, before the model is built."""
    with torch.device("meta"):
        model = LanguageModel(config.model, vocabulary_size)
    batches = BatchShape(config.training.batch_size, config.training.sequence_length)
    return summarize_memory(weights_breakdown(config.training, model), batches, config.model.hidden_size)


def summarize_memory(parts: dict[str, int], batches: BatchShape, hidden_size: int) -> MemoryEstimate:
    """Sum up the bytes of :func:`memory_breakdown` or :func:`weights_breakdown` by the settings they depend on, without
    those of a graph, which is given up if there is too little memory."""
    activations = sum(parts.get(name, 0) for name in ("saved activations", "logits"))
    fixed = sum(parts.values()) - activations - parts.get(GRAPH, 0)
    shape = (batches.batch_size, batches.sequence_length, hidden_size, batches.processes)
    return MemoryEstimate(fixed, activations, *shape)
