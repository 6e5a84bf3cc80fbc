"""Checks of paths, and commands quoted for a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

import charlstm
from charlstm.cli.commands import COMMANDS, _function
from charlstm.config import as_yaml, load_config
from charlstm.errors import UserError
from charlstm.paths import check_recordable, command, expand_home, is_folder, path_exists

WORDS = ["plain", "two words", "it's", '$HOME `id` "x" \\', "a\nb\tc", "é 名", "*", "~", "", "\x1b[2J", "\udcff'\\"]


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="pastes into bash")
@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_command_can_be_pasted_into_bash(word):
    line = command(word, "x", start="printf %s,")
    assert word.isascii() or line.isprintable()
    done = subprocess.run(["/bin/bash", "-c", os.fsencode(line)], capture_output=True, check=True)
    assert done.stdout == os.fsencode(f"{word},x,")


def test_path_with_a_dash_is_not_an_option():
    assert command("train", Path("-x"), "--resume") == "charlstm train ./-x --resume"
    assert shlex.split(command("train", Path("a b"), start="torchrun -m charlstm")) == [
        *("torchrun", "-m", "charlstm", "train", "a b")
    ]


def test_tilde_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home("~/x") == Path("/home/me/x")
    assert expand_home(Path("~nobody-of-this-name/x")) == Path("~nobody-of-this-name/x")
    assert expand_home("a/~") == Path("a/~")


def test_every_path_parameter_expands_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    checked = 0
    for one in COMMANDS:
        for name, kind in get_type_hints(_function(one), include_extras=True).items():
            plain, *extras = get_args(kind) if get_origin(kind) is Annotated else (kind,)
            if Path in (plain, *get_args(plain)):
                (option,) = extras
                value = [Path("~/x")] if get_origin(plain) is list else Path("~/x")
                assert option.callback(value) == (
                    [Path("/home/me/x")] if isinstance(value, list) else Path("/home/me/x")
                ), name
                checked += 1
    assert checked >= 8


def test_load_expands_the_home_folder(tiny_run, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_run.parent))
    assert charlstm.load("~/tiny").directory.path == tiny_run


def test_invalid_paths_do_not_exist():
    for name in ("n" * 300, "a\0b"):
        assert not path_exists(Path(name))
        assert not is_folder(Path(name))


def test_path_that_is_not_utf8_is_an_error():
    check_recordable(Path("é"))
    with pytest.raises(UserError, match="not UTF-8"):
        check_recordable(Path("/a/b\udcff"))


def test_locale_is_blamed_for_a_path_that_is_utf8():
    """As under LC_ALL=POSIX with PYTHONUTF8=0, where each byte of the path is a surrogate."""
    with pytest.raises(UserError) as caught:
        check_recordable(Path("\udcc3\udca9/t.txt"))
    assert str(caught.value) == (
        "é/t.txt: the locale is not UTF-8, so Python cannot read this path: set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
    ).replace("/", os.sep)


@pytest.mark.parametrize("name", ["é" * 100, "名" * 60, "a\udcff"], ids=ascii)
def test_name_length_is_limited_in_bytes(name, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("corpus: {source: a}")
    with pytest.raises(UserError, match=r"bytes in UTF-8|cannot contain|surrogate|not allowed"):
        load_config(file, [f"name={name}"])
    assert load_config(file, [f"name={'é' * 80}"]).name == "é" * 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        ("lstm", "lstm"),
        ("no", "'no'"),
        ("a b", "a b"),
        ([1, 2], "[1, 2]"),
        ({"steps": 2, "minutes": None}, "{steps: 2, minutes: null}"),
        ("\n", '"\\n"'),
    ],
    ids=str,
)
def test_as_yaml_writes_one_line(value, text):
    assert as_yaml(value) == text
