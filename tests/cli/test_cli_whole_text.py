"""Runs that hold no text out: what commands say of them, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from charlstm.config import load_config
from charlstm.config.corpus import NO_VALIDATION, NO_VALIDATION_SENTENCE
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training import size_defaults
from charlstm.training.size_defaults import WHOLE
from charlstm.training.trainer import Trainer

POEM = "The sun goes down behind the hill,\nthe birds are mute, the mill is still.\n" * 12
TINY = ("--set", "model.hidden_size=8", "--set", "training.sample_length=0", "--set", "training.budget={steps: 7}")
ORIGINS = {"forward": "", "bidirectional": "pseudo-likelihood"}


@pytest.fixture(scope="module")
def trained(make_config, tmp_path_factory) -> Path:
    """A folder with a run of each direction. Read only."""
    folder = tmp_path_factory.mktemp("whole")
    for direction in ORIGINS:
        config = make_config({"direction": direction}, {"validation_fraction": 0.0}, budget={"steps": 12})
        directory = RunDirectory(folder / direction)
        directory.create(config)
        list(Trainer(config, load_corpus(**config.corpus.model_dump()), directory).run())
    return folder


@pytest.fixture
def here(config_file, trained) -> None:
    """The runs in the working directory."""
    shutil.copytree(trained, "runs")


def final_bits(name: str) -> float:
    """The score of the training text in the last evaluation of a run."""
    scores = [one for one in RunDirectory(Path("runs", name)).metrics() if one["kind"] == "evaluation"]
    bits: float = scores[-1]["training_split_bits_per_character"]
    return bits


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("size", "options", "fraction"),
    [
        (WHOLE, (), 0.0),
        (WHOLE + 1, (), 0.1),
        (WHOLE, ("corpus.validation_fraction=0.2",), 0.2),
        (WHOLE, ("corpus.validation=tail",), 0.1),
        (WHOLE, ("training.early_stopping=9",), 0.1),
        (WHOLE, ("training.schedule=plateau",), 0.1),
    ],
)
def test_short_text_is_left_whole_unless_something_says_otherwise(charlstm, config_file, size, options, fraction):
    Path("poem.txt").write_text((POEM * 3)[:size])
    result = charlstm("train", "poem.txt", "--dry-run", *(word for one in options for word in ("--set", one)))
    assert result.code == 0, result.err
    assert f"validation_fraction: {fraction}\n" in result.out
    assert (NO_VALIDATION in flat(result.out)) == (fraction == 0)
    assert ("it is left whole; --set corpus.validation_fraction=0.1" in flat(result.out)) == (fraction == 0)
    assert (f"({size:,} train)" in flat(result.out)) == (fraction == 0)


def test_little_of_a_long_text_is_held_out_unless_something_says_otherwise(charlstm, config_file, monkeypatch):
    monkeypatch.setattr(size_defaults, "HELD_OUT", 100)
    Path("long.txt").write_text((POEM * 9)[:6000])
    out = flat(charlstm("train", "long.txt", "--dry-run").out)
    assert "validation_fraction: 0.02 " in out
    assert "(5,880 train, 120 validation)" in out
    assert "since the text is long, 0.02 of it is held out; --set corpus.validation_fraction=0.1 holds a tenth" in out
    for option in ("corpus.validation_fraction=0.2", "corpus.validation=tail"):
        assert "since the text is long" not in flat(charlstm("train", "long.txt", "--dry-run", "--set", option).out)
    assert charlstm("init", "long.txt").code == 0
    assert load_config(Path("long.yaml")).corpus.validation_fraction == 0.02


def test_poem_is_trained_on_whole_and_its_run_resumed(charlstm, config_file):
    Path("poem.txt").write_text(POEM)
    result = charlstm("train", "poem.txt", *TINY)
    assert result.code == 0, result.err
    out = flat(result.out)
    assert f"score of the training text: {final_bits('poem') * 0.6931471805599453:.4f} nats" in out
    assert "held-out score" not in out
    assert "held out 0" not in out
    commands = ("evaluate runs/poem --split train", "inspect runs/poem", "export runs/poem")
    assert out.endswith(" ".join(f"charlstm {one}" for one in commands))
    finished = charlstm("train", "runs/poem", "--resume").out
    assert f"7 steps, score of the training text {final_bits('poem'):.4f} bits per character" in finished
    result = charlstm("train", "runs/poem", "--resume", "--set", "training.budget={steps: 9}")
    assert result.code == 0, result.err
    assert NO_VALIDATION in flat(result.out)
    assert charlstm("init", "poem.txt").code == 0
    written = load_config(Path("poem.yaml"))
    assert written.corpus == load_config(Path("runs/poem/config.yaml")).corpus.model_copy(update={"source": "poem.txt"})


@pytest.mark.parametrize("direction", ORIGINS)
def test_scores_are_named_as_those_of_training_text(charlstm, here, direction):
    origin, score = ORIGINS[direction], f"{final_bits(direction):.3f}"
    table = charlstm("runs").out
    assert f"{score} ({'pseudo, ' if origin else ''}training text)" in table
    row = next(one for one in json.loads(charlstm("runs", "--json").out) if one["name"] == direction)
    assert row["best_bits_per_character"] is None
    assert row["training_split_bits_per_character"] == final_bits(direction)
    result = charlstm("compare", direction)
    assert result.code == 0, result.err
    assert f"{score} bits per character of training text. {NO_VALIDATION_SENTENCE}" in flat(result.out)
    page = Path("runs", direction, "report/index.html").read_text(encoding="utf-8")
    assert f"{score} bits per character of training text." in page
    assert NO_VALIDATION_SENTENCE in page
    assert "held-out text" not in page
    assert "evaluate" in page
    assert "--split train" in page
    record = json.loads(Path("runs", direction, "report/report.json").read_text(encoding="utf-8"))
    assert record["best_held_out_bits_per_character"] is None
    assert [one["training_split_bits_per_character"] for one in record["evaluations"]][-1] == final_bits(direction)
    assert not any("held_out" in name for one in record["evaluations"] for name in one)


def test_runs_are_compared_by_nothing_but_shown(charlstm, here):
    shutil.copytree("runs/forward", "runs/again")
    result = charlstm("compare", "forward", "again")
    assert result.code == 0, result.err
    score = f"{final_bits('forward'):.3f}"
    listed = f"Bits per character of training text: forward {score}, again {score}."
    assert f"{NO_VALIDATION_SENTENCE} {listed}" in flat(result.out)
    page = Path("runs/compare-forward-again/report/index.html").read_text(encoding="utf-8")
    assert "no text is held out for validation" in page
    assert "excluded from every mean" not in page


def test_evaluate_offers_the_splits_that_there_are(charlstm, here):
    result = charlstm("evaluate", "forward")
    assert (result.code, result.out) == (2, "")
    assert "has no validation split: corpus.validation_fraction is 0. Score its training text with --spl" in result.err
    assert "train split: 1,500 characters scored" in charlstm("evaluate", "forward", "--split", "train").out
    result = charlstm("evaluate", "forward", "--split", "train", "--dynamic")
    assert (result.code, result.out) == (2, "")
    assert "trained without held-out text, so there is none to tune settings on: with --dynamic, give --rate" in flat(
        result.err
    )
    assert charlstm("evaluate", "forward", "--split", "train", "--dynamic", "--rate", "0", "--decay", "0").code == 0


def test_plot_says_what_its_scores_are(charlstm, here, monkeypatch):
    from charlstm.run_report import curves

    labels: list[str] = []
    monkeypatch.setattr(curves, "label_ends", lambda _axes, ends, _gap: labels.extend(end.text for end in ends))
    assert charlstm("plot", "forward").code == 0
    assert labels == [f"forward, training text {final_bits('forward'):.2f}"]
    assert "pseudo-likelihood is not comparable" in charlstm("plot", "forward", "bidirectional").err


def test_page_and_model_card_say_that_nothing_is_held_out(charlstm, here):
    result = charlstm("export", "forward", "--to", "html")
    assert "on 1,500 characters: the training split" in flat(result.out)
    assert NO_VALIDATION in Path("runs/forward/export/forward.html").read_text(encoding="utf-8")
    assert charlstm("export", "forward", "--to", "hub").code == 0
    card = Path("runs/forward/export/forward-hub/README.md").read_text(encoding="utf-8")
    assert f"- Score of the training text: {final_bits('forward'):.3f} bits per character" in card
    assert f"- Held-out score: none: {NO_VALIDATION}" in card


def test_inspected_and_compared_text_is_training_text(charlstm, here):
    result = charlstm("inspect", "forward", "--characters", 60, "--context", 0)
    assert result.code == 0, result.err
    assert "the training split" in Path("runs/forward/inspection/index.html").read_text(encoding="utf-8")
    assert "held-out text" not in charlstm("novelty", "forward", "--length", 50).out
    assert charlstm("sample", "forward", "--length", 9, "--checkpoint", "best").code == 0


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.early_stopping=2", "--set training.early_stopping=2"),
        ("training.schedule=plateau", "--set training.schedule=plateau"),
        ("training.budget={steps: 3, target_nats: 1}", "training.budget.target_nats"),
    ],
)
def test_settings_on_held_out_scores_are_refused(charlstm, config_file, setting, named):
    result = charlstm("train", config_file, "--set", "corpus.validation_fraction=0", "--set", setting)
    assert (result.code, result.out) == (2, "")
    assert f"{named}: needs a held-out score, but corpus.validation_fraction is 0" in flat(result.err)
    assert len(result.err.splitlines()) == 1
    assert not Path("runs").exists()


def test_text_too_short_to_split_gets_the_advice(charlstm, config_file):
    Path("name.txt").write_text("Ann\n")
    arguments = ("train", "name.txt", *TINY, "--set", "corpus.documents=newline")
    result = charlstm(*arguments)
    assert result.code == 2
    assert "1 document: too few for training, validation and test" in result.err
    assert "or train on all of it with --set corpus.validation_fraction=0" in result.err
    result = charlstm(*arguments, "--set", "corpus.validation_fraction=0")
    assert result.code == 0, result.err
