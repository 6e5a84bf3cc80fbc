"""Reads and writes checkpoint files: safetensors, with all other state as JSON in the header. No pickle.

The checksum (SHA-256) covers every byte of the file, with 64 zeros in place of the checksum itself. The file is read
once, so the hashed bytes are the bytes used. The reader of safetensors is not used: ``safe_open`` maps the file, so it
would trust changes after the hash, and a truncated file would kill the process; ``load`` takes twice the size of the
file in memory, and panics if that is not available.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charlstm.atomic_io import Piece
from charlstm.checkpoints.header import (
    METADATA_KEY,
    InvalidContentError,
    header_limit,
    parse_header,
    read_head,
    tensor_entries,
)
from charlstm.errors import UserError
from charlstm.files import MissingError, open_regular

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FORMAT = 2
WEIGHTS_FILE, WEIGHTS_ONLY = "model.safetensors", "weights_only"
"""The file of an exported folder for model hubs, which has the weights of a model alone, and the key of the header that
says so."""
_EMPTY_CHECKSUM = "0" * 64


class DamagedError(UserError):
    """The file is damaged, or not a checkpoint."""


def _dtypes() -> dict[str, torch.dtype]:
    """The dtypes of tensors in a checkpoint, by their names in safetensors."""
    import torch  # within functions: listing runs and finding their folders needs no torch

    return {
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


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The content of a checkpoint, in pieces; pieces of CPU tensors are views of the tensors' memory.

    Raises UserError if the header is too large to be read back.
    """
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    head, data = _serialize(plain, {METADATA_KEY: text, "checksum": _EMPTY_CHECKSUM})
    if len(head) > (limit := header_limit(sum(piece.nbytes for piece in data))):
        raise UserError(f"the checkpoint's header has {len(head):,} bytes; the limit is {limit:,}")
    empty = f'"checksum":"{_EMPTY_CHECKSUM}"'.encode()
    assert head.count(empty) == 1
    digest = hashlib.sha256(head)
    for piece in data:
        digest.update(piece)
    return head.replace(empty, f'"checksum":"{digest.hexdigest()}"'.encode()), *data


def _serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[memoryview]]:
    """The safetensors file: its header, and views of the bytes of each tensor.

    The writer of safetensors copies all tensors, and aborts the process if memory is short. As in that writer, the
    widest dtypes come first and the header is padded to a multiple of 8 bytes, so that every tensor is aligned.
    """
    import torch

    kinds = {dtype: kind for kind, dtype in _dtypes().items()}
    entries: dict[str, Any] = {"__metadata__": metadata}
    data, end = [], 0
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        begin, end = end, end + t.nbytes
        entries[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": [begin, end]}
        data.append(t.reshape(-1).view(torch.uint8).numpy().data)
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header, data


Check = Callable[[Path, Mapping[str, Any], Mapping[str, "Tensor"]], None]
"""Takes the path, the header and every declared tensor on the meta device; raises UserError if they are invalid."""


def accept_all(_path: Path, _header: Mapping[str, Any], _declared: Mapping[str, Tensor]) -> None:
    """A check that accepts any header and tensors."""


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the header of a file. Raises as :class:`CheckpointFile` and its ``read`` do."""
    with CheckpointFile(path) as file:
        return file.read()


class CheckpointFile:
    """An open checkpoint file; it stays readable if the path is renamed or replaced.

    Raises:
        MissingError: the file does not exist.
        DamagedError: it is not a regular file, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path)
        except MissingError:
            raise MissingError(f"{path}: no such checkpoint") from None
        except UserError as problem:
            reason = str(problem).removeprefix(f"{path}: ")
            raise DamagedError(f"{path}: damaged, or not a checkpoint: {reason}") from None

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    @property
    def claimed_step(self) -> int:
        """The step in the header, unchecked; -1 if it cannot be read."""
        try:
            step = self._parsed[3]["counters"]["step"]
        except (InvalidContentError, OSError, KeyError, TypeError):
            return -1
        return step if isinstance(step, int) else -1

    @cached_property
    def _parsed(self) -> tuple[int, bytes, dict[str, Any], dict[str, Any]]:
        size, head, outer = read_head(self._file)
        return size, head, outer, parse_header(outer)

    def read(self, check: Check = accept_all) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors, on the CPU, and the header; takes no more memory than the size of the file.

        ``check`` runs on the declared tensors before any is read; its errors pass through.

        Raises:
            DamagedError: the file is damaged, or not a checkpoint, or contains NaN or infinity.
            UserError: it has another format version, or there is not enough memory.
        """
        import torch

        path, dtypes = self.path, _dtypes()
        try:
            size, head, outer, header = self._parsed
            if header.get("format") != FORMAT:
                raise UserError(
                    f"{path}: written in format {header.get('format')!r:.20}; this version reads format {FORMAT}"
                )
            entries = [(name, dtypes[kind], shape) for name, kind, shape in tensor_entries(outer, size - len(head))]
            digest, checksum = _digest(head, outer["__metadata__"].get("checksum"))
            declared = {name: torch.empty(shape, dtype=dtype, device="meta") for name, dtype, shape in entries}
            check(path, header, declared)
            # One allocation each: torch reads an RNG state from the start of its storage, even of a view.
            tensors = {name: torch.empty(shape, dtype=dtype) for name, dtype, shape in entries}
            self._file.seek(len(head))
            for t in tensors.values():
                content = t.reshape(-1).view(torch.uint8).numpy().data
                _fill(self._file, content)
                digest.update(content)
            if digest.hexdigest() != checksum:
                raise InvalidContentError("its checksum does not match")
            for name, t in tensors.items():
                if not _is_finite(t):
                    raise InvalidContentError(f"{name!r:.80} contains NaN or infinity")
            return tensors, header
        except InvalidContentError as problem:
            raise DamagedError(f"{path}: damaged, or not a checkpoint: {problem}") from None
        except OSError as error:
            raise DamagedError(f"{path}: damaged, or not a checkpoint: {error.strerror or error}") from None
        except (MemoryError, RuntimeError) as error:  # torch's "not enough memory" is a RuntimeError
            raise UserError(f"{path}: not enough memory to read it ({error})") from None


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix.``, named without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _is_finite(t: Tensor) -> bool:
    if not t.is_floating_point() or not t.numel():
        return True
    return all(math.isfinite(extreme) for extreme in t.aminmax())  # both are NaN if any element is


def _fill(file: BinaryIO, content: memoryview) -> None:
    while len(content):
        count = file.readinto(content)  # type: ignore[attr-defined]
        if not count:
            raise InvalidContentError("it became shorter while being read")
        content = content[count:]


def _digest(head: bytes, checksum: object) -> tuple[hashlib._Hash, str]:
    """The digest of the head, with zeros in place of the checksum; and the expected checksum."""
    if not isinstance(checksum, str) or len(checksum) != 64:
        raise InvalidContentError("it has no valid checksum")
    stored = f'"checksum":"{checksum}"'.encode("utf-8", "replace")
    if head.count(stored) != 1:
        raise InvalidContentError("it has no valid checksum")
    return hashlib.sha256(head.replace(stored, f'"checksum":"{_EMPTY_CHECKSUM}"'.encode())), checksum
