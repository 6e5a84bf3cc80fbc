from __future__ import annotations

import hashlib
import os
import re
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text import corpus as module
from charlstm.text import reading
from charlstm.text.corpus import Corpus, load_corpus

CHINESE = "寒随穷律变，春逐鸟声开。\n初风飘带柳，晚雪间花梅。\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def test_a_corpus_is_a_read_only_map_of_small_ids(here: Path) -> None:
    (here / "a.txt").write_text("hello world")
    corpus = load_corpus("a.txt", validation_fraction=0.2, test_fraction=0.1)
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.ids.dtype == np.uint8
    assert not corpus.ids.flags.writeable
    assert text_of(corpus) == "hello world"
    assert corpus.digest == hashlib.sha256(b"hello world").hexdigest()
    assert corpus.sources == ("a.txt",)
    assert corpus.describe() == "a.txt: 11 characters, 8 distinct (7 train, 2 validation, 2 test)"
    parts = [corpus.split(name) for name in ("train", "validation", "test")]
    assert [corpus.vocabulary.decode(part) for part in parts] == ["hello w", "or", "ld"]
    assert all(part.base is not None for part in parts)


def test_chinese_takes_two_bytes_an_id_only_if_it_must(here: Path) -> None:
    (here / "poems.txt").write_text(CHINESE, encoding="utf-8")
    corpus = load_corpus("poems.txt")
    assert text_of(corpus) == CHINESE
    assert corpus.ids.dtype == np.uint8
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 5387)))
    for length, dtype in ((256, np.uint8), (257, np.uint16), (5387, np.uint16)):
        (here / "many.txt").write_text(many[:length], encoding="gb18030")
        corpus = load_corpus("many.txt", "gb18030")
        assert text_of(corpus) == many[:length]
        assert corpus.ids.dtype == dtype


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(codec="utf-8"), min_size=2).filter(lambda text: len(set(text)) > 1 and text[0] != "\ufeff"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"]),
    st.integers(1, 9),
)
def test_no_place_where_a_piece_ends_changes_the_text(here: Path, text: str, encoding: str, piece: int) -> None:
    (here / "a.txt").write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", piece)
        assert text_of(load_corpus("a.txt", encoding)) == text


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=2).filter(lambda content: len(set(content)) > 1))
def test_bytes_stay_what_they_are(here: Path, content: bytes) -> None:
    (here / "a.bin").write_bytes(b"\xef\xbb\xbf" + content)
    corpus = load_corpus("a.bin", "bytes")
    assert corpus.vocabulary.kind == "bytes"
    assert corpus.vocabulary.decode_bytes(corpus.ids) == b"\xef\xbb\xbf" + content


def test_a_mark_is_dropped_at_the_start_of_each_file_and_line_ends_stay(here: Path) -> None:
    (here / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n")
    (here / "b.txt").write_bytes(b"\xef\xbb\xbftwo\xef\xbb\xbf\r\n")
    assert text_of(load_corpus(["a.txt", "b.txt"])) == "one\r\ntwo\ufeff\r\n"
    joined = (here / "a.txt").read_bytes() + (here / "b.txt").read_bytes()
    (here / "c.txt").write_bytes(joined)
    assert text_of(load_corpus("c.txt")) == "one\r\n\ufefftwo\ufeff\r\n"
    assert load_corpus("c.txt").digest == load_corpus(["a.txt", "b.txt"]).digest


@pytest.mark.parametrize(
    ("n", "validation", "test", "expected"),
    [
        (1_115_394, 0.1, 0.0, (1_003_854, 111_540, 0)),
        (10, 0.9, 0.0, (1, 9, 0)),
        (10, 0.3, 0.6, (1, 3, 6)),
        (10, 0.2, 0.1, (7, 2, 1)),
        (3, 0.1, 0.1, (2, 0, 1)),
    ],
)
def test_splits_are_cut_exactly(n: int, validation: float, test: float, expected: tuple[int, ...], here: Path) -> None:
    (here / "a.txt").write_text("ab" * (n // 2) + "c" * (n % 2))
    corpus = load_corpus("a.txt", "utf-8", validation, test)
    assert tuple(part.stop - part.start for part in corpus.splits.values()) == expected
    assert list(corpus.splits) == ["train", "validation", "test"]


def test_an_empty_split_is_refused_when_asked_for(here: Path) -> None:
    (here / "a.txt").write_text("abc")
    corpus = load_corpus("a.txt")
    with pytest.raises(UserError, match=r"test split of a\.txt.* is empty: raise corpus\.test_fraction"):
        corpus.split("test")
    with pytest.raises(UserError, match=r"train split .* is empty: lower corpus\.validation_fraction"):
        load_corpus("a.txt", validation_fraction=0.9).split("train")
    with pytest.raises(UserError, match="no split 'valid': there are train, validation, test"):
        corpus.split("valid")


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.0), (0.0, 1.0)])
def test_fractions_leave_room(validation: float, test: float) -> None:
    with pytest.raises(UserError, match="together less than 1"):
        load_corpus("a.txt", "utf-8", validation, test)


