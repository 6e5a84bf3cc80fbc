"""The candidates: training steps, sampling and plain matrix products, of charlstm and of torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.benchmark.captured_run import CapturedRun
from charlstm.benchmark.environment import refuse_out_of_memory
from charlstm.benchmark.round_robin import Candidate
from charlstm.cells import CELLS, Cell
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.errors import UserError
from charlstm.executors.vendor import training_error
from charlstm.generation.sampler import draw
from charlstm.generation.sampling import Sampling
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import sampling_multiply_adds, training_multiply_adds
from charlstm.optimization import make_optimizer

VOCABULARY = 65
BASELINE = "torch.nn"
CAPTURED = "torch.nn captured"
"""The same loop as the baseline, of which each training step is replayed from a CUDA graph, as charlstm's are."""
TORCH = (BASELINE, CAPTURED)
SAMPLER = "charlstm"
MATMUL = "torch.mm"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""float16 is for torch.nn, whose gradients are then scaled: for other types cuDNN has no persistent kernels."""
CHARACTERS = 200
"""Length of a sampled text; the setup that the sampler repeats for every text is part of its time."""
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


SAMPLER_LENGTH_FACTOR = 10  # texts of the charlstm sampler, which is that much faster, are longer by this factor


class Key(NamedTuple):
    """The name of a candidate: the cell, what runs it, and the dtype of its matrix products."""

    cell: str
    executor: str
    precision: str

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


CPU = torch.device("cpu")
NO_SCALER = cache(partial(torch.amp.GradScaler, enabled=False))
"""Of a scaler that does nothing."""
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
    """One training step of the same network: an embedding of ``hidden_size`` (one-hot vectors for a reservoir), layers,
    linear, cross-entropy, clipping, AdamW.

    ``torch.nn`` is the simplest good loop: nn.Embedding, nn.RNN / GRU / LSTM, nn.Linear, fused AdamW, and in float16
    torch.amp.GradScaler. On an NVIDIA GPU all steps but those of this loop are replayed from CUDA graphs. A cell has
    one model for all executors and one for torch.nn, so that memory holds a large network only twice. They are created
    in the first step.
    """
    candidates: Candidates = {}
    multiply_adds: MultiplyAdds = {}
    characters = size.batch * size.steps
    for name in cells:
        cell = CELLS[name]
        multiply_adds[name] = training_multiply_adds(_shapes(cell, size), size.batch, size.steps) / characters
        ours, theirs = (cache(partial(make, cell, size, device)) for make in (_charlstm_network, _torch_network))
        for executor in executors:
            is_torch = executor in TORCH
            if is_torch and not cell.torch:
                continue
            for precision in precisions:
                if precision == "float16" and not is_torch:
                    continue
                step = partial(_step, theirs if is_torch else ours, executor, precision, size, device)
                if is_torch:
                    step = partial(_torch_step, cell, step, precision, device)
                candidates[Key(name, executor, precision)] = _candidate(step, executor, characters, device)
    return candidates, multiply_adds


def _candidate(step: Callable[[], None], executor: str, characters: int, device: torch.device) -> Candidate:
    if device.type != "cuda" or executor == BASELINE:
        return Candidate(partial(refuse_out_of_memory, step), characters)
    captured = CapturedRun(step, device)
    return Candidate(partial(refuse_out_of_memory, captured), characters, captured.free)


def sampling(
    size: Size,
    cells: Iterable[str],
    executors: Iterable[str],
    precisions: Iterable[str],
    device: torch.device = CPU,
) -> tuple[Candidates, MultiplyAdds]:
    """``size.batch`` texts of ``size.steps`` characters, one character at a time at temperature 1.

    charlstm's is the sampler of ``charlstm sample``, whatever ``executors`` are, in texts that are longer by
    ``SAMPLER_LENGTH_FACTOR``; torch.nn is a loop over nn.Embedding, one time step of nn.RNN / GRU / LSTM, nn.Linear,
    softmax and multinomial, in float32.
    """
    candidates: Candidates = {}
    multiply_adds: MultiplyAdds = {}
    amount = size.batch * size.steps
    for name in cells:
        cell = CELLS[name]
        multiply_adds[name] = sampling_multiply_adds(_shapes(cell, size))
        if BASELINE in executors and cell.torch:
            run = partial(_torch_sampling, cache(partial(_torch_model, cell, size, device)), size, device)
            candidates[Key(name, BASELINE, "float32")] = Candidate(partial(refuse_out_of_memory, run), amount)
        if any(executor not in TORCH for executor in executors):
            model = cache(partial(_charlstm_model, cell, size, device))
            for precision in precisions:
                if precision == "float16":
                    continue
                run = partial(_sample, model, size.batch, size.steps * SAMPLER_LENGTH_FACTOR, precision)
                candidates[Key(name, SAMPLER, precision)] = Candidate(
                    partial(refuse_out_of_memory, run), amount * SAMPLER_LENGTH_FACTOR
                )
    return candidates, multiply_adds


def matmuls(precisions: Iterable[str], sizes: Iterable[int], device: torch.device = CPU) -> Candidates:
    """torch.mm of two square matrices, counted in multiply-adds: the peak speed that a step might reach."""
    candidates = {}
    for precision in precisions:
        for n in sizes:
            a, b = (torch.rand(n, n, device=device).to(PRECISIONS[precision]) for _ in range(2))
            run = partial(torch.mm, a, b, out=torch.empty_like(a))
            candidates[Key(f"{n}x{n}", MATMUL, precision)] = Candidate(run, n**3)
    return candidates


class Network(NamedTuple):
    """A model and its optimizer, and the scaler of its gradients in float16; ``logits`` takes the ids and the name of
    the executor."""

    model: nn.Module
    logits: Callable[[Tensor, str], Tensor]
    optimizer: torch.optim.Optimizer
    scaler: Callable[[], torch.amp.GradScaler]


def _model_config(cell: Cell, size: Size) -> ModelConfig:
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


def _shapes(cell: Cell, size: Size) -> LanguageModel:
    """The charlstm model on the meta device: shapes only."""
    with torch.device("meta"):
        return LanguageModel(_model_config(cell, size), VOCABULARY)


def _charlstm_model(cell: Cell, size: Size, device: torch.device) -> LanguageModel:
    return LanguageModel(_model_config(cell, size), VOCABULARY).to(device)


def _charlstm_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = _charlstm_model(cell, size, device)

    def logits(ids: Tensor, executor: str) -> Tensor:
        model.recurrent.executor = executor
        output: Tensor = model(ids)[0]
        return output

    optimizer = make_optimizer(TrainingConfig(learning_rate=LEARNING_RATE), model)
    return Network(model, logits, optimizer, NO_SCALER)


def _torch_model(cell: Cell, size: Size, device: torch.device) -> nn.ModuleList:
    layer = getattr(nn, cell.torch or "")(size.hidden_size, size.hidden_size, size.layers, **cell.torch_options)
    return nn.ModuleList(
        [nn.Embedding(VOCABULARY, size.hidden_size), layer, nn.Linear(size.hidden_size, VOCABULARY)]
    ).to(device)


def _torch_network(cell: Cell, size: Size, device: torch.device) -> Network:
    model = _torch_model(cell, size, device)
    embedding, layer, head = model
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        fused=device.type in ("cpu", "cuda"),
        capturable=device.type == "cuda",
    )
    optimizer._warned_capturable_if_run_uncaptured = True  # the first steps are launched
    scaler = cache(partial(torch.amp.GradScaler, device.type))
    return Network(model, lambda ids, _: head(layer(embedding(ids))[0]), optimizer, scaler)


@cache
def _ids(size: Size, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (size.steps + 1, size.batch), generator=generator).to(device)


def _step(network: Callable[[], Network], executor: str, precision: str, size: Size, device: torch.device) -> None:
    model, logits, optimizer, scaler_of_float16 = network()
    ids, dtype = _ids(size, device), PRECISIONS[precision]
    scaler = (scaler_of_float16 if dtype == torch.float16 else NO_SCALER)()
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


def _torch_step(cell: Cell, step: Callable[[], None], precision: str, device: torch.device) -> None:
    """A training step of torch.nn's layer. Raises UserError if torch cannot run it in this precision."""
    refusal = training_error(cell, device.type, torch.float32, PRECISIONS[precision])
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
