"""Whether an NVIDIA GPU may round: torch's switches, which can be set without one."""

from __future__ import annotations

import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.executors.precision import float32_products
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode

CUDA = torch.device("cuda")


def switches():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.rnn.fp32_precision


ROUNDED, WHOLE = ("tf32", "tf32"), ("ieee", "ieee")


def test_they_hold_for_the_block_and_are_then_as_they_were():
    before = switches()
    with float32_products(CUDA, rounded=True):
        assert switches() == ROUNDED
        with float32_products(CUDA, rounded=False):
            assert switches() == WHOLE
        assert switches() == ROUNDED
    assert switches() == before
    assert torch.get_float32_matmul_precision() == "highest"  # raises where old and new switches disagree
    with pytest.raises(KeyError), float32_products(CUDA, rounded=False):
        raise KeyError
    assert switches() == before


def test_the_cpu_is_left_alone():
    before = switches()
    with float32_products(torch.device("cpu"), rounded=True):
        assert switches() == before


def test_an_evaluation_is_whole_within_a_training_that_rounds(monkeypatch):
    model = LanguageModel(ModelConfig(hidden_size=3), 5)
    monkeypatch.setattr(type(model.head.weight), "device", property(lambda _: CUDA))
    with float32_products(CUDA, rounded=True), eval_mode(model):
        assert switches() == WHOLE
