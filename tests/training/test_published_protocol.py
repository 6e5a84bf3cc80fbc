"""The ready comparison that follows a paper has the rates, the initialization and the optimizer of the paper."""

from __future__ import annotations

import pytest

from charlstm.config import Config, load_comparison
from charlstm.config.ready import ready_config
from charlstm.model import LanguageModel
from charlstm.optimization import make_optimizer
from charlstm.training.schedule import Schedule

COMPARISON = load_comparison(ready_config("karpathy-2015"))
V = 83


@pytest.fixture(params=COMPARISON.arms)
def config(request) -> Config:
    return COMPARISON.arm_config(request.param, 0)


def test_rate_falls_at_the_end_of_each_epoch_from_the_tenth_on(config):
    schedule, steps_per_epoch, rate = Schedule(config.training), 7, 2e-3
    for step in range(50 * steps_per_epoch):
        epoch, within = divmod(step, steps_per_epoch)
        if within == 0 and epoch >= 10:
            rate *= 0.95
        assert schedule.rate(step, step / steps_per_epoch, step / 350) == pytest.approx(rate, rel=1e-12)
    assert rate == pytest.approx(2e-3 * 0.95**40)


def test_weights_and_optimizer(config):
    model = LanguageModel(config.model, V)
    assert all(0.05 < p.abs().max() <= 0.08 for p in model.parameters())
    assert model.recurrent.weight_ih_l0.shape[1] == V
    assert model.recurrent.cell.name in ("rnn", "lstm", "gru_reset_before")
    for group in make_optimizer(config.training, model).param_groups:
        assert (group["alpha"], group["momentum"], group["weight_decay"]) == (0.95, 0, 0)
