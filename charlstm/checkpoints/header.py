"""Parses the header of a checkpoint, within limits, and checks the offsets of its tensors."""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

METADATA_KEY = "charlstm"
HEADER_LIMIT = 32 << 20
HEADER_BASE = 1 << 20
HEADER_PER_TENSOR_BYTE = 32
"""Header bytes allowed per byte of tensors, beyond the base: a symbol takes 30 and has at least 12 bytes of weights; a
layer with hidden_size 1 takes 1,500 and has 200."""
BRACKETS_LIMIT = 200_000
VALUES_LIMIT = 200_000
DEPTH_LIMIT = 20
ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""The bytes of an element of each dtype, by its name in safetensors."""


class InvalidContentError(Exception):
    """The content is invalid; the message is the reason."""


def read_head(file: BinaryIO) -> tuple[int, bytes, dict[str, Any]]:
    """The length of the file, its bytes up to the end of the header, and the safetensors header."""
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise InvalidContentError(f"it has {size:,} bytes, fewer than its header needs")
    if length > HEADER_LIMIT:
        raise InvalidContentError(f"its header has {length:,} bytes, more than the limit of {HEADER_LIMIT:,}")
    raw = file.read(length)
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets > BRACKETS_LIMIT:
        raise InvalidContentError("its header has too many values")
    if length > header_limit(size - 8 - length):
        raise InvalidContentError(f"its header has {length:,} bytes, too many for its tensors")
    outer = _json(raw, 5 * brackets + 200)  # a tensor has 3 brackets and 13 values
    if not isinstance(outer, dict):
        raise InvalidContentError("its header is not a JSON object")
    metadata = outer.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(METADATA_KEY), str):
        raise InvalidContentError("not a checkpoint of charlstm")
    return size, start + raw, outer


def header_limit(data: int) -> int:
    """The largest header, in bytes, for ``data`` bytes of tensors."""
    return min(HEADER_LIMIT, HEADER_BASE + HEADER_PER_TENSOR_BYTE * data)


def parse_header(outer: dict[str, Any]) -> dict[str, Any]:
    header = _json(outer["__metadata__"][METADATA_KEY], VALUES_LIMIT)
    if not isinstance(header, dict):
        raise InvalidContentError("its header is not a JSON object")
    return header


def _json(text: str | bytes, max_values: int) -> Any:
    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise InvalidContentError("its header has a duplicate name")
        return table

    if _count_values(text) > max_values:
        raise InvalidContentError("its header has too many values")
    try:
        content = json.loads(text, object_pairs_hook=refuse_duplicates)
    except RecursionError:
        raise InvalidContentError("its header is nested too deeply") from None
    except ValueError:
        raise InvalidContentError("its header is not JSON") from None
    level = [content]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise InvalidContentError("its header is nested too deeply")
    return content


def _count_values(text: str | bytes) -> int:
    """An upper bound of the number of values in a JSON text, without parsing it; JSON quoted within a string, like the
    vocabulary, hardly counts. Parsed, a value takes about fifty bytes of memory, but only two in the file."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    strings = content.count(b'"') - content.count(b'\\"')
    others = content.count(b",") - content.count(b'\\",')
    return strings // 2 + others + content.count(b"[") + content.count(b"{")


def tensor_entries(outer: dict[str, Any], length: int) -> list[tuple[str, str, list[int]]]:
    """Name, dtype (a key of ITEM_SIZES) and shape of each tensor, by offset.

    Raises InvalidContentError unless they fill the data exactly.
    """
    entries = []
    for name, entry in outer.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)], **rest} if (
                not rest and kind in ITEM_SIZES and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
            ):
                size = math.prod(shape) * ITEM_SIZES[kind]
            case _:
                raise InvalidContentError(f"{name!r:.80} is not a valid tensor")
        if len(shape) > 8 or end - begin != size:
            raise InvalidContentError(f"{name!r:.80} does not have the size of its shape")
        entries.append((begin, end, name, kind, shape))
    end_of_previous = 0
    for begin, end, name, *_ in sorted(entries, key=lambda entry: entry[:3]):
        if begin != end_of_previous:
            raise InvalidContentError(f"there is a gap or an overlap before {name!r:.80}")
        end_of_previous = end
    if end_of_previous != length:
        raise InvalidContentError(f"it has {length:,} bytes of tensors, but its header declares {end_of_previous:,}")
    return [entry[2:] for entry in sorted(entries, key=lambda entry: entry[:3])]
