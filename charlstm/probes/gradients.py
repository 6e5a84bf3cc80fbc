"""How much of the error reaches the past: the gradient of a loss by the states before it.

With s_t the state after t characters and loss_T = -ln p of the character that follows the first T,

    d loss_T / d s_{T-k} = d loss_T / d s_T  J_T J_{T-1} ... J_{T-k+1},    J_t = d s_t / d s_{t-1}:

a product of k Jacobians, which vanishes or explodes with k unless they are kept near the identity (Hochreiter 1991;
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
from charlstm.probes.reading import begin, exact, handed_on, parts

WHOLE = "all"

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GradientOverLag:
    """Euclidean norms of d loss_T / d s_{T-k} for k = 0 .. K, of each of B texts, in nats per unit of state.

    ``norms`` has [K + 1, B] for ``"all"``, the whole state of all layers as one vector, and for each part of it by its
    letter. At k = 0 only h is read, so that the norm for another part is zero there.
    """

    norms: Mapping[str, Values]

    def curve(self, part: str = WHOLE) -> Values:
        """The norms' mean over the texts, [K + 1]."""
        mean: Values = self.norms[part].mean(1)
        return mean


def gradient_over_lag(
    model: LanguageModel, texts: Tensor, depth: int | None = None, state: State | None = None
) -> GradientOverLag:
    """The gradient of -ln p of the last character of each text by the states up to ``depth`` characters before it.

    texts [T + 1, B]: ids, V for "no character"; the first T are read, the last is the target. ``depth`` is K, at most
    T, and T if not given; ``state`` is what stands before the texts, each part [L, B, H], zeros if not given.

    Raises:
        ValueError: depth is not 0 .. T, or there is nothing to read.
        UserError: the model is bidirectional.
    """
    network = exact(model)
    texts = texts.to(network.head.weight.device)
    previous, targets = texts[:-1], texts[-1]
    depth = len(previous) if depth is None else depth
    if not len(previous) or not 0 <= depth <= len(previous):
        raise ValueError(f"depth must be 0 .. {len(previous)}, the characters that are read, not {depth}")
    warm_up = len(previous) - depth
    first = begin(network, texts.shape[1], state)
    if warm_up:
        first = network.read(previous[:warm_up], first)[1]
    with torch.enable_grad():
        along = [_watched(network, first)]
        for row in previous[warm_up:]:
            _, new = network.read(row[None], along[-1])
            along.append(_watched(network, new))
        h = along[-1][0]
        loss = F.cross_entropy(network.head(handed_on(network, h, len(h) - 1)), targets, reduction="sum")
        found = [parts(network, one) for one in reversed(along)]
        wanted = [part for one in found for part in one.values()]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    letters = list(found[0])
    norms = {letter: _norms(gradients[place :: len(letters)]) for place, letter in enumerate(letters)}
    return GradientOverLag({WHOLE: np.sqrt(sum(values**2 for values in norms.values())), **norms})


def effective_depth(curve: npt.ArrayLike, share: float = 0.01, base: float | None = None) -> int:
    """The largest k at which the gradient is at least a share of ``base``, its value at k = 0 if not given.

    A gap does not end it. For a part whose curve begins with zero, base is the whole state's value at k = 0. A gradient
    that is zero does not count; 0 where none does.
    """
    values = np.asarray(curve, np.float64)
    reached = np.flatnonzero((values >= share * (values[0] if base is None else base)) & (values > 0))
    return int(reached[-1]) if reached.size else 0


def _watched(model: LanguageModel, state: State) -> State:
    """The same state, with every part something to take the gradient by."""
    for part in parts(model, state).values():
        part.requires_grad_()
    return state


def _norms(gradients: tuple[Tensor, ...]) -> Values:
    """Of each of K + 1 gradients [L, B, H] for each text: [K + 1, B]."""
    stacked = torch.stack([gradient.pow(2).sum((0, 2)).sqrt() for gradient in gradients])
    found: Values = stacked.cpu().numpy()
    return found
