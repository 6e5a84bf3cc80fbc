"""Configured optimizers, and their state as named tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlstm.config import TrainingConfig
from charlstm.optimizers import OPTIMIZERS, Groups, is_capturable
from charlstm.optimizers.uncompiled import uncompiled

FACTOR = "learning_rate_factor"
"""The key of a parameter group for the factor of its learning rate."""


def make_optimizer(config: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the configured optimizer. Weight decay acts on matrices, not on biases and other vectors; the groups of
    parameters have the factors of their parts of the model."""
    factors = config.learning_rate_factors.model_dump()
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for is_matrix in (True, False):
        for name, p in model.named_parameters():
            if p.requires_grad and (p.dim() >= 2) == is_matrix:
                factor = factors.get(name.partition(".")[0].removesuffix("_backward"), 1.0)
                groups.setdefault((is_matrix, factor), []).append(p)
    options: Groups = [
        {"params": parameters, "weight_decay": config.weight_decay * is_matrix, FACTOR: factor}
        for (is_matrix, factor), parameters in groups.items()
    ]
    if capturable := is_capturable(options):
        for group in options:
            group["lr"] = torch.tensor(config.learning_rate, device=group["params"][0].device)
    made = uncompiled(lambda: OPTIMIZERS[config.optimizer].make(options, config))
    if capturable:
        made._warned_capturable_if_run_uncaptured = True  # the first steps are launched
    return made


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group of parameters: the rate times the factor of the group."""
    for group in optimizer.param_groups:
        value = rate * group[FACTOR]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as tensors, named after the parameters: ``head.weight.exp_avg``."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{names[id(p)]}.{key}": value
        for p, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def optimizer_layout(config: TrainingConfig, model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the shape, dtype and device of what :func:`optimizer_tensors` returns after a step."""
    layouts = {matrix: _state_after_a_step(config, matrix) for matrix in (True, False)}
    return {
        f"{name}.{key}": p.detach() if value is None else torch.empty_like(value, device=p.device)
        for name, p in model.named_parameters()
        if p.requires_grad
        for key, value in layouts[p.dim() >= 2].items()
    }


def state_per_weight(config: TrainingConfig) -> int:
    """Number of state elements per weight of a matrix."""
    return list(_state_after_a_step(config, True).values()).count(None)


def _state_after_a_step(config: TrainingConfig, matrix: bool) -> dict[str, Tensor | None]:
    """The state of one parameter by name: None if it has the shape of the parameter, else the tensor."""
    with torch.device("cpu"):
        probe = nn.ParameterList([torch.zeros((2, 3) if matrix else (3,))])  # draws no random numbers
        (p,) = probe.parameters()
        p.grad = torch.zeros_like(p)
        optimizer = make_optimizer(config, probe)
        optimizer.step()
    state = optimizer.state.get(p, {})
    return {k: None if v.shape == p.shape else v for k, v in state.items() if isinstance(v, Tensor)}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load the result of :func:`optimizer_tensors`, matched by parameter name."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {id(p): name for name, p in model.named_parameters()}
    state: dict[int, dict[str, Tensor]] = {}
    for index, p in enumerate(parameters):
        prefix = f"{names[id(p)]}."
        parameter_state = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        if parameter_state:
            state[index] = parameter_state
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
