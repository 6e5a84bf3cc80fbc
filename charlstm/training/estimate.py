"""How much memory a run will take, before it starts."""

from __future__ import annotations

import torch

from charlstm.executors.native import kept_bytes, padded_units
from charlstm.model.convolution import Convolution
from charlstm.model.head_loss import logits_held
from charlstm.model.language_model import cell_of
from charlstm.training.trainer import Trainer

OPTIMIZER_TENSORS = {"adamw": 2, "sgd": 1, "rmsprop": 2}


def memory_estimate(trainer: Trainer) -> dict[str, int]:
    """Bytes by purpose, in each process: weights with gradients, optimiser, values kept for the backward pass, logits.

    Kept values are counted per layer and character: for the native executor what it keeps and the gradients of the
    gates, for others the gates and their gradients, and three vectors of H for each part of the state; logits, as many
    as are held at a time, as three arrays (logits, probabilities, gradients). A convolution keeps its output, and that
    of a highway's two products, each with its gradient. Processes that train together have a copy of the gradients to
    exchange.
    """
    model, training = trainer.config.model, trainer.config.training
    cell = cell_of(model)
    weights, fixed = 4 * sum(trainer.model.parameter_counts().values()), 4 * trainer.model.fixed_count()
    characters = trainer.streams.batch_size // trainer.team.size * trainer.streams.sequence_length
    stacks = 2 if trainer.model.bidirectional else 1
    front_end = trainer.model.front_end
    below = 0
    if isinstance(front_end, Convolution):
        below = 2 * 4 * front_end.output_size * (3 if model.highway else 1)
    symbols, units = trainer.model.head.weight.shape
    if cell.reservoir:
        kept = 0
    elif set(trainer.executors()) == {"native"}:
        low = torch.bfloat16 if trainer.precision == "bfloat16" else torch.float32
        kept = padded_units(model.hidden_size) * kept_bytes(cell, low)
    else:
        kept = model.hidden_size * 4 * (2 * len(cell.gates) + 3 * len(cell.state))
    return {
        "weights and gradients": (2 if trainer.team.size == 1 else 3) * weights + fixed,
        "optimiser": OPTIMIZER_TENSORS[training.optimizer] * weights,
        "kept values": characters * (kept * model.num_layers + below) * stacks,
        "logits": 3 * 4 * logits_held(characters, symbols, units, trainer.device),
    }
