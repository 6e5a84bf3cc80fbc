"""Statistics of a text, counted in pieces."""

from __future__ import annotations

import math

import pytest

from charlstm.text import statistics
from charlstm.text.corpus import load_corpus


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_pieces_do_not_matter(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(statistics, "PIECE", piece)
    path = tmp_path / "t.txt"
    path.write_text("one\ntwo\n\none\n \nthree\r\none", encoding="utf-8", newline="")
    s = statistics.text_statistics(load_corpus(str(path)))
    assert (s.characters, s.bytes) == (25, 25)
    assert s.lines == statistics.LineStatistics(7, 0, 3.0, 6, 2, 2, 1)
    assert next(iter(s.counts)) == "\n"
    assert s.uniform_bits == pytest.approx(math.log2(s.alphabet_size))
    assert 0 < s.entropy_bits < s.uniform_bits
    assert "\r" in s.rare


def test_chinese_has_more_bytes_than_characters(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeff山水山".encode())
    s = statistics.text_statistics(load_corpus(str(path)))
    assert (s.characters, s.bytes, s.alphabet_size, s.counts) == (3, 9, 2, {"山": 2, "水": 1})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_byte_order_mark_is_not_counted_for_each_character(tmp_path, encoding):
    path = tmp_path / "t.txt"
    path.write_bytes("a text".encode(encoding))
    mark = len("".encode(encoding))
    assert mark
    assert statistics.text_statistics(load_corpus(str(path), encoding=encoding)).bytes == path.stat().st_size - mark


def test_lines_longer_than_a_piece_are_compared_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "PIECE", 4)
    path = tmp_path / "t.txt"
    path.write_text("abcdefghi\nx\nabcdefghi\nabcdefghj\n" + 9 * " " + "\nabcd\r\nabcd\r", encoding="utf-8", newline="")
    lines = statistics.text_statistics(load_corpus(str(path))).lines
    assert lines == statistics.LineStatistics(7, 1, 9.0, 9, 1, 2, 2)


def test_the_parts_of_a_long_line_are_not_collected(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "PIECE", 100)
    path = tmp_path / "t.txt"
    path.write_text("ab" * 5000, encoding="utf-8")
    corpus, decoded = load_corpus(str(path)), []
    for head, text in statistics._each_line(corpus):
        decoded.append((head.length, len(text)))
    assert decoded == [(9900, 100)]


def test_every_byte_is_counted(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"aab" + b"\xe2" * 4 + b"\xff")
    s = statistics.text_statistics(load_corpus(str(path), encoding="bytes"))
    assert s.counts == {"0xE2": 4, "a": 2, "b": 1, "0xFF": 1}
    assert s.entropy_bits == pytest.approx(1.75)


def test_symbols_that_the_text_does_not_have_are_not_counted(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("abab", encoding="utf-8")
    s = statistics.text_statistics(load_corpus(str(path), characters="xyz"))
    assert (s.alphabet_size, s.counts, s.entropy_bits) == (2, {"a": 2, "b": 2}, 1.0)
