"""Short-term memory capacity: how well a linear readout of the state recovers earlier characters.

After Jaeger 2001, "Short term memory in echo state networks": with s_t the state after character x_t, a ridge
regression predicts the one-hot vector of x_{t-k} from s_t, trained on some texts and tested on others,

    W_k = argmin sum_t |W s_t + b - onehot(x_{t-k})|^2 + lambda |W|^2,
    R^2_k = 1 - sum |W_k s_t + b - onehot(x_{t-k})|^2 / sum |onehot(x_{t-k}) - p|^2,

with p the frequencies of the characters in the training texts. The capacity is the sum of the R^2_k above zero, in
characters: where a readout does worse than the frequencies, R^2_k is below zero and nothing is recovered.
Characters of a real text can be guessed from their neighbors; a readout of the last character alone measures how well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.reading import float64_copy, initial_state, trajectory

RIDGE = 1e-6
"""lambda in units of the number of training vectors times the mean variance of the state's units."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Readout:
    """For delays k = 0 .. K, on the test texts: the fraction of characters x_{t-k} that have the largest output, and
    R^2, each [K + 1]."""

    accuracy: Values
    r_squared: Values

    @property
    def capacity(self) -> float:
        """The sum of the R^2 above zero, in characters; at most K + 1."""
        return float(self.r_squared.clip(0).sum())


@dataclass(frozen=True)
class Capacity:
    """Readouts of the state, and two controls:

    last_character  a readout of the one-hot vector of x_t, as from a network without memory
    shuffled        a readout of the state trained and tested with the targets in random order; near zero
    """

    state: Readout
    last_character: Readout
    shuffled: Readout


def capacity(
    model: LanguageModel,
    previous: Tensor,
    delays: int = 100,
    parts: str = "",
    state: State | None = None,
) -> Capacity:
    """Read out x_{t-k}, k = 0 .. ``delays`` = K, from the state while the model reads ``previous`` [T, B].

    The readout is trained on the first half of the B texts and tested on the others, at the steps K .. T-1, so that
    every delay has the same steps. ``parts``: letters of the state to read (default: all parts); all layers are read.
    ``state`` is the state before the texts (default: zeros). Float64, by the reference executor.

    Raises:
        ValueError: there are fewer than 2 texts, or not more than K characters, or K is negative.
        UserError: the cell has no such part, or the model is bidirectional.
    """
    network = float64_copy(model)
    previous = previous.to(network.head.weight.device)
    steps, batch = previous.shape
    if batch < 2 or not 0 <= delays < steps:
        raise ValueError(f"expected 2 texts or more, longer than {delays} characters, found {batch} of {steps}")
    letters = network.recurrent.cell.state
    if missing := "".join(letter for letter in parts if letter not in letters):
        raise UserError(f"cell {model.config.cell} has no state {missing!r}; its parts are {', '.join(letters)}")
    states = trajectory(network, previous, initial_state(network, batch, state))
    vectors = torch.cat([states[letter][delays + 1 :] for letter in parts or letters], 1)  # [T - K, P L, B, H]
    vectors = vectors.transpose(1, 2).flatten(2)
    windows = previous.unfold(0, steps - delays, 1).flip(0).transpose(1, 2)  # [K + 1, T - K, B]
    symbols = network.vocabulary_size + 1
    one_hot = torch.nn.functional.one_hot(windows[0], symbols).to(vectors.dtype)
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm((steps - delays) * batch, generator=generator).to(previous.device)
    shuffled = windows.flatten(1)[:, order].view(windows.shape)
    return Capacity(
        _readout(vectors, windows, symbols), _readout(one_hot, windows, symbols), _readout(vectors, shuffled, symbols)
    )


def random_texts(vocabulary_size: int, characters: int, texts: int, seed: int = 1) -> Tensor:
    """Independent uniform ids 0 .. V-1, [T, B], which carry no information about each other."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary_size, (characters, texts), generator=generator)


def _readout(vectors: Tensor, targets: Tensor, symbols: int) -> Readout:
    """Readouts of vectors [T, B, D] for each row of targets [K + 1, T, B], ids below ``symbols``."""
    half = vectors.shape[1] // 2
    train, test = vectors[:, :half].flatten(0, 1), vectors[:, half:].flatten(0, 1)
    mean = train.mean(0)
    train, test = train - mean, test - mean
    covariance = train.T @ train / len(train)
    scale = covariance.diagonal().mean().clamp_min(torch.finfo(covariance.dtype).tiny)
    factor = torch.linalg.cholesky(covariance + RIDGE * scale * torch.eye(len(covariance)).to(covariance))
    accuracy, r_squared = [], []
    for ids in targets:
        train_ids, test_ids = ids[:, :half].flatten(), ids[:, half:].flatten()
        frequencies = torch.bincount(train_ids, minlength=symbols).to(train) / len(train)
        products = train.new_zeros(symbols, train.shape[1]).index_add_(0, train_ids, train) / len(train)
        output = test @ torch.cholesky_solve(products.T, factor) + frequencies
        rows = torch.arange(len(output), device=output.device)
        error = output.pow(2).sum() - 2 * output[rows, test_ids].sum() + len(output)
        total = len(output) * (1 + frequencies.pow(2).sum()) - 2 * frequencies[test_ids].sum()
        accuracy.append((output.argmax(-1) == test_ids).double().mean().item())
        r_squared.append((1 - error / total).item() if total > 0 else 0.0)
    return Readout(np.array(accuracy), np.array(r_squared))
