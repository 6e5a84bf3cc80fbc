"""The networks that are measured, of charlstm and of torch.nn, and their training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.cells import Cell
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.errors import UserError
from charlstm.executors.vendor import training_error
from charlstm.model import LanguageModel
from charlstm.optimization import make_optimizer

VOCABULARY = 65
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""float16, in which gradients are scaled, is for torch.nn: the executors of charlstm have no such precision."""
LEARNING_RATE = 1e-6
"""So small that the weights hardly change: a diverging network would be measured on NaN and infinity."""


@dataclass(frozen=True)
class Size:
    """``layers`` x ``hidden_size``, ``batch`` streams of ``steps`` characters; written ``1x256,32,64``."""

    layers: int
    hidden_size: int
    batch: int
    steps: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Raises UserError unless the text is ``LAYERSxHIDDEN,BATCH,STEPS`` with positive numbers."""
        try:
            net, batch, steps = text.split(",")
            layers, hidden_size = net.split("x")
            size = cls(int(layers), int(hidden_size), int(batch), int(steps))
        except ValueError:
            raise UserError(f"{text!r} is not a size: write LAYERSxHIDDEN,BATCH,STEPS, such as 1x256,32,64") from None
        if min(size.layers, size.hidden_size, size.batch, size.steps) < 1:
            raise UserError(f"{text!r}: every number must be at least 1")
        return size

    @property
    def net(self) -> str:
        """``1x256``."""
        return f"{self.layers}x{self.hidden_size}"

    def __str__(self) -> str:
        return f"{self.net},{self.batch},{self.steps}"


class Network(NamedTuple):
    """A model and its optimizer; ``logits`` takes the ids and the name of the executor."""

    model: nn.Module
    logits: Callable[[Tensor, str], Tensor]
    optimizer: torch.optim.Optimizer


def model_config(cell: Cell, size: Size) -> ModelConfig:
    front_end = {} if cell.is_reservoir else {"front_end": "embedding", "embedding_size": size.hidden_size}
    return ModelConfig.model_validate(
        {
            "cell": cell.base,
            **cell.options,
            "hidden_size": size.hidden_size,
            "num_layers": size.layers,
            **front_end,
        }
    )


def shapes(cell: Cell, size: Size) -> LanguageModel:
    """The charlstm model on the meta device: shapes only."""
    with torch.device("meta"):
        return LanguageModel(model_config(cell, size), VOCABULARY)


def charlstm_model(cell: Cell, size: Size, device: torch.device) -> LanguageModel:
    return LanguageModel(model_config(cell, size), VOCABULARY).to(device)


def charlstm_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = charlstm_model(cell, size, device)

    def logits(ids: Tensor, executor: str) -> Tensor:
        model.recurrent.executor = executor
        output: Tensor = model(ids)[0]
        return output

    optimizer = make_optimizer(TrainingConfig(learning_rate=LEARNING_RATE), model)
    return Network(model, logits, optimizer)


def torch_model(cell: Cell, size: Size, device: torch.device) -> nn.ModuleList:
    layer = getattr(nn, cell.torch or "")(size.hidden_size, size.hidden_size, size.layers, **cell.torch_options)
    return nn.ModuleList(
        [nn.Embedding(VOCABULARY, size.hidden_size), layer, nn.Linear(size.hidden_size, VOCABULARY)]
    ).to(device)


def torch_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = torch_model(cell, size, device)
    embedding, layer, head = model
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        fused=device.type in ("cpu", "cuda"),
        capturable=device.type == "cuda",
    )
    optimizer._warned_capturable_if_run_uncaptured = True  # the first steps are launched
    return Network(model, lambda ids, _: head(layer(embedding(ids))[0]), optimizer)


@cache
def ids_of(size: Size, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (size.steps + 1, size.batch), generator=generator).to(device)


def gradient_scaler(dtype: torch.dtype, device: torch.device) -> Callable[[], torch.amp.GradScaler]:
    """Returns the scaler of a candidate's gradients, the same in each call; it does nothing but in float16."""
    return cache(partial(torch.amp.GradScaler, device.type, enabled=dtype == torch.float16))


def train(
    network: Callable[[], Network],
    executor: str,
    dtype: torch.dtype,
    size: Size,
    device: torch.device,
    make_scaler: Callable[[], torch.amp.GradScaler],
) -> None:
    """A training step, with the scaler of :func:`gradient_scaler`."""
    model, logits, optimizer = network()
    ids, scaler = ids_of(size, device), make_scaler()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = logits(ids[:-1], executor)
        loss = F.cross_entropy(output.float().flatten(0, 1), ids[1:].flatten())
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    finally:
        optimizer.zero_grad(set_to_none=True)
        for name in ("grad_scale", "found_inf"):  # which a scaler leaves if the optimizer fails
            vars(optimizer).pop(name, None)


def train_torch(cell: Cell, step: Callable[[], None], precision: str, device: torch.device) -> None:
    """A training step of torch.nn's layer. Raises UserError if torch cannot run it in this precision."""
    refusal = training_error(cell, device.type, torch.float32, PRECISIONS[precision])
    if refusal:
        raise UserError(refusal)
    step()
