"""How much memory a run will take, before it starts."""

from __future__ import annotations

from charlstm.model.language_model import cell_of
from charlstm.training.trainer import Trainer

OPTIMIZER_TENSORS = {"adamw": 2, "sgd": 1, "rmsprop": 2}


def memory_estimate(trainer: Trainer) -> dict[str, int]:
    """Bytes by purpose, in float32: weights with gradients, optimiser, values kept for the backward pass, logits.

    Kept values are counted per layer and character as the gates and their gradients, and three vectors of H for
    each part of the state; logits as three arrays (logits, their logarithms, gradients).
    """
    model, training = trainer.config.model, trainer.config.training
    cell = cell_of(model)
    weights = 4 * sum(p.numel() for p in trainer.model.parameters())
    characters = trainer.streams.batch_size * training.sequence_length
    stacks = 2 if trainer.model.bidirectional else 1
    values = model.hidden_size * (2 * len(cell.gates) + 3 * len(cell.state))
    return {
        "weights and gradients": 2 * weights,
        "optimiser": OPTIMIZER_TENSORS[training.optimizer] * weights,
        "kept values": 4 * characters * values * model.num_layers * stacks,
        "logits": 3 * 4 * characters * trainer.model.vocabulary_size,
    }
