"""Optimizers as a configuration asks for them, and their state as named tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlstm.config import TrainingConfig
from charlstm.optimizers import OPTIMIZERS


def make_optimizer(config: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The configured optimiser. Weight decay acts on matrices, not on biases and other vectors."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.optimizer].make(groups, config)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as tensors, named after the parameters: ``head.weight.exp_avg``."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{names[id(p)]}.{key}": value
        for p, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def optimizer_layout(config: TrainingConfig, model: nn.Module) -> dict[str, Tensor]:
    """What :func:`optimizer_tensors` gives after a step, by shape and dtype alone, where the model is."""
    like = {matrix: _state_after_a_step(config, matrix) for matrix in (True, False)}
    return {
        f"{name}.{kind}": p.detach() if value is None else torch.empty_like(value, device=p.device)
        for name, p in model.named_parameters()
        if p.requires_grad
        for kind, value in like[p.dim() >= 2].items()
    }


def state_per_weight(config: TrainingConfig) -> int:
    """Numbers that the optimiser holds for each weight of a matrix."""
    return list(_state_after_a_step(config, True).values()).count(None)


def _state_after_a_step(config: TrainingConfig, matrix: bool) -> dict[str, Tensor | None]:
    """The state for one parameter, by name: None where it has the shape of the parameter, else the tensor."""
    with torch.device("cpu"):
        probe = nn.ParameterList([torch.zeros((2, 3) if matrix else (3,))])  # draws no random numbers
        (p,) = probe.parameters()
        p.grad = torch.zeros_like(p)
        optimizer = make_optimizer(config, probe)
        optimizer.step()
    state = optimizer.state.get(p, {})
    return {k: None if v.shape == p.shape else v for k, v in state.items() if isinstance(v, Tensor)}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave, matched by parameter name."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {id(p): name for name, p in model.named_parameters()}
    state: dict[int, dict[str, Tensor]] = {}
    for index, p in enumerate(parameters):
        prefix = f"{names[id(p)]}."
        own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        if own:
            state[index] = own
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
