"""Texts as people have them, from the command line: tables, folders, lists, and wrong use in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest


@pytest.fixture
def train(charlstm, config_file):
    def run(source, *changes, name="run"):
        changes = (f"corpus.source={source}", "training.sequence_length=40", *changes)
        options = [part for change in changes for part in ("--set", change)]
        return charlstm("train", config_file, "--name", name, *options)

    return run


@pytest.fixture
def table(config_file):
    rng = random.Random(1)
    titles = ("the cat", "two dogs", "home", "a mat", "Cat sat on")
    rows = [f"{rng.choice('pq')},{rng.choice(titles)} {rng.choice('abcde')}" for _ in range(200)]
    Path("titles.csv").write_text("label,title\n" + "\n".join(rows) + "\n")
    return "titles.csv"


COLUMNS = ("corpus.column=title", "corpus.context_column=label")


def test_titles_after_their_labels(train, charlstm, table):
    result = train(table, *COLUMNS, "corpus.deduplicate=true", "corpus.lowercase=true")
    assert result.code == 0, result.err
    assert "200 documents" not in result.out
    for line in (
        "column: 200 rows of title, each after its label",
        "lowercase: ",
        "deduplicate: 200 lines, ",
    ):
        assert f"\n{line}" in result.out
    prompt = next(line for line in result.out.splitlines() if line.startswith("next:"))
    assert "--prime 'p|'" in prompt or "--prime 'q|'" in prompt
    sampled = charlstm("sample", "runs/run", "--prime", "P|", "--num-samples", 3, "--seed", 1, "--length", 30)
    assert sampled.code == 0, sampled.err
    assert sampled.out.splitlines()[0].startswith("p|")
    scored = charlstm("evaluate", "runs/run")
    assert scored.code == 0
    assert charlstm("train", "runs/run", "--resume", "--set", "training.budget.steps=14").code == 0
    Path("given.txt").write_text("P|The Cat a\n")
    Path("given.csv").write_text("title,more,label\nThe Cat a,,P\n")
    scores = [charlstm("evaluate", "runs/run", "--text", f"given.{suffix}").out for suffix in ("txt", "csv")]
    assert "12 characters scored" in scores[0]
    assert scores[0].splitlines()[1:] == scores[1].splitlines()[1:]
    assert charlstm("inspect", "runs/run", "--text", "given.csv").code == 0


def test_answers_alone_are_scored_with_their_end(train, table):
    result = train(table, *COLUMNS, 'corpus.score_after="|"', name="answers")
    assert result.code == 0, result.err
    assert "score_end: true" in Path("runs/answers/config.yaml").read_text()


def test_folder_is_split_by_files(train, charlstm):
    Path("texts").mkdir()
    for number in range(12):
        Path(f"texts/{number}.txt").write_text(f"text number {number}, the cat sat\non a mat\n" * 5)
    by_files = ("corpus.validation=files", "corpus.validation_fraction=0.15")
    for documents, described in (("file", "12 documents (10 train, 2 validation)"), ("null", "validation in 2 files")):
        name = f"by-{documents}"
        result = train("texts", *by_files, f"corpus.documents={documents}", name=name)
        assert result.code == 0, result.err
        assert described in result.out
        assert charlstm("evaluate", f"runs/{name}").code == 0
        assert charlstm("sample", f"runs/{name}", "--length", 9, "--seed", 1).code == 0


def test_blocks_are_described_and_evaluated(train, charlstm, corpus_file):
    result = train(corpus_file, "corpus.validation=blocks", "corpus.validation_fraction=0.2")
    assert result.code == 0, result.err
    assert "300 validation in 2 blocks" in result.out
    assert "in gaps of 18 around them" in result.out
    assert "training text " in result.out
    assert "300 characters scored" in charlstm("evaluate", "runs/run").out
    refused = charlstm("evaluate", "runs/run", "--restore", "1")
    assert refused.code == 2
    assert refused.err.startswith("error: --restore needs one contiguous text, not blocks of one")


def test_hints_are_printed_once(train, charlstm):
    Path("names.txt").write_text("".join(f"{'abcdef'[n % 6] * (n % 5 + 1)}n\n" for n in range(300)))
    result = train("names.txt", "training.budget.steps=1")
    assert result.err.count("note: its lines look independent") == 1
    assert result.err.count("note: the budget is ") == 1
    assert "note" not in charlstm("train", "runs/run", "--resume", "--set", "training.budget.steps=2").err
    assert "independent" not in train("names.txt", "corpus.documents=newline", name="documents").err


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (
            "titles.csv",
            ["corpus.column=titel"],
            "there is no column 'titel'. Did you mean 'title'? Columns: 'label', 'title'",
        ),
        ("plain.txt", ["corpus.column=title"], "corpus.column needs a table"),
        ("titles.csv", ["corpus.column=title", "corpus.encoding=bytes"], "needs a text encoding"),
        ("titles.csv", ["corpus.context_column=label"], "has no effect without column"),
        ("titles.csv", ["corpus.column=title", "corpus.skip_header=true"], "has no effect with column"),
        ("titles.csv", ["corpus.column=title", "corpus.context_separator=x"], "has no effect without context_column"),
        ("texts", ["corpus.skip_header=true"], "is for lists with a line for each document"),
        ("texts", ["corpus.documents=file", "corpus.column=a"], "documents: file makes each file a document"),
        ("texts", ["corpus.documents=file", "corpus.encoding=bytes"], "file needs a text encoding"),
        ("plain.txt", ["corpus.deduplicate=true"], "has no effect on one running text"),
        ("plain.txt", ["corpus.lowercase=true", "corpus.encoding=bytes"], "needs a text encoding"),
        (
            "plain.txt",
            ["corpus.normalize=lines"],
            "expected true | false | list of line_ends, spaces, unicode",
        ),
        ("plain.txt", ["corpus.score_end=true"], "has no effect without score_after"),
        ("plain.txt", ["corpus.validation=blocks"], "too short for two blocks of at least 32"),
        ("plain.txt", ["corpus.validation=files"], "needs at least 2 files"),
        ("plain.txt", ["corpus.validation=block"], "Did you mean blocks?"),
        (
            "plain.txt",
            ["corpus.validation=blocks", "corpus.documents=newline", "corpus.shuffle_documents=true"],
            "has no effect with validation: blocks",
        ),
        ("empty", [], "empty: this is a folder without text files"),
    ],
)
def test_wrong_use_is_one_line(train, table, source, changes, message):
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("prose\nof two lines\n")
    Path("empty").mkdir()
    Path("plain.txt").write_text("the cat sat on a mat\n" * 9)
    result = train(source, *changes)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not Path("runs").exists()
