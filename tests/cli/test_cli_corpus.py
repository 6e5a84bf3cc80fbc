"""``charlstm corpus``: the catalog, downloads, and the statistics of a text."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from charlstm.text import catalog as module
from charlstm.text.catalog import Entry

TEXT = b"a small corpus\n"


@pytest.fixture(autouse=True)
def catalog(tmp_path, monkeypatch):
    """A catalog with one text, whose server is this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "served.txt"
    source.write_bytes(TEXT)
    digest = hashlib.sha256(TEXT).hexdigest()
    entry = Entry("small", "small.txt", source.as_uri(), digest, len(TEXT), len(TEXT), "public domain", "a pangram")
    monkeypatch.setattr(module, "CHECKOUT_DATA", tmp_path / "data")
    monkeypatch.setattr(module, "catalog", lambda: {"small": entry})
    return source


def test_list(charlstm):
    out = charlstm("corpus").out
    assert out == charlstm("corpus", "list").out
    assert "small           0.0 MB   no     public domain" in out
    assert "python-stdlib" in out
    entry, library = json.loads(charlstm("corpus", "list", "--json").out)
    assert (entry["name"], entry["bytes"], entry["license"], entry["file"]) == ("small", 15, "public domain", None)
    assert library.keys() == entry.keys()
    assert (library["name"], library["bytes"]) == ("python-stdlib", None)
    assert library["description"] in " ".join(out.split())


def test_get_downloads_once_and_prints_the_path(charlstm, catalog):
    result = charlstm("corpus", "get", "small")
    assert (result.code, result.err) == (0, "")
    path = Path(result.out.rstrip("\n"))
    assert path.read_bytes() == TEXT
    catalog.unlink()
    assert charlstm("corpus", "get", "small", "--json").out == json.dumps({"name": "small", "file": str(path)}) + "\n"
    assert json.loads(charlstm("corpus", "list", "--json").out)[0]["file"] == str(path)


def test_get_refuses_other_content(charlstm, catalog):
    catalog.write_bytes(TEXT.upper())
    result = charlstm("corpus", "get", "small")
    assert result.code == 2
    assert "the file at its URL has changed (the SHA-256 differs)" in result.err
    assert not list(Path("cache/corpora").iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("get", "get takes one name of the catalog"),
        ("get small python-stdlib", "get takes one name of the catalog"),
        ("get served.txt", "It is a file, which needs no download; its statistics:  charlstm corpus show served.txt"),
        ("get smal", "smal: not in the catalog. Did you mean small? Names: python-stdlib, small"),
        ("list small", "list takes no name. To see the statistics of a text:  charlstm corpus show small"),
        ("show", "show takes a name of the catalog, or a file"),
        ("show nothing.txt", "no corpus 'nothing.txt'"),
        ("show served.txt --encoding klingon", "unknown encoding 'klingon'"),
        ("get small --encoding utf-8", "--encoding has no effect with get"),
        ("list --no-ngrams", "--ngrams has no effect with list"),
        ("shwo x", "Did you mean show?"),
    ],
)
def test_wrong_use(charlstm, line, message):
    result = charlstm("corpus", *line.split())
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_show_a_text(charlstm):
    Path("t.txt").write_text("äbab\n\näbab\r\nabab\nabab" + "😀" * 6, encoding="utf-8", newline="")
    out = charlstm("corpus", "show", "t.txt").out
    lines = {line[:22].strip(): line[22:] for line in out.splitlines()}
    assert lines["characters"] == "27"
    assert lines["bytes"] == "47"
    assert lines["alphabet"] == f"6 characters; ln V = {math.log(6):.3f} nats, {math.log2(6):.3f} bits"
    assert lines["most frequent"].startswith("b 29.6% a 22.2% 😀 22.2% '\\n' 14.8%")
    assert lines["fewer than 5 times"] == r"3: '\n' ä '\r'"
    assert lines["lines"] == "5, 1 of them empty, 1 end in CR LF"
    assert lines["line length"] == "0 to 10 characters, median 4"
    assert lines["repeated lines"] == "0, 0.0% of those that are not empty"
    assert lines["n-grams, held out"].startswith("1: ")
    record = json.loads(charlstm("corpus", "show", "t.txt", "--json").out)
    assert (record["characters"], record["rare"]) == (27, ["\n", "ä", "\r"])
    assert sum(record["counts"].values()) == 27
    assert set(record["held_out_ngram_bits_per_character"]) == set("12345")


def test_show_bytes_several_texts_and_no_ngrams(charlstm):
    Path("a.txt").write_bytes(b"ab\n" * 10)
    Path("b.txt").write_bytes(b"\xff\x00")
    out = charlstm("corpus", "show", "a.txt", "b.txt", "--encoding", "bytes", "--no-ngrams").out
    assert "bytes                 32\n" in out
    assert "alphabet              5 bytes" in out
    assert "n-grams" not in out
    assert "line" not in out


@pytest.mark.parametrize("content", [b"", b"ab", b"\xff\xfe\x00"])
def test_show_tiny_and_invalid_texts(charlstm, content):
    Path("t.txt").write_bytes(content)
    result = charlstm("corpus", "show", "t.txt")
    assert result.code == (0 if content == b"ab" else 2)
    assert len(result.err.splitlines()) == (content != b"ab")
