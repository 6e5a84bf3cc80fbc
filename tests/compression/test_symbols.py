from __future__ import annotations

import numpy as np
import pytest

from charlstm.compression.symbols import (
    DamagedSymbolsError,
    Symbols,
    pack_codes,
    to_bytes,
    to_symbols,
    unpack_codes,
)
from charlstm.text.vocabulary import Vocabulary

LETTERS = Vocabulary(tuple("\nabcdé"))
BYTES = Vocabulary(tuple(map(chr, b"\nabc\xff")), "bytes")
CONTENTS = [
    b"",
    b"abcd\n",
    "abé\r\nd, 日本 🎉".encode(),
    bytes(range(256)),
    b"\xc3" + b"a" + b"\xa9",  # two escapes that together would be a character
    b"\xef\xbb\xbfabc",
    b"\xff\xfea\0b\0",
    "é".encode("latin-1") * 3,
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "ascii", "cp1252"])
@pytest.mark.parametrize("content", CONTENTS, ids=repr)
def test_any_file_is_restored(content, encoding):
    symbols = to_symbols(content, LETTERS, encoding)
    packed = pack_codes(symbols.codes)
    codes = unpack_codes(packed, len(symbols.codes))
    assert to_bytes(Symbols(symbols.ids, codes, symbols.encoding), LETTERS) == content


@pytest.mark.parametrize("content", CONTENTS, ids=repr)
def test_any_file_is_restored_from_bytes(content):
    symbols = to_symbols(content, BYTES, "bytes")
    assert len(symbols.ids) == len(content)
    assert to_bytes(symbols, BYTES) == content


def test_known_characters_are_not_escaped():
    assert to_symbols("abé".encode(), LETTERS, "utf-8").ids.tolist() == [1, 2, 5]
    assert to_symbols("abé".encode("latin-1"), LETTERS, "latin-1").ids.tolist() == [1, 2, 5]
    symbols = to_symbols("aZ日".encode(), LETTERS, "utf-8")
    assert symbols.ids.tolist() == [1, 6, 6]
    assert symbols.codes.tolist() == [ord("Z"), ord("日")]


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_damaged_codes_are_noticed(count):
    codes = np.full(count, 0x65E5, np.uint32)
    packed = pack_codes(codes)
    assert unpack_codes(packed, count).tolist() == codes.tolist()
    for damaged, claimed in ((packed, count + 1), (packed + b"x" * 3, count - 1), (b"\1abc", 1)):
        with pytest.raises(DamagedSymbolsError):
            unpack_codes(damaged, claimed)


@pytest.mark.parametrize(
    "symbols",
    [
        Symbols(np.array([6]), np.array([], np.uint32), "utf-8"),
        Symbols(np.array([6]), np.array([0x110000], np.uint32), "utf-8"),
        Symbols(np.array([6]), np.array([0x65E5], np.uint32), "latin-1"),
        Symbols(np.array([1]), np.array([], np.uint32), "no-such-encoding"),
        Symbols(np.array([1]), np.array([], np.uint32), "utf-8\0"),
        Symbols(np.array([1]), np.array([], np.uint32), "bytes"),
    ],
)
def test_impossible_symbols_are_damage(symbols):
    with pytest.raises(DamagedSymbolsError):
        to_bytes(symbols, LETTERS)
