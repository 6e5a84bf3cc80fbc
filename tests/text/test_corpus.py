"""Corpora: reading, splitting, caching, and errors of the text."""

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
from charlstm.text import encoded, reading
from charlstm.text.corpus import Corpus, load_corpus

CHINESE = "寒随穷律变，春逐鸟声开。\n初风飘带柳，晚雪间花梅。\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def test_corpus_is_a_read_only_memory_map(folder: Path) -> None:
    (folder / "a.txt").write_text("hello world")
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


def test_ids_have_the_smallest_dtype(folder: Path) -> None:
    (folder / "poems.txt").write_text(CHINESE, encoding="utf-8")
    corpus = load_corpus("poems.txt")
    assert text_of(corpus) == CHINESE
    assert corpus.ids.dtype == np.uint8
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 5387)))
    for length, dtype in ((256, np.uint8), (257, np.uint16), (5387, np.uint16)):
        (folder / "many.txt").write_text(many[:length], encoding="gb18030")
        corpus = load_corpus("many.txt", "gb18030")
        assert text_of(corpus) == many[:length]
        assert corpus.ids.dtype == dtype


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # In UTF-16 a NUL after the byte-order mark makes that of UTF-32.
    st.text(st.characters(codec="utf-8"), min_size=2).filter(lambda t: len(set(t)) > 1 and t[0] not in "\0\ufeff"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"]),
    st.integers(1, 9),
)
def test_piece_boundaries_do_not_change_the_text(folder: Path, text: str, encoding: str, piece: int) -> None:
    (folder / "a.txt").write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", piece)
        assert text_of(load_corpus("a.txt", encoding)) == text


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=2).filter(lambda content: len(set(content)) > 1))
def test_bytes_are_unchanged(folder: Path, content: bytes) -> None:
    (folder / "a.bin").write_bytes(b"\xef\xbb\xbf" + content)
    corpus = load_corpus("a.bin", "bytes")
    assert corpus.vocabulary.kind == "bytes"
    assert corpus.vocabulary.decode_bytes(corpus.ids) == b"\xef\xbb\xbf" + content


def test_byte_order_mark_of_each_file_is_dropped(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbftwo\xef\xbb\xbf\r\n")
    assert text_of(load_corpus(["a.txt", "b.txt"])) == "one\r\ntwo\ufeff\r\n"
    joined = (folder / "a.txt").read_bytes() + (folder / "b.txt").read_bytes()
    (folder / "c.txt").write_bytes(joined)
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
def test_split_sizes_are_exact(n: int, validation: float, test: float, expected: tuple[int, ...], folder: Path) -> None:
    (folder / "a.txt").write_text("ab" * (n // 2) + "c" * (n % 2))
    corpus = load_corpus("a.txt", "utf-8", validation, test)
    assert tuple(part.stop - part.start for part in corpus.splits.values()) == expected
    assert list(corpus.splits) == ["train", "validation", "test"]


def test_empty_split_is_an_error_when_used(folder: Path) -> None:
    (folder / "a.txt").write_text("abc")
    corpus = load_corpus("a.txt")
    with pytest.raises(UserError, match=r"test split of a\.txt.* is empty: raise corpus\.test_fraction"):
        corpus.split("test")
    with pytest.raises(UserError, match=r"train split .* is empty: lower corpus\.validation_fraction"):
        load_corpus("a.txt", validation_fraction=0.9).split("train")
    assert corpus.excerpt_split == "validation"
    assert load_corpus("a.txt", validation_fraction=0.0).excerpt_split == "train"
    with pytest.raises(UserError, match="unknown split 'valid': expected one of train, validation, test"):
        corpus.split("valid")


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.0), (0.0, 1.0)])
def test_fractions_must_sum_to_less_than_one(validation: float, test: float) -> None:
    with pytest.raises(UserError, match="together less than 1"):
        load_corpus("a.txt", "utf-8", validation, test)


def test_files_are_concatenated_in_order(folder: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (folder / name).write_text(f"{name}\n")
    assert text_of(load_corpus("*.txt")) == "a.txt\nb.txt\n"
    corpus = load_corpus(["c.md", "*.txt", "b.txt"])
    assert text_of(corpus) == "c.md\na.txt\nb.txt\nb.txt\n"
    assert corpus.sources == ("c.md", "a.txt", "b.txt", "b.txt")
    assert corpus.describe().startswith("4 files: ")
    (folder / "[x].txt").write_text("a name\n")
    assert text_of(load_corpus("[x].txt")) == "a name\n"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "d.txt").write_text("deep\n")
    assert text_of(load_corpus("deep/**/*.txt")) == "deep\n"


