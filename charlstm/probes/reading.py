"""Access to the states of a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
def probe_mode(model: LanguageModel) -> Iterator[None]:
    """Evaluation mode without autocast within the block; then restore the training mode.

    Raises UserError for a bidirectional model.
    """
    with eval_mode(_check_unidirectional(model)), torch.autocast(model.head.weight.device.type, enabled=False):
        yield


def float64_copy(model: LanguageModel) -> LanguageModel:
    """A copy in float64 and evaluation mode, with the reference executor and frozen parameters.

    Gradients over long lags are too small for float32. The copy of a model on MPS, which has no float64, is on the CPU.

    Raises UserError for a bidirectional model.
    """
    copy = deepcopy(_check_unidirectional(model))
    copy = copy.to("cpu" if model.head.weight.device.type == "mps" else None, torch.float64)
    copy.eval().requires_grad_(False)
    copy.recurrent.executor = Reference.name
    return copy


def _check_unidirectional(model: LanguageModel) -> LanguageModel:
    if model.bidirectional:
        raise UserError(
            "direction: bidirectional has no state that is carried over a text, which this measures; "
            "take a model trained with direction: forward or backward"
        )
    return model


def initial_state(model: LanguageModel, batch_size: int, state: State | None) -> State:
    """The given state, or else zeros, in the dtype of the model's weights."""
    if state is None:
        return model.initial_state(batch_size)
    return tuple(part.detach().to(model.head.weight.dtype) for part in state)


def named_state(model: LanguageModel, state: State) -> dict[str, Tensor]:
    """The parts of a state by their letters in the cell, [L, B, H], without the window of a convolution."""
    return dict(zip(model.recurrent.cell.state, state, strict=False))


@torch.no_grad()
def trajectory(model: LanguageModel, previous: Tensor, state: State) -> dict[str, Tensor]:
    """The state before the first and after each of the characters ``previous`` [T, B].

    Each part by its letter: [T + 1, L, B, H].
    """
    states = [state]
    for row in previous:
        states.append(model.encode(row[None], states[-1])[1])
    return stacked_states(model, states)


def stacked_states(model: LanguageModel, states: Sequence[State]) -> dict[str, Tensor]:
    """The parts of T states by their letters, [T, L, B, H]."""
    named = [named_state(model, state) for state in states]
    return {letter: torch.stack([parts[letter] for parts in named]) for letter in named[0]}


def layer_output(model: LanguageModel, h: Tensor, layer: int) -> Tensor:
    """The input of the next layer, or for the last layer of the head, given the outputs h [..., L, B, H] of all layers.

    The layer's output; in a residual stack, the sum of all outputs up to it. The head may also read the sum of all.
    """
    stack = model.recurrent
    is_sum = stack.residual or (stack.sum_outputs and layer == stack.num_layers - 1)
    return h[..., : layer + 1, :, :].sum(-3) if is_sum else h[..., layer, :, :]
