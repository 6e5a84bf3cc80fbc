"""The expected names, shapes and dtypes of the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charlstm.checkpoints.format import strip_prefix
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.optimization import optimizer_layout

RANDOM_STATE_LIMIT = 1 << 16
"""Largest RNG state in bytes; that of the CPU has 5,056."""


def expected_layout(
    config: Config, vocabulary_size: int, step: int, batch_size: int, optimizer: bool = True
) -> dict[str, Tensor]:
    """Every tensor of model, trained weights that are averaged, optimizer and carried state, on the meta device; RNG
    states are not included.

    ``step``: optimizer steps; the optimizer has no state before its first. ``batch_size``: number of streams. Without
    ``optimizer`` its tensors are left out, and none is constructed.
    """
    with torch.device("meta"):
        model = LanguageModel(config.model, vocabulary_size)
        carried = model.initial_state(batch_size)
        optimizer_state = optimizer_layout(config.training, model) if step and optimizer else {}
    return {
        **{f"model.{name}": t for name, t in model.state_dict().items()},
        **(raw_weights(model) if config.training.averages_weights else {}),
        **{f"optimizer.{name}": t for name, t in optimizer_state.items()},
        **{f"state.{index}": t for index, t in enumerate(carried)},
    }


def raw_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights, which a checkpoint has next to the model if that has their average."""
    return {f"raw.{name}": p.detach() for name, p in model.named_parameters() if p.requires_grad}


def check_weights(declared: Mapping[str, Tensor], config: Config, vocabulary_size: int) -> None:
    """Raises UserError unless the tensors are exactly those of the model, as for :func:`check_layout`."""
    _check_layers(declared, config)
    with torch.device("meta"):
        expected = LanguageModel(config.model, vocabulary_size).state_dict()
    _check_tensors(declared, {f"model.{name}": t for name, t in expected.items()})


def check_layout(
    declared: Mapping[str, Tensor],
    config: Config,
    vocabulary_size: int,
    step: int,
    batch_size: int,
    optimizer: bool = True,
) -> None:
    """Raises UserError at the first tensor that is missing, unexpected, or of another shape or dtype; the optimizer's
    are checked if ``optimizer`` is true."""
    _check_layers(declared, config)
    if not optimizer:
        declared = {name: t for name, t in declared.items() if not name.startswith("optimizer.")}
    others = {name: t for name, t in declared.items() if not name.startswith("random.")}
    _check_tensors(others, expected_layout(config, vocabulary_size, step, batch_size, optimizer))
    for name in sorted({"random.cpu"} | (declared.keys() - others.keys())):
        t = declared.get(name)
        known = name in ("random.cpu", "random.cuda", "random.mps")
        if t is None or not known or t.dtype != torch.uint8 or t.dim() != 1 or t.numel() > RANDOM_STATE_LIMIT:
            raise UserError(f"{name!r:.80} is {_describe(t)}, should be an RNG state")


def _check_layers(declared: Mapping[str, Tensor], config: Config) -> None:
    """Raises UserError, before the layers are created, if there are more of them than tensors."""
    weights = strip_prefix("model", declared)
    if config.model.num_layers > len(weights):
        raise UserError(f"{len(weights)} tensors are too few for a model of {config.model.num_layers} layers")


def _check_tensors(declared: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name in sorted(expected.keys() | declared.keys()):
        actual, wanted = (_describe(tensors.get(name)) for tensors in (declared, expected))
        if actual != wanted:
            raise UserError(
                "the tensors do not match the vocabulary or model of its configuration: "
                f"{name!r:.80} is {actual}, should be {wanted}"
            )


def _describe(t: Tensor | None) -> str:
    return "missing" if t is None else f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}"
