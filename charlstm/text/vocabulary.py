"""The vocabulary: the distinct code points (or bytes) of a text, sorted, and their ids."""

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

MAX_SYMBOLS = sys.maxunicode + 1
MAX_LISTED = 8


class UnknownSymbolsError(UserError):
    """Symbols of a text are not in a vocabulary: ``found`` says which, and where, ``remedy`` what to do."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found, remedy)  # as given, so that the error can be pickled: it may come from a worker
        self.found, self.remedy = found, remedy

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}"


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a model, in the order of their ids. Immutable; compares by value.

    Each item of ``symbols`` is one code point, strictly ascending. For ``kind == "bytes"`` the symbol of byte
    ``b`` is ``chr(b)``. Ids are 0 to ``size - 1``; by convention the id ``size`` means "no character".

    Raises:
        ValueError: the symbols are empty, not single code points, not ascending, or not bytes.
    """

    symbols: tuple[str, ...]
    kind: Kind = "characters"

    def __post_init__(self) -> None:
        if self.kind not in ("characters", "bytes"):
            raise ValueError(f"kind must be 'characters' or 'bytes', not {self.kind!r}")
        if not self.symbols or any(len(symbol) != 1 for symbol in self.symbols):
            raise ValueError("a vocabulary consists of one or more single code points")
        if any(a >= b for a, b in zip(self.symbols, self.symbols[1:], strict=False)):
            raise ValueError("the symbols of a vocabulary must be distinct and sorted by code point")
        if self.kind == "bytes" and ord(self.symbols[-1]) > 255:
            raise ValueError("the symbols of a byte vocabulary must be in chr(0) to chr(255)")

    @classmethod
    def from_text(cls, text: str | bytes) -> Vocabulary:
        """The vocabulary of a text in memory: the characters of a ``str``, the bytes of a ``bytes``."""
        if isinstance(text, bytes):
            return cls.from_codes(set(text), "bytes")
        return cls(tuple(sorted(set(text))), "characters")

    @classmethod
    def from_codes(cls, codes: Iterable[int], kind: Kind) -> Vocabulary:
        """The vocabulary of these distinct code points or byte values, in any order."""
        return cls(tuple(chr(code) for code in sorted(int(code) for code in codes)), kind)

    def extended(self, symbols: str) -> Vocabulary:
        """The vocabulary with these symbols, too, each of which changes the ids of those after it.

        Raises ValueError: the symbol of a byte vocabulary is not a byte.
        """
        return Vocabulary(tuple(sorted({*self.symbols, *symbols})), self.kind) if symbols else self

    @property
    def size(self) -> int:
        """V, the number of symbols."""
        return len(self.symbols)

    @property
    def unit(self) -> Literal["character", "byte"]:
        """The name of one symbol, for labels such as bits per character."""
        return "byte" if self.kind == "bytes" else "character"

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str | bytes, unknown: Unknown = "error", gap: str | None = None) -> npt.NDArray[np.int64]:
        """Ids ``[N]`` of a text.

        A byte vocabulary encodes a ``str`` as UTF-8 first; a character vocabulary decodes ``bytes`` as UTF-8.
        ``unknown="skip"`` drops unknown symbols. The symbol ``gap`` becomes the id V, "no character", even if the
        vocabulary has it.

        Raises:
            UnknownSymbolsError: a symbol is not in the vocabulary; each is listed with its first position.
            UserError: bytes given to a character vocabulary are not UTF-8, ``gap`` is not a single symbol, or
                ``unknown`` is neither ``error`` nor ``skip``.
        """
        if unknown not in ("error", "skip"):
            raise UserError(f"unknown must be 'error' or 'skip', found {unknown!r}")
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
                raise UserError(f"the gap symbol must be a single {self.unit}, found {gap!r}")
            ids[codes == ord(gap)] = self.size
        missing = np.flatnonzero(ids < 0)
        if missing.size and unknown == "error":
            raise self._unknown_symbols(content, codes, missing)
        if missing.size:
            ids = ids[ids >= 0]
        return ids.astype(np.int64)

    def ids_of_codes(self, codes: Codes) -> npt.NDArray[np.int32]:
        """Ids ``[N]`` of code points or byte values ``[N]``; -1 if unknown."""
        return np.take(self._table, codes, mode="clip")

    def packer(self, dtype: np.dtype[np.unsignedinteger]) -> Callable[[Codes], bytes]:
        """A fast function from known code points or byte values to their ids, as bytes of `dtype`."""
        table = self._table.astype(dtype)
        # Symbols are sorted: the id of a byte or an ASCII character always fits in a byte.
        of_byte = self._table[:256].astype(np.uint8).tobytes().ljust(256, b"\0")

        def pack(codes: Codes) -> bytes:
            if codes.dtype != np.uint8:
                return np.take(table, codes, mode="clip").tobytes()
            ids = codes.tobytes().translate(of_byte)
            return ids if dtype.itemsize == 1 else np.frombuffer(ids, np.uint8).astype(dtype).tobytes()

        return pack

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids ``[N]``. Bytes are decoded as UTF-8, with U+FFFD for invalid bytes.

        Raises:
            ValueError: an id is outside ``0 .. size - 1``.
        """
        codes = self._codes_of_ids(ids)
        if self.kind == "bytes":
            return codes.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def decode_bytes(self, ids: npt.ArrayLike) -> bytes:
        """The exact bytes of ids ``[N]``; characters are encoded as UTF-8.

        Raises:
            ValueError: an id is outside ``0 .. size - 1``.
        """
        if self.kind == "bytes":
            return self._codes_of_ids(ids).astype(np.uint8).tobytes()
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def symbol_name(self, i: int) -> str:
        """The symbol of an id, for people; a byte that is not ASCII as 0xE2."""
        symbol = self.symbols[i]
        return _name(ord(symbol), "bytes") if self.kind == "bytes" and symbol > "\x7f" else symbol

    def incremental_decoder(self) -> Callable[[npt.ArrayLike], str]:
        """A function that decodes a text piece by piece; bytes of an incomplete character wait for the next piece."""
        if self.kind == "characters":
            return self.decode
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda ids: decoder.decode(self.decode_bytes(ids))

    def to_json(self) -> str:
        """JSON (ASCII only) from which `from_json` makes an equal vocabulary."""
        return json.dumps({"kind": self.kind, "symbols": list(self.symbols)})

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary of a `to_json` text.

        Raises:
            ValueError: the text is not a valid vocabulary.
        """
        try:
            if text.count(",") > MAX_SYMBOLS + 10:
                raise ValueError("it has more symbols than there are code points")
            content = json.loads(text)
            symbols = content["symbols"]
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                raise ValueError("its symbols are not a list of strings")
            return cls(tuple(symbols), content["kind"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a vocabulary: {error!r}") from error

    @cached_property
    def _codes(self) -> npt.NDArray[np.uint32]:
        return np.array([ord(symbol) for symbol in self.symbols], np.uint32)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        """Code point -> id, -1 if unknown; the last entry is for every code point above the largest."""
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

    def _unknown_symbols(
        self, content: str | bytes, codes: Codes, missing: npt.NDArray[np.intp]
    ) -> UnknownSymbolsError:
        """The error for the symbols of a text at the positions ``missing``."""
        distinct, first = np.unique(codes[missing], return_index=True)
        firsts = {int(distinct[n]): int(missing[first[n]]) for n in np.argsort(first)}
        listed = [
            f"{_name(code, self.kind)} at {_line_and_column(content, index)}"
            for code, index in list(firsts.items())[:MAX_LISTED]
        ]
        more = f"; and {len(firsts) - len(listed)} more" if len(firsts) > len(listed) else ""
        line_ends = (
            "Its lines end in CR LF, those of the training text in LF. "
            if 13 in firsts and "\n" in self.symbols
            else ""
        )
        subject, them = (
            (f"1 {self.unit} is", "it") if len(firsts) == 1 else (f"{len(firsts)} distinct {self.unit}s are", "them")
        )
        return UnknownSymbolsError(
            f"{subject} not in the vocabulary of {self.size} (position as line:column): {'; '.join(listed)}{more}",
            f"{line_ends}Remove {them} from the text, or skip {them}: --unknown skip",
        )


def codes_of_text(text: str) -> npt.NDArray[np.uint32]:
    """The code points ``[N]`` of a text, read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _bytes_of(text: str) -> bytes:
    try:
        # Undecodable bytes of the command line arrive as surrogate escapes: restore them.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _text_of(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the text is not UTF-8: byte 0x{content[error.start]:02X} at {_line_and_column(content, error.start)}. "
            "This is a model of characters, so its text must be UTF-8."
        ) from error


def _name(code: int, kind: Kind) -> str:
    return f"0x{code:02X}" if kind == "bytes" else f"{chr(code)!r} (U+{code:04X})"


def _line_and_column(content: str | bytes, index: int) -> str:
    if isinstance(content, bytes):
        line, start = content.count(b"\n", 0, index) + 1, content.rfind(b"\n", 0, index) + 1
    else:
        line, start = content.count("\n", 0, index) + 1, content.rfind("\n", 0, index) + 1
    return f"{line}:{index - start + 1}"
