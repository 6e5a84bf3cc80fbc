"""Resolution of a corpus source to files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.text.corpus import load_corpus
from charlstm.text.sources import absolute_source, resolve


@pytest.mark.parametrize("name", ["a[1]", "what?", "all*", "[!x]"])
def test_folder_names_may_contain_glob_characters(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / name
    folder = root / "texts"
    folder.mkdir(parents=True)
    (tmp_path / "a1").mkdir()
    for name in ("x.txt", "y.txt", "[z].txt"):
        (folder / name).write_text(f"some text of {name}")
    monkeypatch.chdir(root)
    for source in ("texts/x.txt", "texts/[z].txt", str(folder / "x.txt")):
        assert [file.path.name for file in resolve(source, tmp_path)] == [Path(source).name]
    for source in ("texts/*.txt", "**/*.txt", "texts/[x-z[]*.txt"):
        for value in (source, absolute_source(source)):
            assert [file.path.name for file in resolve(value, tmp_path)] == ["[z].txt", "x.txt", "y.txt"]
    with pytest.raises(UserError, match=r"looked for \*\.md in "):
        resolve(absolute_source("texts/*.md"), tmp_path)


def test_source_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.txt").write_text("abba")
    assert load_corpus("~/x.txt").ids.size == 4
    assert load_corpus("~/*.txt").ids.size == 4
    assert absolute_source(["~/x.txt"]) == [str(tmp_path / "x.txt")]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_source_path_that_is_not_utf8_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="not UTF-8"):
        absolute_source("x.txt")
    assert absolute_source("python-stdlib") == "python-stdlib"


def test_folder_stands_for_its_texts_without_those_of_runs(tmp_path: Path) -> None:
    files = (
        "poem.txt",
        "notes/config.yaml",
        "runs/poem/config.yaml",
        "runs/poem/metrics.jsonl",
        "runs/poem/samples.txt",
    )
    for name in (*files, "runs/compare-poem/report/report.json", "runs/compare-poem/report/index.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a text")
    found = [str(source.path.relative_to(tmp_path)) for source in resolve(str(tmp_path), tmp_path / ".cache")]
    assert found == ["notes/config.yaml", "poem.txt"]
    found = [source.path.name for source in resolve(str(tmp_path / "runs/poem"), tmp_path / ".cache")]
    assert found == ["config.yaml", "metrics.jsonl", "samples.txt"]
