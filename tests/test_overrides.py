"""Dotted names have the same meaning and the same errors with --set, in an arm and in an experiment on memory."""

from __future__ import annotations

import pytest

from charlstm.config import CompareConfig, Document, MemoryConfig, parse_config, validate
from charlstm.config.overrides import override, with_value
from charlstm.config.wording import Problem
from charlstm.errors import UserError

SHARED = {"corpus": {"source": "a"}, "model": {"cell": "lstm"}, "training": {"budget": {"steps": 3}}}
RECALL = {"arms": ["a"], "lags": [5], "claims": []}


def by_set(changes):
    validate(type(parse_config(SHARED, "x")), Document("x", SHARED), [f"{k}={v}" for k, v in changes.items()])


def by_arm(changes):
    validate(CompareConfig, Document("x", {**SHARED, "arms": {"a": changes, "b": {}}}))


def by_experiment(changes):
    memory = {"shared": {"model.cell": "lstm"}, "arms": {"a": changes}, "experiments": {"recall": RECALL}}
    validate(MemoryConfig, Document("x", memory))


@pytest.mark.parametrize("way", [by_set, by_arm, by_experiment])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.cell.x", "model.cell is not a section: it has no field x"),
        ("model..cell", "write it as section.field"),
        ("model.cel", "unknown field. Did you mean cell?"),
        ("training", "expected a section"),
    ],
)
def test_each_way_says_the_same_of_a_name(way, name, expected):
    with pytest.raises(UserError) as caught:
        way({name: 3})
    assert expected in str(caught.value)


def test_sections_add_and_a_later_name_in_them_is_the_same_field():
    settings = {"model": {"cell": "gru"}, "training": {"budget": {"epochs": 1}}}
    changes = {"training": {"budget.steps": 9}, "model.hidden_size": 4, "model": None}
    changed = override(settings, changes)
    assert changed.settings == {
        "model": {"cell": "gru", "hidden_size": 4},
        "training": {"budget": {"epochs": 1, "steps": 9}},
    }
    assert changed.origin[("training", "budget", "steps")] == ("training", "budget.steps")
    assert changed.problems == []
    assert settings["training"] == {"budget": {"epochs": 1}}
    twice = override({}, {"model.cell": "rnn", "model": {"cell": "gru"}})
    assert twice.problems == [Problem(("model", "cell"), "set twice")]


def test_set_changes_a_field_that_an_arm_has_under_a_dotted_name():
    arm = {"model.cell": "gru", "training.learning_rate": 0.1, "training": {"budget.steps": 4}}
    data = {**SHARED, "arms": {"rate 0.5": arm, "other": {}}}
    changes = [
        "arms.rate 0.5.training.learning_rate=0.2",
        "arms.rate 0.5.training.budget.steps=9",
        "arms.rate 0.5.model.num_layers=2",
        "arms.new.model.cell=rnn",
    ]
    config = validate(CompareConfig, Document("x", data), changes)
    changed = {"training.learning_rate": 0.2, "training": {"budget.steps": 9}, "model.num_layers": 2}
    assert config.arms["rate 0.5"] == {**arm, **changed}
    assert config.arms["new"] == {"model": {"cell": "rnn"}}
    assert arm["training.learning_rate"] == 0.1
    arm_of_memory = with_value({"model.cell": "gru"}, ("initializations", "b"), {})
    assert arm_of_memory == {"model.cell": "gru", "initializations": {"b": {}}}, (
        "not a section of a run's configuration"
    )