def test_the_order_of_names(here: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (here / name).write_text(f"{name}\n")
    assert text_of(load_corpus("*.txt")) == "a.txt\nb.txt\n"
    corpus = load_corpus(["c.md", "*.txt", "b.txt"])
    assert text_of(corpus) == "c.md\na.txt\nb.txt\nb.txt\n"
    assert corpus.sources == ("c.md", "a.txt", "b.txt", "b.txt")
    assert corpus.describe().startswith("4 files: ")
    (here / "[x].txt").write_text("a name\n")
    assert text_of(load_corpus("[x].txt")) == "a name\n"
    (here / "deep" / "er").mkdir(parents=True)
    (here / "deep" / "er" / "d.txt").write_text("deep\n")
    assert text_of(load_corpus("deep/**/*.txt")) == "deep\n"


def test_a_second_load_reads_no_text_anew(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.txt").write_text("hello")
    load_corpus("a.txt")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "ids").iterdir()}
    assert sorted(path.suffix for path in before) == [".ids", ".json"]
    (here / "a.txt").rename(here / "moved.txt")
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_codes", None)
        assert text_of(load_corpus("moved.txt", validation_fraction=0.5)) == "hello"
        with pytest.raises(TypeError):
            load_corpus("moved.txt", "latin-1")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "ids").iterdir()}
    (here / "moved.txt").write_text("hellO")
    assert text_of(load_corpus("moved.txt")) == "hellO"


