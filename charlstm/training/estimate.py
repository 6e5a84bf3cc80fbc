"""How much memory a run will take, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from charlstm.cells import Cell
from charlstm.config import Config
from charlstm.executors.native import kept_bytes, padded_units
from charlstm.model import LanguageModel
from charlstm.model.convolution import Convolution
from charlstm.model.head_loss import logits_held
from charlstm.model.language_model import cell_of
from charlstm.text.streams import Streams
from charlstm.training.optimisation import state_per_weight
from charlstm.training.shortage import Demand

if TYPE_CHECKING:
    from charlstm.training.trainer import Trainer


def memory_estimate(trainer: Trainer) -> dict[str, int]:
    """Bytes by purpose, in each process: weights with gradients, optimiser, values kept for the backward pass, logits.

    Kept values are counted per layer and character: for the executors native and triton what they keep and the
    gradients of the gates; for library the gates and two vectors of H for each part of the state, as cuDNN does, and
    the one-hot vectors that it reads; for others the gates and their gradients, and three vectors of H for each part of
    the state; logits, as many as are held at a time, as three arrays (logits, probabilities, gradients). A convolution
    keeps its output, and that of a highway's two products, each with its gradient. Processes that train together have a
    copy of the gradients to exchange.
    """
    model = trainer.config.model
    cell = cell_of(model)
    characters = trainer.streams.batch_size // trainer.team.size * trainer.streams.sequence_length
    stacks = 2 if trainer.model.bidirectional else 1
    front_end = trainer.model.front_end
    below = 0
    if isinstance(front_end, Convolution):
        below = 2 * 4 * front_end.output_size * (3 if model.highway else 1)
    symbols, units = trainer.model.head.weight.shape
    executors = trainer.executors()
    if executors[0] == "library" and model.front_end != "convolution":
        below += 4 * symbols
    low = torch.bfloat16 if trainer.precision == "bfloat16" else torch.float32
    kept = 0 if cell.reservoir else sum(_kept(name, cell, model.hidden_size, low) for name in executors)
    text = trainer.streams.bytes_laid if isinstance(trainer.streams, Streams) else 0
    return {
        **_weights(trainer.config, trainer.model, trainer.team.size),
        "kept values": characters * (kept + below) * stacks,
        "logits": 3 * 4 * logits_held(characters, symbols, units, trainer.device),
        **({"text": text} if text else {}),
    }


def demand(trainer: Trainer) -> Demand:
    """The same, by what it depends on."""
    parts = memory_estimate(trainer)
    growing = parts["kept values"] + parts["logits"]
    shape = (trainer.streams.batch_size, trainer.streams.sequence_length, trainer.config.model.hidden_size)
    return Demand(sum(parts.values()) - growing, growing, *shape, trainer.team.size)


def demand_of_weights(config: Config, model: LanguageModel) -> Demand:
    """What a model takes before it is trained on anything."""
    training = config.training
    shape = (training.batch_size, training.sequence_length, config.model.hidden_size)
    return Demand(sum(_weights(config, model).values()), 0, *shape)


def _weights(config: Config, model: LanguageModel, processes: int = 1) -> dict[str, int]:
    weights, fixed = 4 * sum(model.parameter_counts().values()), 4 * model.fixed_count()
    optimiser = state_per_weight(config.training) * weights
    return {"weights and gradients": (2 if processes == 1 else 3) * weights + fixed, "optimiser": optimiser}


def _kept(executor: str, cell: Cell, units: int, low: torch.dtype) -> int:
    """Bytes that a layer keeps of a character, with products in the type ``low``."""
    if executor == "native":
        return padded_units(units) * kept_bytes(cell, low)
    if executor == "triton":
        return units * (kept_bytes(cell, low) + low.itemsize)
    if executor == "library":
        return units * low.itemsize * (len(cell.gates) + 2 * len(cell.state))
    return units * 4 * (2 * len(cell.gates) + 3 * len(cell.state))
