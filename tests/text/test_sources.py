"""From what a configuration names as its corpus to the files that hold it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.text.corpus import load_corpus
from charlstm.text.sources import absolute, resolve


@pytest.mark.parametrize("name", ["a[1]", "what?", "all*", "[!x]"])
def test_a_folder_may_be_called_like_a_pattern(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name / "texts"
    folder.mkdir(parents=True)
    (tmp_path / "a1").mkdir()
    for file in ("x.txt", "y.txt", "[z].txt"):
        (folder / file).write_text(f"some text of {file}")
    monkeypatch.chdir(tmp_path / name)
    for source in ("texts/x.txt", "texts/[z].txt", str(folder / "x.txt")):
        assert [found.path.name for found in resolve(source, tmp_path)] == [Path(source).name]
    for source in ("texts/*.txt", "**/*.txt", "texts/[x-z[]*.txt"):
        for given in (source, absolute(source)):
            assert [found.path.name for found in resolve(given, tmp_path)] == ["[z].txt", "x.txt", "y.txt"]
    with pytest.raises(UserError, match=r"looked for \*\.md in "):
        resolve(absolute("texts/*.md"), tmp_path)


def test_a_source_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.txt").write_text("abba")
    assert load_corpus("~/x.txt").ids.size == 4
    assert load_corpus("~/*.txt").ids.size == 4
    assert absolute(["~/x.txt"]) == [str(tmp_path / "x.txt")]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_source_that_no_configuration_can_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="no UTF-8"):
        absolute("x.txt")
    assert absolute("python-stdlib") == "python-stdlib"
