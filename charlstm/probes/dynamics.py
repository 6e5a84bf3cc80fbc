"""The state of a network as a dynamical system: spectra of the one-step Jacobians, and Lyapunov exponents.

With s_t in R^D the state of all layers and parts after t characters and J_t = d s_t / d s_{t-1} along a real text,

- the singular values of J_t are the factors by which one step stretches a small perturbation of the state;
- the Lyapunov exponents are the mean rates over many steps, lim 1/T ln sigma_i(J_T ... J_1), in nats per character.
  The largest is below 0 if the network forgets its initial state, and above 0 if the network is chaotic.

The exponents are computed with the QR method (Benettin, Galgani, Giorgilli & Strelcyn 1980; for recurrent networks
Engelken, Wolf & Abbott 2023, "Lyapunov spectra of chaotic recurrent neural networks"): with Q_0 orthonormal, [D, k],

    Q_t R_t = J_t Q_{t-1},    lambda_i = 1/T sum_t ln |(R_t)_ii|.

The Jacobian is that of the map from state to state; gradients that a cell stops in training are included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.reading import float64_copy, initial_state

CHUNK_BYTES = 1 << 27
"""Memory for the Jacobians that are computed at once."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dynamics:
    """Of T steps over B texts:

    largest, median, smallest   singular values of each one-step Jacobian, [T, B]
    self_connection             letter of the state -> mean over steps and texts of d s_t[i] / d s_{t-1}[i] for each
                                unit, [L, H]: for an LSTM's c the forget gate
    exponents                   Lyapunov exponents of each text in descending order, nats per character, [B, k]; -inf
                                for a direction that a step maps to zero, as far as float64 resolves it
    """

    largest: Values
    median: Values
    smallest: Values
    self_connection: Mapping[str, Values]
    exponents: Values


def dynamics(
    model: LanguageModel,
    previous: Tensor,
    exponents: int | None = None,
    warm_up: int = 0,
    state: State | None = None,
) -> Dynamics:
    """The dynamics of the state over ``previous`` [W + T, B] from ``state`` (default: zeros), by the reference
    executor in float64.

    The first ``warm_up`` = W steps only move the state and align the random Q_0 with the directions of growth; without
    them the exponents have an error of order 1/T. ``exponents``: compute the k largest exponents
    (default: all D; 0: none).

    Raises:
        ValueError: exponents is not 0 .. D, or warm_up leaves no step.
        UserError: the model is bidirectional.
    """
    network = float64_copy(model)
    network.recurrent.cell = replace(network.recurrent.cell, stop_gradient="")
    previous = previous.to(network.head.weight.device)
    steps, batch = len(previous) - warm_up, previous.shape[1]
    parts, layers = len(network.recurrent.cell.state), network.recurrent.num_layers
    size = parts * layers * network.recurrent.hidden_size
    count = size if exponents is None else exponents
    if warm_up < 0 or steps < 1 or not 0 <= count <= size:
        raise ValueError(
            f"expected exponents 0 .. {size} and warm_up 0 .. {len(previous) - 1}, found {count} and {warm_up}"
        )
    q = _orthonormal(size, count, batch).to(previous.device)
    spectra, diagonal, growth = [], q.new_zeros(size), q.new_zeros(batch, count)
    for first, jacobians in _jacobians(network, previous, initial_state(network, batch, state)):
        for step, jacobian in enumerate(jacobians if count else (), first):
            q, r = torch.linalg.qr(jacobian @ q)
            if step >= warm_up:
                growth += _log_diagonal(r)
        measured = jacobians[max(0, warm_up - first) :]
        if len(measured):
            spectra.append(_largest_median_smallest(measured))
            diagonal += measured.diagonal(dim1=-2, dim2=-1).sum((0, 1))
    largest, median, smallest = torch.cat(spectra, 1).cpu().numpy()
    by_part = (diagonal / (steps * batch)).view(parts, layers, -1).cpu().numpy()
    rates: Values = (growth / steps).sort(-1, descending=True).values.cpu().numpy()
    return Dynamics(largest, median, smallest, dict(zip(network.recurrent.cell.state, by_part, strict=True)), rates)


def spectral_radii(model: LanguageModel) -> dict[str, Values]:
    """Gate letter -> the largest |eigenvalue| of its recurrent matrix U_k [H, H] in each layer, [L].

    The radius that decides about vanishing gradients in a plain RNN (Pascanu, Mikolov & Bengio 2013). Raises UserError
    for a bidirectional model.
    """
    network = float64_copy(model)
    cell, layers = network.recurrent.cell, range(network.recurrent.num_layers)
    blocks = [
        network.recurrent.weights(f"_l{layer}").weight_hh.view(len(cell.gates), network.recurrent.hidden_size, -1)
        for layer in layers
    ]
    radii = torch.linalg.eigvals(torch.stack(blocks)).abs().amax(-1).cpu().numpy()
    return {gate: radii[:, index] for index, gate in enumerate(cell.gates)}


@torch.no_grad()
def _jacobians(network: LanguageModel, previous: Tensor, state: State) -> Iterator[tuple[int, Tensor]]:
    """The one-step Jacobians J_t [t, B, D, D] of consecutive chunks of steps, each with the index of its first step.

    The states along the trajectory are computed first; then all steps of a chunk are one batch, and each of the D rows
    of J is a vector-Jacobian product.
    """
    steps, batch = previous.shape
    parts = len(network.recurrent.cell.state)
    size = sum(part[:, 0].numel() for part in state[:parts])
    chunk = max(1, CHUNK_BYTES // (8 * batch * size**2))
    for first in range(0, steps, chunk):
        rows, states = previous[first : first + chunk], []
        for row in rows:
            states.append(state)
            _, state = network.encode(row[None], state)
        before = [torch.cat(part, 1) for part in zip(*states, strict=True)]
        for part in before[:parts]:
            part.requires_grad_()
        with torch.enable_grad():
            _, after = network.encode(rows.reshape(1, -1), tuple(before))
            new = torch.stack(after[:parts])  # [P, L, t B, H]
        units = torch.eye(size, dtype=new.dtype, device=new.device).view(size, parts, len(before[0]), 1, -1)
        gradients = torch.autograd.grad(
            new,
            before[:parts],
            units.expand(-1, -1, -1, new.shape[2], -1),
            is_grads_batched=True,
            allow_unused=True,
            materialize_grads=True,
        )
        jacobian = torch.stack(gradients, 1)  # [D, P, L, t B, H]
        yield first, jacobian.permute(3, 0, 1, 2, 4).reshape(len(rows), batch, size, size)


def _orthonormal(size: int, count: int, batch: int) -> Tensor:
    """``count`` random orthonormal columns for each text, the same for all, [B, D, k]."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.randn(size, count, generator=generator, dtype=torch.float64)
    q: Tensor = torch.linalg.qr(columns)[0]
    return q.expand(batch, -1, -1)


def _log_diagonal(r: Tensor) -> Tensor:
    """ln |R_ii| of R [B, k, k]; -inf where it is zero to the precision of float64."""
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    precision = diagonal.amax(-1, keepdim=True) * len(r[0]) * torch.finfo(r.dtype).eps
    return torch.where(diagonal > precision, diagonal, 0).log()


def _largest_median_smallest(jacobians: Tensor) -> Tensor:
    """Singular values of J [T, B, D, D]: [3, T, B]."""
    values = torch.linalg.svdvals(jacobians)
    return torch.stack([values[..., 0], values.quantile(0.5, -1), values[..., -1]])
