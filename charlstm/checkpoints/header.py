"""The header of a checkpoint: limits before it is parsed, and the places of its tensors against the file's length."""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

import torch

KEY = "charlstm"
HEADER_LIMIT = 32 << 20
HEADER_BASE = 1 << 20
HEADER_SHARE = 32
"""Bytes of a header for each byte of tensors, beyond the base: a symbol has 30, and at least 12 of weights; the tensors
of a layer of one unit have 1,500, and 200 of numbers."""
BRACKETS_LIMIT = 200_000
PARTS_LIMIT = 200_000
DEPTH_LIMIT = 20
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WrongError(Exception):
    """What is wrong with the content."""


def read_head(file: BinaryIO) -> tuple[int, bytes, dict[str, Any]]:
    """Length of the file, its first part with the header, and the header as safetensors has it."""
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise WrongError(f"it has {size:,} bytes, fewer than its header needs")
    if length > HEADER_LIMIT:
        raise WrongError(f"its header has {length:,} bytes, more than the limit of {HEADER_LIMIT:,}")
    raw = file.read(length)
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets > BRACKETS_LIMIT:
        raise WrongError("its header has too many parts")
    if length > header_limit(size - 8 - length):
        raise WrongError(f"its header has {length:,} bytes, too many for its tensors")
    outer = _json(raw, 5 * brackets + 200)  # a tensor has 3 brackets and 13 parts
    if not isinstance(outer, dict):
        raise WrongError("its header is no table")
    metadata = outer.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise WrongError("not a checkpoint of charlstm")
    return size, start + raw, outer


def header_limit(data: int) -> int:
    """Bytes that a header may have beside so many bytes of tensors."""
    return min(HEADER_LIMIT, HEADER_BASE + HEADER_SHARE * data)


def parsed_header(outer: dict[str, Any]) -> dict[str, Any]:
    header = _json(outer["__metadata__"][KEY], PARTS_LIMIT)
    if not isinstance(header, dict):
        raise WrongError("its header is no table")
    return header


def _json(text: str | bytes, most_parts: int) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise WrongError("its header has a name twice")
        return table

    if _parts(text) > most_parts:
        raise WrongError("its header has too many parts")
    try:
        content = json.loads(text, object_pairs_hook=distinct)
    except RecursionError:
        raise WrongError("its header is nested too deeply") from None
    except ValueError:
        raise WrongError("its header is no JSON") from None
    level = [content]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise WrongError("its header is nested too deeply")
    return content


def _parts(text: str | bytes) -> int:
    """At least so many values as JSON text has; what stands quoted within a string, as the vocabulary does, is hardly
    counted. Before anything is parsed: a value takes fifty bytes of memory, and two or more of the file."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    strings = content.count(b'"') - content.count(b'\\"')
    others = content.count(b",") - content.count(b'\\",')
    return strings // 2 + others + content.count(b"[") + content.count(b"{")


def places_of(outer: dict[str, Any], length: int) -> list[tuple[str, torch.dtype, list[int]]]:
    """The tensors as they lie side by side, from the first byte after the header to the last, each of its size."""
    places = []
    for name, entry in outer.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)], **rest} if (
                not rest and kind in DTYPES and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
            ):
                size = math.prod(shape) * DTYPES[kind].itemsize
            case _:
                raise WrongError(f"{name!r:.80} is no tensor")
        if len(shape) > 8 or end - begin != size:
            raise WrongError(f"{name!r:.80} has not the size of its shape")
        places.append((begin, end, name, DTYPES[kind], shape))
    reached = 0
    for begin, end, name, *_ in sorted(places, key=lambda place: place[:3]):
        if begin != reached:
            raise WrongError(f"there is a gap or an overlap before {name!r:.80}")
        reached = end
    if reached != length:
        raise WrongError(f"it has {length:,} bytes of tensors, where its header speaks of {reached:,}")
    return [place[2:] for place in sorted(places, key=lambda place: place[:3])]
