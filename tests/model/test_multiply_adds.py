"""Multiply-adds against torch's FLOP counter on the reference executor, and against counts by hand."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.model.multiply_adds import sampling_multiply_adds, training_multiply_adds

V, H, E = 11, 6, 5


def make(cell: str, layers: int = 1) -> LanguageModel:
    c = CELLS[cell]
    fields = {"hidden_size": H, "num_layers": layers, "executor": "reference"}
    if not c.is_reservoir:
        fields["embedding_size"] = E
    return LanguageModel(ModelConfig.model_validate({"cell": c.base, **c.options, **fields}), V)


def counted(model: LanguageModel, batch: int, steps: int) -> int:
    ids = torch.randint(V, (steps + 1, batch))
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(ids[:-1])[0].flatten(0, 1), ids[1:].flatten()).backward()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "batch", "steps"), [(1, 4, 7), (2, 3, 5), (3, 2, 2)])
def test_training_count_equals_torchs_flop_counter(cell, layers, batch, steps):
    model = make(cell, layers)
    more = counted(model, batch, steps) - training_multiply_adds(model, batch, steps)
    if "r.of(" in inspect.getsource(CELLS[cell].equations):  # its gate needs a gradient at the first step, too
        assert 0 < more < layers * batch * H * H * len(CELLS[cell].gates)
    else:
        assert more == 0


@pytest.mark.parametrize("frozen", ["front_end", "head.weight", "recurrent.weight_hh_l0", "recurrent.weight_ih_l1"])
def test_frozen_parameters_are_not_counted(frozen):
    model = make("lstm", 2)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    assert training_multiply_adds(model, 3, 5) == counted(model, 3, 5)


def test_only_the_head_is_trained():
    model = make("rnn")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    B, T = 2, 7
    assert training_multiply_adds(model, B, T) == V * E * H + B * T * H * H + 2 * B * T * H * V == counted(model, B, T)


def test_lstm_by_hand():
    B, T = 4, 7
    table, recurrent, head = V * 4 * H * E, B * 4 * H * H, B * T * H * V
    assert training_multiply_adds(make("lstm"), B, T) == 3 * table + recurrent * (T + T + T - 1) + 3 * head


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("gru_reset_before", 3), ("rnn", 1)])
def test_sampling_by_hand(cell, gates):
    assert sampling_multiply_adds(make(cell)) == gates * H * H + H * V
    assert sampling_multiply_adds(make(cell, 3)) == gates * H * H * 5 + H * V


def test_sampling_count_equals_torchs_flop_counter():
    model = make("peephole", 2)
    model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, dtype=torch.int64))
    embedded = 4 * H * E  # a single step multiplies its embedding; sampling uses a table
    assert sampling_multiply_adds(model) == counter.get_total_flops() // 2 - embedded
