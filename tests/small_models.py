"""Small random models of every kind, and a check for side effects of probes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel

V = 7
KINDS: list[dict[str, Any]] = [
    *({"cell": c.base, **c.options} for c in CELLS.values()),
    {"cell": "lstm", "front_end": "convolution", "embedding_size": 5, "kernel_sizes": [1, 3], "filters": 4},
    {"cell": "gru", "num_layers": 3, "residual": True},
    {"cell": "lstm", "num_layers": 3, "output": "sum", "tie_weights": True},
    {"cell": "lstm", "zoneout_h": 0.2, "zoneout_c": 0.4},
    {"cell": "lstm", "direction": "backward"},
]
every_kind = pytest.mark.parametrize("fields", KINDS, ids=str)


def model(**fields: Any) -> LanguageModel:
    """Two layers of 6 units in float64, in training mode with dropout, and with states that vary."""
    torch.manual_seed(3)
    layers = fields.get("num_layers", 2)
    network = LanguageModel(
        ModelConfig(**{"hidden_size": 6, "num_layers": layers, "dropout": 0.3, **fields}), V
    ).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("recurrent", "head")) and parameter.requires_grad:
                parameter.mul_(1.5).add_(0.1 * torch.randn_like(parameter))
    return network.train()


def text(steps: int, batch: int = 3) -> Tensor:
    """Ids, the first of them "no character"."""
    ids = torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(2))
    ids[0] = V
    return ids


@contextmanager
def assert_unchanged(network: LanguageModel) -> Iterator[None]:
    """Fails if the block changes the network's weights, gradients, mode or executor, or torch's random state."""

    def snapshot() -> tuple[Any, ...]:
        values = [p.detach().clone() for p in network.parameters()]
        gradients = [(p.requires_grad, p.grad is None) for p in network.parameters()]
        modes = [m.training for m in network.modules()]
        return values, gradients, modes, network.recurrent.executor, torch.get_rng_state(), torch.is_grad_enabled()

    before = snapshot()
    yield
    after = snapshot()
    assert all(map(torch.equal, before[0], after[0]))
    assert before[1:4] == after[1:4]
    assert torch.equal(before[4], after[4])
    assert before[5] == after[5]
