from __future__ import annotations

import pytest

from charlstm.cells import CELLS
from charlstm.comparison.arms import ArmComparison, match_parameters, parameter_count
from charlstm.config import CompareConfig, ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel


@pytest.fixture
def make_arms(corpus_file, tmp_path):
    def make(arms, overwrite=False, **settings) -> ArmComparison:
        settings = {
            "corpus": {"source": str(corpus_file)},
            "model": {"hidden_size": 40},
            "training": {
                "batch_size": 4,
                "sequence_length": 20,
                "precision": "float32",
                "device": "cpu",
                "budget": {"steps": 2},
                "seed": 5,
            },
            "seeds": 2,
            "arms": arms,
            **settings,
        }
        return ArmComparison(CompareConfig.model_validate(settings), tmp_path / "versus", "versus", overwrite)

    return make


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"front_end": "embedding", "embedding_size": 7}], ids=str)
def test_parameter_count_is_that_of_a_real_model(cell, options):
    options = {} if cell.is_reservoir and "front_end" in options else options
    config = ModelConfig(cell=cell.base, hidden_size=13, **cell.options, **options)
    real = sum(p.numel() for p in LanguageModel(config, 29).parameters() if p.requires_grad)
    assert parameter_count(config, 29) == real


def test_only_readout_of_reservoir_counts_and_is_matched():
    reservoir = ModelConfig(cell="esn", hidden_size=50, num_layers=2)
    assert parameter_count(reservoir, 29) == 29 * 50 + 29
    target = parameter_count(ModelConfig(cell="rnn", hidden_size=40), 29)
    width = match_parameters(reservoir, 29, target).hidden_size
    assert abs(29 * (width + 1) - target) <= 29 / 2


@pytest.mark.parametrize("target", [1, 500, 12_345, 1_000_000])
@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_match_parameters_finds_the_nearest_width(cell, target):
    model = ModelConfig(cell=cell, num_layers=2)
    width = match_parameters(model, 29, target).hidden_size

    def miss(size):
        return abs(parameter_count(model.model_copy(update={"hidden_size": size}), 29) - target)

    assert miss(width) == min(miss(other) for other in range(max(1, width - 3), width + 4))


def test_matched_arms_agree_within_one_percent(make_arms):
    comparison = make_arms(
        {"rnn": {"model.cell": "rnn", "model.hidden_size": 300}, "gru": {"model.cell": "gru"}}, match="parameters"
    )
    size = comparison.corpus.vocabulary.size
    counts = {arm: parameter_count(model, size) for arm, model in comparison.models.items()}
    assert comparison.models["rnn"].hidden_size == 300
    assert abs(counts["gru"] - counts["rnn"]) <= 0.01 * counts["rnn"]
    assert comparison.arm_config("gru", 1).model == comparison.models["gru"]
    assert [f"{count:,} parameters" in line for line, count in zip(comparison.describe(), counts.values(), strict=True)]


def test_without_match_sizes_are_as_configured(make_arms):
    comparison = make_arms({"rnn": {"model.cell": "rnn"}, "gru": {"model.cell": "gru"}})
    assert {model.hidden_size for model in comparison.models.values()} == {40}


def test_size_that_cannot_be_matched_raises(make_arms):
    with pytest.raises(UserError, match=r"arm gru: no hidden_size gives .* within 1%"):
        make_arms(
            {"rnn": {"model.cell": "rnn", "model.hidden_size": 3}, "gru": {"model.cell": "gru"}}, match="parameters"
        )


def test_trials_have_same_seeds_text_and_order(make_arms):
    comparison = make_arms({"a": {"model.cell": "rnn"}, "b": {"training.learning_rate": 0.1}})
    trials = list(comparison.trials())
    assert [t.label for t in trials] == ["a, seed 5", "b, seed 5", "a, seed 6", "b, seed 6"]
    assert len({t.directory.path for t in trials}) == 4
    assert not any(t.done for t in trials)
    first, second = (t.trainer().streams for t in trials[:2])
    for _ in range(3):
        one, two = first.next_batch(), second.next_batch()
        assert (one.targets == two.targets).all()


def test_trial_with_other_settings_raises(make_arms):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trial = next(make_arms(arms).trials())
    list(trial.trainer().run())
    assert next(make_arms(arms).trials()).done
    assert not next(make_arms(arms, overwrite=True).trials()).done
    with pytest.raises(UserError, match=r"other settings.*--overwrite"):
        _ = next(make_arms(arms, model={"hidden_size": 41}).trials()).done


def test_stopped_trial_resumes(make_arms):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trainer = next(make_arms(arms).trials()).trainer()
    for event in trainer.run():
        if getattr(event, "step", 0) == 1:
            trainer.request_stop()
    trial = next(make_arms(arms).trials())
    assert not trial.done
    assert trial.trainer().counters.step == 1


def test_trial_without_checkpoint_starts_again(make_arms):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trial = next(make_arms(arms).trials())
    trial.directory.create(trial.config)
    trainer = next(make_arms(arms).trials()).trainer()
    assert trainer.counters.step == 0
    assert list(trainer.run())[-1].stop_reason == "budget"


def test_comparison_of_bytes_names_its_unit(make_arms, corpus_file):
    corpus = {"source": str(corpus_file), "encoding": "bytes"}
    comparison = make_arms({"a": {}, "b": {"model.cell": "rnn"}}, seeds=1, corpus=corpus)
    for trial in comparison.trials():
        list(trial.trainer().run())
    assert comparison.comparison().unit == "byte"


def test_comparison_lists_differences_and_results(make_arms):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    comparison = make_arms(arms, seeds=1)
    for trial in comparison.trials():
        list(trial.trainer().run())
    result = comparison.comparison()
    assert [(arm.name, len(arm.runs)) for arm in result.arms] == [("a", 1), ("b", 1)]
    assert "model.cell: lstm" in result.difference[0]
    assert "model.cell: rnn" in result.difference[1]
    (run,) = result.arms[1].runs
    assert run.finished
    assert run.causal
    assert run.settings["cell"] == "rnn"
    assert run.parameters == parameter_count(comparison.models["b"], comparison.corpus.vocabulary.size)
    assert [e.step for e in run.evaluations] == [2]
    assert run.evaluations[0].characters == run.characters == 160
    assert len(run.sample) == 400
