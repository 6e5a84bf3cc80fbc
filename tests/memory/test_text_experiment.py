"""The parts of the experiment on a real text, on losses that are known."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm.config import CorpusConfig, MemoryConfig
from charlstm.errors import UserError
from charlstm.memory.experiments.text.context import ContextUse
from charlstm.memory.experiments.text.dependencies import DependencyLosses
from charlstm.memory.experiments.text.learning import _leaders
from charlstm.memory.experiments.text.passages import Passages, leading_passages
from charlstm.memory.experiments.text.state import StateMeasures
from charlstm.memory.experiments.text.training import TrainingDynamics
from charlstm.memory.experiments.text.units import UnitAblations

LN2 = np.log(2)
GRID = SimpleNamespace(diverged_seeds=lambda _: [])


def make_config(**text) -> MemoryConfig:
    fields = {
        "arms": ["gru", "rnn"],
        "corpus": {"source": "x.txt", "test_fraction": 0.1},
        "dependency_positions": 100,
        "passage_characters": 400,
        **text,
    }
    return MemoryConfig.model_validate(
        {
            "seeds": 3,
            "shared": {"training.budget.steps": 60},
            "arms": {"gru": {"model.cell": "gru"}, "rnn": {"model.cell": "rnn"}},
            "experiments": {"text": fields},
        }
    )


def results(values: list) -> list[SimpleNamespace]:
    return [SimpleNamespace(result=lambda value=value: value) for value in values]


def test_difference_at_dependent_characters(monkeypatch, undrawn_plots):
    """The GRU is better by 0.5 bits at distances up to 9, and as good further away."""
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (2, 100))

    def loss(arm: str, seed: int) -> dict:
        gains = (0.5 * LN2, 0.0) if arm == "gru" else (0.0, 0.0)
        bins = [
            {"low": low, "high": high, "count": 100, "nats": (2 + row + 0.01 * seed - gain).tolist()}
            for (low, high), row, gain in zip(((1, 9), (10, 19)), noise, gains, strict=True)
        ]
        return {"closing quote": [*bins, {"low": 20, "high": 49, "count": 3, "nats": [1.0] * 3}]}

    monkeypatch.setattr(DependencyLosses, "_jobs", lambda _, arm: results([loss(arm, seed) for seed in range(3)]))
    monkeypatch.setattr(DependencyLosses, "_ngram", lambda _: results([loss("ngram", 0)])[0])
    with undrawn_plots():
        part = DependencyLosses(make_config(), GRID, {"gru": None, "rnn": None})
        result = part.result()
    section = result.section
    assert [name for name, _ in result.metrics] == [
        "bits minus rnn: closing quote, 1 to 9 characters",
        "bits minus rnn: closing quote, 10 to 19 characters",
    ]
    assert {name for name, _ in result.metrics} <= set(part.metric_names())
    assert "bits minus rnn: repeated word, 1000 characters or more" in part.metric_names()
    assert "bits minus rnn: new word, none earlier" in part.metric_names()
    (metric, _) = result.metrics.values()
    assert (metric.low, metric.value, metric.high) == pytest.approx((-0.5,) * 3)
    quotes = section.data["dependencies"]["closing quote"]
    assert quotes["distances"] == ["1–9", "10–19"], "three positions are too few"
    assert list(quotes["bits_minus_baseline"]) == ["gru"]
    near, far = quotes["bits_minus_baseline"]["gru"]
    assert near == pytest.approx((-0.5,) * 3)
    assert far == pytest.approx((0,) * 3)
    (table,) = section.tables
    assert [row[:2] for row in table.rows] == [["1–9", "100 of 100"], ["10–19", "100 of 100"]]


def test_differences_are_of_the_same_seeds():
    """The GRU diverged with the first seed, the RNN with the second: one pair is left."""
    diverged = {"gru": [1], "rnn": [2]}
    grid = SimpleNamespace(diverged_seeds=lambda arms: sorted({seed for arm in arms for seed in diverged[arm]}))
    part = ContextUse(make_config(), grid, {"gru": "gru", "rnn": "rnn"})
    nats = {"gru": np.array([[2.0, 20.0], [3.0, 30.0]]), "rnn": np.array([[0.1, 0.2], [0.3, 0.4]])}
    np.testing.assert_allclose(part._minus(nats, "gru", "rnn"), [[2.7, 29.6]])
    metric = part._difference(part._minus(nats, "gru", "rnn"), "gru", "rnn")
    assert metric.reason == "2 of 3 seeds without a value"


def test_loss_of_a_changed_far_context(monkeypatch):
    """Cut off, the far context costs 0.5 bits with 10 characters left; shuffled, 0.2; replaced, 0.1."""
    costs = {"cut": 0.5, "shuffled": 0.2, "replaced": 0.1}
    noise = np.random.default_rng(2).normal(3, 1, 200)

    def far(_: ContextUse, arm: str, change: str) -> list[SimpleNamespace]:
        rows = [noise + LN2 * costs[change], noise]
        return results([{"nats": (np.stack(rows) + 0.1 * seed).tolist()} for seed in range(3)])

    monkeypatch.setattr(ContextUse, "_far_contexts", far)
    monkeypatch.setattr(ContextUse, "_contexts", lambda *_: results([{"blocks": [2.0, 2.1]}] * 3))
    config = make_config(context_lengths=[10, 100], far_lengths=[10])
    part = ContextUse(config, GRID, {"gru": None, "rnn": None})
    metrics = part._metrics()
    for name, bits in {
        "bits lost beyond 10 characters": 0.5,
        "bits lost beyond 10 characters to other text": 0.1,
    }.items():
        metric = metrics[name, "gru"]
        assert (metric.low, metric.value, metric.high) == pytest.approx((bits,) * 3)
        assert name in part.metric_names()
    assert "bits lost beyond 100 characters" not in part.metric_names()
    table = part._far_table()
    assert table.header == ["arm", "before them", "10 left"]
    assert [row[2] for row in table.rows] == ["+0.500 ± 0.000", "+0.200 ± 0.000", "+0.100 ± 0.000"] * 2


def test_units_with_the_largest_effect(monkeypatch):
    change, elsewhere = np.zeros((1, 5)), np.zeros((1, 5))
    change[0, 3], change[0, 1], elsewhere[0, 3] = LN2, 0.5 * LN2, 0.01 * LN2
    result = {
        "quote": {"count": 40, "loss": 2 * LN2, "change": change.tolist(), "change_elsewhere": elsewhere.tolist()}
    }
    monkeypatch.setattr(UnitAblations, "_job", lambda *_: results([result])[0])
    (table,) = UnitAblations(make_config(), GRID, {"gru": None}).result().section.tables
    assert table.rows[0] == ["gru", "closing quote", "40", "2.000", "3", "+1.000", "+0.0100"]
    assert table.rows[1][4:6] == ["1", "+0.500"]


def test_what_the_state_retains(monkeypatch):
    capacity = [{"state": {"capacity": 5.0 + seed}, "last_character": {"capacity": 1.0}} for seed in range(3)]
    dynamics = [{"largest": 2.0, "median": 0.5, "exponents": [[-0.1], [-0.3]]}] * 3
    monkeypatch.setattr(StateMeasures, "_capacities", lambda *_: results(capacity))
    monkeypatch.setattr(StateMeasures, "_dynamics", lambda *_: results(dynamics))
    result = StateMeasures(make_config(capacity_delays=5), GRID, {"gru": None}).result()
    (table,) = result.section.tables
    assert table.rows == [["gru", "6.000 characters", "1.00", "2.00", "0.500", "-0.200 nats per character"]]
    assert result.metrics["memory capacity", "gru"].low < 6 < result.metrics["memory capacity", "gru"].high


def test_seed_with_an_exponent_of_minus_infinity_has_no_mean_exponent(monkeypatch):
    capacity = [{"state": {"capacity": 5.0}, "last_character": {"capacity": 1.0}}] * 3
    exponents = [[[-0.1], [-0.3]], [[-0.1], [None]], [[-0.1], [-0.3]]]
    dynamics = [{"largest": 2.0, "median": 0.5, "exponents": one} for one in exponents]
    monkeypatch.setattr(StateMeasures, "_capacities", lambda *_: results(capacity))
    monkeypatch.setattr(StateMeasures, "_dynamics", lambda *_: results(dynamics))
    metrics = StateMeasures(make_config(capacity_delays=5), GRID, {"gru": None}).result().metrics
    assert metrics["largest Lyapunov exponent", "gru"].reason == "1 of 3 seeds without a value"


def test_what_changes_in_the_first_steps(undrawn_plots):
    """The RNN has no half-life; its second seed diverged, and its third has no record after step 9."""

    def records(depth: int, half_life: float | None) -> list[dict]:
        fields = {"half_life": half_life, "state_rms": 0.5, "constant_fraction": 0.25}
        return [{"step": n, "depth": depth * (n + 1), **fields} for n in (0, 5, 9)]

    dynamics = {
        "gru": [records(depth, 3.0 * depth) for depth in (2, 4, 6)],
        "rnn": [records(1, None), records(99, None), records(3, None)[:1]],
    }
    grid = SimpleNamespace(
        dynamics=dynamics.get,
        judged_seeds=[1, 2, 3],
        diverged_seeds=lambda arms: [2] if arms == ["rnn"] else [],
    )
    config = make_config(gradient_depth=40, training_steps=[9, 0])
    with undrawn_plots():
        part = TrainingDynamics(config, grid, {"gru": "gru", "rnn": "rnn"})
        result = part.result()
    rows = {table.caption.split(",")[0].split(":")[0]: table.rows for table in result.section.tables}
    assert rows["Depth on text"] == [["gru", "4", "40"], ["rnn", "2", "10"]]
    assert rows["Longest half-life"] == [["gru", "12", "12"]]
    metrics = result.metrics
    assert {name for name, _ in metrics} <= set(part.metric_names())
    assert metrics["depth on text after 9 steps", "gru"].text == "40 characters or more"
    assert metrics["depth on text after 9 steps", "rnn"].reason == "2 of 3 seeds without a value"
    assert metrics["constant fraction of h after 0 steps", "rnn"].value == 0.25
    assert ("longest half-life after 0 steps", "rnn") not in metrics


def test_training_steps_need_a_gradient_depth():
    with pytest.raises(ValueError, match="training_steps: needs gradient_depth above 0"):
        make_config(training_steps=[10])


def test_passages_with_the_largest_gain_do_not_overlap():
    gains = np.zeros(100)
    gains[20:30], gains[25], gains[60:70] = 1.0, 2.0, 0.8
    found = leading_passages(gains, 10, 3)
    assert found[:2] == [(20, pytest.approx(1.1)), (60, pytest.approx(0.8))]
    starts = sorted(start for start, _ in found)
    assert all(b - a >= 10 for a, b in pairwise(starts))
    assert len(leading_passages(gains[:25] + 0.01, 10, 9)) == 2
    assert leading_passages(np.zeros(25), 10, 9) == []


def test_passages_are_of_the_best_arm_and_of_the_baseline(monkeypatch):
    text = "".join(chr(97 + index % 26) for index in range(400))
    nats = {"gru": np.full(400, 1.0), "rnn": np.full(400, 1.2)}
    nats["rnn"][200:280] = 2.0
    nats["rnn"][300:380] = 0.5

    def losses(_: Passages, arm: str) -> list[SimpleNamespace]:
        return results([{"text": text, "nats": (nats[arm] + shift).tolist()} for shift in (-0.1, 0.0, 0.1)])

    monkeypatch.setattr(Passages, "_jobs", losses)
    section = Passages(make_config(), GRID, {"gru": None, "rnn": None}).result().section
    assert [sample.title for sample in section.samples] == ["gru leads"] * 3 + ["rnn leads"]
    assert section.samples[0].text.endswith(f"[{text[200:280]}]")
    assert section.samples[0].note == "1.44 bits per character better than rnn"
    assert section.samples[3].text.endswith(f"[{text[300:380]}]")


def test_leaders_over_training():
    curves = {"gru": {10: 3.0, 20: 2.2, 30: 1.0, 40: 0.9}, "rnn": {10: 2.5, 20: 2.1, 30: 1.5, 40: 1.4}}
    assert _leaders([10, 20, 30, 40], curves) == [
        "Lowest mean loss at two evaluations or more: rnn from 10 characters on, then gru from 30 characters on."
    ]
    assert _leaders([10], {"gru": {10: 1.0}}) == []


def test_leader_that_is_overtaken_for_one_evaluation_is_named_once():
    curves = {"rnn": dict.fromkeys(range(6), 2.0), "gru": {0: 1.0, 1: 1.0, 2: 3.0, 3: 1.0, 4: 1.0, 5: 1.0}}
    (line,) = _leaders([*range(6)], curves)
    assert line == "Lowest mean loss at two evaluations or more: gru from 0 characters on."


def test_runs_of_the_search_have_its_settings():
    config = make_config(search={"training": {"budget": {"steps": 7}}})
    steps = {
        seed: config.run_config("text", "gru", CorpusConfig(source="x.txt"), 0.01, seed).training.budget.steps
        for seed in (1, 3, 1001)
    }
    assert steps == {1: 60, 3: 60, 1001: 7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"search": {"training": {"budget": {"steps": 0}}}}, "in text: training.budget.steps"),
        ({"search": {"traning.seed": 1}}, "in text: traning"),
        ({"search": {"model.hidden_size": 8}}, "must have the same model"),
        ({"context_lengths": [1, 5], "far_lengths": [5]}, "below the longest of context_lengths"),
        ({"baseline_arm": "lstm"}, "lstm is not one of text.arms"),
        ({"ablated_arms": ["rnn"], "arms": ["gru"]}, "rnn is not one of text.arms"),
        ({"corpus": {"source": "x.txt"}}, "set test_fraction"),
        ({"corpus": {"source": "x.txt", "test_fraction": 0.1, "validation_fraction": 0.0}}, "selected by held-out sc"),
    ],
)
def test_invalid_settings_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        make_config(**text)


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ({}, "there is none"),
        ({"gradient": {"arms": ["rnn"]}}, "needs the experiment recall"),
        ({"surgery": {"arms": ["rnn"]}}, "needs the experiment recall"),
        ({"gates": {"recall_arms": ["rnn"]}}, "needs the experiment recall"),
    ],
)
def test_experiments_that_need_recall(experiments, message):
    with pytest.raises((ValueError, UserError), match=message):
        MemoryConfig.model_validate({"arms": {"rnn": {"model.cell": "rnn"}}, "experiments": experiments})
