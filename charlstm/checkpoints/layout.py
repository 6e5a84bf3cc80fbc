"""The expected names, shapes and dtypes of the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from charlstm.checkpoints.format import strip_prefix
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.optimization import optimizer_layout

RANDOM_STATE_LIMIT = 1 << 16
"""Largest RNG state in bytes; that of the CPU has 5,056."""


def expected_layout(config: Config, vocabulary_size: int, step: int, batch_size: int) -> dict[str, Tensor]:
    """Every tensor of model, optimizer and carried state, on the meta device; RNG states are not included.

    ``step``: optimizer steps; the optimizer has no state before its first. ``batch_size``: number of streams.
    """
    with torch.device("meta"):
        model = LanguageModel(config.model, vocabulary_size)
        carried = model.initial_state(batch_size)
        optimizer = optimizer_layout(config.training, model) if step else {}
    return {
        **{f"model.{name}": t for name, t in model.state_dict().items()},
        **{f"optimizer.{name}": t for name, t in optimizer.items()},
        **{f"state.{index}": t for index, t in enumerate(carried)},
    }


def check_layout(
    declared: Mapping[str, Tensor], config: Config, vocabulary_size: int, step: int, batch_size: int
) -> None:
    """Raises UserError at the first tensor that is missing, unexpected, or of another shape or dtype."""
    weights = strip_prefix("model", declared)
    if config.model.num_layers > len(weights):  # before the layers are created
        raise UserError(f"{len(weights)} tensors are too few for a model of {config.model.num_layers} layers")
    others = {name: t for name, t in declared.items() if not name.startswith("random.")}
    expected = expected_layout(config, vocabulary_size, step, batch_size)
    for name in sorted(expected.keys() | others.keys()):
        actual, wanted = (_describe(tensors.get(name)) for tensors in (others, expected))
        if actual != wanted:
            raise UserError(
                "the tensors do not match the vocabulary or model of its configuration: "
                f"{name!r:.80} is {actual}, should be {wanted}"
            )
    for name in sorted({"random.cpu"} | (declared.keys() - others.keys())):
        t = declared.get(name)
        known = name in ("random.cpu", "random.cuda", "random.mps")
        if t is None or not known or t.dtype != torch.uint8 or t.dim() != 1 or t.numel() > RANDOM_STATE_LIMIT:
            raise UserError(f"{name!r:.80} is {_describe(t)}, should be an RNG state")


def _describe(t: Tensor | None) -> str:
    return "missing" if t is None else f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}"
