"""How much memory a run will take, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from charlstm.config import TrainingConfig
from charlstm.executors import Executor
from charlstm.hardware.out_of_memory import Demand
from charlstm.model import LanguageModel
from charlstm.model.head_loss import logits_held
from charlstm.optimization import state_per_weight


@dataclass(frozen=True)
class Batches:
    """What one process trains on: B of its streams, T characters each, the number of processes that share a batch, and
    the bytes of the text that lie on the device."""

    batch_size: int
    sequence_length: int
    processes: int = 1
    text_bytes: int = 0

    @property
    def characters(self) -> int:
        """Characters of a batch in each process."""
        return self.batch_size // self.processes * self.sequence_length


def memory_estimate(
    training: TrainingConfig,
    model: LanguageModel,
    batches: Batches,
    executors: Sequence[Executor],
    device: torch.device,
    precision: str,
) -> dict[str, int]:
    """Bytes by purpose, in each process: weights with gradients, optimiser, values kept for the backward pass, logits.

    ``executors`` has one for each layer. Each says what it keeps of a character, and so does the front end; logits, as
    many as are held at a time, are three arrays (logits, probabilities, gradients). Processes that train together have
    a copy of the gradients to exchange.
    """
    cell = model.recurrent.cell
    low = torch.bfloat16 if precision == "bfloat16" else torch.float32
    kept = model.front_end.kept_bytes()
    for layer, executor in enumerate(executors if not cell.reservoir else ()):
        ids = model.vocabulary_size if layer == 0 and model.front_end.gives_ids else 0
        kept += executor.kept_bytes(cell, model.recurrent.hidden_size, low, ids)
    symbols, units = model.head.weight.shape
    held = logits_held(batches.characters, symbols, units, device)
    return {
        **weights_estimate(training, model, batches.processes),
        "kept values": batches.characters * kept * (2 if model.bidirectional else 1),
        "logits": 3 * 4 * held,
        **({"text": batches.text_bytes} if batches.text_bytes else {}),
    }


def weights_estimate(training: TrainingConfig, model: LanguageModel, processes: int = 1) -> dict[str, int]:
    """Bytes of the weights with their gradients and of the optimiser, before there is anything to train on."""
    weights, fixed = 4 * sum(model.parameter_counts().values()), 4 * model.fixed_count()
    optimiser = state_per_weight(training) * weights
    return {"weights and gradients": (2 if processes == 1 else 3) * weights + fixed, "optimiser": optimiser}


def demand(parts: dict[str, int], batches: Batches, hidden_size: int) -> Demand:
    """What :func:`memory_estimate` or :func:`weights_estimate` gave, by what it depends on."""
    growing = parts.get("kept values", 0) + parts.get("logits", 0)
    shape = (batches.batch_size, batches.sequence_length, hidden_size, batches.processes)
    return Demand(sum(parts.values()) - growing, growing, *shape)
