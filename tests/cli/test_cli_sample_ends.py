"""Where texts of ``charlstm sample`` end: --until, how it is given, and texts that do not reach it."""

from __future__ import annotations

import pytest

import charlstm as package


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
