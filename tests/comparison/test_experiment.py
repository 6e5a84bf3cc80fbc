from __future__ import annotations

import pytest

from charlstm.cells import CELLS
from charlstm.comparison.experiment import Experiment, match_parameters, parameter_count
from charlstm.config import CompareConfig, ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel


@pytest.fixture
def make(corpus_file, tmp_path):
    def experiment(arms, overwrite=False, **settings) -> Experiment:
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
        return Experiment(CompareConfig.model_validate(settings), tmp_path / "versus", "versus", overwrite)

    return experiment


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"front_end": "embedding", "embedding_size": 7}], ids=str)
def test_parameter_count_is_that_of_a_real_model(cell, options):
    options = {} if cell.reservoir and "front_end" in options else options
    config = ModelConfig(cell=cell.base, hidden_size=13, **cell.options, **options)
    real = sum(p.numel() for p in LanguageModel(config, 29).parameters() if p.requires_grad)
    assert parameter_count(config, 29) == real


def test_only_the_readout_of_a_reservoir_counts_and_it_is_matched_by_that():
    reservoir = ModelConfig(cell="esn", hidden_size=50, num_layers=2)
    assert parameter_count(reservoir, 29) == 29 * 50 + 29
    goal = parameter_count(ModelConfig(cell="rnn", hidden_size=40), 29)
    width = match_parameters(reservoir, 29, goal).hidden_size
    assert abs(29 * (width + 1) - goal) <= 29 / 2


@pytest.mark.parametrize("goal", [1, 500, 12_345, 1_000_000])
@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_match_parameters_finds_the_nearest_width(cell, goal):
    model = ModelConfig(cell=cell, num_layers=2)
    found = match_parameters(model, 29, goal).hidden_size

    def miss(width):
        return abs(parameter_count(model.model_copy(update={"hidden_size": width}), 29) - goal)

    assert miss(found) == min(miss(width) for width in range(max(1, found - 3), found + 4))


def test_matched_arms_agree_within_one_percent(make):
    experiment = make(
        {"rnn": {"model.cell": "rnn", "model.hidden_size": 300}, "gru": {"model.cell": "gru"}}, match="parameters"
    )
    size = experiment.corpus.vocabulary.size
    counts = {arm: parameter_count(model, size) for arm, model in experiment.models.items()}
    assert experiment.models["rnn"].hidden_size == 300
    assert abs(counts["gru"] - counts["rnn"]) <= 0.01 * counts["rnn"]
    assert experiment.arm_config("gru", 1).model == experiment.models["gru"]
    assert [f"{count:,} parameters" in line for line, count in zip(experiment.describe(), counts.values(), strict=True)]


def test_without_match_the_file_decides(make):
    experiment = make({"rnn": {"model.cell": "rnn"}, "gru": {"model.cell": "gru"}})
    assert {model.hidden_size for model in experiment.models.values()} == {40}


def test_a_size_that_cannot_be_matched(make):
    with pytest.raises(UserError, match=r"arm gru: no hidden_size gives .* within 1%"):
        make({"rnn": {"model.cell": "rnn", "model.hidden_size": 3}, "gru": {"model.cell": "gru"}}, match="parameters")


def test_trials_share_seeds_text_and_order(make):
    experiment = make({"a": {"model.cell": "rnn"}, "b": {"training.learning_rate": 0.1}})
    trials = list(experiment.trials())
    assert [t.label for t in trials] == ["a, seed 5", "b, seed 5", "a, seed 6", "b, seed 6"]
    assert len({t.directory.path for t in trials}) == 4
    assert not any(t.finished for t in trials)
    first, second = (t.trainer().streams for t in trials[:2])
    for _ in range(3):
        one, two = first.next_batch(), second.next_batch()
        assert (one.targets == two.targets).all()


def test_a_finished_trial_is_not_trained_again_and_others_are_refused(make):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trial = next(make(arms).trials())
    list(trial.trainer().run())
    assert next(make(arms).trials()).finished
    assert not next(make(arms, overwrite=True).trials()).finished
    with pytest.raises(UserError, match=r"other settings.*--overwrite"):
        _ = next(make(arms, model={"hidden_size": 41}).trials()).finished


def test_a_trial_goes_on_where_it_was_stopped(make):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trainer = next(make(arms).trials()).trainer()
    for event in trainer.run():
        if getattr(event, "step", 0) == 1:
            trainer.request_stop()
    trial = next(make(arms).trials())
    assert not trial.finished
    assert trial.trainer().counters.step == 1


def test_a_trial_that_never_saved_begins_anew(make):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    trial = next(make(arms).trials())
    trial.directory.create(trial.config)
    trainer = next(make(arms).trials()).trainer()
    assert trainer.counters.step == 0
    assert list(trainer.run())[-1].why == "budget"


def test_the_comparison_says_what_differs(make):
    arms = {"a": {}, "b": {"model.cell": "rnn"}}
    experiment = make(arms, seeds=1)
    for trial in experiment.trials():
        list(trial.trainer().run())
    comparison = experiment.comparison()
    assert [(arm.name, len(arm.runs)) for arm in comparison.arms] == [("a", 1), ("b", 1)]
    assert "model.cell: lstm" in comparison.difference[0]
    assert "model.cell: rnn" in comparison.difference[1]
    (run,) = comparison.arms[1].runs
    assert run.finished
    assert run.causal
    assert run.settings["cell"] == "rnn"
    assert run.parameters == parameter_count(experiment.models["b"], experiment.corpus.vocabulary.size)
    assert [e.step for e in run.evaluations] == [2]
    assert run.evaluations[0].characters == run.characters == 160
    assert len(run.sample) == 400
