"""One checkpoint is one file: safetensors for every tensor, JSON in its header for the rest. No pickle.

The checksum (SHA-256) covers every byte of the file, taken with 64 zeros in its own place. The file is read here and
not by safetensors' own reader, so that nothing is believed before it is checked: sizes, shapes and places against the
length of the file, the header against limits, and every name once.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.files import open_regular
from charlstm.training.durable import Piece

FORMAT = 2
KEY = "charlstm"
HEADER_LIMIT = 32 << 20
BRACKETS_LIMIT = 200_000
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
_NO_SUM = "0" * 64


class DamagedError(UserError):
    """The file is not as it was written, or is no checkpoint."""


def packed(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The content of a checkpoint, in pieces; those of tensors on the CPU are the tensors' own memory.

    Raises UserError if its header is larger than can be read back.
    """
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    head, data = _laid_out(plain, {KEY: text, "checksum": _NO_SUM})
    if len(head) > HEADER_LIMIT:
        raise UserError(f"the checkpoint's header has {len(head):,} bytes; at most {HEADER_LIMIT:,} can be read back")
    own = f'"checksum":"{_NO_SUM}"'.encode()
    assert head.count(own) == 1
    digest = hashlib.sha256(head)
    for piece in data:
        digest.update(piece)
    return head.replace(own, f'"checksum":"{digest.hexdigest()}"'.encode()), *data


def _laid_out(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[memoryview]]:
    """The file of safetensors: its header, and the bytes of each tensor, which stay where they are.

    safetensors' own writer copies all of them, and aborts the process where there is no memory for that. As there, the
    widest types come first and the header is filled up to a multiple of 8 bytes, so that every tensor is aligned.
    """
    kinds = {dtype: kind for kind, dtype in DTYPES.items()}
    entries: dict[str, Any] = {"__metadata__": metadata}
    data, end = [], 0
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        begin, end = end, end + t.nbytes
        entries[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": [begin, end]}
        data.append(t.reshape(-1).view(torch.uint8).numpy().data)
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header, data


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU and the header; nothing larger than the file is held meanwhile.

    Raises:
        DamagedError: the file is not as it was written, or is no checkpoint.
        UserError: it is missing, no regular file, not to be read, or of another version of the format.
    """
    try:
        with _open(path) as file:
            size, head, outer = _head(file)
            header = _header(outer)
            if header.get("format") != FORMAT:
                raise UserError(
                    f"{path}: written in format {header.get('format')!r:.20}; this version reads format {FORMAT}"
                )
            places = _places(outer, size - len(head))
            # Each into memory of its own: torch reads a random state from where its memory begins, views or not.
            found = {name: torch.empty(shape, dtype=dtype) for name, dtype, shape in places}
            digest, checksum = _digest(head, outer["__metadata__"].get("checksum"))
            for t in found.values():
                content = t.reshape(-1).view(torch.uint8).numpy().data
                _fill(file, content)
                digest.update(content)
            if digest.hexdigest() != checksum:
                raise _WrongError("its checksum does not match")
            return found, header
    except _WrongError as wrong:
        raise DamagedError(f"{path}: damaged, or no checkpoint: {wrong}") from None
    except OSError as error:
        raise DamagedError(f"{path}: damaged, or no checkpoint: {error.strerror or error}") from None
    except (MemoryError, RuntimeError) as error:  # torch's "not enough memory" is a RuntimeError
        raise UserError(f"{path}: there is not memory enough to read it ({error})") from None


def claimed_step(path: Path) -> int:
    """The step that the header gives, unchecked; -1 of what cannot be read."""
    try:
        with _open(path) as file:
            step = _header(_head(file)[2])["counters"]["step"]
    except (UserError, _WrongError, OSError, KeyError, TypeError):
        return -1
    return step if isinstance(step, int) else -1


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


class _WrongError(Exception):
    """What is wrong with the content."""


def _open(path: Path) -> BinaryIO:
    if not path.exists():
        raise UserError(f"{path}: there is no such checkpoint")
    return open_regular(path)


def _head(file: BinaryIO) -> tuple[int, bytes, dict[str, Any]]:
    """Length of the file, its first part with the header, and the header as safetensors has it."""
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise _WrongError(f"it has {size:,} bytes, fewer than its header needs")
    if length > HEADER_LIMIT:
        raise _WrongError(f"its header has {length:,} bytes, more than the limit of {HEADER_LIMIT:,}")
    raw = file.read(length)
    if raw.count(b"[") + raw.count(b"{") > BRACKETS_LIMIT:
        raise _WrongError("its header has too many parts")
    outer = _json(raw)
    if not isinstance(outer, dict):
        raise _WrongError("its header is no table")
    metadata = outer.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise _WrongError("not a checkpoint of charlstm")
    return size, start + raw, outer


def _header(outer: dict[str, Any]) -> dict[str, Any]:
    header = _json(outer["__metadata__"][KEY])
    if not isinstance(header, dict):
        raise _WrongError("its header is no table")
    return header


def _json(text: str | bytes) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise _WrongError("its header has a name twice")
        return table

    try:
        content = json.loads(text, object_pairs_hook=distinct)
    except RecursionError:
        raise _WrongError("its header is nested too deeply") from None
    except ValueError:
        raise _WrongError("its header is no JSON") from None
    level = [content]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise _WrongError("its header is nested too deeply")
    return content


def _places(outer: dict[str, Any], length: int) -> list[tuple[str, torch.dtype, list[int]]]:
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
                raise _WrongError(f"{name!r:.80} is no tensor")
        if len(shape) > 8 or end - begin != size:
            raise _WrongError(f"{name!r:.80} has not the size of its shape")
        places.append((begin, end, name, DTYPES[kind], shape))
    reached = 0
    for begin, end, name, *_ in sorted(places, key=lambda place: place[:3]):
        if begin != reached:
            raise _WrongError(f"there is a gap or an overlap before {name!r:.80}")
        reached = end
    if reached != length:
        raise _WrongError(f"it has {length:,} bytes of tensors, where its header speaks of {reached:,}")
    return [place[2:] for place in sorted(places, key=lambda place: place[:3])]


def _fill(file: BinaryIO, content: memoryview) -> None:
    while len(content):
        count = file.readinto(content)  # type: ignore[attr-defined]
        if not count:
            raise _WrongError("it became shorter while it was read")
        content = content[count:]


def _digest(head: bytes, checksum: object) -> tuple[hashlib._Hash, str]:
    """The digest so far, of the first part with zeros for the checksum; and the checksum that it is to come to."""
    if not isinstance(checksum, str) or len(checksum) != 64:
        raise _WrongError("it has no checksum")
    own = f'"checksum":"{checksum}"'.encode("utf-8", "replace")
    if head.count(own) != 1:
        raise _WrongError("it has no checksum")
    return hashlib.sha256(head.replace(own, f'"checksum":"{_NO_SUM}"'.encode())), checksum
