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