@pytest.mark.parametrize("suffix", [".ids", ".json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"xx"])
def test_a_damaged_cache_is_written_anew(here: Path, tmp_path: Path, suffix: str, content: bytes | None) -> None:
    (here / "a.txt").write_text("hello")
    load_corpus("a.txt")
    (path,) = (tmp_path / "cache" / "ids").glob(f"*{suffix}")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert text_of(load_corpus("a.txt")) == "hello"


def test_a_cache_that_cannot_be_written(here: Path) -> None:
    (here / "a.txt").write_text("hello")
    (here / "file").touch()
    corpus = load_corpus("a.txt", cache=here / "file" / "cache")
    assert text_of(corpus) == "hello"
    assert isinstance(corpus.ids, np.memmap)


def test_many_at_once_write_the_same(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 64)
    (here / "a.txt").write_text(CHINESE * 40, encoding="utf-8")
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(text_of(load_corpus("a.txt")))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [CHINESE * 40] * 6
    assert len(list((tmp_path / "cache" / "ids").iterdir())) == 2


def test_a_file_that_changes_while_it_is_read(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.txt").write_text("hello")
    genuine = reading.hash_sources

    def then_change(*arguments: object) -> tuple[str, list[int]]:
        found = genuine(*arguments)  # type: ignore[arg-type]
        (here / "a.txt").write_text("helly")
        return found

    monkeypatch.setattr(module, "hash_sources", then_change)
    with pytest.raises(UserError, match=r"a\.txt changed while it was being read"):
        load_corpus("a.txt")
    assert not list((tmp_path / "cache" / "ids").iterdir())


def test_progress_is_told(here: Path) -> None:
    (here / "a.txt").write_text("hello")
    told: list[tuple[str, int, int]] = []
    load_corpus("a.txt", on_progress=lambda *what: told.append(what))
    assert {what for what, done, total in told if done == total == 5} == {
        f"{verb} a.txt" for verb in ("checking", "counting", "encoding")
    }


def refused(source: str | list[str], encoding: str = "utf-8") -> str:
    with pytest.raises(UserError) as caught:
        load_corpus(source, encoding)
    return str(caught.value)


def test_texts_with_nothing_in_them(here: Path) -> None:
    (here / "empty.txt").touch()
    (here / "mark.txt").write_bytes(b"\xef\xbb\xbf")
    (here / "same.txt").write_text("aaaa")
    assert refused("empty.txt") == "the corpus is empty: empty.txt has no content. Give corpus.source another text"
    assert (
        refused(["empty.txt", "empty.txt"])
        == "the corpus is empty: empty.txt and 1 more has no content. Give corpus.source another text"
    )
    assert "no content but a byte-order mark" in refused("mark.txt")
    assert "its 4 characters are all the same, 'a'" in refused("same.txt")
    assert "names no source" in refused([])


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_a_text_in_another_encoding(here: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(reading, "PIECE", piece)
    (here / "a.txt").write_bytes("één\nzwei\nmüde\n".encode() + b"caf\xe9\n")
    message = refused("a.txt")
    assert message.startswith("a.txt is not text in utf-8: byte 0xE9 at offset 20 (line 4, column 4).")
    assert "--set corpus.encoding=latin-1" in message
    assert "--set corpus.encoding=bytes" in message
    assert load_corpus("a.txt", "latin-1").ids.size == 22
    (here / "a.txt").write_bytes(CHINESE.encode("gb18030") + b"\xff")
    assert "at offset 50 (line 3, column 1)" in refused("a.txt", "gb18030")
    (here / "a.txt").write_bytes("ab\ncd".encode("utf-16") + b"\0")
    assert "at offset 12 (line 2, column 3)" in refused("a.txt", "utf-16")
    (here / "a.txt").write_bytes("ab\n中".encode()[:-1])
    assert "byte 0xE4 at offset 3 (line 2, column 1)" in refused("a.txt")


def test_things_that_are_no_regular_files(here: Path) -> None:
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    assert "folder: this is a folder, not a text: name its files, for example 'folder/*.txt'" in refused("folder")
    for name in ("pipe", "/dev/null", "pip*"):
        assert "not a regular file" in refused(name)


def test_names_that_are_nothing(here: Path) -> None:
    (here / "stories.txt").write_text("ab")
    assert refused("storys.txt").endswith("there is a file 'stories.txt'")
    assert "the catalogue has 'tinyshakespeare'" in refused("tiny-shakespeare")
    assert re.search(r"no entry of the catalogue \(.*names, .*tinyshakespeare", refused("qqqq"))
    assert "no file matches '*.html'" in refused("*.html")
    assert "must be a name or a path" in refused("")
    assert "no corpus 'nowhere/a.txt'" in refused("nowhere/a.txt")


@pytest.mark.parametrize("name", ["utf-9", "utf9", "rot13", "base64", "", "a\0b"])
def test_encodings_that_are_none(here: Path, name: str) -> None:
    (here / "a.txt").write_text("ab")
    message = refused("a.txt", name)
    assert f"unknown encoding {name!r}" in message
    if name == "utf-9":
        assert "did you mean 'utf-" in message


def test_encodings_by_any_of_their_names(here: Path) -> None:
    (here / "a.txt").write_text("ab")
    assert load_corpus("a.txt", "UTF8").encoding == load_corpus("a.txt", "utf_8").encoding == "utf-8"
    assert load_corpus("a.txt", "Bytes").encoding == "bytes"


def peak_of_loading(path: str) -> int:
    tracemalloc.start()
    try:
        load_corpus(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_fifty_megabytes_take_little_memory(here: Path) -> None:
    (here / "a.txt").write_text(CHINESE * 700_000, encoding="utf-8")
    assert (here / "a.txt").stat().st_size > 50_000_000
    assert peak_of_loading("a.txt") < 16_000_000
