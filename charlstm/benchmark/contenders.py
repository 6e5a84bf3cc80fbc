"""What is measured: training steps, sampled texts and plain matrix products, ours and torch.nn's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.benchmark.turns import Contender
from charlstm.benchmark.work import sampling_multiply_adds, training_multiply_adds
from charlstm.cells import CELLS, Cell
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.errors import UserError
from charlstm.generation.sampler import Sampling, draw
from charlstm.model import LanguageModel
from charlstm.training.optimisation import make_optimizer

VOCABULARY = 65
BASELINE = "torch.nn"
OWN_SAMPLER = "charlstm"
PRODUCT = "torch.mm"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CHARACTERS = 200
"""Length of a sampled text; what the sampler makes once a text is part of its time."""
LEARNING_RATE = 1e-6
"""So small that weights stay where they start: a network that runs off would be measured on odd numbers."""


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

    @property
    def net(self) -> str:
        """``1x256``."""
        return f"{self.layers}x{self.units}"

    def __str__(self) -> str:
        return f"{self.net},{self.batch},{self.steps}"


OWN_LENGTH = 10  # how many times as many characters our sampler writes in one go


class Key(NamedTuple):
    """Who: a cell, what runs it, and the type of its products."""

    cell: str
    executor: str
    precision: str

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


Contenders = dict[Key, Contender]
MultiplyAdds = dict[str, float]
"""By cell, for one character."""


def training(
    size: Size, cells: Iterable[str], executors: Iterable[str], precisions: Iterable[str]
) -> tuple[Contenders, MultiplyAdds]:
    """One training step of the same network: an embedding of ``units`` (one-hot vectors for a reservoir), layers,
    linear, cross-entropy, clipping, AdamW.

    ``torch.nn`` stands for the plainest good loop: nn.Embedding, nn.RNN / GRU / LSTM, nn.Linear, fused AdamW.
    A cell has one model for all executors and one for torch.nn: large networks need not fit into memory many times.
    """
    contenders: Contenders = {}
    multiply_adds: MultiplyAdds = {}
    for name in cells:
        cell = CELLS[name]
        model = LanguageModel(_model_config(cell, size), VOCABULARY)
        multiply_adds[name] = training_multiply_adds(model, size.batch, size.steps) / (size.batch * size.steps)
        optimizer = make_optimizer(TrainingConfig(learning_rate=LEARNING_RATE), model)
        for executor in executors:
            if executor != BASELINE:
                step = _step(model, partial(_own_logits, model, executor), optimizer, size)
            elif cell.torch:
                step = _torch_step(cell, size)
            else:
                continue
            for precision in precisions:
                contenders[Key(name, executor, precision)] = Contender(
                    partial(step, precision), size.batch * size.steps
                )
    return contenders, multiply_adds


def sampling(
    size: Size, cells: Iterable[str], executors: Iterable[str], precisions: Iterable[str]
) -> tuple[Contenders, MultiplyAdds]:
    """``size.batch`` texts of ``size.steps`` characters, one character at a time at temperature 1.

    Ours is the sampler as ``charlstm sample`` uses it, whatever ``executors`` says, in texts of ``OWN_LENGTH`` times as
    many characters, since it is that much faster; torch.nn stands for a loop over nn.Embedding, one time step of
    nn.RNN / GRU / LSTM, nn.Linear, softmax and multinomial, in float32.
    """
    contenders: Contenders = {}
    multiply_adds: MultiplyAdds = {}
    amount = size.batch * size.steps
    for name in cells:
        cell = CELLS[name]
        model = LanguageModel(_model_config(cell, size), VOCABULARY).eval()
        multiply_adds[name] = sampling_multiply_adds(model)
        if BASELINE in executors and cell.torch:
            contenders[Key(name, BASELINE, "float32")] = Contender(_torch_sampling(cell, size), amount)
        if any(executor != BASELINE for executor in executors):
            for precision in precisions:
                run = partial(_sample, model, size.batch, size.steps * OWN_LENGTH, precision)
                contenders[Key(name, OWN_SAMPLER, precision)] = Contender(run, amount * OWN_LENGTH)
    return contenders, multiply_adds


def products(precisions: Iterable[str], sides: Iterable[int]) -> Contenders:
    """torch.mm of two square matrices, counted in multiply-adds: the rate that a step might reach."""
    contenders = {}
    for precision in precisions:
        for side in sides:
            a, b = (torch.rand(side, side).to(PRECISIONS[precision]) for _ in range(2))
            run = partial(torch.mm, a, b, out=torch.empty_like(a))
            contenders[Key(f"{side}x{side}", PRODUCT, precision)] = Contender(run, side**3)
    return contenders


def _model_config(cell: Cell, size: Size) -> ModelConfig:
    front_end = {} if cell.reservoir else {"front_end": "embedding", "embedding_size": size.units}
    return ModelConfig.model_validate(
        {
            "cell": cell.base,
            **cell.options,
            "hidden_size": size.units,
            "num_layers": size.layers,
            **front_end,
        }
    )


def _step(
    model: nn.Module, logits: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, size: Size
) -> Callable[[str], None]:
    ids = torch.randint(VOCABULARY, (size.steps + 1, size.batch), generator=torch.Generator().manual_seed(1))

    def step(precision: str) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            out = logits(ids[:-1])
        loss = F.cross_entropy(out.float().flatten(0, 1), ids[1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _own_logits(model: LanguageModel, executor: str, ids: Tensor) -> Tensor:
    model.recurrent.executor = executor
    logits: Tensor = model(ids)[0]
    return logits


def _torch_model(cell: Cell, size: Size) -> nn.ModuleList:
    layer = getattr(nn, cell.torch or "")(size.units, size.units, size.layers, **cell.torch_options)
    return nn.ModuleList([nn.Embedding(VOCABULARY, size.units), layer, nn.Linear(size.units, VOCABULARY)])


def _torch_step(cell: Cell, size: Size) -> Callable[[str], None]:
    model = _torch_model(cell, size)
    embedding, layer, head = model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    return _step(model, lambda ids: head(layer(embedding(ids))[0]), optimizer, size)


def _sample(model: LanguageModel, texts: int, characters: int, precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for _ in islice(draw(model, [], Sampling(), 1, texts), characters):
            pass


def _torch_sampling(cell: Cell, size: Size) -> Callable[[], None]:
    embedding, layer, head = _torch_model(cell, size).eval()

    @torch.inference_mode()
    def run() -> None:
        ids, state = torch.zeros(1, size.batch, dtype=torch.int64), None
        for _ in range(size.steps):
            y, state = layer(embedding(ids), state)
            probabilities = torch.softmax(head(y[0]), -1)
            ids = torch.multinomial(probabilities, 1).t()
            ids.tolist()

    return run
