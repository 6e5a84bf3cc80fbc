"""The candidates: training steps, sampling and plain matrix products, of charlstm and of torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import nn

from charlstm.benchmark.captured_run import CapturedRun
from charlstm.benchmark.environment import refuse_out_of_memory
from charlstm.benchmark.networks import (
    PRECISIONS,
    Size,
    charlstm_model,
    charlstm_network,
    gradient_scaler,
    shapes,
    torch_model,
    torch_network,
    train,
    train_torch,
)
from charlstm.benchmark.round_robin import Candidate
from charlstm.cells import CELLS
from charlstm.generation.sampler import draw
from charlstm.generation.sampling import Sampling
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import sampling_multiply_adds, training_multiply_adds

BASELINE = "torch.nn"
CAPTURED = "torch.nn-captured"
"""The baseline's loop, with each training step replayed from a CUDA graph, as those of charlstm are."""
TORCH = (BASELINE, CAPTURED)
SAMPLER = "charlstm"
MATMUL = "torch.mm"
CHARACTERS = 200
"""Length of a sampled text; the setup that the sampler repeats for every text is part of its time."""
SAMPLER_LENGTH_FACTOR = 10  # texts of the charlstm sampler, which is that much faster, are longer by this factor


class Key(NamedTuple):
    """The name of a candidate: the cell, what runs it, and the dtype of its matrix products."""

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
        multiply_adds[name] = training_multiply_adds(shapes(cell, size), size.batch, size.steps) / characters
        ours, theirs = (cache(partial(make, cell, size, device)) for make in (charlstm_network, torch_network))
        for executor in executors:
            is_torch = executor in TORCH
            if is_torch and not cell.torch:
                continue
            for precision in precisions:
                if precision == "float16" and not is_torch:
                    continue
                dtype = PRECISIONS[precision]
                scaler = gradient_scaler(dtype, device)
                step = partial(train, theirs if is_torch else ours, executor, dtype, size, device, scaler)
                if is_torch:
                    step = partial(train_torch, cell, step, precision, device)
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
        multiply_adds[name] = sampling_multiply_adds(shapes(cell, size))
        if BASELINE in executors and cell.torch:
            run = partial(_torch_sampling, cache(partial(torch_model, cell, size, device)), size, device)
            candidates[Key(name, BASELINE, "float32")] = Candidate(partial(refuse_out_of_memory, run), amount)
        if any(executor not in TORCH for executor in executors):
            model = cache(partial(charlstm_model, cell, size, device))
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
