"""What is measured: training steps, sampled texts and plain matrix products, ours and torch.nn's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.benchmark.environment import fitting
from charlstm.benchmark.round_robin import Candidate
from charlstm.cells import CELLS, Cell
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.errors import UserError
from charlstm.executors.vendor import cannot_run
from charlstm.generation.sampler import Sampling, draw
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import sampling_multiply_adds, training_multiply_adds
from charlstm.optimization import make_optimizer

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


CPU = torch.device("cpu")
Candidates = dict[Key, Candidate]
MultiplyAdds = dict[str, float]
"""By cell, for one character."""


def training(
    size: Size,
    cells: Iterable[str],
    executors: Iterable[str],
    precisions: Iterable[str],
    device: torch.device = CPU,
) -> tuple[Candidates, MultiplyAdds]:
    """One training step of the same network: an embedding of ``units`` (one-hot vectors for a reservoir), layers,
    linear, cross-entropy, clipping, AdamW.

    ``torch.nn`` stands for the plainest good loop: nn.Embedding, nn.RNN / GRU / LSTM, nn.Linear, fused AdamW.
    A cell has one model for all executors and one for torch.nn: large networks need not fit into memory many times.
    They are made at the first step.
    """
    contenders: Candidates = {}
    multiply_adds: MultiplyAdds = {}
    characters = size.batch * size.steps
    for name in cells:
        cell = CELLS[name]
        multiply_adds[name] = training_multiply_adds(_shapes(cell, size), size.batch, size.steps) / characters
        own, torchs = (cache(partial(make, cell, size, device)) for make in (_own_network, _torch_network))
        for executor in executors:
            if executor == BASELINE and not cell.torch:
                continue
            torch_ = executor == BASELINE
            network = torchs if torch_ else own
            for precision in precisions:
                step = partial(_step, network, executor, precision, size, device)
                run = partial(fitting, partial(_torch_step, cell, step, precision, device) if torch_ else step)
                contenders[Key(name, executor, precision)] = Candidate(run, characters)
    return contenders, multiply_adds


def sampling(
    size: Size,
    cells: Iterable[str],
    executors: Iterable[str],
    precisions: Iterable[str],
    device: torch.device = CPU,
) -> tuple[Candidates, MultiplyAdds]:
    """``size.batch`` texts of ``size.steps`` characters, one character at a time at temperature 1.

    Ours is the sampler as ``charlstm sample`` uses it, whatever ``executors`` says, in texts of ``OWN_LENGTH`` times as
    many characters, since it is that much faster; torch.nn stands for a loop over nn.Embedding, one time step of
    nn.RNN / GRU / LSTM, nn.Linear, softmax and multinomial, in float32.
    """
    contenders: Candidates = {}
    multiply_adds: MultiplyAdds = {}
    amount = size.batch * size.steps
    for name in cells:
        cell = CELLS[name]
        multiply_adds[name] = sampling_multiply_adds(_shapes(cell, size))
        if BASELINE in executors and cell.torch:
            run = partial(_torch_sampling, cache(partial(_torch_model, cell, size, device)), size, device)
            contenders[Key(name, BASELINE, "float32")] = Candidate(partial(fitting, run), amount)
        if any(executor != BASELINE for executor in executors):
            model = cache(partial(_own_model, cell, size, device))
            for precision in precisions:
                run = partial(_sample, model, size.batch, size.steps * OWN_LENGTH, precision)
                contenders[Key(name, OWN_SAMPLER, precision)] = Candidate(partial(fitting, run), amount * OWN_LENGTH)
    return contenders, multiply_adds


def products(precisions: Iterable[str], sides: Iterable[int], device: torch.device = CPU) -> Candidates:
    """torch.mm of two square matrices, counted in multiply-adds: the rate that a step might reach."""
    contenders = {}
    for precision in precisions:
        for side in sides:
            a, b = (torch.rand(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
            run = partial(torch.mm, a, b, out=torch.empty_like(a))
            contenders[Key(f"{side}x{side}", PRODUCT, precision)] = Candidate(run, side**3)
    return contenders


class Network(NamedTuple):
    """What a training step works on; ``logits`` takes the ids and the name of the executor."""

    model: nn.Module
    logits: Callable[[Tensor, str], Tensor]
    optimizer: torch.optim.Optimizer


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


def _shapes(cell: Cell, size: Size) -> LanguageModel:
    """Our network without its numbers."""
    with torch.device("meta"):
        return LanguageModel(_model_config(cell, size), VOCABULARY)


def _own_model(cell: Cell, size: Size, device: torch.device) -> LanguageModel:
    return LanguageModel(_model_config(cell, size), VOCABULARY).to(device)


def _own_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = _own_model(cell, size, device)

    def logits(ids: Tensor, executor: str) -> Tensor:
        model.recurrent.executor = executor
        found: Tensor = model(ids)[0]
        return found

    return Network(model, logits, make_optimizer(TrainingConfig(learning_rate=LEARNING_RATE), model))


def _torch_model(cell: Cell, size: Size, device: torch.device) -> nn.ModuleList:
    layer = getattr(nn, cell.torch or "")(size.units, size.units, size.layers, **cell.torch_options)
    return nn.ModuleList([nn.Embedding(VOCABULARY, size.units), layer, nn.Linear(size.units, VOCABULARY)]).to(device)


def _torch_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = _torch_model(cell, size, device)
    embedding, layer, head = model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=device.type in ("cpu", "cuda"))
    return Network(model, lambda ids, _: head(layer(embedding(ids))[0]), optimizer)


@cache
def _ids(size: Size, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (size.steps + 1, size.batch), generator=generator).to(device)


def _step(network: Callable[[], Network], executor: str, precision: str, size: Size, device: torch.device) -> None:
    model, logits, optimizer = network()
    ids = _ids(size, device)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            out = logits(ids[:-1], executor)
        loss = F.cross_entropy(out.float().flatten(0, 1), ids[1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    finally:
        optimizer.zero_grad(set_to_none=True)


def _torch_step(cell: Cell, step: Callable[[], None], precision: str, device: torch.device) -> None:
    """A step of torch.nn's layer. Raises UserError where torch cannot run it in this precision."""
    refusal = cannot_run(cell, device.type, torch.float32, PRECISIONS[precision])
    if refusal:
        raise UserError(refusal)
    step()


def _sample(model: Callable[[], LanguageModel], texts: int, characters: int, precision: str) -> None:
    network = model().eval()
    with torch.autocast(network.head.weight.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for _ in draw(network, [], Sampling(), 1, texts, characters):
            pass


@torch.inference_mode()
def _torch_sampling(model: Callable[[], nn.ModuleList], size: Size, device: torch.device) -> None:
    embedding, layer, head = model().eval()
    ids, state = torch.zeros(1, size.batch, dtype=torch.int64, device=device), None
    for _ in range(size.steps):
        y, state = layer(embedding(ids), state)
        probabilities = torch.softmax(head(y[0]), -1)
        ids = torch.multinomial(probabilities, 1).t()
        ids.tolist()
