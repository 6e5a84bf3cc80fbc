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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor

from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular
from charlstm.training.durable import Piece

FORMAT = 2
KEY = "charlstm"
HEADER_LIMIT = 32 << 20
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
_NO_SUM = "0" * 64


class DamagedError(UserError):
    """The file is not as it was written, or is no checkpoint."""


def packed(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The content of a checkpoint, in pieces. Raises UserError if its header is larger than can be read back."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    content = memoryview(save(plain, metadata={KEY: text, "checksum": _NO_SUM}))
    del plain
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    if begin > HEADER_LIMIT:
        raise UserError(f"the checkpoint's header has {begin:,} bytes; at most {HEADER_LIMIT:,} can be read back")
    head, data = bytes(content[:begin]), content[begin:]
    own = f'"checksum":"{_NO_SUM}"'.encode()
    assert head.count(own) == 1
    digest = hashlib.sha256(head)
    digest.update(data)
    return head.replace(own, f'"checksum":"{digest.hexdigest()}"'.encode()), data


Check = Callable[[Path, Mapping[str, Any], Mapping[str, Tensor]], None]
"""Takes the header and every tensor as declared, on the meta device; raises UserError if they are not as they must
be."""


def unchecked(_path: Path, _header: Mapping[str, Any], _declared: Mapping[str, Tensor]) -> None:
    """Whatever header and tensors mean."""


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU and the header of a file as it was written; raises as :class:`CheckpointFile` and its
    ``read`` do."""
    with CheckpointFile(path) as file:
        return file.read()


class CheckpointFile:
    """A checkpoint that is open: what takes its name meanwhile does not matter.

    Raises:
        MissingError: there is none.
        DamagedError: it is no regular file, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path)
        except MissingError:
            raise MissingError(f"{path}: there is no such checkpoint") from None
        except UserError as problem:
            reason = str(problem).removeprefix(f"{path}: ")
            raise DamagedError(f"{path}: damaged, or no checkpoint: {reason}") from None

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    @property
    def claimed_step(self) -> int:
        """The step that the header gives, unchecked; -1 of what cannot be read."""
        try:
            step = _header(_head(self._file)[2])["counters"]["step"]
        except (_WrongError, OSError, KeyError, TypeError):
            return -1
        return step if isinstance(step, int) else -1

    def read(self, check: Check = unchecked) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors on the CPU and the header; nothing larger than the file is held meanwhile.

        No tensor is read before ``check`` has passed what is declared; what it raises passes through.

        Raises:
            DamagedError: the file is not as it was written, or is no checkpoint, or holds numbers that are not finite.
            UserError: it is of another version of the format, or there is not memory enough.
        """
        path = self.path
        try:
            size, head, outer = _head(self._file)
            header = _header(outer)
            if header.get("format") != FORMAT:
                raise UserError(
                    f"{path}: written in format {header.get('format')!r:.20}; this version reads format {FORMAT}"
                )
            places = _places(outer, size - len(head))
            digest, checksum = _digest(head, outer["__metadata__"].get("checksum"))
            declared = {name: torch.empty(shape, dtype=dtype, device="meta") for name, dtype, shape in places}
            check(path, header, declared)
            # Each into memory of its own: torch reads a random state from where its memory begins, views or not.
            tensors = {name: torch.empty(shape, dtype=dtype) for name, dtype, shape in places}
            for t in tensors.values():
                content = t.reshape(-1).view(torch.uint8).numpy().data
                _fill(self._file, content)
                digest.update(content)
            if digest.hexdigest() != checksum:
                raise _WrongError("its checksum does not match")
            for name, t in tensors.items():
                if not _finite(t):
                    raise _WrongError(f"{name!r:.80} holds numbers that are not finite")
            return tensors, header
        except _WrongError as wrong:
            raise DamagedError(f"{path}: damaged, or no checkpoint: {wrong}") from None
        except OSError as error:
            raise DamagedError(f"{path}: damaged, or no checkpoint: {error.strerror or error}") from None
        except (MemoryError, RuntimeError) as error:  # torch's "not enough memory" is a RuntimeError
            raise UserError(f"{path}: there is not memory enough to read it ({error})") from None


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


class _WrongError(Exception):
    """What is wrong with the content."""


def _finite(t: Tensor) -> bool:
    if not t.is_floating_point() or not t.numel():
        return True
    return all(math.isfinite(extreme) for extreme in t.aminmax())  # both are NaN where any number is


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
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets > BRACKETS_LIMIT:
        raise _WrongError("its header has too many parts")
    outer = _json(raw, 5 * brackets + 200)  # a tensor has 3 brackets and 13 parts
    if not isinstance(outer, dict):
        raise _WrongError("its header is no table")
    metadata = outer.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise _WrongError("not a checkpoint of charlstm")
    return size, start + raw, outer


def _header(outer: dict[str, Any]) -> dict[str, Any]:
    header = _json(outer["__metadata__"][KEY], PARTS_LIMIT)
    if not isinstance(header, dict):
        raise _WrongError("its header is no table")
    return header


def _json(text: str | bytes, most_parts: int) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise _WrongError("its header has a name twice")
        return table

    if _parts(text) > most_parts:
        raise _WrongError("its header has too many parts")
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


def _parts(text: str | bytes) -> int:
    """At least so many values as JSON text has; what stands quoted within a string, as the vocabulary does, is hardly
    counted. Before anything is parsed: a value takes fifty bytes of memory, and two or more of the file."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    strings = content.count(b'"') - content.count(b'\\"')
    others = content.count(b",") - content.count(b'\\",')
    return strings // 2 + others + content.count(b"[") + content.count(b"{")


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
