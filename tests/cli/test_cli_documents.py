"""Commands on runs of documents."""

from __future__ import annotations

import json
import math
import random
import re

import numpy as np
import pytest
import yaml

import charlstm as package
from charlstm.text.documents import Documents

WORDS = ["ann", "bo", "cyd", "dee"]
SETTINGS = {
    "corpus": {"documents": "newline"},
    "model": {"hidden_size": 8, "front_end": "one_hot"},
    "training": {
        "batch_size": 8,
        "sequence_length": 8,
        "learning_rate": 0.05,
        "warmup_steps": 0,
        "evaluate_every": 60,
        "sample_length": 12,
        "precision": "float32",
        "device": "cpu",
        "budget": {"steps": 60},
    },
}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    rng = random.Random(1)
    path.write_text("\n".join(rng.choice(WORDS) + rng.choice(WORDS) for _ in range(90)) + "\n")
    return path


@pytest.fixture(scope="module")
def run(names, tmp_path_factory):
    """A trained run on names. Read only."""
    return make_run(names, tmp_path_factory.mktemp("runs") / "names")


def make_run(source, path, steps: int = 60, corpus=(), **model):
    from charlstm.config import parse_config
    from charlstm.runs.directory import RunDirectory
    from charlstm.text.corpus import load_corpus
    from charlstm.training.trainer import Trainer

    settings = {
        "corpus": {**SETTINGS["corpus"], "source": str(source), **dict(corpus)},
        "model": {**SETTINGS["model"], **model},
        "training": {**SETTINGS["training"], "budget": {"steps": steps}},
    }
    config = parse_config(settings, "test")
    directory = RunDirectory(path)
    directory.create(config)
    for _ in Trainer(config, load_corpus(**config.corpus.model_dump()), directory).run():
        pass
    return path