def test_second_load_uses_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.txt").write_text("hello")
    load_corpus("a.txt")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "ids").iterdir()}
    assert sorted(path.suffix for path in times) == [".ids", ".json"]
    (folder / "a.txt").rename(folder / "moved.txt")
    with monkeypatch.context() as patch:
        patch.setattr(encoded, "read_codes", None)
        assert text_of(load_corpus("moved.txt", validation_fraction=0.5)) == "hello"
        with pytest.raises(TypeError):
            load_corpus("moved.txt", "latin-1")
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "ids").iterdir()}
    (folder / "moved.txt").write_text("hellO")
    assert text_of(load_corpus("moved.txt")) == "hellO"


def test_characters_extend_the_vocabulary(folder: Path, tmp_path: Path) -> None:
    (folder / "a.txt").write_text("hello")
    plain, extended = load_corpus("a.txt"), load_corpus("a.txt", characters="\0elxé寒")
    assert "".join(extended.vocabulary.symbols) == "\0ehloxé寒"
    assert text_of(extended) == text_of(plain) == text_of(load_corpus("a.txt")) == "hello"
    assert extended.describe() == plain.describe() == "a.txt: 5 characters, 4 distinct (4 train, 1 validation)"
    assert len(list((tmp_path / "cache" / "ids").iterdir())) == 4
    assert text_of(load_corpus("a.txt", characters="\0elxé寒")) == "hello"
    assert text_of(load_corpus("a.txt", "bytes", characters="\xff")) == "hello"
    assert load_corpus("a.txt", "bytes", characters="\xff").vocabulary.symbols[-1] == "\xff"
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    assert load_corpus("a.txt", characters=many).ids.dtype == np.uint16
    assert text_of(load_corpus("a.txt", characters=many)) == "hello"
    (folder / "same.txt").write_text("aaaa")
    with pytest.raises(UserError, match="nothing to learn"):
        load_corpus("same.txt", characters="abc")


def test_documents_are_cut_with_an_extended_vocabulary(folder: Path) -> None:
    (folder / "names.txt").write_text("anna\nbob\ncarl\n" * 3)
    plain, extended = (load_corpus("names.txt", documents="newline", characters=one) for one in (None, "\t abxyz"))
    for name in ("train", "validation"):
        parts = (corpus.split(name) for corpus in (plain, extended))
        assert len({(part.starts.tobytes(), part.ends.tobytes()) for part in parts}) == 1


