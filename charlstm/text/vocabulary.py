"""Symbols and their ids: every distinct code point of a text (or every distinct byte), sorted."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError

Kind = Literal["characters", "bytes"]
Unknown = Literal["error", "skip"]
Codes: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]

MOST_SYMBOLS = sys.maxunicode + 1
SHOWN_UNKNOWN = 8


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a model knows, in the order of their ids. Immutable; compares by value.

    ``symbols`` holds one code point each, strictly ascending. For ``kind == "bytes"`` the symbol of byte
    ``b`` is ``chr(b)``. Ids run from 0 to ``size - 1``; by convention ``size`` itself means "no character".

    Raises:
        ValueError: the symbols are none, not single code points, not ascending, or no bytes.
    """

    symbols: tuple[str, ...]
    kind: Kind = "characters"

    def __post_init__(self) -> None:
        if self.kind not in ("characters", "bytes"):
            raise ValueError(f"kind must be 'characters' or 'bytes', not {self.kind!r}")
        if not self.symbols or any(len(symbol) != 1 for symbol in self.symbols):
            raise ValueError("a vocabulary is made of one or more single code points")
        if any(a >= b for a, b in zip(self.symbols, self.symbols[1:], strict=False)):
            raise ValueError("the symbols of a vocabulary are distinct and sorted by code point")
        if self.kind == "bytes" and ord(self.symbols[-1]) > 255:
            raise ValueError("the symbols of a byte vocabulary are chr(0) to chr(255)")

    @classmethod
    def from_text(cls, text: str | bytes) -> Vocabulary:
        """The vocabulary of a text held in memory: characters of a ``str``, bytes of a ``bytes``."""
        if isinstance(text, bytes):
            return cls.from_codes(set(text), "bytes")
        return cls(tuple(sorted(set(text))), "characters")

    @classmethod
    def from_codes(cls, codes: Iterable[int], kind: Kind) -> Vocabulary:
        """The vocabulary of these distinct code points or byte values, in any order."""
        return cls(tuple(chr(code) for code in sorted(int(code) for code in codes)), kind)

    @property
    def size(self) -> int:
        """V, the number of symbols."""
        return len(self.symbols)

    @property
    def unit(self) -> Literal["character", "byte"]:
        """What one symbol is, for labels such as bits per character."""
        return "byte" if self.kind == "bytes" else "character"

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str | bytes, unknown: Unknown = "error", gap: str | None = None) -> npt.NDArray[np.int64]:
        """Ids ``[N]`` of a text.

        A byte vocabulary takes a ``str`` as its UTF-8 bytes; a vocabulary of characters takes ``bytes`` as
        UTF-8. ``unknown="skip"`` leaves out what the vocabulary does not have. The symbol ``gap`` becomes the id V, "no
        character", whether the vocabulary has it or not.

        Raises:
            UserError: a symbol is not in the vocabulary (each distinct one listed with its first place),
                bytes given to a vocabulary of characters are not UTF-8, or ``gap`` is not a single symbol.
        """
        content: str | bytes
        if self.kind == "bytes":
            content = _bytes_of(text) if isinstance(text, str) else text
            codes: Codes = np.frombuffer(content, np.uint8)
        else:
            content = characters = _text_of(text) if isinstance(text, bytes) else text
            codes = codes_of_text(characters)
        ids = self.ids_of_codes(codes)
        if gap is not None:
            if len(gap) != 1 or (self.kind == "bytes" and not gap.isascii()):
                raise UserError(f"the sign of a gap must be a single {self.unit}, found {gap!r}")
            ids[codes == ord(gap)] = self.size
        missing = np.flatnonzero(ids < 0)
        if missing.size and unknown == "error":
            raise UserError(self._unknown_message(content, missing))
        if missing.size:
            ids = ids[ids >= 0]
        return ids.astype(np.int64)

    def ids_of_codes(self, codes: Codes) -> npt.NDArray[np.int32]:
        """Ids ``[N]`` of code points or byte values ``[N]``; -1 where the vocabulary has none."""
        return np.take(self._table, codes, mode="clip")

    def packer(self, dtype: np.dtype[np.unsignedinteger]) -> Callable[[Codes], bytes]:
        """A fast function from code points or byte values, all of them known, to their ids as bytes of `dtype`."""
        table = self._table.astype(dtype)
        # Symbols are sorted: the id of a byte or an ASCII character fits in a byte whatever else there is.
        of_byte = self._table[:256].astype(np.uint8).tobytes().ljust(256, b"\0")

        def pack(codes: Codes) -> bytes:
            if codes.dtype != np.uint8:
                return np.take(table, codes, mode="clip").tobytes()
            ids = codes.tobytes().translate(of_byte)
            return ids if dtype.itemsize == 1 else np.frombuffer(ids, np.uint8).astype(dtype).tobytes()

        return pack

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids ``[N]``. Of bytes: read as UTF-8, with U+FFFD where they are not.

        Raises:
            ValueError: an id is outside ``0 .. size - 1``.
        """
        codes = self._codes_of_ids(ids)
        if self.kind == "bytes":
            return codes.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def decode_bytes(self, ids: npt.ArrayLike) -> bytes:
        """The exact bytes of ids ``[N]``; of characters, their UTF-8 bytes.

        Raises:
            ValueError: an id is outside ``0 .. size - 1``.
        """
        if self.kind == "bytes":
            return self._codes_of_ids(ids).astype(np.uint8).tobytes()
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def incremental_decoder(self) -> Callable[[npt.ArrayLike], str]:
        """A function that decodes a text piece by piece; of bytes, a character appears once its last byte is there."""
        if self.kind == "characters":
            return self.decode
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda ids: decoder.decode(self.decode_bytes(ids))

    def to_json(self) -> str:
        """A JSON text (ASCII only) that `from_json` turns back into an equal vocabulary."""
        return json.dumps({"kind": self.kind, "symbols": list(self.symbols)})

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that `to_json` wrote.

        Raises:
            ValueError: the text is not such a JSON.
        """
        try:
            if text.count(",") > MOST_SYMBOLS + 10:
                raise ValueError("it has more symbols than there are")
            content = json.loads(text)
            symbols = content["symbols"]
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                raise ValueError("its symbols are no list of texts")
            return cls(tuple(symbols), content["kind"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a vocabulary: {error!r}") from error

    @cached_property
    def _codes(self) -> npt.NDArray[np.uint32]:
        return np.array([ord(symbol) for symbol in self.symbols], np.uint32)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        """Code point -> id, -1 for none; the last entry stands for every code point above the largest."""
        table = np.full(int(self._codes[-1]) + 2, -1, np.int32)
        table[self._codes] = np.arange(self.size, dtype=np.int32)
        return table

    def _codes_of_ids(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint32]:
        array = np.asarray(ids)
        if array.size == 0:
            return np.empty(0, np.uint32)
        if array.min() < 0 or array.max() >= self.size:
            raise ValueError(f"ids must lie in 0 .. {self.size - 1}, not {array.min()} .. {array.max()}")
        return self._codes[array.reshape(-1).astype(np.int64)]

    def _unknown_message(self, content: str | bytes, missing: npt.NDArray[np.intp]) -> str:
        firsts: dict[int, int] = {}
        if isinstance(content, bytes):
            codes = np.frombuffer(content, np.uint8)[missing].astype(np.uint32)
        else:
            codes = codes_of_text(content)[missing]
        distinct, first = np.unique(codes, return_index=True)
        for code, index in sorted(zip(distinct, first, strict=True), key=lambda pair: int(pair[1])):
            firsts[int(code)] = int(missing[index])
        shown = [
            f"{_name(code, self.kind)} at {_place(content, place)}"
            for code, place in list(firsts.items())[:SHOWN_UNKNOWN]
        ]
        more = f"; and {len(firsts) - len(shown)} more" if len(firsts) > len(shown) else ""
        noun = self.unit
        ends = (
            "Its lines end in CR LF, those that the model learnt in LF. "
            if 13 in firsts and "\n" in self.symbols
            else ""
        )
        subject = f"1 {noun} is" if len(firsts) == 1 else f"{len(firsts)} distinct {noun}s are"
        return (
            f"{subject} not in the vocabulary of {self.size} (place as line:column): "
            f"{'; '.join(shown)}{more}. {ends}"
            "Take them out of the text, or leave them out with `--unknown skip`."
        )


def codes_of_text(text: str) -> npt.NDArray[np.uint32]:
    """The code points ``[N]`` of a text, read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _bytes_of(text: str) -> bytes:
    try:
        # What the command line could not decode arrives as surrogate escapes: give those bytes back.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _text_of(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the text is not UTF-8: byte 0x{content[error.start]:02X} at {_place(content, error.start)}. "
            "This model knows characters, so its text must be given in UTF-8."
        ) from error


def _name(code: int, kind: Kind) -> str:
    return f"0x{code:02X}" if kind == "bytes" else f"{chr(code)!r} (U+{code:04X})"


def _place(content: str | bytes, index: int) -> str:
    if isinstance(content, bytes):
        line, start = content.count(b"\n", 0, index) + 1, content.rfind(b"\n", 0, index) + 1
    else:
        line, start = content.count("\n", 0, index) + 1, content.rfind("\n", 0, index) + 1
    return f"{line}:{index - start + 1}"
