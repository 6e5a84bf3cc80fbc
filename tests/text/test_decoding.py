"""The very file that was trained on reads the same when it is given to the model, and noise is no text anywhere."""

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
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def refused(content: bytes, encoding: str = "utf-8") -> str:
    """What a text to train on is refused with; one that is given to a model, too, in nearly the same words."""
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
def test_what_was_trained_on_reads_the_same(name, line_end, documents, monkeypatch):
    text, written = ENCODINGS[name]
    encoding = DECLARED.get(name, name)
    content = text.replace("\n", line_end).encode(written)
    Path("a.txt").write_bytes(content)
    monkeypatch.setattr(reading, "PIECE", 7)
    corpus = load_corpus("a.txt", encoding, documents=documents)
    assert np.array_equal(corpus.vocabulary.encode(decode(content, encoding)), corpus.ids)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "bytes"])
@pytest.mark.parametrize("suffix", PACKERS)
def test_a_compressed_text_is_the_text(suffix, encoding):
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
def test_damaged_compression_is_told(suffix):
    packed = PACKERS[suffix](random.Random(1).randbytes(4000))
    assert "the compressed file is cut off" in refused(packed[:2000])
    assert "the compressed file is damaged" in refused(packed[:2000] + b"\xff" * 300 + packed[2300:])


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(unpacking, "ALWAYS_READ", 1 << 20)
    assert "unpack to over 1,048,576: this is hardly a text" in refused(gzip.compress(b"ab" * 1_000_000))
    assert decode(gzip.compress(b"ab" * 500_000), "latin-1", "a") == "ab" * 500_000


def test_unpacking_takes_constant_memory():
    Path("a.gz").write_bytes(gzip.compress(random.Random(1).randbytes(1 << 16).hex().encode() * 300))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in reading.read_pieces(Path("a.gz"))) == 300 << 17
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
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a is a picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "a is a picture"),
    "pdf": (b"%PDF-1.7\nstream", "pdftotext a"),
    "NUL-ridden": (b"ab\0c\0\0" * 99, "50% of its first 594 characters are NUL. Choose a text"),
    "NUL between": ("\0".join(["Ann", "Eve", "Otto", "Kim"] * 9).encode(), "tr '\\0' '\\n' < a"),
    "noise": (random.Random(1).randbytes(9000).replace(b"\0", b""), "are control characters"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp437"])
@pytest.mark.parametrize("kind", BINARY)
def test_what_is_no_text_is_recognised(kind, encoding):
    content, expected = BINARY[kind]
    message = refused(content, encoding)
    if (kind, encoding) != ("noise", "utf-8"):
        assert expected in message
    assert "latin-1" not in message.replace("text in latin-1", "")


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("declared", ["utf-8", "latin-1", *WIDE])
@pytest.mark.parametrize("true", WIDE)
@pytest.mark.parametrize("marked", [True, False])
def test_wide_characters_are_told_by_mark_or_place(declared, true, marked):
    if declared == true:
        return
    mark = "\ufeff" if marked else ""
    name = true[:-3] if marked else true
    assert f"--set corpus.encoding={name}" in refused((mark + WESTERN).encode(true), declared)


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
def test_the_advice_names_the_likely_encoding(content, encoding, expected):
    assert expected in refused(content, encoding)


def test_a_given_text_is_to_be_converted_to_what_the_model_reads():
    with pytest.raises(UserError, match=r"reads utf-8\. Convert .*: iconv -f latin-1 -t utf-8 'a b\.txt' > NEW"):
        decode("Köln am Rhein".encode("latin-1"), "utf-8", "a b.txt")
    with pytest.raises(UserError, match=r"^this is not text in utf-8.* -t utf-8 FILE > NEW"):
        decode("Köln am Rhein".encode("latin-1"), "utf-8")


@pytest.mark.parametrize("text", ["\0", "a\0b", "Ann\x1e" * 99, "\x1b[1mbold\x1b[0m " * 99, "\b_" * 99])
def test_some_control_characters_do_not_make_noise(text):
    assert decode(text.encode(), "utf-8", "a") == text
