"""One checkpoint is one file: safetensors for every tensor, JSON in its header for the rest. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from charlstm.errors import UserError

FORMAT = 1
KEY = "charlstm"


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the file whole or not at all: temporary file in the same folder, flush, rename, flush of the folder.

    Raises UserError, with the bytes that are needed, if it cannot be written.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    content = save(plain, metadata={KEY: text, "checksum": _checksum(plain, text)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot write the checkpoint ({len(content):,} bytes): {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU and the header. Raises UserError if the file is missing, damaged or of another program."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such checkpoint") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged, or no checkpoint: {error}") from error
    if KEY not in metadata:
        raise UserError(f"{path}: not a checkpoint of charlstm")
    if metadata.get("checksum") != _checksum(tensors, metadata[KEY]):
        raise UserError(f"{path}: damaged: its checksum does not match")
    header = json.loads(metadata[KEY])
    if header["format"] != FORMAT:
        raise UserError(f"{path}: written in format {header['format']}; this version reads format {FORMAT}")
    return tensors, header


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {list(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data if t.numel() else b"")
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
