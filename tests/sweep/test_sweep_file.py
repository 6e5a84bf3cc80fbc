"""Sweep files: their base, their candidates, their problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.config import dump_yaml, load_sweep, read_unchecked
from charlstm.errors import UserError

BASE = """\
name: base
corpus: {source: text.txt}
model: {cell: lstm, hidden_size: 24, forget_bias: 2}
training: {batch_size: 16, evaluate_every: 100, sample_length: 5, budget: {epochs: 2}}
"""
FILE = """\
base: base.yaml
training: {budget: {steps: 40}, seed: 5}
space:
  model.cell: [lstm, rnn]
  model.forget_bias: [0, 1]
  training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}
trials: 8
seeds: 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text=FILE, name="sweep.yaml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    write(BASE, "base.yaml")
    (tmp_path / "text.txt").write_text("a text", encoding="utf-8")
    return write


def test_base_is_changed_by_the_sections_of_the_file(write, tmp_path):
    sweep = load_sweep(write())
    config = sweep.trial_config(1, 1)
    assert (config.training.batch_size, config.model.hidden_size) == (16, 24)
    assert (config.training.budget.steps, config.training.budget.epochs) == (40, None)
    assert (config.training.seed, config.training.evaluate_every, config.training.sample_length) == (6, None, 0)
    assert config.corpus.source == str(tmp_path / "text.txt")
    assert config.name is None


def test_base_may_be_overridden(write):
    write(BASE.replace("batch_size: 16", "batch_size: 8"), "other.yaml")
    assert load_sweep(write(), ["base=other.yaml"]).trial_config(1, 0).training.batch_size == 8
    with pytest.raises(UserError, match="base: there is no file"):
        load_sweep(write(), ["base=none.yaml"])


def test_option_without_effect_is_left_out_of_the_candidate(write):
    sweep = load_sweep(write())
    assert len(sweep.candidates) == 8
    for number, candidate in enumerate(sweep.candidates, start=1):
        config = sweep.trial_config(number, 0)
        assert config.model.cell == candidate["model.cell"]
        assert config.training.learning_rate == candidate["training.learning_rate"]
        assert ("model.forget_bias" in candidate) == (config.model.cell == "lstm")
        if config.model.cell == "lstm":
            assert config.model.forget_bias == candidate["model.forget_bias"]
    assert {candidate["model.cell"] for candidate in sweep.candidates} == {"lstm", "rnn"}


def test_recorded_settings_are_read_back_equal(write, tmp_path):
    sweep = load_sweep(write())
    record = write(dump_yaml(sweep).replace("base: base.yaml", "base: null"), "record.yaml")
    again = load_sweep(record)
    assert again.candidates == sweep.candidates
    assert again.trial_config(3, 1) == sweep.trial_config(3, 1)
    assert read_unchecked(record)["space"]["training.learning_rate"] == {"min": 0.001, "max": 0.03, "scale": "log"}


def test_default_number_of_trials_is_at_most_the_space(write):
    text = FILE.replace("trials: 8\n", "").replace("  training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}\n", "")
    assert len(load_sweep(write(text)).candidates) == 3
    assert len(load_sweep(write(FILE.replace("trials: 8\n", ""))).candidates) == 20


