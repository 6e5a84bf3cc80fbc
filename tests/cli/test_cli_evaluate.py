from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import charlstm as package
from charlstm.colored_text import shaded
from charlstm.evaluation import nats_per_character, restore
from charlstm.progress_line import ProgressLine
from charlstm.text.corpus import load_corpus


def test_every_metric_has_its_label(charlstm, tiny_run):
    result = charlstm("evaluate", tiny_run)
    run = package.load(tiny_run)
    nats = min(r["nats"] for r in run.metrics if r["kind"] == "evaluation")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "validation split: 150 characters scored",
        f"nats per character  {nats:.4f}",
        f"bits per character  {nats / math.log(2):.4f}",
        f"perplexity per character  {math.exp(nats):.3f}",
    ]


def test_given_text_is_scored_as_json(charlstm, tiny_run, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"the cat\nsat")
    result = charlstm("evaluate", tiny_run, "--text", tmp_path / "text.txt", "--json")
    record = json.loads(result.out)
    assert record["characters_scored"] == 11
    assert record["nats_per_character"] == package.load(tiny_run).score("the cat\nsat").nats
    assert record["bits_per_character"] == pytest.approx(record["nats_per_character"] / math.log(2))
    assert record["perplexity"] == pytest.approx(math.exp(record["nats_per_character"]))
    assert record["pseudo_likelihood"] is False


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_windows_are_read_from_a_zero_state(charlstm, tiny_run, size):
    run = package.load(tiny_run)
    ids = run.corpus().split("validation")
    record = json.loads(charlstm("evaluate", tiny_run, "--window", size, "--json").out)
    nats = [
        nats_per_character(run.model, ids[max(0, begin - 1) : begin + size])[begin > 0 :]
        for begin in range(0, len(ids), size)
    ]
    assert (record["characters_scored"], record["window"]) == (len(ids), size)
    assert record["nats_per_character"] == pytest.approx(np.concatenate(nats).mean(), rel=1e-5)


def test_windows_have_no_effect_on_other_measures(charlstm, tiny_run):
    assert "--window has no effect with --dynamic" in charlstm("evaluate", tiny_run, "--dynamic", "--window", 9).err


def test_each_split_can_be_scored(charlstm, tiny_run):
    assert "1,350 characters scored" in charlstm("evaluate", tiny_run, "--split", "train").out
    result = charlstm("evaluate", tiny_run, "--split", "test")
    assert (result.code, result.out) == (2, "")
    assert "the test split" in result.err
    assert "test_fraction" in result.err


