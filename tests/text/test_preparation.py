"""Changes to a text: the same wherever its pieces begin, part of the cache key, and reported."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlstm.config import CorpusConfig
from charlstm.errors import UserError
from charlstm.text import preparation, reading
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.documents import Documents
from charlstm.text.preparation import NORMALIZATIONS, Changes, Preparation, normalized


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


ALPHABET = "aeA \t\r\n\u0301\u0308\u00e9\u1100\u1161\u11a8\uac00\u03a3\u0c46\u0c56"


@example([" \r"], {"spaces"})
@given(st.lists(st.text(ALPHABET, max_size=6), max_size=8), st.sets(st.sampled_from(NORMALIZATIONS)))
def test_normalization_does_not_depend_on_pieces(pieces: list[str], chosen: set[str]) -> None:
    which = [name for name in NORMALIZATIONS if name in chosen]
    result = "".join(normalized(iter(pieces), which, Changes()))
    text = "".join(pieces)
    if "line_ends" in which:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "spaces" in which:
        lines = text.split("\n")
        ends = ["\r" * (line.endswith("\r") and n < len(lines) - 1) for n, line in enumerate(lines)]
        text = "\n".join((line.removesuffix(end)).rstrip(" \t") + end for line, end in zip(lines, ends, strict=True))
    if "unicode" in which:
        text = unicodedata.normalize("NFC", text)
    assert result == text


def test_a_long_run_of_spaces_is_searched_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    searched, last_boundary = list[int](), preparation._last_boundary

    def counted(text: str) -> int:
        searched.append(len(text))
        return last_boundary(text)

    monkeypatch.setattr(preparation, "_last_boundary", counted)
    assert "".join(normalized(iter(["a", *[" "] * 1000, "\nb"]), ["spaces"], Changes())) == "a\nb"
    assert sum(searched) < 3000


def test_each_change_is_made_and_reported() -> None:
    Path("a.txt").write_bytes("Name \r\nZOE\u0308\r\nann\t\r\nann\r\n".encode())
    options = {"documents": "newline", "shuffle_documents": False}
    corpus = load_corpus("a.txt", skip_header=True, deduplicate=True, lowercase=True, normalize=True, **options)
    assert text_of(corpus) == "zo\u00eb\nann\nann\n"
    assert corpus.documents is not None
    assert len(corpus.documents) == 2
    assert corpus.changes == (
        "skip_header: left out 'Name '",
        "normalize: 3 line ends became LF, 1 spaces and tabs at the end of lines were removed, "
        "1 characters became composed ones (NFC)",
        "lowercase: 3 capital letters became small",
        "deduplicate: 3 lines, 2 different",
    )
    assert load_corpus("a.txt", normalize=["spaces"]).changes == (
        "normalize: 2 spaces and tabs at the end of lines were removed",
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lowercase": True}, "a \r\ne\u0301\r\nb\n"),
        ({"normalize": True}, "A\n\u00e9\nb\n"),
        ({"normalize": ["unicode"]}, "A \r\n\u00e9\r\nb\n"),
        ({"skip_header": True, "documents": "newline"}, "e\u0301\r\nb\n"),
    ],
    ids=str,
)
def test_changed_text_has_another_cache(options, expected) -> None:
    Path("a.txt").write_bytes("A \r\ne\u0301\r\nb\n".encode())
    for changes, text in ((options, expected), ({}, "A \r\ne\u0301\r\nb\n"), (options, expected)):
        assert text_of(load_corpus("a.txt", **changes)) == text


def test_header_is_left_out_of_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 3)
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(f"the header of {name}\none\ntwo\n")
    Path("c.txt").write_text("only a header")
    corpus = load_corpus(["a.txt", "b.txt", "c.txt"], skip_header=True, documents="newline")
    assert text_of(corpus) == "one\ntwo\none\ntwo\n"
    assert corpus.changes == ("skip_header: left out 'the header of a.txt', and the first line of every other file",)


def test_a_long_first_line_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 100)
    Path("a.txt").write_text("x" * 10_000 + "\r\nab\n", newline="")
    corpus = load_corpus("a.txt", skip_header=True, documents="newline", validation_fraction=0)
    assert (text_of(corpus), corpus.changes) == ("ab\n", (f"skip_header: left out '{'x' * 60}...'",))


def test_nothing_after_the_first_line_is_an_error() -> None:
    Path("a.txt").write_text("only a header")
    with pytest.raises(UserError, match=r"a\.txt has nothing after the first line, which corpus\.skip_header"):
        load_corpus("a.txt", skip_header=True, documents="newline")


def test_letters_that_become_two_count_once() -> None:
    Path("a.txt").write_text("\u0130 xyz A\n" * 9, encoding="utf-8")
    corpus = load_corpus("a.txt", lowercase=True)
    assert text_of(corpus) == "i\u0307 xyz a\n" * 9
    assert corpus.changes == ("lowercase: 18 capital letters became small",)


def test_prompts_keep_spaces_at_their_end() -> None:
    preparation = Preparation(lowercase=True, normalize=NORMALIZATIONS)
    assert preparation.apply_to_prompt("To BE \r\nE\u0301 ") == "to be \n\u00e9 "
    assert preparation.apply_to_text("To BE \r\nE\u0301 ") == "to be\n\u00e9"
    assert Preparation().apply_to_prompt("To BE \r\n") == "To BE \r\n"


# folders


def make_folder() -> None:
    for number in range(10):
        Path(f"texts/{number % 2}").mkdir(parents=True, exist_ok=True)
        Path(f"texts/{number % 2}/{number}.txt").write_text(f"text {number}\nof two lines\n")
    Path("texts/.hidden").write_text("hidden")
    Path("texts/empty.txt").write_text("")
    Path("texts/image.png").write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 9)


def test_folder_is_its_text_files() -> None:
    make_folder()
    corpus = load_corpus("texts")
    assert corpus.sources[:2] == ("texts/0/0.txt", "texts/0/2.txt")
    assert len(corpus.sources) == 10
    assert "hidden" not in text_of(corpus)
    Path("none").mkdir()
    with pytest.raises(UserError, match="none: this is a folder without text files"):
        load_corpus("none")
    Path("texts/latin.txt").write_bytes("caf\xe9 and more".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not text in utf-8"):  # not silently left out
        load_corpus("texts")


def test_each_file_is_a_document() -> None:
    make_folder()
    corpus = load_corpus("texts", documents="file", validation="files", validation_fraction=0.2)
    assert corpus.describe().endswith("10 documents (8 train, 2 validation)")
    train = corpus.split("train")
    assert isinstance(train, Documents)
    first = corpus.vocabulary.decode(train.ids[train.starts[0] : train.ends[0]])
    assert first.startswith("text ")
    assert first.endswith("\nof two lines\n")
    assert corpus.vocabulary.decode(train.end_mark) == "\x1c"
    assert load_corpus("texts", documents="file").describe().endswith("10 documents (9 train, 1 validation)")
    Path("texts/x.txt").write_text("a\x1cb")
    with pytest.raises(UserError, match=r"x\.txt contains '\\x1c', with which corpus\.documents: file ends"):
        load_corpus("texts", documents="file")


@pytest.mark.parametrize(
    ("content", "corpus"),
    [
        ("Q: WHO?\nA: I\nQ: WHAT?\nA: THAT\n", {"documents": "\nQ: ", "score_after": "A:"}),
        ("text,Kind\nABC,X\nDEF,Y\n", {"column": "text", "documents": "\nEND\n", "shuffle_documents": True}),
        ("text,Kind\nABC,X\nDEF,Y\n", {"column": "text", "context_column": "Kind", "context_separator": " AS "}),
    ],
)
def test_separators_are_lowercased_like_the_text(content: str, corpus: dict[str, Any]) -> None:
    Path("a.csv" if "column" in corpus else "a.txt").write_text(content)
    source = "a.csv" if "column" in corpus else "a.txt"
    config = CorpusConfig(source=source, lowercase=True, validation_fraction=0.0, **corpus)
    loaded = load_corpus(**config.model_dump())
    assert len(loaded.documents or ()) == 2
    assert CorpusConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("validation", ["tail", "blocks"])
def test_splits_are_those_of_the_different_documents(validation):
    Path("a.txt").write_text("\n".join(f"{10 + n % 20}" for n in range(60)))
    options = {"documents": "newline", "validation_fraction": 0.2, "test_fraction": 0.1, "validation": validation}
    corpus = load_corpus("a.txt", deduplicate=True, **options)
    assert [part.stop - part.start for part in corpus.splits.values()] == [14, 4, 2]
    assert [len(corpus.split(name)) for name in corpus.splits] == [14, 4, 2]
