"""A model read with its state in sight, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.executors.reference import Reference
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode


@contextmanager
def undisturbed(model: LanguageModel) -> Iterator[None]:
    """The model without dropout, in the type of its weights, while the block lasts; then as it was.

    Raises UserError for a bidirectional model.
    """
    with eval_mode(_one_way(model)), torch.autocast(model.head.weight.device.type, enabled=False):
        yield


def exact(model: LanguageModel) -> LanguageModel:
    """A copy that reads by the equations as they are written, whatever the model's executor, in float64.

    It has no dropout and no weight of it asks for a gradient. Far from their loss, gradients are too small for float32.
    Of a model on one of Apple's GPUs, which have no float64, it is on the CPU.

    Raises UserError for a bidirectional model.
    """
    copy = deepcopy(_one_way(model))
    copy = copy.to("cpu" if model.head.weight.device.type == "mps" else None, torch.float64)
    copy.eval().requires_grad_(False)
    copy.recurrent.executor = Reference.name
    return copy


def _one_way(model: LanguageModel) -> LanguageModel:
    if model.bidirectional:
        raise UserError(
            "direction: bidirectional has no state that carries a text along, which is what this measures; "
            "take a model trained with direction: forward or backward"
        )
    return model


def begin(model: LanguageModel, batch_size: int, state: State | None) -> State:
    """The state that texts begin with, in the type of the model's weights: zeros if there is none."""
    if state is None:
        return model.initial_state(batch_size)
    return tuple(part.detach().to(model.head.weight.dtype) for part in state)


def parts(model: LanguageModel, state: State) -> dict[str, Tensor]:
    """The parts of a state by their letters in the cell, [L, B, H]: without a convolution's window."""
    return dict(zip(model.recurrent.cell.state, state, strict=False))


@torch.no_grad()
def trajectory(model: LanguageModel, previous: Tensor, state: State) -> dict[str, Tensor]:
    """The state before the first and after each of the characters ``previous`` [T, B].

    Each part by its letter: [T + 1, L, B, H].
    """
    along = [parts(model, state)]
    for row in previous:
        _, state = model.read(row[None], state)
        along.append(parts(model, state))
    return {letter: torch.stack([one[letter] for one in along]) for letter in along[0]}


def handed_on(model: LanguageModel, h: Tensor, layer: int) -> Tensor:
    """What a layer gives to the next one, or the last one to the head, by the outputs of all: h [..., L, B, H].

    Its own output; of a residual stack, the sum of all outputs up to it.
    """
    return h[..., : layer + 1, :, :].sum(-3) if model.recurrent.residual else h[..., layer, :, :]
