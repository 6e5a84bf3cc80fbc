"""The gradient of a loss with respect to earlier states, by the lag.

With s_t the state after t characters and loss_T = -ln p of the character that follows the first T,

    d loss_T / d s_{T-k} = d loss_T / d s_T  J_T J_{T-1} ... J_{T-k+1},    J_t = d s_t / d s_{t-1}:

a product of k Jacobians, which vanishes or explodes with k unless they stay near the identity (Hochreiter 1991;
Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult"; Pascanu, Mikolov &
Bengio 2013). In an LSTM the Jacobian along c alone is the forget gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.reading import float64_copy, initial_state, layer_output, named_state

FULL_STATE = "all"

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GradientOverLag:
    """Euclidean norms of d loss_T / d s_{T-k} for k = 0 .. K, of each of B texts, in nats per unit of state.

    ``norms`` has [K + 1, B] for ``"all"``, the state of all layers as one vector, and for each part of it by its
    letter. At k = 0 the loss depends on h only, so that the norm of any other part is zero.
    """

    norms: Mapping[str, Values]

    def relative(self, part: str = FULL_STATE) -> Values:
        """The mean over the texts of the norms relative to that of the full state at k = 0, [K + 1], in which all texts
        weigh the same; without those whose norm there is zero, and zero if there is no other."""
        first = self.norms[FULL_STATE][0]
        is_positive = first > 0
        if not is_positive.any():
            return np.zeros(len(self.norms[part]))
        mean: Values = (self.norms[part][:, is_positive] / first[is_positive]).mean(1)
        return mean


def gradient_over_lag(
    model: LanguageModel, texts: Tensor, depth: int | None = None, state: State | None = None
) -> GradientOverLag:
    """The gradient of -ln p of the last character of each text with respect to the states up to ``depth`` characters
    before it.

    texts [T + 1, B]: ids, V for "no character"; the first T are the input, the last is the target. ``depth`` is K, at
    most T (default: T); ``state`` is the state before the texts, each part [L, B, H] (default: zeros).

    Raises:
        ValueError: depth is not 0 .. T, or T is 0.
        UserError: the model is bidirectional.
    """
    network = float64_copy(model)
    texts = texts.to(network.head.weight.device)
    previous, targets = texts[:-1], texts[-1]
    depth = len(previous) if depth is None else depth
    if not len(previous) or not 0 <= depth <= len(previous):
        raise ValueError(f"depth must be 0 .. {len(previous)}, the number of input characters, not {depth}")
    warm_up = len(previous) - depth
    first = initial_state(network, texts.shape[1], state)
    if warm_up:
        first = network.encode(previous[:warm_up], first)[1]
    with torch.enable_grad():
        states = [_require_grad(network, first)]
        for row in previous[warm_up:]:
            _, new = network.encode(row[None], states[-1])
            states.append(_require_grad(network, new))
        h = states[-1][0]
        loss = F.cross_entropy(network.head(layer_output(network, h, len(h) - 1)), targets, reduction="sum")
        states_by_lag = [named_state(network, one) for one in reversed(states)]
        inputs = [part for one in states_by_lag for part in one.values()]
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    letters = list(states_by_lag[0])
    norms = {letter: _norms(gradients[index :: len(letters)]) for index, letter in enumerate(letters)}
    return GradientOverLag({FULL_STATE: np.sqrt(sum(values**2 for values in norms.values())), **norms})


def effective_depth(curve: npt.ArrayLike, fraction: float = 0.01) -> int:
    """The largest k at which the gradient is at least ``fraction`` of its value at k = 0. K, where the curve ends,
    means K or more.

    Smaller gradients at smaller k do not matter. Zero gradients do not count; returns 0 if none counts.
    """
    values = np.asarray(curve, np.float64)
    reached = np.flatnonzero((values >= fraction * values[0]) & (values > 0))
    return int(reached[-1]) if reached.size else 0


def _require_grad(model: LanguageModel, state: State) -> State:
    """Set ``requires_grad`` for every part of the state, and return the state."""
    for part in named_state(model, state).values():
        part.requires_grad_()
    return state


def _norms(gradients: tuple[Tensor, ...]) -> Values:
    """Norms of K + 1 gradients [L, B, H] for each text: [K + 1, B]."""
    stacked = torch.stack([gradient.pow(2).sum((0, 2)).sqrt() for gradient in gradients])
    norms: Values = stacked.cpu().numpy()
    return norms