@pytest.mark.parametrize("suffix", [".ids", ".json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"xx"])
def test_damaged_cache_is_written_again(folder: Path, tmp_path: Path, suffix: str, content: bytes | None) -> None:
    (folder / "a.txt").write_text("hello")
    load_corpus("a.txt")
    (path,) = (tmp_path / "cache" / "ids").glob(f"*{suffix}")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert text_of(load_corpus("a.txt")) == "hello"


def test_unwritable_cache_is_replaced(folder: Path) -> None:
    (folder / "a.txt").write_text("hello")
    (folder / "file").touch()
    corpus = load_corpus("a.txt", cache=folder / "file" / "cache")
    assert text_of(corpus) == "hello"
    assert isinstance(corpus.ids, np.memmap)


def test_concurrent_loads_agree(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 64)
    (folder / "a.txt").write_text(CHINESE * 40, encoding="utf-8")
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(text_of(load_corpus("a.txt")))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [CHINESE * 40] * 6
    assert len(list((tmp_path / "cache" / "ids").iterdir())) == 2


def test_file_changed_while_read_is_an_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.txt").write_text("hello")
    genuine = reading.hash_sources

    def then_change(*arguments: object) -> tuple[str, list[int]]:
        result = genuine(*arguments)  # type: ignore[arg-type]
        (folder / "a.txt").write_text("helly")
        return result

    monkeypatch.setattr(module, "hash_sources", then_change)
    with pytest.raises(UserError, match=r"a\.txt changed while it was being read"):
        load_corpus("a.txt")
    assert not list((tmp_path / "cache" / "ids").iterdir())


def test_progress_is_reported(folder: Path) -> None:
    (folder / "a.txt").write_text("hello")
    events: list[tuple[str, int, int]] = []
    load_corpus("a.txt", on_progress=lambda *event: events.append(event))
    assert {what for what, done, total in events if done == total == 5} == {
        f"{verb} a.txt" for verb in ("checking", "counting", "encoding")
    }


def error_of(source: str | list[str], encoding: str = "utf-8") -> str:
    with pytest.raises(UserError) as caught:
        load_corpus(source, encoding)
    return str(caught.value)


def test_empty_and_constant_texts_are_errors(folder: Path) -> None:
    (folder / "empty.txt").touch()
    (folder / "mark.txt").write_bytes(b"\xef\xbb\xbf")
    (folder / "same.txt").write_text("aaaa")
    assert error_of("empty.txt") == "the corpus is empty: empty.txt has no content. Set corpus.source to another text"
    assert (
        error_of(["empty.txt", "empty.txt"])
        == "the corpus is empty: empty.txt and 1 more has no content. Set corpus.source to another text"
    )
    assert "has only a byte-order mark" in error_of("mark.txt")
    assert "its 4 characters are all the same, 'a'" in error_of("same.txt")
    assert "has no source" in error_of([])


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_wrong_encoding_error_has_the_position(folder: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(reading, "PIECE", piece)
    (folder / "a.txt").write_bytes("één\nzwei\nmüde\n".encode() + b"caf\xe9\n")
    message = error_of("a.txt")
    assert message.startswith("a.txt is not text in utf-8: byte 0xE9 at offset 20 (line 4, column 4).")
    assert "--set corpus.encoding=latin-1" in message
    assert "--set corpus.encoding=bytes" in message
    assert load_corpus("a.txt", "latin-1").ids.size == 22
    (folder / "a.txt").write_bytes(CHINESE.encode("gb18030") + b"\xff")
    assert "at offset 50 (line 3, column 1)" in error_of("a.txt", "gb18030")
    (folder / "a.txt").write_bytes("ab\ncd".encode("utf-16") + b"\0")
    assert "at offset 12 (line 2, column 3)" in error_of("a.txt", "utf-16")
    (folder / "a.txt").write_bytes("ab\n中".encode()[:-1])
    assert "byte 0xE4 at offset 3 (line 2, column 1)" in error_of("a.txt")


def test_special_files_are_errors(folder: Path) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    assert "folder: this is a folder without text files" in error_of("folder")
    for name in ("pipe", "/dev/null", "pip*"):
        assert "not a regular file" in error_of(name)


def test_unknown_sources_are_errors_with_suggestions(folder: Path) -> None:
    (folder / "stories.txt").write_text("ab")
    assert error_of("storys.txt").endswith("there is a file 'stories.txt'")
    assert "the catalog has 'tinyshakespeare'" in error_of("tiny-shakespeare")
    assert re.search(r"no entry of the catalog \(.*names, .*tinyshakespeare", error_of("qqqq"))
    assert "no file matches '*.html'" in error_of("*.html")
    assert "must be a name or a path" in error_of("")
    assert "no corpus 'nowhere/a.txt'" in error_of("nowhere/a.txt")


@pytest.mark.parametrize("name", ["utf-9", "utf9", "rot13", "base64", "", "a\0b"])
def test_unknown_encodings_are_errors(folder: Path, name: str) -> None:
    (folder / "a.txt").write_text("ab")
    message = error_of("a.txt", name)
    assert f"unknown encoding {name!r}" in message
    if name == "utf-9":
        assert "did you mean 'utf-" in message


def test_encoding_names_are_normalized(folder: Path) -> None:
    (folder / "a.txt").write_text("ab")
    assert load_corpus("a.txt", "UTF8").encoding == load_corpus("a.txt", "utf_8").encoding == "utf-8"
    assert load_corpus("a.txt", "Bytes").encoding == "bytes"


def peak_of_loading(path: str) -> int:
    tracemalloc.start()
    try:
        load_corpus(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_loading_fifty_megabytes_takes_little_memory(folder: Path) -> None:
    (folder / "a.txt").write_text(CHINESE * 700_000, encoding="utf-8")
    assert (folder / "a.txt").stat().st_size > 50_000_000
    assert peak_of_loading("a.txt") < 16_000_000
