"""Evaluations that score a sample of the validation split: its size, the same each time, and the whole at the end."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from test_checkpoint_manager import assert_same

from charlstm.api import load
from charlstm.checkpoints.format import load_checkpoint
from charlstm.cli.train_output import plan_of_evaluations
from charlstm.comparison.collect import read_run
from charlstm.config import TrainingConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character, score
from charlstm.evaluation.sampled import score_of_sample
from charlstm.run_report.curves import read_curves
from charlstm.run_report.event_files import points
from charlstm.runs.listing import summarize
from charlstm.runs.metrics import best_score
from charlstm.text.corpus import SAMPLE_CHARACTERS, load_corpus
from charlstm.training.events import Ended, Evaluated, Notice, WholeSplitScored
from charlstm.training.held_out_sample import MIN_CHARACTERS, held_out_sample
from charlstm.training_progress import evaluated_parts, follow, whole_split_line

CASES = {
    "running text": ({}, {}, {}),
    "blocks": ({"direction": "backward"}, {"validation": "blocks"}, {}),
    "documents": ({"cell": "gru"}, {"documents": "newline"}, {}),
    "both sides": ({"direction": "bidirectional"}, {}, {}),
    "average": ({}, {}, {"averaging_decay": 0.5}),
}
SIZE = 1000


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    rng = random.Random(5)
    path = tmp_path_factory.mktemp("texts") / "long.txt"
    path.write_text("".join(rng.choice("abcde \n") for _ in range(8000)))
    return path


@pytest.fixture
def make(make_config, make_trainer, text_file, tmp_path):
    def trainer(case="running text", name="run", **training):
        model, corpus, more = CASES[case]
        source = {"source": str(text_file), "validation_fraction": 0.4, **corpus}
        settings = {"evaluation_characters": SIZE, "budget": {"steps": 10}, "evaluate_every": 4, **more, **training}
        config = make_config(model, source, **settings)
        return make_trainer(config, tmp_path / name, load_corpus(**config.corpus.model_dump()))

    return trainer


@pytest.mark.parametrize(("trained", "scores"), [(80_000, 1), (400_000, 1), (2_000_000, 1), (2_000_000, 2), (10**8, 2)])
def test_automatic_sample_keeps_within_an_eighth_of_what_was_trained(trained, scores):
    training = TrainingConfig(averaging_decay=0.9 if scores == 2 else None)
    split = 10**9
    sample = held_out_sample(training, trained, split)
    read = 1.5 * sample.characters * scores + min(SAMPLE_CHARACTERS, sample.characters)
    assert not sample.is_whole
    assert sample.of == split
    assert read <= trained / 8 or sample.characters == MIN_CHARACTERS
    assert read > 0.9 * trained / 8 or trained < 10**6


def test_split_within_the_bound_is_scored_whole():
    training = TrainingConfig()
    whole = max(n for n in range(1000, 10**6, 1000) if held_out_sample(training, 2_000_000, n).is_whole)
    assert whole + SAMPLE_CHARACTERS <= 2_000_000 / 8 < whole + SAMPLE_CHARACTERS + 2000
    assert held_out_sample(training, 1, MIN_CHARACTERS).is_whole
    assert held_out_sample(TrainingConfig(evaluation_characters="all"), 1, 10**9).is_whole
    assert held_out_sample(TrainingConfig(evaluation_characters=SIZE), 1, SIZE).is_whole
    assert held_out_sample(TrainingConfig(evaluation_characters=SIZE), 1, 10**9).characters == SIZE


@pytest.mark.parametrize("case", CASES)
def test_evaluations_score_a_sample_and_the_end_the_whole_split(make, case):
    trainer = make(case)
    events = list(trainer.run())
    corpus, model = trainer.corpus, trainer.state.evaluated_model
    split, sample = corpus.split("validation"), corpus.held_out_sample(SIZE)
    evaluated, whole = of(Evaluated, events), of(WholeSplitScored, events)
    last = score_of_sample(nats_per_character(model, sample), sample, 10**4, corpus.vocabulary.size, model.direction)
    assert [e.step for e in evaluated] == [4, 8, 10]
    assert (evaluated[-1].nats, evaluated[-1].characters_scored) == (last.nats, last.characters)
    assert {e.sampled_from for e in evaluated} == {score(model, split).characters}
    assert all(e.training_split_characters <= SIZE and e.standard_error > 0 for e in evaluated)
    assert whole[-1].nats == score(model, split).nats
    assert whole[0].nats == score(load(trainer.directory.path, "best").model, split).nats
    assert [one.network for one in whole] == (["best"] if whole[0].step == 10 else ["best", "last"])
    ended = events[-1]
    assert (ended.best_nats, ended.best_step, ended.is_sampled) == (whole[0].nats, whole[0].step, False)
    (notice,) = (e for e in of(Notice, events) if "sample" in e.text)
    assert f"{evaluated[0].sampled_from:,} held-out" in notice.text
    records = trainer.directory.metrics()
    assert [r["sampled_from"] for r in records if r["kind"] == "evaluation"] == [evaluated[0].sampled_from] * 3
    assert [r["nats"] for r in records if r["kind"] == "whole_split"] == [one.nats for one in whole]
    assert records[-1]["kind"] == "end"


def test_short_split_is_scored_as_with_all(make):
    """Records and state differ in the setting alone."""
    contents = []
    for name, setting in {"auto": "auto", "all": "all", "large": 5000}.items():
        trainer = make(name=name, evaluation_characters=setting)
        list(trainer.run())
        tensors, header = load_checkpoint(trainer.directory.last)
        records = [{k: v for k, v in r.items() if "seconds" not in k} for r in trainer.directory.metrics()]
        records = [{k: v for k, v in r.items() if k != "characters_per_second"} for r in records]
        assert all("sampled_from" not in record and record["kind"] != "whole_split" for record in records)
        contents.append((records, header["held_out_sample"], {name: t.tolist() for name, t in tensors.items()}))
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.few(2)
def test_resumed_run_equals_uninterrupted_run(make, tmp_path, case):
    """Stopped before the first evaluation, in it, after it, and while the whole split is scored."""
    list(make(case, "uninterrupted").run())
    for number, stop in enumerate([(3, ""), (4, "held-out text"), (7, ""), (10, "training text"), (10, "whole"), None]):
        trainer = make(case, "stopped")
        if number:
            assert trainer.resume() == []
        if stop is not None:
            _stop(trainer, *stop)
        events = list(trainer.run())
        assert events[-1].stop_reason == ("budget" if stop is None else "stopped")
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def _stop(trainer, step, scored):
    """Request a stop in this step, or when this is scored after it."""
    validator, work = trainer.validator, trainer._step
    score_here = validator._score_here

    def score_and_stop(model, text, what, *arguments):
        if scored and trainer.counters.step == step and what.startswith(scored):
            trainer.request_stop()
        return score_here(model, text, what, *arguments)

    def work_and_stop():
        event = work()
        if not scored and trainer.counters.step == step:
            trainer.request_stop()
        return event

    validator._score_here, trainer._step = score_and_stop, work_and_stop


def test_automatic_size_is_chosen_once_and_kept(make, monkeypatch):
    """From the characters before the first evaluation, also where a resumed run would choose another one."""
    monkeypatch.setattr("charlstm.training.held_out_sample.MIN_CHARACTERS", 1100)
    trainer = make(evaluation_characters="auto")
    for event in trainer.run():
        if isinstance(event, Evaluated):
            trainer.request_stop()
    assert trainer.state.held_out_sample == (1100, 3200)
    monkeypatch.setattr("charlstm.training.held_out_sample.MIN_CHARACTERS", 1300)
    again = make(evaluation_characters="auto")
    again.resume()
    assert {e.characters_scored for e in of(Evaluated, again.run())} == {1100}


def test_run_of_an_older_version_still_scores_the_whole_split(make):
    trainer = make()
    trainer.evaluations.always_scores_whole_split = True
    for event in trainer.run():
        if isinstance(event, Evaluated):
            trainer.request_stop()
    again = make()
    again.resume()
    again.state.held_out_sample = None  # as loaded from a checkpoint without it
    events = list(again.run())
    assert {e.characters_scored for e in of(Evaluated, events)} == {3200}
    assert not of(WholeSplitScored, events)


def test_setting_cannot_change_on_resume(make):
    trainer = make()
    for _ in trainer.run():
        trainer.request_stop()
    with pytest.raises(UserError, match="evaluation_characters was 1000, is all"):
        make(evaluation_characters="all").resume()


def test_damaged_sample_in_a_header_is_refused(make):
    trainer = make()
    list(trainer.run())
    header = load_checkpoint(trainer.directory.last)[1]
    assert header["held_out_sample"] == {"characters": SIZE, "of": 3200}
    trainer.state.held_out_sample = trainer.state.held_out_sample._replace(characters=4000)
    trainer.save(best=False)
    with pytest.raises(UserError, match="more characters than the split has"):
        load(trainer.directory.last)


def test_missing_best_checkpoint_is_reported_and_the_run_ends(make, monkeypatch):
    trainer = make()
    scores = iter([1.5, 1.6, 1.7])
    original = trainer.validator.score
    monkeypatch.setattr(
        trainer.validator,
        "score",
        lambda: original().__class__(next(scores), SIZE, sampled_from=3200, standard_error=0.1),
    )
    events = []
    for event in trainer.run():
        events.append(event)
        if isinstance(event, Evaluated) and event.step == 10:
            trainer.directory.best.unlink()
    (ended,), (whole,) = of(Ended, events), of(WholeSplitScored, events)
    assert (whole.network, ended.stop_reason, ended.best_nats, ended.is_sampled) == ("last", "budget", 1.5, True)
    assert any("cannot be read" in event.text for event in of(Notice, events))


@pytest.mark.parametrize(
    "settings", [{"early_stopping": 1}, {"budget": {"steps": 10, "target_nats": 5.0}}, {"schedule": "plateau"}]
)
def test_decisions_take_the_scores_of_samples(make, settings):
    trainer = make(**settings)
    events = list(trainer.run())
    sampled = [e.nats for e in of(Evaluated, events)]
    assert trainer.counters.best_nats == min(sampled)
    assert of(WholeSplitScored, events)
    if "budget" in settings:
        assert (events[-1].stop_reason, len(sampled)) == ("target_reached", 1)


@pytest.fixture
def finished(make):
    trainer = make(name="finished")
    return trainer, list(trainer.run())


def test_readers_take_the_whole_split_and_name_samples(finished, tmp_path):
    trainer, events = finished
    path, whole = trainer.directory.path, of(WholeSplitScored, events)
    records = trainer.directory.metrics()
    assert (best_score(records).nats, best_score(records).is_sampled) == (whole[0].nats, False)
    assert best_score(records[: -1 - len(whole)]).is_sampled
    listed = summarize(path, "finished")
    assert (listed.best_nats, listed.best_is_sampled, len(listed.held_out_nats)) == (whole[0].nats, False, 3)
    curves = read_curves(records)
    assert (curves.kind, curves.best()[3], curves.best_text) == (
        "held out sample",
        whole[0].bits_per_character,
        "held-out text",
    )
    result, run = read_run(path, "finished")
    assert (result.best.nats, result.last_bits) == (whole[0].nats, whole[-1].bits_per_character)
    assert (result.samples, result.has_sampled_score) == (True, False)
    assert "of a sample>" in repr(run)
    tags = {point.tag: point.value for point in points(records, "character", 0.0)}
    assert "nats_per_character/held_out" not in tags
    assert tags["nats_per_character/held_out_best"] == whole[0].nats
    assert "nats_per_character/held_out_sample" in tags


def test_stopped_run_has_a_sampled_score(make):
    trainer = make(name="cut")
    for event in trainer.run():
        if isinstance(event, Evaluated):
            trainer.request_stop()
    assert summarize(trainer.directory.path, "cut").best_is_sampled
    assert read_run(trainer.directory.path, "cut")[0].has_sampled_score
    compared, run = read_run(trainer.directory.path, "cut", is_compared=True)
    assert not compared.has_sampled_score
    assert compared.best.nats == score(run.model, trainer.corpus.split("validation")).nats
    curves = read_curves(trainer.directory.metrics())
    assert (curves.best_text, curves.whole) == ("a sample of the held-out text", {})


def test_lines_name_samples_and_the_whole_split(finished):
    _, events = finished
    line = "".join(part.text for part in evaluated_parts(of(Evaluated, events)[0], "character"))
    assert "held out sample" in line
    assert " ± 0." in line
    assert line.removesuffix("  (best so far)").endswith(f", {SIZE:,} characters")
    assert whole_split_line(of(WholeSplitScored, events)[0], "character").startswith("step ")


def test_progress_of_scoring_is_shown(make, monkeypatch, capsys):
    monkeypatch.setattr("charlstm.progress_line.DELAY", 0.0)
    monkeypatch.setattr("charlstm.progress_line.PLAIN_INTERVAL", 0.0)
    trainer = make()
    follow(trainer.run(), trainer=trainer)
    printed = capsys.readouterr().out
    assert "scoring the held-out text: 0%" in printed
    assert "scoring the whole validation split, last network: " in printed or "best network" in printed
    assert "whole validation split, 3,200 characters: held out" in printed


def test_no_effect_without_held_out_text(make_config):
    with pytest.raises(UserError, match=r"evaluation_characters: has no effect with corpus\.validation_fraction: 0"):
        make_config(None, {"validation_fraction": 0.0}, evaluation_characters="all")


def test_memory_experiments_score_whole_splits(make):
    trainer = make()
    trainer.evaluations.always_scores_whole_split = True
    assert {e.characters_scored for e in of(Evaluated, trainer.run())} == {3200}
    assert not [r for r in trainer.directory.metrics() if r["kind"] == "whole_split"]


def test_evaluation_leaves_training_as_it_is(make):
    """The weights of a run do not depend on what its evaluations score."""
    tensors = []
    for name, setting in {"sample": SIZE, "all": "all"}.items():
        trainer = make(name=name, evaluation_characters=setting)
        list(trainer.run())
        tensors.append(load_checkpoint(trainer.directory.last)[0])
    assert all(torch.equal(t, tensors[1][name]) for name, t in tensors[0].items())
    assert np.isfinite(trainer.counters.best_nats)


@pytest.mark.parametrize(
    ("budget", "interval"),
    [
        ({"steps": 9}, 4),
        ({"steps": 9, "minutes": 5}, 4),
        ({"steps": 35}, None),
        ({"epochs": 1}, None),
        ({"steps": 4}, 9),
        ({"epochs": 0.1, "minutes": 5}, 90),
    ],
)
def test_dry_run_says_what_evaluations_will_score(make, monkeypatch, budget, interval):
    monkeypatch.setattr("charlstm.training.held_out_sample.MIN_CHARACTERS", 10)
    monkeypatch.setattr("charlstm.training.held_out_sample.READ_PER_TRAINED", 10.0)
    trainer = make(evaluation_characters="auto", budget=budget, evaluate_every=interval)
    planned = plan_of_evaluations(trainer)
    (notice,) = of(Notice, trainer.run())
    assert planned == notice.text
    assert 10 < trainer.state.held_out_sample.characters < 3200


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"evaluation_characters": "all"}, "evaluations score all 3,200 held-out characters"),
        ({"evaluation_characters": 5000}, "evaluations score all 3,200 held-out characters"),
        ({"budget": {"steps": 10, "minutes": 5}, "evaluate_every": None}, "about 1,000 of the 3,200"),
        (
            {"evaluation_characters": "auto", "budget": {"steps": 10, "minutes": 5}, "evaluate_every": None},
            "the first evaluation chooses how many of the 3,200 held-out characters",
        ),
    ],
)
def test_dry_run_says_what_is_known_of_evaluations(make, settings, expected):
    assert expected in plan_of_evaluations(make(**settings))