def changed(old, new):
    assert old in FILE
    return FILE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (changed("rate: {min", "rat: {min"), "sweep.yaml:6: space.training.learning_rat: unknown field. Did you mean"),
        (changed("[lstm, rnn]", "[lstm, gruu]"), "sweep.yaml:4: space.model.cell: expected capped | coupled | esn | "),
        (
            changed("[0, 1]", "3"),
            "sweep.yaml:5: space.model.forget_bias: expected a list of values or a range, found 3. ",
        ),
        (changed("[0, 1]", "[1, 1]"), "sweep.yaml:5: space.model.forget_bias: expected a list of different values"),
        (
            changed("max: 3e-2", "max: 1e-4"),
            "sweep.yaml:6: space.training.learning_rate: expected min below max, found",
        ),
        (changed("min: 1e-3", "min: 0"), "sweep.yaml:6: space.training.learning_rate: scale: log needs min above 0"),
        (
            changed("scale: log", "skale: log"),
            "sweep.yaml:6: space.training.learning_rate.skale: unknown field. Did you",
        ),
        (
            changed("model.cell", "model"),
            "sweep.yaml:4: space.model: this is a section: write its fields as dotted names",
        ),
        (
            changed("training.learning_rate", "training.seed"),
            "sweep.yaml:6: space.training.seed: all trials share their",
        ),
        (
            changed("training.learning_rate", "training.budget.steps"),
            "space.training.budget.steps: all trials have the",
        ),
        (changed("training.learning_rate", "corpus.lowercase"), "space.corpus.lowercase: all trials share one text"),
        (
            changed("seed: 5", "evaluate_every: 5"),
            "sweep.yaml:2: training.evaluate_every: has no effect: every trial is",
        ),
        (changed("model.forget_bias: [0, 1]", "model.leak_rate: [0.5]"), "space.model.leak_rate: has no effect in any"),
        (
            changed("seeds: 2", "rungs: [0.15]"),
            "sweep.yaml:8: rungs: expected ascending multiples of 0.1 between 0 and 1",
        ),
        (changed("seeds: 2", "rungs: [0.3, 0.1]"), "sweep.yaml:8: rungs: expected ascending multiples of 0.1"),
        (changed("seeds: 2", "rungs: [0.5, 1.0]"), "sweep.yaml:8: rungs: expected ascending multiples of 0.1"),
        (
            changed("seeds: 2", "method: grid"),
            "sweep.yaml:6: space.training.learning_rate.count: method: grid needs it",
        ),
        (changed("scale: log", "count: 4"), "sweep.yaml:6: space.training.learning_rate.count: has no effect without"),
        (
            changed("  training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}\n", ""),
            "has only 3 different candidates",
        ),
        (changed("trials: 8", "trails: 8"), "sweep.yaml:7: trails: unknown field. Did you mean trials?"),
        (changed("seed: 5", "warmup_steps: -5"), "sweep.yaml:2: training.warmup_steps: expected whole number >= 0"),
        (changed("base: base.yaml", "base: bass.yaml"), "sweep.yaml:1: base: there is no file"),
    ],
)
def test_problem_names_its_line(write, text, problem):
    with pytest.raises(UserError) as raised:
        load_sweep(write(text))
    assert problem in str(raised.value)


def test_grid_refuses_a_number_of_trials(write):
    text = changed("scale: log", "scale: log, count: 3").replace("seeds: 2", "method: grid")
    with pytest.raises(UserError, match=r"sweep\.yaml:7: trials: has no effect with method: grid"):
        load_sweep(write(text))
    assert len(load_sweep(write(text.replace("trials: 8\n", ""))).candidates) == 9


def test_grid_of_too_many_combinations_is_refused(write):
    text = changed("scale: log", "scale: log, count: 1000").replace("seeds: 2", "method: grid")
    text = text.replace("trials: 8\n", "")
    text = text.replace("model.forget_bias: [0, 1]", "model.forget_bias: {min: 0, max: 1, count: 11}")
    with pytest.raises(UserError, match=r"sweep\.yaml:3: space: method: grid makes 22,000 combinations of the values"):
        load_sweep(write(text))


def test_range_of_whole_numbers_has_whole_ends(write):
    text = changed("training.learning_rate: {min: 1e-3", "model.hidden_size: {min: 1.5")
    with pytest.raises(UserError, match=r"space\.model\.hidden_size: model\.hidden_size takes whole numbers"):
        load_sweep(write(text.replace("3e-2", "8")))


@pytest.mark.parametrize("ends", ["min: -1e308, max: 1e308", "min: 1e-300, max: 1e300, scale: log"])
def test_range_that_is_too_wide_is_refused(write, ends):
    text = changed("training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}", f"training.weight_decay: {{{ends}}}")
    with pytest.raises(UserError, match=r"sweep\.yaml:6: space\.training\.weight_decay: a range from .* is too wide"):
        load_sweep(write(text))


def test_problem_of_the_base_names_its_line(write):
    write(BASE.replace("batch_size: 16", "batch_size: 0"), "base.yaml")
    with pytest.raises(UserError, match=r"base\.yaml:4: training\.batch_size: expected whole number"):
        load_sweep(write())


def test_unused_shared_option_is_refused(write):
    text = FILE.replace("base: base.yaml", "corpus: {source: text.txt}\nmodel: {leak_rate: 0.5}")
    with pytest.raises(UserError, match=r"sweep\.yaml:2: model\.leak_rate: has no effect in any trial"):
        load_sweep(write(text))


def test_set_changes_a_field_of_the_space(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "corpus: {source: a.txt}\nmethod: grid\nrungs: []\n"
        "space: {model.cell: [lstm, gru], training.learning_rate: [0.1, 0.2]}\n"
    )
    sweep = load_sweep(file, ["space.model.cell=[rnn]", "space.training.learning_rate=[0.3]"])
    assert sweep.candidates == [{"model.cell": "rnn", "training.learning_rate": 0.3}]
