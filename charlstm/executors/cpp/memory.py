"""Converts tensors to the layouts of the kernels, and calls the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import Cell
from charlstm.compiler.cpp_printer import Code
from charlstm.executors.cpp.build import BuildError, kernels

PANEL = 32  # units of a tile, as in runtime.h
Int64Array = ctypes.Array[ctypes.c_int64]


def padded_size(size: int) -> int:
    """The size rounded up to whole panels."""
    return -(-size // PANEL) * PANEL


def pad_last(part: Tensor, padded: int) -> Tensor:
    """Pad the last dimension with zeros to the size ``padded``."""
    missing = padded - part.shape[-1]
    return F.pad(part, (0, missing)) if missing else part


def pad_gates(tensor: Tensor, parts: int) -> Tensor:
    """Pad each of the n parts of [n H, ...] with zeros: [n Hp, ...], contiguous."""
    H = tensor.shape[0] // parts
    missing = padded_size(H) - H
    if not missing:
        return tensor.contiguous()
    split = tensor.view(parts, H, -1)
    return F.pad(split, (0, 0, 0, missing)).view(parts * (H + missing), *tensor.shape[1:])


def unpad_gates(tensor: Tensor, parts: int, H: int) -> Tensor:
    """Remove the padding of :func:`pad_gates` from [n Hp, ...]: [n H, ...]."""
    padded = tensor.shape[0] // parts
    if padded == H:
        return tensor
    return tensor.reshape(parts, padded, -1)[:, :H].reshape(parts * H, *tensor.shape[1:])


def check_ids(ids: Tensor, size: int) -> Tensor:
    """The ids as contiguous int64. Raises IndexError unless all are in 0 to ``size``: the kernels do not check them."""
    lowest, highest = torch.aminmax(ids)
    if lowest < 0 or highest > size:
        raise IndexError(f"ids must be from 0 to {size}; these are from {int(lowest)} to {int(highest)}")
    return ids.to(torch.int64).contiguous()


def input_table(weight_ih: Tensor, gates: int, dtype: torch.dtype) -> Tensor:
    """The input sides of all symbols and, last, of the zero vector, from W [GH, I]: [I + 1, G Hp]."""
    size, H = weight_ih.shape[1], weight_ih.shape[0] // gates
    table = weight_ih.new_zeros(size + 1, gates, padded_size(H), dtype=dtype)
    table[:-1, :, :H] = weight_ih.t().reshape(size, gates, H)
    return table.flatten(1)


def pack(cell: Cell, weight: Tensor, parts: int, dtype: torch.dtype, back: bool = False) -> Tensor:
    """Pack a matrix [n N, K] of n parts into the panels that matmuls read: for W v, or with ``back`` for W^T v."""
    rows, columns = weight.shape[0] // parts, weight.shape[1]
    out = weight.new_empty(parts * padded_size(rows) * padded_size(columns), dtype=dtype)
    weight = weight.contiguous()
    numbers = (back, parts, rows, columns, torch.get_num_threads())
    load_kernels(cell, dtype).pack(_address(weight), _address(out), *map(ctypes.c_int64, numbers))
    return out


def sum_by_id(cell: Cell, rows: Tensor, ids: Tensor | None, size: int) -> Tensor:
    """Sum the rows [N, C] by their ids [N], or all rows if ``ids`` is None: [size, C] in float32."""
    sums = rows.new_zeros(size, rows.shape[1], dtype=torch.float32)
    count, columns = rows.shape
    load_kernels(cell, rows.dtype).sum_by_id(
        _address(rows),
        _address(ids),
        _address(sums),
        *map(ctypes.c_int64, (count, columns, torch.get_num_threads())),
    )
    return sums


def buffer_structure(code: Code, buffers: Mapping[str, Tensor | int | None]) -> tuple[Int64Array, list[Tensor]]:
    """A loop's buffer structure from a value for each field except the scratch ``w_``, and the scratch buffers, which
    the caller must keep alive."""
    like = next(b for b in buffers.values() if isinstance(b, Tensor))
    size = int(buffers["B"]) * int(buffers["H"])  # type: ignore[arg-type]
    scratch = {name: like.new_empty(size, dtype=torch.float32) for name in code.fields if name.startswith("w_")}
    values = {**buffers, **scratch}
    return int64_array(*(values[name] for name in code.fields)), list(scratch.values())


def int64_array(*values: Tensor | int | None) -> Int64Array:
    """An array of eight-byte integers and addresses."""
    numbers = (v if isinstance(v, int) else 0 if v is None else v.data_ptr() for v in values)
    return (ctypes.c_int64 * len(values))(*numbers)


def call(cell: Cell, dtype: torch.dtype, function: str, code: Code, buffers: Mapping[str, Tensor | int | None]) -> None:
    """Run a generated loop."""
    prepared, _scratch = buffer_structure(code, buffers)
    getattr(load_kernels(cell, dtype), function)(ctypes.byref(prepared))


def load_kernels(cell: Cell, dtype: torch.dtype) -> ctypes.CDLL:
    """The kernels. Raises BuildError if there are none, which :meth:`Cpp.refuses` reports beforehand."""
    compiled = kernels(cell, dtype)
    if isinstance(compiled, str):
        raise BuildError(compiled)
    return compiled


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
