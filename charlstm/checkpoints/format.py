"""One checkpoint is one file: safetensors for every tensor, JSON in its header for the rest. No pickle.

The checksum (SHA-256) covers every byte of the file, taken with 64 zeros in its own place. The file is read once, so
the bytes that are hashed are the bytes that are used. safetensors' own reader is not used: its ``safe_open`` maps the
file, so that what changes after the hash is believed and a file cut short kills the process; its ``load`` takes twice
the file's size in memory, and panics where that is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from charlstm.atomic_io import Piece
from charlstm.checkpoints.header import (
    DTYPES,
    KEY,
    WrongError,
    header_limit,
    parsed_header,
    places_of,
    read_head,
)
from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular

FORMAT = 2
_NO_SUM = "0" * 64


class DamagedError(UserError):
    """The file is not as it was written, or is no checkpoint."""


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The content of a checkpoint, in pieces; those of tensors on the CPU are the tensors' own memory.

    Raises UserError if its header is larger than can be read back.
    """
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    head, data = _laid_out(plain, {KEY: text, "checksum": _NO_SUM})
    if len(head) > (limit := header_limit(sum(piece.nbytes for piece in data))):
        raise UserError(f"the checkpoint's header has {len(head):,} bytes; at most {limit:,} can be read back")
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


Check = Callable[[Path, Mapping[str, Any], Mapping[str, Tensor]], None]
"""Takes the header and every tensor as declared, on the meta device; raises UserError if they are not as they must
be."""


def accept_all(_path: Path, _header: Mapping[str, Any], _declared: Mapping[str, Tensor]) -> None:
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
            step = self._parsed[3]["counters"]["step"]
        except (WrongError, OSError, KeyError, TypeError):
            return -1
        return step if isinstance(step, int) else -1

    @cached_property
    def _parsed(self) -> tuple[int, bytes, dict[str, Any], dict[str, Any]]:
        size, head, outer = read_head(self._file)
        return size, head, outer, parsed_header(outer)

    def read(self, check: Check = accept_all) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors on the CPU and the header; nothing larger than the file is held meanwhile.

        No tensor is read before ``check`` has passed what is declared; what it raises passes through.

        Raises:
            DamagedError: the file is not as it was written, or is no checkpoint, or holds numbers that are not finite.
            UserError: it is of another version of the format, or there is not memory enough.
        """
        path = self.path
        try:
            size, head, outer, header = self._parsed
            if header.get("format") != FORMAT:
                raise UserError(
                    f"{path}: written in format {header.get('format')!r:.20}; this version reads format {FORMAT}"
                )
            places = places_of(outer, size - len(head))
            digest, checksum = _digest(head, outer["__metadata__"].get("checksum"))
            declared = {name: torch.empty(shape, dtype=dtype, device="meta") for name, dtype, shape in places}
            check(path, header, declared)
            # Each into memory of its own: torch reads a random state from where its memory begins, views or not.
            tensors = {name: torch.empty(shape, dtype=dtype) for name, dtype, shape in places}
            self._file.seek(len(head))
            for t in tensors.values():
                content = t.reshape(-1).view(torch.uint8).numpy().data
                _fill(self._file, content)
                digest.update(content)
            if digest.hexdigest() != checksum:
                raise WrongError("its checksum does not match")
            for name, t in tensors.items():
                if not _finite(t):
                    raise WrongError(f"{name!r:.80} holds numbers that are not finite")
            return tensors, header
        except WrongError as wrong:
            raise DamagedError(f"{path}: damaged, or no checkpoint: {wrong}") from None
        except OSError as error:
            raise DamagedError(f"{path}: damaged, or no checkpoint: {error.strerror or error}") from None
        except (MemoryError, RuntimeError) as error:  # torch's "not enough memory" is a RuntimeError
            raise UserError(f"{path}: there is not memory enough to read it ({error})") from None


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _finite(t: Tensor) -> bool:
    if not t.is_floating_point() or not t.numel():
        return True
    return all(math.isfinite(extreme) for extreme in t.aminmax())  # both are NaN where any number is


def _fill(file: BinaryIO, content: memoryview) -> None:
    while len(content):
        count = file.readinto(content)  # type: ignore[attr-defined]
        if not count:
            raise WrongError("it became shorter while it was read")
        content = content[count:]


def _digest(head: bytes, checksum: object) -> tuple[hashlib._Hash, str]:
    """The digest so far, of the first part with zeros for the checksum; and the checksum that it is to come to."""
    if not isinstance(checksum, str) or len(checksum) != 64:
        raise WrongError("it has no checksum")
    own = f'"checksum":"{checksum}"'.encode("utf-8", "replace")
    if head.count(own) != 1:
        raise WrongError("it has no checksum")
    return hashlib.sha256(head.replace(own, f'"checksum":"{_NO_SUM}"'.encode())), checksum
