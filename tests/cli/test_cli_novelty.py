from __future__ import annotations

import json
import re

import pytest

import charlstm as package
from charlstm.cli.sample_output import written_ids
from charlstm.novelty.novelty import Copied, Novelty, Report
from charlstm.text.corpus import load_corpus


@pytest.fixture
def copy(tmp_path, text):
    """A file with 50 characters of the training text among others."""
    path = tmp_path / "copy.txt"
    path.write_text("Zzz " + text[400:450] + " QQQ", encoding="utf-8")
    return path


def test_copied_passage_is_listed_with_its_line(charlstm, tiny_run, copy, text):
    result = charlstm("novelty", tiny_run, copy)
    assert result.code == 0
    assert re.search(r"^ ?5 +[\d.]+% +[\d.]+% *$", result.out, re.MULTILINE)
    (row,) = [line for line in result.out.splitlines() if re.match(r" ?5[0-9] ", line)]
    source = package.load(tiny_run).corpus()
    length = int(row.split()[0])
    record = json.loads(charlstm("novelty", tiny_run, copy, "--json").out)["texts"][0]["copied"][0]
    assert record["length"] == length >= 50
    begin = record["corpus_position"]
    assert source.vocabulary.decode(source.ids[begin : begin + length]) == record["text"]
    assert f"line {text[:begin].count(chr(10)) + 1}" in row


def test_sampled_texts_are_compared(charlstm, tiny_run):
    arguments = ("novelty", tiny_run, "--num-samples", 2, "--length", 100)
    record = json.loads(charlstm(*arguments, "--json").out)
    assert [t["characters"] for t in record["texts"]] == [100, 100]
    assert record["held_out"]["characters"] == 150
    for n, fraction in record["new_ngrams"].items():
        assert fraction == pytest.approx(sum(t["new_ngrams"][n] for t in record["texts"]) / 2)
    out = charlstm(*arguments).out
    assert "2 sampled texts" in out
    assert "held-out text" in out


def test_unknown_characters_are_new(charlstm, tiny_run, tmp_path):
    (tmp_path / "other.txt").write_text("日本語" * 20, encoding="utf-8")
    record = json.loads(charlstm("novelty", tiny_run, tmp_path / "other.txt", "--json").out)
    assert set(record["new_ngrams"].values()) == {1.0}
    assert record["texts"][0]["copied"] == []


ROWS = [f"{n % 7} Some Words, and {n} more of them" for n in range(120)]
READINGS = {
    "lowercase": ("text.txt", "\n".join(ROWS), {"lowercase": True}),
    "normalize": ("text.txt", "  \r\n".join(ROWS), {"normalize": True}),
    "lines": ("text.txt", "\n".join(ROWS) + "\n", {"documents": "newline"}),
    "paragraphs": ("text.txt", "\n\n".join(ROWS), {"documents": "blank_line"}),
    "header": ("text.txt", "HEADER §\n" + "\n".join(ROWS), {"documents": "newline", "skip_header": True}),
    "column": ("text.csv", "text\n" + "".join(f'"{row}"\n' for row in ROWS), {"column": "text"}),
}


@pytest.mark.parametrize(("name", "content", "corpus"), READINGS.values(), ids=READINGS)
def test_training_text_is_copied_however_it_is_read(
    charlstm, make_config, make_trainer, tmp_path, name, content, corpus
):
    path = tmp_path / name
    path.write_bytes(content.encode())
    config = make_config(corpus={"source": str(path), "validation_fraction": 0.0, **corpus}, budget={"steps": 2})
    trainer = make_trainer(config, text=load_corpus(**config.corpus.model_dump()))
    list(trainer.run())
    result = charlstm("novelty", trainer.directory.path, path, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert set(record["new_ngrams"].values()) <= {0.0, None}
    assert sum(part["characters"] for part in record["texts"]) > 3_000
    assert charlstm("evaluate", trainer.directory.path, "--text", path).code == 0


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, (), "there is no such file"),
        (b"", (), "it is empty"),
        (b"\xff\xfe", (), "is not text in utf-8"),
        (b"the cat", ("--length", "5"), "--length has no effect with a FILE"),
        (b"the cat", ("--seed", "5"), "--seed has no effect with a FILE"),
    ],
)
def test_wrong_use_is_one_line(charlstm, tiny_run, tmp_path, content, options, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    result = charlstm("novelty", tiny_run, path, *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) <= 2


SAMPLE = ("--length", 300, "--seed", 1, "--temperature", 0.6, "--novelty")


def test_sampled_passages_are_listed_after_the_text(charlstm, tiny_run):
    plain = charlstm("sample", tiny_run, *SAMPLE[:-1]).out
    result = charlstm("sample", tiny_run, *SAMPLE)
    assert result.code == 0
    assert result.out.startswith(plain + "\n")
    assert "new n-grams of n characters" in result.out
    assert "\x1b" not in result.out


def test_prompt_is_not_compared(charlstm, tiny_run, text):
    record = json.loads(charlstm("sample", tiny_run, *SAMPLE, "--prime", text[:100], "--json").out)["samples"][0]
    assert record["novelty"]["characters"] == 300
    for passage in record["novelty"]["copied"]:
        assert record["written"][passage["start"] :].startswith(passage["text"])
        assert passage["text"] in text


def test_copied_passages_are_marked_on_a_terminal(on_terminal, charlstm, tiny_run, monkeypatch):
    def measure(corpus, texts, on_progress):
        copied = (Copied(100, 150, 9, 1), Copied(3, 20, 30, 2))
        result = Novelty(300, dict.fromkeys((5, 10, 20, 40), 0.5), copied)
        return Report((result,), result, None)

    monkeypatch.setattr("charlstm.cli.sample_output.measure", measure)
    record = json.loads(charlstm("sample", tiny_run, *SAMPLE, "--json").out)["samples"][0]
    assert len(record["novelty"]["copied"]) == 2
    out = on_terminal("sample", tiny_run, *SAMPLE).out
    underlined = "".join(re.findall("\x1b\\[4m(.*?)\x1b\\[0m", out))
    shown = sorted(record["novelty"]["copied"], key=lambda p: p["start"])
    assert underlined == "".join(p["text"] for p in shown).replace("\n", "")
    assert re.sub("\x1b\\[[0-9;]*m", "", out).startswith(record["text"])


def test_stream_is_refused_with_novelty(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, *SAMPLE, "--stream")
    assert result.code == 2
    assert "--stream has no effect with --novelty" in result.err


def test_written_part_of_bytes_begins_after_a_prompt_that_is_not_utf_8(make_config, make_trainer, tmp_path):
    path = tmp_path / "bytes.bin"
    path.write_bytes(b"caf\xc3\xa9 au lait, caf\xc3 " * 60)
    config = make_config(corpus={"source": str(path), "encoding": "bytes"}, budget={"steps": 2})
    trainer = make_trainer(config, text=load_corpus(**config.corpus.model_dump()))
    list(trainer.run())
    run = package.load(trainer.directory.path)
    (sample,) = run.generate(b"caf\xc3".decode("utf-8", "surrogateescape"), 5, seed=1)
    assert len(written_ids(sample)) == 5
