"""The learning-rate range test."""

from __future__ import annotations

import json
import math

import pytest
import torch

from charlstm.errors import UserError
from charlstm.run_report.range_report import sentence, table, write_range_report
from charlstm.text.statistics import text_statistics
from charlstm.training import range_test as module
from charlstm.training.range_test import RangeStep, lowest_rate, range_test, smoothed, suggested_rate
from charlstm.training.trainer import Trainer


def curve(loss):
    """Steps whose loss is a function of the decimal logarithm of the rate."""
    rates = [1e-5 * 10 ** (number / 50) for number in range(351)]
    return [RangeStep(number, rate, loss(math.log10(rate))) for number, rate in enumerate(rates)]


def test_rates_grow_exponentially_until_the_loss_diverges(make_config, corpus):
    steps = list(range_test(make_config(clip_grad_norm=None), corpus))
    assert [step.number for step in steps] == list(range(len(steps)))
    assert [step.rate for step in steps] == pytest.approx([1e-5 * 10 ** (n / 50) for n in range(len(steps))])
    assert steps[0].nats == pytest.approx(text_statistics(corpus).entropy_bits * math.log(2), abs=0.15)
    latest = [step.nats for step in steps[-13:]]
    assert len(steps) == 351 or sum(latest) / 13 > 1.1 * steps[0].nats
    assert min(smoothed(steps)) < 0.9 * steps[0].nats


def test_test_ends_at_the_first_diverged_step(make_config, corpus, monkeypatch):
    monkeypatch.setattr(module, "LOWEST", 1e4)
    steps = list(range_test(make_config(optimizer="sgd", clip_grad_norm=None), corpus))
    assert 1 <= len(steps) < 20
    assert all(math.isfinite(step.nats) for step in steps)


def test_steps_are_those_of_a_run(make_config, make_trainer, corpus, monkeypatch):
    monkeypatch.setattr(module, "STEPS_PER_DECADE", 1e9)  # the rate stays the same
    monkeypatch.setattr(module, "LOWEST", 1e-2)
    monkeypatch.setattr(module, "STEPS", 12)
    config = make_config(
        {"dropout": 0.2},
        learning_rate=1e-2,
        schedule="constant",
        warmup_steps=0,
        budget={"steps": 12},
        evaluate_every=1000,
    )
    steps = list(range_test(config, corpus))
    trainer = make_trainer(config)
    losses = []
    gradients = trainer.step.gradients

    def record(*arguments):
        loss_and_norm, carried = gradients(*arguments)
        losses.append(float(loss_and_norm[0]))
        return loss_and_norm, carried

    monkeypatch.setattr(trainer.step, "gradients", record)
    list(trainer.run())
    assert [step.nats for step in steps] == losses


def test_no_file_is_written(make_config, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "STEPS", 5)
    assert len(list(range_test(make_config(), corpus))) == 5
    assert list(tmp_path.iterdir()) == []


def test_suggestion_is_a_fraction_of_the_rate_of_the_lowest_loss():
    steps = curve(lambda rate: 2.0 + abs(rate + 1.3))  # lowest at 10 ** -1.3 = 0.05
    assert lowest_rate(steps) == pytest.approx(0.05, rel=0.03)
    assert suggested_rate(steps) == pytest.approx(0.05 / module.BELOW_MINIMUM, rel=0.06)
    assert f"{suggested_rate(steps):g}" in sentence(steps)


def test_single_low_loss_is_smoothed_away():
    steps = curve(lambda rate: 2.0 + abs(rate + 1.3))
    steps[150] = RangeStep(150, steps[150].rate, 1.9)
    assert lowest_rate(steps) == pytest.approx(0.05, rel=0.03)


def test_smoothed_loss_by_hand():
    steps = curve(lambda rate: rate * rate)
    nats = [step.nats for step in steps]
    curve_of_means = smoothed(steps)
    assert curve_of_means[0] == nats[0]
    assert curve_of_means[2] == pytest.approx(sum(nats[:5]) / 5)
    assert curve_of_means[100] == pytest.approx(sum(nats[94:107]) / 13)
    assert curve_of_means[-1] == nats[-1]


@pytest.mark.parametrize("steps", [[], curve(lambda _: 4.0), curve(lambda rate: 4.0 + rate)[::-1]])
def test_loss_that_does_not_fall_suggests_nothing(steps):
    if steps and steps[0].nats > steps[-1].nats:
        steps = [RangeStep(n, s.rate, 9.0 - s.nats) for n, s in enumerate(steps)]
    with pytest.raises(UserError, match="does not fall at any learning rate"):
        suggested_rate(steps)


def test_page_has_plot_and_table(tmp_path):
    steps = curve(lambda rate: 2.0 + abs(rate + 1.3))
    page, *others = write_range_report(steps, "mine", "character", "charlstm train mine.yaml --range-test", tmp_path)
    assert {path.name for path in others} == {"report.json", "range-test.png"}
    assert (tmp_path / "range-test.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert "could not be drawn" not in text
    assert "suggested 0.0" in text
    assert len(table(steps, "character")) == 1 + 36
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["suggested_learning_rate"] == suggested_rate(steps)
    assert len(record["steps"]) == 351


@pytest.mark.slow  # it trains nine networks
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_suggested_rate_trains_well(make_config, make_trainer, corpus, tmp_path, cell):
    def config(rate):
        model = {"cell": cell, "hidden_size": 32}
        return make_config(model, learning_rate=rate, warmup_steps=None, budget={"steps": 200}, evaluate_every=None)

    def score(rate):
        torch.manual_seed(0)
        trainer = make_trainer(config(rate), tmp_path / f"{rate:.3g}")
        assert isinstance(trainer, Trainer)
        return list(trainer.run())[-1].best_nats

    rate = suggested_rate(list(range_test(config(1e-3), corpus)))
    assert score(rate) < min(score(rate / 10), score(rate * 10)) + 0.02
