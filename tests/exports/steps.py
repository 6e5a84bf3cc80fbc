"""Steps of small random models and cells, with their logits, to compare exports with."""

from __future__ import annotations

import random
from typing import Any

import torch
from small_models import KINDS, V, model
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.cells import Cell
from charlstm.cells.base import relu, sigmoid, tanh
from charlstm.config import parse_config
from charlstm.executors.base import Weights
from charlstm.executors.buffers import joined_bias
from charlstm.executors.reference import Reference
from charlstm.exports.quantization import quantize
from charlstm.exports.step_weights import LayerWeights, StepWeights
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

SYMBOLS = tuple("\n abcd中")
IDS = [V, 3, 2, 2, 6, 0, 1, 5, 4, 3, 3, 0]
"""A text; the first id is "no character"."""
CONVOLUTION = {"front_end": "convolution", "embedding_size": 5, "filters": 4}
STEP_KINDS: list[dict[str, Any]] = [
    *KINDS,
    {"cell": "gru", **CONVOLUTION, "kernel_sizes": [1, 4], "highway": True},
    {"cell": "lstm", **CONVOLUTION, "kernel_sizes": [1]},
    {"cell": "gru", "front_end": "one_hot"},
    {"cell": "lstm", "front_end": "embedding", "embedding_size": 3, "num_layers": 1},
]


def run_of(vocabulary: Vocabulary | None = None, corpus: dict[str, Any] | None = None, **fields: Any) -> LoadedRun:
    """A run in memory, with random weights in float32."""
    settings = {
        "corpus": {"source": "/somewhere/a text.txt", **(corpus or {})},
        "model": {"hidden_size": 6, "num_layers": 2, **fields},
    }
    vocabulary = vocabulary or Vocabulary(SYMBOLS)
    config = parse_config(settings, "test")
    symbols = "".join(vocabulary.symbols)
    header = {
        "corpus_digest": "0",
        "lead_ins": [symbols[:3], symbols[1:4]] if config.corpus.documents is None else [],
        "versions": {"charlstm": "1", "torch": "2"},
        "parameters": 3,
    }
    if vocabulary.size == V:
        network = model(**fields)
    else:
        torch.manual_seed(3)
        network = LanguageModel(config.model, vocabulary.size)
    return LoadedRun(network.float().eval(), vocabulary, config, header, None)


def logits_of(run: LoadedRun, ids: list[int] = IDS) -> Tensor:
    """The logits [T, V] after each of the characters."""
    with torch.no_grad():
        logits: Tensor = run.model(torch.tensor(ids)[:, None])[0][:, 0]
    return logits


def step_of(cell: Cell, hidden_size: int = 5) -> tuple[StepWeights, Tensor]:
    """A layer of a cell that need not be registered, one-hot input and a head, with weights that 8 bits represent
    exactly; and the logits after each of ``IDS`` by the equations on tensors."""
    torch.manual_seed(1)
    shapes = cell.parameter_shapes(V, hidden_size)
    values = {name: torch.randn(shape) / 2 for name, shape in shapes.items()}
    values |= {name: quantize(t).dequantize() for name, t in values.items() if t.dim() == 2}
    plain = {name: values[name] for name in cell.parameters}
    weights = Weights(*(values[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), plain)
    head, head_bias = quantize(torch.randn(V, hidden_size)).dequantize(), torch.randn(V)
    bias = joined_bias(cell, values["bias_ih"], values["bias_hh"])
    assert bias is not None
    separate = values["bias_hh"].clone()
    separate[bias != values["bias_ih"]] = 0
    parts = {
        f"{name}.{entry}": part
        for name, entries in cell.parameters.items()
        for entry, part in zip(entries, values[name].chunk(len(entries)), strict=True)
    }
    layer = LayerWeights(values["weight_ih"], bias, values["weight_hh"], separate, parts)
    zeros = tuple(torch.zeros(1, hidden_size) for _ in cell.state)
    outputs, _ = Reference().run(cell, weights, torch.tensor(IDS)[:, None], zeros)
    return StepWeights(cell, [layer], head, head_bias, residual=False), (outputs[:, 0] @ head.t() + head_bias)


def _every_operator(x: Any, r: Any, h: Any, m: Any, scale: Any, rate: Any) -> Any:
    a = sigmoid(x.a + r.a)
    b = relu(-(x.b + r.b) + 0.25)
    c = tanh(x.c - 2 * r.c)
    d = relu(0.1 - x.d) * sigmoid(r.d * scale.u)
    keep = sigmoid(rate.w)
    m = keep * m + (1 - keep) * (c - b * scale.v) - 0.3
    return a * tanh(m) + d * m * h, m


def _matmul_of_the_new_state(x: Any, r: Any, h: Any, c: Any) -> Any:
    c = 0.5 * c + tanh(x.a + r.a)
    return tanh(x.b + r.of(c).b), c


def _matmul_of_the_input(x: Any, r: Any, h: Any, c: Any, p: Any) -> Any:
    return tanh(x.b - r.of(x.a).b + r.of(p.u).a) + h - (c - (h - c)), p.u


def random_cell(seed: int) -> Cell:
    """A cell with random equations, in which each operation may use any earlier value again."""
    rng = random.Random(seed)
    gates, state, entries = "abcd"[: rng.randint(1, 4)], "hcm"[: rng.randint(1, 3)], "uv"[: rng.randint(0, 2)]
    plan = [(rng.choice("+-*nstrgggo"), rng.random(), rng.random()) for _ in range(rng.randint(3, 12))]
    ends = [rng.random() ** 0.5 for _ in state]

    def equations(x: Any, r: Any, *rest: Any) -> Any:
        values, unused = [*rest[: len(state)], *(rest[len(state)][k] for k in entries)], list(gates)
        for kind, first, second in plan:
            a, b = values[int(first * len(values))], values[int(second * len(values))]
            if kind in "go" and unused:
                k = unused.pop()
                values.append(x[k] + r[k] if kind == "g" else tanh(r.of(sigmoid(a) * b)[k] - x[k]))
            elif kind in "+-*":
                values.append(a + b if kind == "+" else a - b if kind == "-" else a * tanh(b))
            else:
                values.append({"s": sigmoid, "n": lambda v: -v, "r": relu}.get(kind, tanh)(a))
        return tuple(values[int(0.999 * end * len(values))] for end in ends)

    return Cell(f"random{seed}", equations, gates, state, {"weight_extra": entries} if entries else {})


UNUSUAL = [
    Cell("every_operator", _every_operator, "abcd", "hm", {"scale": "uv", "weight_rate": "w"}),
    Cell("matmul_of_the_new_state", _matmul_of_the_new_state, "ab", "hc"),
    Cell("matmul_of_the_input", _matmul_of_the_input, "ab", "hc", {"weight_extra": "u"}),
    *map(random_cell, range(12)),
]
