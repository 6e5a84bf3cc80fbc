"""Locating the text of a run after both were moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.text.corpus import load_corpus
from charlstm.text.relocation import relocate_source
from charlstm.text.sources import absolute_source


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "old" / "project"
    (folder / "texts" / "more").mkdir(parents=True)
    (folder / "runs" / "run").mkdir(parents=True)
    for name, text in (("texts/x.txt", "some text"), ("texts/more/y.txt", "another text"), ("z.txt", "a third")):
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    return folder


SOURCES = ["texts/x.txt", "z.txt", "texts/*.txt", "texts/**/*.txt", ["texts/more/y.txt", "texts/x.txt"], ["z.txt"]]


@pytest.mark.parametrize("original", SOURCES, ids=str)
def test_text_moved_with_its_project_is_located(original, project: Path, tmp_path: Path) -> None:
    recorded = absolute_source(original)
    digest = load_corpus(recorded).digest
    assert relocate_source(recorded, project / "runs" / "run", lambda: pytest.fail("nothing is missing")) == recorded
    for name in ("new", "old/other", "deep/er/project"):
        new = tmp_path / name
        new.parent.mkdir(exist_ok=True, parents=True)
        project.rename(new)
        (new / "runs" / "x.txt").write_text("another text of the same name")
        source = relocate_source(recorded, new / "runs" / "run", lambda: digest)
        assert load_corpus(source).digest == digest
        assert type(source) is type(recorded)
        new.rename(project)
        (project / "runs" / "x.txt").unlink()


def test_file_with_other_content_is_not_used(project: Path, tmp_path: Path) -> None:
    recorded = absolute_source("texts/x.txt")
    new = project.rename(tmp_path / "new")
    assert relocate_source(recorded, new / "runs" / "run", lambda: "0" * 64) == recorded


def test_only_missing_files_are_searched(project: Path, tmp_path: Path) -> None:
    recorded = absolute_source(["z.txt", "texts/x.txt"])
    digest = load_corpus(recorded).digest
    (tmp_path / "elsewhere").mkdir()
    (project / "texts").rename(tmp_path / "elsewhere" / "texts")
    run = tmp_path / "elsewhere" / "runs" / "run"
    run.mkdir(parents=True)
    assert relocate_source(recorded, run, lambda: digest) == [
        recorded[0],
        str(tmp_path / "elsewhere" / "texts" / "x.txt"),
    ]
