"""Where texts of ``charlstm sample`` end: --until, how it is given, and texts that do not reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

import charlstm as package
from charlstm.text.corpus import load_corpus


@pytest.fixture
def make_run(make_config, make_trainer, tmp_path):
    def train(text: bytes) -> Path:
        source = tmp_path / "source"
        source.write_bytes(text)
        config = make_config({}, {"source": str(source)}, budget={"steps": 2}, sample_length=0)
        trainer = make_trainer(config, tmp_path / "trained", load_corpus(str(source)))
        list(trainer.run())
        return trainer.directory.path

    return train


@pytest.mark.parametrize("option", ["--prime", "--until"])
def test_line_break_as_two_characters_is_explained(charlstm, tiny_run, option):
    result = charlstm("sample", tiny_run, option, r"the\n")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {option}: 1 character is not in the vocabulary of ")
    assert rf"A line break is written $'\n' in bash, or given in a file: {option} @FILE" in result.err
    assert ("--unknown skip" in result.err) == (option == "--prime")
    assert "A tab is written $'\\t' in bash" in charlstm("sample", tiny_run, option, r"\t").err


def test_until_with_unknown_characters_names_the_option(charlstm, tiny_run, tmp_path):
    result = charlstm("sample", tiny_run, "--until", "€")
    assert result.err.startswith("error: --until: 1 character is not in the vocabulary of ")
    assert result.err.endswith("'€' (U+20AC) at 1:1. The model can never write it\n")
    (tmp_path / r"a\n").write_text("the €", encoding="utf-8")
    result = charlstm("sample", tiny_run, "--until", rf"@{tmp_path}/a\n")
    assert result.err.startswith(rf"error: --until @{tmp_path}/a\n: 1 character is not")
    assert "line break" not in result.err
    with pytest.raises(package.UserError, match=r"^until: 1 character is not in the vocabulary"):
        package.load(tiny_run).generate(until="€")


def test_prime_of_inspect_has_no_hint_that_is_refused(charlstm, tiny_run):
    result = charlstm("inspect", tiny_run, "--unit", 1, "--set", 0, "--prime", r"\n")
    assert result.code == 2
    assert "$'\\n' in bash" in result.err
    assert "--unknown" not in result.err


def test_until_from_a_file(charlstm, tiny_run, tmp_path):
    (tmp_path / "end").write_text("tw")
    options = ("--length", 200, "--seed", 3, "--prime", "the ")
    direct = charlstm("sample", tiny_run, *options, "--until", "tw")
    assert charlstm("sample", tiny_run, *options, "--until", f"@{tmp_path}/end") == direct
    assert direct.out.endswith("tw\n")
    missing = charlstm("sample", tiny_run, "--until", "@nothing")
    assert missing.err.startswith("error: --until @nothing: ")


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_text_that_does_not_reach_until_is_noted(charlstm, tiny_run, stream):
    options = ("--length", 30, "--seed", 3, stream)
    unended = "note: the text reached --length before --until\n"
    assert charlstm("sample", tiny_run, *options, "--until", "tttttt").err == unended
    assert charlstm("sample", tiny_run, *options, "--prime", "ttt", "--until", "ttt").err == unended
    assert charlstm("sample", tiny_run, *options, "--until", " ").err == ""


def test_number_of_texts_that_do_not_reach_until_is_noted(charlstm, tiny_run):
    options = {"length": 12, "seed": 3, "num_samples": 9, "until": "e"}
    unended = sum(not text.text.endswith("e") for text in package.load(tiny_run).generate(**options))
    assert 0 < unended < 9
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = charlstm("sample", tiny_run, *flags)
    assert result.err.endswith(f"--- 9 of 9\nnote: {unended} of 9 texts reached --length before --until\n")


def test_reason_why_until_is_not_reached_is_given(charlstm, make_run):
    run = make_run(b"a\\nb c\r\n\r\nd e\r\n" * 60)
    options = ("sample", run, "--length", 9, "--seed", 1, "--until")
    note = "note: the text reached --length before --until"
    ends = "The training text has CR LF at ends of lines, --until has LF alone: write it as $'\\r\\n' in bash"
    assert charlstm(*options, "\n\n").err == f"{note}. {ends}\n"
    assert charlstm(*options, "\r\n\r\n\r\n").err == note + "\n"
    escaped = charlstm(*options, r"c\n\n")
    assert escaped.err == f"{note}. A line break is written $'\\n' in bash, or given in a file: --until @FILE\n"


def test_empty_until_is_refused(charlstm, tiny_run, tmp_path):
    (tmp_path / "empty").touch()
    for given in ("", f"@{tmp_path}/empty"):
        result = charlstm("sample", tiny_run, "--until", given)
        message = "error: --until: the text is empty: give the text that ends a sample, or leave --until out\n"
        assert (result.code, result.out, result.err) == (2, "", message)