def test_last_checkpoint_can_be_scored(charlstm, tiny_run):
    best, last = (
        json.loads(charlstm("evaluate", tiny_run, "--checkpoint", name, "--json").out)["nats_per_character"]
        for name in ("best", "last")
    )
    assert best <= last


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"the \xe2\x82\xac", (), "U+20AC"),
        (b"\xff\xfe", (), "is not text in utf-8"),
        (b"", (), "the text to score is empty"),
        (None, (), "there is no such file"),
        (b"the", ("--split", "half"), "half"),
        (b"the", ("--checkpoint", "half"), "half"),
    ],
    ids=str,
)
def test_mistakes_are_reported_in_one_message(charlstm, tiny_run, tmp_path, content, options, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    result = charlstm("evaluate", tiny_run, "--text", path, *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_unknown_characters_may_be_skipped(charlstm, tiny_run, tmp_path):
    (tmp_path / "text.txt").write_text("the €", encoding="utf-8")
    result = charlstm("evaluate", tiny_run, "--text", tmp_path / "text.txt", "--unknown", "skip")
    assert "4 characters scored" in result.out


def test_bytes_and_pseudo_likelihood_are_labeled(charlstm, make_config, make_trainer, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes([0xFF, 0xE9, 0x41, 0x0A]) * 100)
    config = make_config(
        {"direction": "bidirectional"}, {"source": str(source), "encoding": "bytes"}, budget={"steps": 1}
    )
    trainer = make_trainer(config, tmp_path / "run", load_corpus(str(source), "bytes"))
    list(trainer.run())
    result = charlstm("evaluate", tmp_path / "run")
    assert result.out.startswith("pseudo-likelihood")
    assert "40 bytes scored" in result.out
    assert re.search(r"^bits per byte  \d", result.out, re.MULTILINE)
    assert "per character" not in result.out
    record = json.loads(charlstm("evaluate", tmp_path / "run", "--text", source, "--json").out)
    assert record["bytes_scored"] == 400
    assert record["pseudo_likelihood"] is True
    assert "nats_per_byte" in record


def test_changed_corpus_is_refused(charlstm, make_config, make_trainer, tmp_path, text):
    source = tmp_path / "source"
    source.write_text(text)
    trainer = make_trainer(make_config(corpus={"source": str(source)}, budget={"steps": 1}), tmp_path / "run")
    list(trainer.run())
    source.write_text(text + "more")
    result = charlstm("evaluate", tmp_path / "run")
    assert result.code == 2
    assert "changed" in result.err


def test_run_in_another_folder_locates_its_text(charlstm, corpus_file, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "text.txt").write_bytes(corpus_file.read_bytes())
    (here / "c.yaml").write_text(
        "corpus: {source: text.txt}\nmodel: {hidden_size: 4}\ntraining: {budget: {steps: 1}}\n"
    )
    assert charlstm("train", "c.yaml").code == 0
    monkeypatch.chdir(tmp_path)
    assert charlstm("evaluate", "here/runs/c").code == 0


@pytest.fixture
def longer_run(make_config, make_trainer, tmp_path, text):
    """Trains a run of a direction with a validation split of 1,200 characters."""

    def train(direction: str) -> Path:
        source = tmp_path / "source"
        source.write_text(text * 2)
        corpus = {"source": str(source), "validation_fraction": 0.4}
        config = make_config({"direction": direction}, corpus, budget={"steps": 2}, sample_length=0)
        trainer = make_trainer(config, tmp_path / direction, load_corpus(str(source), validation_fraction=0.4))
        list(trainer.run())
        return trainer.directory.path

    return train


@pytest.mark.parametrize(
    ("direction", "seen"),
    [("forward", "the left context"), ("backward", "the right context"), ("bidirectional", "both sides")],
)
def test_restored_fractions_are_printed(charlstm, longer_run, direction, seen, monkeypatch):
    for name in ("CONTINUATIONS", "MAX_SWEEPS"):
        monkeypatch.setattr(f"charlstm.evaluation.restoration.{name}", 8)
    path = longer_run(direction)
    options = ("--restore", "2,1", "--gaps", 12, "--seed", 5)
    result = charlstm("evaluate", path, *options)
    run = package.load(path)
    expected = list(restore(run.model, run.corpus().split("validation"), [1, 2], 12, 5))
    assert (result.code, result.err) == (0, "")
    first, *table = result.out.splitlines()
    assert first == f"validation split: characters restored from {seen}, 12 gaps of each length, seed 5"
    rows = [re.split(r"\s{2,}", line.strip()) for line in table if line.strip()[:1].isdigit()]
    for row, r in zip(rows, expected, strict=True):
        greedy = [] if r.greedy is None else [f"{r.greedy:.1%}"]
        interval = f"{r.low:.1%} to {r.high:.1%}"
        assert row == [str(r.length), f"{r.restored:.1%}", interval, *greedy, f"{r.most_frequent:.1%}"]
    assert ("greedy" in result.out) == (direction != "bidirectional")
    record = json.loads(charlstm("evaluate", path, *options, "--json").out)
    assert (record["text"], record["seed"], record["seen"]) == ("validation split", 5, seen)
    assert record["restoration"] == [asdict(r) for r in expected]


def test_given_text_is_restored(charlstm, tiny_run, corpus_file):
    result = charlstm("evaluate", tiny_run, "--text", corpus_file, "--restore", "1", "--gaps", 5)
    assert result.out.startswith(f"{corpus_file}: characters restored")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--restore", "1,x"), "is not a list of lengths"),
        (("--restore", "0"), "is not a list of lengths"),
        (("--restore", "1,"), "is not a list of lengths"),
        (("--restore", "3"), "1,112 characters, found 150"),
        (("--restore", "3", "--gaps", "0"), "--gaps"),
        (("--gaps", "5"), "--gaps has no effect without --restore"),
        (("--seed", "5"), "--seed has no effect without --restore"),
        (("--unknown", "skip"), "--unknown has no effect without --text"),
        (("--text", "any.txt", "--split", "test"), "--split has no effect with --text"),
        (("--rate", "1"), "--rate has no effect without --dynamic"),
        (("--dynamic", "--rate", "1"), "give both --rate and --decay, or neither"),
        (("--dynamic", "--rule", "rns"), "is not one of: rms, sgd. Did you mean rms?"),
        (("--dynamic", "--restore", "1"), "--dynamic has no effect with --restore"),
        (("--output", "x"), "--output has no effect without --map"),
        (("--dynamic", "--map"), "--map has no effect with --dynamic"),
        (("--dynamic", "--tune-temperature"), "--tune-temperature has no effect with --dynamic"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(charlstm, tiny_run, options, message):
    result = charlstm("evaluate", tiny_run, *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_dynamic_score_stands_beside_the_static_one(charlstm, tiny_run):
    options = ("--dynamic", "--rate", "1e-3", "--decay", "1e-2")
    record = json.loads(charlstm("evaluate", tiny_run, *options, "--json").out)
    run = package.load(tiny_run)
    static, dynamic = record["static"]["nats_per_character"], record["tuned"]["nats_per_character"]
    assert static == run.score(run.vocabulary.decode(run.corpus().split("validation"))).nats
    assert 0 < abs(dynamic - static) < 0.2
    assert (record["rate"], record["decay"], record["tuned_on"]) == (1e-3, 1e-2, None)
    result = charlstm("evaluate", tiny_run, *options)
    assert (
        "validation split: 150 characters scored\nrule rms, segment 20, rate 0.001, decay 0.01; as given" in result.out
    )
    assert re.search(rf"fixed weights +{static:.4f} .*\n.*dynamic evaluation +{dynamic:.4f} ", result.out)


def test_sgd_with_given_rates_needs_no_training_text(charlstm, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(re.sub("source: .*", "source: gone.txt", config.read_text()))
    (tmp_path / "text.txt").write_text("the cat sat on a mat\n" * 9)
    arguments = ("--text", tmp_path / "text.txt", "--dynamic", "--rate", "1e-3", "--decay", "1e-2")
    assert "gone.txt" in charlstm("evaluate", tmp_path / "run", *arguments).err
    result = charlstm("evaluate", tmp_path / "run", *arguments, "--rule", "sgd")
    assert result.code == 0, result.err
    assert "189 characters scored" in result.out


def test_progress_counts_passes_only_over_the_text_that_is_tuned_on(charlstm, tiny_run, monkeypatch):
    shown = set()
    monkeypatch.setattr(ProgressLine, "update", lambda _line, _fraction, text: shown.add(text()))
    assert charlstm("evaluate", tiny_run, "--dynamic", "--rate", "1e-3", "--decay", "1e-2").code == 0
    assert shown == {"reading the training text", "scoring validation split"}
    shown.clear()
    assert charlstm("evaluate", tiny_run, "--dynamic").code == 0
    assert {text.rpartition(", pass ")[0] for text in shown if ", pass 2" in text} == {
        "tuning on the first 75 characters of the validation split"
    }


@pytest.mark.parametrize("option", ["--dynamic", "--tune-temperature"])
def test_tuned_settings_never_see_what_they_are_scored_on(charlstm, tiny_run, corpus_file, option):
    record = json.loads(charlstm("evaluate", tiny_run, option, "--json").out)
    assert (record["text"], record["characters_scored"]) == ("validation split after its first 75 characters", 75)
    assert record["tuned_on"] == "the first 75 characters of the validation split"
    other = json.loads(charlstm("evaluate", tiny_run, option, "--text", corpus_file, "--json").out)
    assert (other["text"], other["tuned_on"]) == (str(corpus_file), record["tuned_on"])
    settings = ("rate", "decay") if option == "--dynamic" else ("temperature",)
    assert [other[name] for name in settings] == [record[name] for name in settings]


def test_map_writes_a_page_and_what_others_give(charlstm, tiny_run, corpus_file, tmp_path):
    options = ("--text", corpus_file, "--map", "--output", tmp_path / "map")
    result = charlstm("evaluate", tiny_run, *options)
    assert result.code == 0
    assert re.search(r"xz -9e +\d\.\d{4}", result.out)
    assert result.out.endswith(f"page: {tmp_path / 'map' / 'index.html'}\n")
    assert "\x1b" not in result.out
    record = json.loads(charlstm("evaluate", tiny_run, *options, "--json").out)
    assert record["page"] == str(tmp_path / "map" / "index.html")
    assert "xz -9e" in record["bits_per_character_of_others"]


def test_shaded_text_shows_what_is_invisible():
    assert shaded("a b\nc\x1b", [0, 3, 1, 4, 0, 5]) == (
        "a\x1b[33m·\x1b[0m\x1b[36mb\x1b[0m\x1b[31m↵\x1b[0m\nc\x1b[97;41m\\x1b\x1b[0m"
    )
