"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

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


class Schedule:
    """The learning rate over training.

    ``rate = learning_rate * warm-up * course``: the warm-up climbs linearly over ``warmup_steps``; the course is 1
    (constant), a half cosine over the budget (cosine), ``gamma ** (epochs // step_size)`` (step), or ``gamma **
    reductions`` (plateau). The cosine runs over the present budget, from the run's first step: a run that is resumed
    with another budget in steps or epochs goes on along the curve of a run that had it from the beginning.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self.reductions = 0
        self.without_improvement = 0

    def rate(self, step: int, epoch: float, progress: float) -> float:
        """The learning rate of the step with this number, from 0; progress is the share of the budget that is used."""
        c = self._config
        course = 1.0
        if c.schedule == "cosine":
            low = c.final_learning_rate_fraction
            course = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        elif c.schedule == "step":
            course = c.gamma ** math.floor(epoch / c.step_size + 1e-9)
        elif c.schedule == "plateau":
            course = c.gamma**self.reductions
        warm_up = min(1.0, (step + 1) / c.warmup_steps) if c.warmup_steps else 1.0
        return c.learning_rate * warm_up * course

    def evaluated(self, improved: bool) -> None:
        """Take note of an evaluation (plateau)."""
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if self.without_improvement > self._config.patience:
            self.reductions += 1
            self.without_improvement = 0

    def state_dict(self) -> dict[str, Any]:
        return {"reductions": self.reductions, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reductions, self.without_improvement = state["reductions"], state["without_improvement"]
