"""Training texts and texts given to a model are decoded in the same way, and files that are not text are errors."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from charlstm.errors import UserError
from charlstm.text import reading, unpacking
from charlstm.text.corpus import load_corpus
from charlstm.text.decoding import decode
from charlstm.text.unpacking import unpack

LINES = "Zoë ate\nseven crêpes\n\nin Łódź\n" * 20
WESTERN = LINES.replace("Łódź", "Köln")
ENCODINGS = {
    "utf-8": (LINES, "utf-8"),
    "utf-8 with a mark": (LINES, "utf-8-sig"),
    "utf-16 with a mark": (LINES, "utf-16"),
    "utf-16-le": (LINES, "utf-16-le"),
    "utf-16-be": (LINES, "utf-16-be"),
    "latin-1": (WESTERN, "latin-1"),
    "cp1252": (WESTERN.replace("ate", "“ate”"), "cp1252"),
    "bytes": (LINES, "utf-8"),
    "gb18030": ("寒随穷律变，\n\n春逐鸟声开。\n" * 20, "gb18030"),
}
DECLARED = {"utf-8 with a mark": "utf-8", "utf-16 with a mark": "utf-16"}
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def error_of(content: bytes, encoding: str = "utf-8") -> str:
    """The error for a training text; a text given to a model must have nearly the same error."""
    Path("a").write_bytes(content)
    with pytest.raises(UserError) as trained:
        load_corpus("a", encoding)
    with pytest.raises(UserError) as given:
        decode(content, encoding, "a")
    assert str(given.value).split(". ")[0] == str(trained.value).split(". ")[0]
    assert "--set" not in str(given.value)
    return str(trained.value)


@pytest.mark.parametrize("documents", [None, "newline", "blank_line"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_given_text_decodes_like_the_training_text(name, line_end, documents, monkeypatch):
    text, written = ENCODINGS[name]
    encoding = DECLARED.get(name, name)
    content = text.replace("\n", line_end).encode(written)
    Path("a.txt").write_bytes(content)
    monkeypatch.setattr(reading, "PIECE", 7)
    corpus = load_corpus("a.txt", encoding, documents=documents)
    assert np.array_equal(corpus.vocabulary.encode(decode(content, encoding)), corpus.ids)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "bytes"])
@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_text_equals_the_plain_text(suffix, encoding):
    content = LINES.encode("utf-8" if encoding == "bytes" else encoding)
    Path("plain").write_bytes(content)
    packed = PACKERS[suffix](content[:99]) + PACKERS[suffix](content[99:])
    Path("a" + suffix).write_bytes(packed)
    plain, corpus = load_corpus("plain", encoding), load_corpus("a" + suffix, encoding)
    assert corpus.digest == plain.digest
    assert np.array_equal(corpus.ids, plain.ids)
    assert np.array_equal(corpus.vocabulary.encode(decode(packed, encoding)), plain.ids)
    assert unpack(packed) == content


@pytest.mark.parametrize("suffix", list(PACKERS)[1:])
def test_damaged_compression_is_an_error(suffix):
    packed = PACKERS[suffix](random.Random(1).randbytes(4000))
    assert "the compressed file is truncated" in error_of(packed[:2000])
    assert "the compressed file is damaged" in error_of(packed[:2000] + b"\xff" * 300 + packed[2300:])


def test_decompression_bomb_is_an_error(monkeypatch):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    assert "decompress to over 1,048,576: this is hardly a text" in error_of(gzip.compress(b"ab" * 1_000_000))
    assert decode(gzip.compress(b"ab" * 500_000), "latin-1", "a") == "ab" * 500_000


def test_decompression_takes_constant_memory():
    Path("a.gz").write_bytes(gzip.compress(random.Random(1).randbytes(1 << 16).hex().encode() * 75))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in reading.read_pieces(Path("a.gz"))) == 75 << 17
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def archive(kind: str) -> bytes:
    target = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as file:
            file.writestr("a.txt", LINES)
    else:
        with tarfile.open(fileobj=target, mode=kind) as file:
            file.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return target.getvalue()


BINARY = {
    "zip": (archive("zip"), "a is a zip archive"),
    "tar": (archive("w"), "a is a tar archive, not a text. Unpack it: tar -xf a"),
    "tar.gz": (archive("w:gz"), "a is a tar archive"),
    "gz of gz": (gzip.compress(gzip.compress(b"ab")), "a is compressed twice"),
    "zst": (b"\x28\xb5\x2f\xfd" + bytes(range(60)), "zstd -d a"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a is an image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "a is an image"),
    "pdf": (b"%PDF-1.7\nstream", "pdftotext a"),
    "NUL-ridden": (b"ab\0c\0\0" * 99, "50% of its first 594 characters are NUL. Choose a text file"),
    "NUL between": ("\0".join(["Ann", "Eve", "Otto", "Kim"] * 9).encode(), "tr '\\0' '\\n' < a"),
    "noise": (random.Random(1).randbytes(9000).replace(b"\0", b""), "are control characters"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp437"])
@pytest.mark.parametrize("kind", BINARY)
def test_binary_files_are_detected(kind, encoding):
    content, expected = BINARY[kind]
    message = error_of(content, encoding)
    if (kind, encoding) != ("noise", "utf-8"):
        assert expected in message
    assert "latin-1" not in message.replace("text in latin-1", "")


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("declared", ["utf-8", "latin-1", *WIDE])
@pytest.mark.parametrize("true", WIDE)
@pytest.mark.parametrize("marked", [True, False])
def test_utf16_and_utf32_are_detected(declared, true, marked):
    if declared == true:
        return
    mark = "\ufeff" if marked else ""
    name = true[:-3] if marked else true
    assert f"--set corpus.encoding={name}" in error_of((mark + WESTERN).encode(true), declared)


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (codecs.BOM_UTF8 + b"abba" * 9, "cp1252", "corpus.encoding=utf-8"),
        (b"in plain ASCII" * 9, "utf-16", "corpus.encoding=utf-8"),
        (LINES.encode("utf-16-be"), "utf-16", "corpus.encoding=utf-16-be"),
        ("寒随穷律变".encode("utf-16-be"), "utf-16", "corpus.encoding=utf-16-le (or utf-16-be, "),
        ("Пётр и Ева жили тут.\n".encode("utf-16-le") * 9, "utf-8", "corpus.encoding=utf-16-le"),
        ("“Köln” am Rhein".encode("cp1252"), "utf-8", "corpus.encoding=cp1252"),
        ("Köln am Rhein".encode("latin-1"), "utf-8", "corpus.encoding=latin-1"),
        ("Köln am Rhein".encode(), "ascii", "corpus.encoding=utf-8"),
        ("Здравствуйте".encode("cp1251"), "utf-8", "corpus.encoding=cp1251 (or gb18030, "),
    ],
)
def test_error_suggests_the_likely_encoding(content, encoding, expected):
    assert expected in error_of(content, encoding)


def test_error_for_a_given_text_suggests_iconv():
    with pytest.raises(UserError, match=r"reads utf-8\. Convert .*: iconv -f latin-1 -t utf-8 'a b\.txt' > NEW"):
        decode("Köln am Rhein".encode("latin-1"), "utf-8", "a b.txt")
    with pytest.raises(UserError, match=r"^this is not text in utf-8.* -t utf-8 FILE > NEW"):
        decode("Köln am Rhein".encode("latin-1"), "utf-8")


@pytest.mark.parametrize("text", ["\0", "a\0b", "Ann\x1e" * 99, "\x1b[1mbold\x1b[0m " * 99, "\b_" * 99])
def test_text_may_contain_some_control_characters(text):
    assert decode(text.encode(), "utf-8", "a") == text
