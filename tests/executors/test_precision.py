"""The precision of float32 matmuls: torch's settings, which can be changed without a GPU."""

from __future__ import annotations

import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.executors.precision import float32_matmul_precision, flush_subnormals
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode

CUDA = torch.device("cuda")


def settings():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.rnn.fp32_precision


TF32, IEEE = ("tf32", "tf32"), ("ieee", "ieee")


def test_settings_hold_within_the_block_only():
    before = settings()
    with float32_matmul_precision(CUDA, tf32=True):
        assert settings() == TF32
        with float32_matmul_precision(CUDA, tf32=False):
            assert settings() == IEEE
        assert settings() == TF32
    assert settings() == before
    assert torch.get_float32_matmul_precision() == "highest"  # raises if old and new settings disagree
    with pytest.raises(KeyError), float32_matmul_precision(CUDA, tf32=False):
        raise KeyError
    assert settings() == before


def test_settings_are_unchanged_for_the_cpu():
    before = settings()
    with float32_matmul_precision(torch.device("cpu"), tf32=True):
        assert settings() == before


def test_evaluation_does_not_round_during_training(monkeypatch):
    model = LanguageModel(ModelConfig(hidden_size=3), 5)
    monkeypatch.setattr(type(model.head.weight), "device", property(lambda _: CUDA))
    with float32_matmul_precision(CUDA, tf32=True), eval_mode(model):
        assert settings() == IEEE


def half_of_the_smallest_normal_number():
    return float(torch.tensor(torch.finfo(torch.float32).tiny) * 0.5)


def test_subnormal_numbers_are_zero_within_the_block_only():
    before = half_of_the_smallest_normal_number()
    with flush_subnormals(), flush_subnormals():
        assert half_of_the_smallest_normal_number() == 0
    assert half_of_the_smallest_normal_number() == before > 0
    with pytest.raises(KeyError), flush_subnormals():
        raise KeyError
    assert half_of_the_smallest_normal_number() == before


def test_evaluation_flushes_subnormal_numbers():
    with eval_mode(LanguageModel(ModelConfig(hidden_size=3), 5)):
        assert half_of_the_smallest_normal_number() == 0