def test_train_prints_the_number_of_documents(charlstm, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {**SETTINGS, "corpus": {"source": str(names), "documents": "newline"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    assert re.search(r"90 documents \(8\d train, \d+ validation\)", charlstm("train", "c.yaml", "--dry-run").out)
    result = charlstm("train", "c.yaml")
    assert result.code == 0, result.err
    assert "90 documents" in result.out
    assert "shuffle_documents: true" in (tmp_path / "runs/c/config.yaml").read_text()
    result = charlstm("train", "c.yaml", "--resume", "--set", "training.budget.steps=70")
    assert (result.code, "70 steps" in result.out) == (0, True)
    result = charlstm("compare", "runs/c")
    assert result.code == 0, result.err


def test_samples_are_lines_and_new_ones_are_counted(charlstm, run, names):
    result = charlstm("sample", run, "--num-samples", 20, "--seed", 1)
    samples = package.load(run).generate(num_samples=20, seed=1)
    assert result.out == "".join(sample.text + "\n" for sample in samples)
    train = package.load(run).corpus().split("train")
    assert isinstance(train, Documents)
    vocabulary = package.load(run).vocabulary
    known = {vocabulary.decode(train.ids[a:b]) for a, b in zip(train.starts, train.ends, strict=True)}
    novel = sum(bool(sample.text) and sample.text not in known for sample in samples)
    assert 0 < novel < 20
    new, known = f"{novel} of 20 ({novel / 20:.0%})", sum(sample.text in known for sample in samples)
    empty = "".join(f"; empty: {count}" for count in [sum(not sample.text for sample in samples)] if count)
    assert result.err == f"new documents: {new}; in the training text: {known}{empty}\n"


def test_prime_with_a_document_end_prints_a_note(charlstm, run, tmp_path):
    (tmp_path / "prime.txt").write_bytes(b"ann\n")
    result = charlstm("sample", run, "--prime", f"@{tmp_path / 'prime.txt'}", "--length", 5, "--seed", 1)
    assert result.code == 0
    assert "the given text contains '\\n', which ends a document" in result.err
    assert "ends a document" not in charlstm("sample", run, "--prime", "ann", "--length", 5, "--seed", 1).err


def test_json_has_a_novel_flag_for_each_sample(charlstm, run):
    result = charlstm("sample", run, "--num-samples", 20, "--seed", 1, "--json")
    samples = json.loads(result.out)["samples"]
    lines = charlstm("sample", run, "--num-samples", 20, "--seed", 1)
    assert [sample["text"] for sample in samples] == lines.out.splitlines()
    assert f"{sum(sample['novel'] for sample in samples)} of 20" in lines.err
    assert all(sample["complete"] for sample in samples)
    assert all(len(s["log_probabilities_nats"]) == len(s["written"]) + 1 for s in samples)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_one_sample_is_one_document(charlstm, run, stream):
    (sample,) = package.load(run).generate("b", seed=4)
    result = charlstm("sample", run, "--prime", "b", "--seed", 4, stream)
    assert (result.code, result.out) == (0, sample.full_text + "\n")
    assert "\n" not in sample.full_text
    cut_off = charlstm("sample", run, "--length", 2, "--seed", 4, stream)
    assert len(cut_off.out) == 3


def test_until_overrides_the_document_end(charlstm, run):
    result = charlstm("sample", run, "--until", "", "--length", 100, "--seed", 1)
    assert result.out.count("\n") > 5
    result = charlstm("sample", run, "--until", "n", "--length", 100, "--seed", 1, "--num-samples", 2)
    assert result.err == "--- 1 of 2\n--- 2 of 2\n"
    assert result.out.endswith("n\n")


def test_cut_off_documents_and_missing_corpus_are_noted(charlstm, names, tmp_path):
    source = tmp_path / "gone.txt"
    source.write_bytes(names.read_bytes())
    path = make_run(source, tmp_path / "run", 1)
    result = charlstm("sample", path, "--num-samples", 3, "--length", 1, "--seed", 1)
    assert re.search(r"[123] of 3 documents did not end within --length and are cut off\n", result.err)
    source.unlink()
    result = charlstm("sample", path, "--num-samples", 3, "--seed", 1)
    assert (result.code, len(result.out.splitlines())) == (0, 3)
    assert "new documents cannot be counted: no corpus" in result.err
    record = json.loads(charlstm("sample", path, "--json", "--seed", 1).out)
    assert record["samples"][0]["novel"] is None


def test_paragraphs_are_separated_by_a_blank_line(charlstm, tmp_path):
    (tmp_path / "p.txt").write_text("ann\nbo\n\nbo\nann\n\n" * 20)
    path = make_run(tmp_path / "p.txt", tmp_path / "run", corpus={"documents": "blank_line"})
    samples = package.load(path).generate(num_samples=3, seed=1, length=60)
    result = charlstm("sample", path, "--num-samples", 3, "--seed", 1, "--length", 60)
    assert result.out == "".join(sample.text + "\n\n" for sample in samples)
    assert "---" not in result.err
    for stream in ("--stream", "--no-stream"):
        (one,) = package.load(path).generate(seed=1, length=60)
        assert charlstm("sample", path, "--seed", 1, "--length", 60, stream).out == one.text + "\n"


def test_custom_separator_is_not_printed(charlstm, names, tmp_path):
    (tmp_path / "p.txt").write_text("<>".join(names.read_text().split()))
    path = make_run(tmp_path / "p.txt", tmp_path / "run", corpus={"documents": "<>"})
    result = charlstm("sample", path, "--num-samples", 3, "--seed", 1)
    assert (len(result.out.splitlines()), "<>" in result.out) == (3, False)
    assert "--- 3 of 3" in result.err


def test_backward_documents_end_at_their_beginning(charlstm, names, tmp_path):
    path = make_run(names, tmp_path / "run", direction="backward")
    result = charlstm("sample", path, "--num-samples", 9, "--seed", 1)
    assert len(result.out.splitlines()) == 9
    assert re.search(r"new documents: \d of 9 \(\d+%\); in the training text", result.err)


def test_given_text_is_split_into_documents(charlstm, run, tmp_path):
    (tmp_path / "two.txt").write_text("annbo\ncyddee\n")
    (tmp_path / "one.txt").write_text("annbo")
    (tmp_path / "other.txt").write_text("cyddee\n\n")
    nats = {
        name: json.loads(charlstm("evaluate", run, "--text", tmp_path / f"{name}.txt", "--json").out)
        for name in ("two", "one", "other")
    }
    assert [record["characters_scored"] for record in nats.values()] == [13, 6, 7]
    total = 6 * nats["one"]["nats_per_character"] + 7 * nats["other"]["nats_per_character"]
    assert 13 * nats["two"]["nats_per_character"] == pytest.approx(total, rel=1e-5)
    (sample,) = package.load(run).generate(seed=1)
    score = package.load(run).score(sample.text)
    assert score.nats * score.characters == pytest.approx(-math.fsum(sample.log_probabilities), rel=1e-4)
    (tmp_path / "empty.txt").write_text("\n\n")
    result = charlstm("evaluate", run, "--text", tmp_path / "empty.txt")
    assert (result.code, "nothing but separators" in result.err) == (2, True)
    assert "including the end of each document" in charlstm("evaluate", run).out


def test_arms_are_compared_on_documents(charlstm, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {
        **SETTINGS,
        "corpus": {"source": str(names), "documents": "newline", "shuffle_documents": False},
        "training": {**SETTINGS["training"], "budget": {"steps": 4}},
        "seeds": 1,
        "arms": {"lstm": None, "rnn": {"model.cell": "rnn"}},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    result = charlstm("compare", "c.yaml")
    assert result.code == 0, result.err
    (page,) = (tmp_path / "runs").rglob("report/index.html")
    assert "cut at newline into documents in their order" in page.read_text()


def test_runs_on_different_documents_are_not_compared(charlstm, names, tmp_path):
    first = make_run(names, tmp_path / "a", 1)
    second = make_run(names, tmp_path / "b", 1, corpus={"shuffle_documents": False})
    result = charlstm("compare", first, second)
    assert (result.code, "not trained on the same text" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("corpus.documents=newlines", "'newlines': there is no such separator"),
        ("corpus.documents=blank_line", "splits it into 1 document: too few"),
        ('corpus.documents=""', "corpus.documents"),
        ("corpus.documents=3", "corpus.documents"),
        ("corpus.shuffle_documents=true", "has no effect on one running text, only with documents"),
    ],
)
def test_mistakes_are_reported_in_one_message(charlstm, names, tmp_path, monkeypatch, override, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"corpus": {"source": str(names)}}))
    result = charlstm("train", "c.yaml", "--set", override)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_documents_of_bytes(charlstm, tmp_path):
    rng = np.random.default_rng(1)
    lines = [bytes(rng.integers(200, 256, rng.integers(1, 4)).astype(np.uint8)) for _ in range(60)]
    (tmp_path / "b").write_bytes(b"\n".join(lines) + b"\n")
    path = make_run(tmp_path / "b", tmp_path / "run", corpus={"encoding": "bytes"})
    record = json.loads(charlstm("sample", path, "--num-samples", 20, "--seed", 1, "--json").out)
    train = package.load(path).corpus().split("train")
    known = {train.ids[a:b].tobytes() for a, b in zip(train.starts, train.ends, strict=True)}
    vocabulary = package.load(path).vocabulary
    for sample in record["samples"]:
        ids = vocabulary.encode(bytes.fromhex(sample["hex"])).astype(train.ids.dtype)
        assert sample["novel"] == (ids.size > 0 and ids.tobytes() not in known)
