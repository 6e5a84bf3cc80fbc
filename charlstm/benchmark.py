"""Speed, side by side: every cell on every willing executor against torch.nn layers, in one process, by turns.

Machines are shared and noisy, so contenders take turns, the median of the rounds counts, and ratios are the result;
absolute figures are this machine's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.cells import CELLS, Cell
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.errors import UserError
from charlstm.executors import executors
from charlstm.generation.sampler import Sampling, draw
from charlstm.model import LanguageModel
from charlstm.training.hardware import keep_memory
from charlstm.training.optimisation import make_optimizer

VOCABULARY = 65
BASELINE = "torch.nn"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Size:
    """``layers`` x ``units``, ``batch`` streams of ``steps`` characters; written ``1x256,32,64``."""

    layers: int
    units: int
    batch: int
    steps: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Raises UserError for anything else than ``LAYERSxUNITS,BATCH,STEPS``."""
        try:
            net, batch, steps = text.split(",")
            layers, units = net.split("x")
            size = cls(int(layers), int(units), int(batch), int(steps))
        except ValueError:
            raise UserError(f"{text!r} is no size: write LAYERSxUNITS,BATCH,STEPS, such as 1x256,32,64") from None
        if min(size.layers, size.units, size.batch, size.steps) < 1:
            raise UserError(f"{text!r}: every number must be at least 1")
        return size

    def __str__(self) -> str:
        return f"{self.layers}x{self.units},{self.batch},{self.steps}"


@dataclass(frozen=True)
class Result:
    """Characters per second of one contender: median, lowest and highest of the rounds."""

    cell: str
    executor: str
    precision: str
    median: float
    lowest: float
    highest: float


def training(size: Size, cells: Sequence[str], precisions: Sequence[str], rounds: int) -> Iterator[Result]:
    """A training step (embedding of ``units``, layers, linear, cross-entropy, clipping, AdamW) of the same network.

    ``torch.nn`` stands for the plainest good loop: nn.Embedding, nn.RNN / GRU / LSTM, nn.Linear, fused AdamW.
    """
    keep_memory()
    contenders: dict[tuple[str, str, str], Callable[[], None]] = {}
    for name in cells:
        for precision in precisions:
            if CELLS[name].torch:
                contenders[name, BASELINE, precision] = _torch_step(CELLS[name], size, precision)
            for executor in executors():
                step = None if executor == "reference" else _own_step(CELLS[name], executor, size, precision)
                if step is not None:
                    contenders[name, executor, precision] = step
    yield from _by_turns(contenders, size.batch * size.steps, rounds)


def sampling(size: Size, cells: Sequence[str], rounds: int, characters: int = 200) -> Iterator[Result]:
    """Sampling ``size.batch`` texts, one character at a time at temperature 1, in float32."""
    contenders: dict[tuple[str, str, str], Callable[[], None]] = {}
    for name in cells:
        if CELLS[name].torch:
            contenders[name, BASELINE, "float32"] = _torch_sampling(CELLS[name], size, characters)
        contenders[name, "charlstm", "float32"] = _own_sampling(CELLS[name], size, characters)
    yield from _by_turns(contenders, size.batch * characters, rounds)


def _by_turns(
    contenders: dict[tuple[str, str, str], Callable[[], None]], characters: int, rounds: int
) -> Iterator[Result]:
    speeds: dict[tuple[str, str, str], list[float]] = {key: [] for key in contenders}
    for step in contenders.values():
        step()
    for _ in range(rounds):
        for key, step in contenders.items():
            start = time.perf_counter()
            step()
            speeds[key].append(characters / (time.perf_counter() - start))
    for (cell, executor, precision), measured in speeds.items():
        yield Result(cell, executor, precision, median(measured), min(measured), max(measured))


def _model_config(cell: Cell, size: Size, executor: str) -> ModelConfig:
    return ModelConfig.model_validate(
        {
            "cell": cell.base,
            **cell.options,
            "hidden_size": size.units,
            "num_layers": size.layers,
            "front_end": "embedding",
            "embedding_size": size.units,
            "executor": executor,
        }
    )


def _text(size: Size) -> Tensor:
    return torch.randint(VOCABULARY, (size.steps + 1, size.batch), generator=torch.Generator().manual_seed(1))


def _step(model: nn.Module, logits: Callable[[Tensor], Tensor], size: Size, precision: str) -> Callable[[], None]:
    ids = _text(size)
    optimizer = make_optimizer(TrainingConfig(), model)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            out = logits(ids[:-1])
        loss = F.cross_entropy(out.float().flatten(0, 1), ids[1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def _own_step(cell: Cell, executor: str, size: Size, precision: str) -> Callable[[], None] | None:
    model = LanguageModel(_model_config(cell, size, executor), VOCABULARY)
    if executors()[executor].refuses(cell, model.recurrent.weights(), _text(size)):
        return None
    return _step(model, lambda ids: model(ids)[0], size, precision)


def _torch_model(cell: Cell, size: Size) -> nn.ModuleList:
    layer = getattr(nn, cell.torch or "")(size.units, size.units, size.layers, **cell.torch_options)
    return nn.ModuleList([nn.Embedding(VOCABULARY, size.units), layer, nn.Linear(size.units, VOCABULARY)])


def _torch_step(cell: Cell, size: Size, precision: str) -> Callable[[], None]:
    model = _torch_model(cell, size)
    embedding, layer, head = model
    return _step(model, lambda ids: head(layer(embedding(ids))[0]), size, precision)


def _own_sampling(cell: Cell, size: Size, characters: int) -> Callable[[], None]:
    model = LanguageModel(_model_config(cell, size, "auto"), VOCABULARY).eval()

    def run() -> None:
        for _ in islice(draw(model, [], Sampling(), 1, size.batch), characters):
            pass

    return run


def _torch_sampling(cell: Cell, size: Size, characters: int) -> Callable[[], None]:
    embedding, layer, head = _torch_model(cell, size).eval()

    @torch.inference_mode()
    def run() -> None:
        ids, state = torch.zeros(1, size.batch, dtype=torch.int64), None
        for _ in range(characters):
            y, state = layer(embedding(ids), state)
            probabilities = torch.softmax(head(y[0]), -1)
            ids = torch.multinomial(probabilities, 1).t()
            ids.tolist()

    return run
