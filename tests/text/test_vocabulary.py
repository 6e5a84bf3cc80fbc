"""Vocabularies: encoding, decoding, JSON, and the errors of unknown symbols."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text.vocabulary import Vocabulary, codes_of_text

texts = st.text(st.characters(), min_size=1)


@given(texts)
def test_decode_undoes_encode(text: str) -> None:
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.size == len(text)
    assert vocabulary.decode(ids) == text
    assert list(vocabulary.symbols) == sorted(set(text))
    assert vocabulary.size == len(vocabulary) == len(set(text))


@given(st.binary(min_size=1))
def test_bytes_survive_a_round_trip(content: bytes) -> None:
    vocabulary = Vocabulary.from_text(content)
    assert vocabulary.kind == "bytes"
    assert vocabulary.size == len(set(content))
    assert vocabulary.decode_bytes(vocabulary.encode(content)) == content
    assert vocabulary.decode(vocabulary.encode(content)) == content.decode("utf-8", "replace")


@given(texts)
def test_json_round_trip_is_exact(text: str) -> None:
    for vocabulary in (
        Vocabulary.from_text(text),
        Vocabulary.from_text(text.encode("utf-8", "surrogatepass")),
    ):
        written = vocabulary.to_json()
        assert written.isascii()
        assert Vocabulary.from_json(json.loads(json.dumps(written))) == vocabulary


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"kind": "words", "symbols": ["a"]}',
        "no",
        '{"kind":"bytes","symbols":1}',
        '{"kind":"characters","symbols":[["a"]]}',
    ],
)
def test_invalid_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Vocabulary.from_json(text)


@pytest.mark.parametrize("symbols", [(), ("b", "a"), ("a", "a"), ("ab",), ("",)])
def test_symbols_must_be_single_distinct_and_sorted(symbols: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(symbols)


def test_byte_symbols_are_at_most_255() -> None:
    with pytest.raises(ValueError, match="byte vocabulary"):
        Vocabulary(("a", "\u0100"), "bytes")


def test_ids_are_ordered_by_code_point() -> None:
    vocabulary = Vocabulary.from_text("cab\U0001f600é")
    assert vocabulary.symbols == ("a", "b", "c", "é", "\U0001f600")
    np.testing.assert_array_equal(vocabulary.encode("é\U0001f600ab"), [3, 4, 0, 1])


def test_text_and_bytes_are_converted_as_utf8() -> None:
    content = "né".encode()
    np.testing.assert_array_equal(Vocabulary.from_text(content).encode("né"), [0, 2, 1])
    assert Vocabulary.from_text("né").decode(Vocabulary.from_text("né").encode(content)) == "né"
    assert Vocabulary.from_text("né").decode_bytes([1, 0]) == "én".encode()
    with pytest.raises(UserError, match=r"not UTF-8: byte 0xFF at 2:2"):
        Vocabulary.from_text("né").encode(b"n\nn\xff")


def test_surrogate_escapes_encode_as_their_bytes() -> None:
    argument = b"a\xff".decode("utf-8", "surrogateescape")
    vocabulary = Vocabulary.from_text(b"a\xff")
    assert vocabulary.decode_bytes(vocabulary.encode(argument)) == b"a\xff"


def test_lone_surrogates_have_bytes() -> None:
    encoded = b"\xed\xa0\x80"
    assert Vocabulary.from_text("\ud800").decode_bytes([0]) == encoded
    assert Vocabulary.from_text(bytes(range(256))).encode("\ud800").tolist() == list(encoded)


def test_unknown_characters_are_listed_with_positions() -> None:
    vocabulary = Vocabulary.from_text("ab\n")
    with pytest.raises(UserError) as caught:
        vocabulary.encode("ab\naé\nb\ud800é\x1b中")
    message = str(caught.value)
    assert message.startswith("4 distinct characters are not in the vocabulary of 3 (position as line:column): ")
    assert "'é' (U+00E9) at 2:2; '\\ud800' (U+D800) at 3:2; '\\x1b' (U+001B) at 3:4; '中' (U+4E2D) at 3:5." in message
    assert "--unknown skip" in message
    assert "\x1b" not in message


def test_many_unknown_characters_are_counted() -> None:
    with pytest.raises(UserError, match=r"^20 distinct .* at 1:8; and 12 more\."):
        Vocabulary.from_text("ab").encode("cdefghijklmnopqrstuv")
    with pytest.raises(UserError, match=r"^1 character is not"):
        Vocabulary.from_text("ab").encode("acca")


def test_unknown_bytes_are_listed_in_hexadecimal() -> None:
    with pytest.raises(UserError, match=r"1 byte is not .*: 0xC3 at 2:1\."):
        Vocabulary.from_text(b"a\n\xa9").encode("a\né")


@pytest.mark.parametrize(("text", "position"), [("é", "1:1"), ("\né", "2:1"), ("ab\n\naé", "3:2")])
def test_positions_start_at_line_1_and_column_1(text: str, position: str) -> None:
    for known, given_text in ((Vocabulary.from_text("ab\n"), text), (Vocabulary.from_text(b"ab\n"), text.encode())):
        with pytest.raises(UserError, match=rf" at {position}[.;]"):
            known.encode(given_text)


@given(texts, st.text(st.characters()))
def test_skip_drops_unknown_characters(known: str, text: str) -> None:
    vocabulary = Vocabulary.from_text(known)
    expected = "".join(character for character in text if character in known)
    assert vocabulary.decode(vocabulary.encode(text, unknown="skip")) == expected


@pytest.mark.parametrize("ids", [[-1], [2], [0, 5]])
def test_ids_out_of_range_are_errors(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        Vocabulary.from_text("ab").decode(ids)


def test_incremental_decoder_waits_for_the_last_byte() -> None:
    vocabulary = Vocabulary.from_text("né☃".encode())
    decode = vocabulary.incremental_decoder()
    assert [decode([id]) for id in vocabulary.encode("né☃")] == ["n", "", "é", "", "", "☃"]


def test_incremental_decoder_of_characters() -> None:
    vocabulary = Vocabulary.from_text("a\ud800☃")
    decode = vocabulary.incremental_decoder()
    assert [decode([id]) for id in vocabulary.encode("☃\ud800a")] == ["☃", "\ud800", "a"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("text", ["abc", "aé\xff", "aéЖ☃", bytes(range(256))], ids=ascii)
def test_packer_equals_encode(text: str | bytes, dtype: type) -> None:
    vocabulary = Vocabulary.from_text(text)
    codes = np.frombuffer(text, np.uint8) if isinstance(text, bytes) else codes_of_text(text)
    expected = vocabulary.encode(text).astype(dtype).tobytes()
    pack = vocabulary.packer(np.dtype(dtype))
    assert pack(codes) == expected
    if codes.max() < 256:
        assert pack(codes.astype(np.uint8)) == expected


def test_empty_text_round_trips() -> None:
    for vocabulary in (Vocabulary.from_text("ab"), Vocabulary.from_text(b"ab")):
        assert vocabulary.encode("").size == 0
        assert vocabulary.decode([]) == ""
        assert vocabulary.decode_bytes([]) == b""


def test_large_vocabulary_round_trips() -> None:
    rng = np.random.default_rng(0)
    codes = rng.choice(np.arange(0x4E00, 0x9FA5), 5387, replace=False)
    text = "".join(map(chr, rng.choice(codes, 200_000)))
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_vocabulary_is_immutable() -> None:
    vocabulary = Vocabulary.from_text("ab")
    with pytest.raises(AttributeError):
        vocabulary.symbols = ("c",)  # type: ignore[misc]
    assert hash(vocabulary) == hash(Vocabulary.from_text("ba"))


def test_gap_encodes_as_no_character():
    vocabulary = Vocabulary.from_text("ab_")
    assert vocabulary.encode("a_b", gap="_").tolist() == [vocabulary.encode("a")[0], 3, vocabulary.encode("b")[0]]
    assert vocabulary.encode("?a?", gap="?").tolist() == [3, vocabulary.encode("a")[0], 3]
    assert vocabulary.encode("?é", "skip", "?").tolist() == [3]
    raw = Vocabulary.from_text(b"ab")
    assert raw.encode("?ab", gap="?").tolist() == [2, 0, 1]
    for known, gap in ((vocabulary, "??"), (raw, "é")):
        with pytest.raises(UserError, match=f"single {known.unit}"):
            known.encode("ab", gap=gap)


def test_error_of_unknown_symbols_arrives_from_a_worker_process() -> None:
    with pytest.raises(UserError) as raised:
        Vocabulary.from_text("abc").encode("abj")
    error = pickle.loads(pickle.dumps(raised.value))
    assert type(error) is type(raised.value)
    assert str(error) == str(raised.value)
    assert str(error).startswith("1 character is not in the vocabulary of 3")
