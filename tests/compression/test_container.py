from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.compression.container import FORMAT, MAGIC, Container, unpack
from charlstm.errors import UserError

CONTAINER = Container(b"m" * 16, 90, b"o" * 16, 12345, "utf-8", 12000, 3, 8, 7, b"codes", (b"block", b"", b"x" * 200))
PACKED = CONTAINER.pack()

numbers = st.integers(0, (1 << 63) - 1)


@given(numbers, numbers, numbers, st.binary(), st.lists(st.binary(max_size=300)))
def test_container_is_read_as_written(step, length, symbols, codes, blocks):
    container = Container(b"m" * 16, step, b"o" * 16, length, "cp1252", symbols, 1, 0, 0, codes, tuple(blocks))
    assert unpack(container.pack(), "x") == container


def test_every_changed_byte_is_noticed():
    for position in range(len(PACKED)):
        for bit in (1, 128):
            damaged = bytearray(PACKED)
            damaged[position] ^= bit
            with pytest.raises(UserError, match=r"^x: "):
                unpack(bytes(damaged), "x")


def test_every_cut_is_noticed():
    for length in range(len(PACKED)):
        with pytest.raises(UserError, match=r"^x: "):
            unpack(PACKED[:length], "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is not a compressed file: it is empty$"),
        (b"some text", "this is not a compressed file: it was not written by charlstm compress$"),
        (MAGIC[:4], "or is cut off"),
        (MAGIC + bytes([FORMAT + 1]) + PACKED[10:], "it has format 2; this version of charlstm reads format 1"),
        (MAGIC + bytes([FORMAT]) + b"\xff" * 20, "the file is damaged: its header is not valid"),
        (PACKED[:-5], "the file is cut off: 5 of its bytes are missing. Get it again"),
        (PACKED + b"ab", "the file is damaged: 2 bytes follow its end"),
        (PACKED[:-1] + b"y", "its checksum does not match"),
    ],
)
def test_other_files_are_refused_with_a_reason(content, message):
    with pytest.raises(UserError, match=message) as error:
        unpack(content, "x")
    assert "\n" not in str(error.value)
