"""Options that take a text, or the file to read it from."""

from __future__ import annotations

import io
import os
import sys
import time

import pytest

from charlstm.cli import text_arguments


def stdin(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def text(option_value: str) -> str:
    return text_arguments.text_argument("--prime", option_value, lambda content, _: content.decode())


def test_text_option_reads_argument_file_or_stdin(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p").write_text("from a file\r\n", newline="")
    stdin(monkeypatch, b"from standard input\n")
    assert text("the cat") == "the cat"
    assert text("@@home") == "@home"
    assert text("a@b") == "a@b"
    assert text(f"@{tmp_path}/p") == text("@~/p") == "from a file\r\n"
    assert text("-") == "from standard input\n"


@pytest.fixture
def irregular_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(text_arguments.MAX_TEXT_BYTES + 1)
    monkeypatch.setattr(sys, "stdin", None)


@pytest.mark.parametrize("option", ["--prime", "--text"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/zero", "this is a device"),
        ("pipe", "this is a pipe"),
        (".", "this is a folder"),
        ("missing", "there is no such file"),
        ("n" * 300, "File name too long"),
        ("latin", "is not text in utf-8"),
        ("large", "the limit is"),
        ("-", "standard input is closed"),
    ],
)
def test_unreadable_input_is_an_error_at_once(charlstm, tiny_run, irregular_files, option, name, message):
    start = time.monotonic()
    value = name if option == "--text" or name == "-" else f"@{name}"
    result = charlstm("evaluate" if option == "--text" else "sample", tiny_run, option, value)
    assert time.monotonic() - start < 5
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {option} {value}: ")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_endless_standard_input_is_refused(monkeypatch, charlstm, tiny_run):
    monkeypatch.setattr(text_arguments, "MAX_PROMPT_BYTES", 1000)
    stdin(monkeypatch, b"t" * 1001)
    result = charlstm("sample", tiny_run, "--prime", "-")
    assert (result.code, result.err) == (2, "error: --prime -: longer than 1,000 bytes\n")
    stdin(monkeypatch, b"t" * 1000)
    assert charlstm("sample", tiny_run, "--prime", "-", "--length", 1).code == 0


def test_text_from_standard_input_is_scored(charlstm, tiny_run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text.txt").write_bytes(b"the cat\nsat")
    stdin(monkeypatch, b"the cat\nsat")
    piped, named = (charlstm("evaluate", tiny_run, "--text", name).out for name in ("-", "~/text.txt"))
    assert piped.splitlines()[0] == "-: 11 characters scored"
    assert piped.splitlines()[1:] == named.splitlines()[1:]


def test_help_explains_a_literal_at_sign(charlstm):
    assert "@@ at its beginning is a literal @" in " ".join(charlstm("sample", "--help").out.split())
