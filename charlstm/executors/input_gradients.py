"""Gradients of the input weight and its bias from those of the input sides of all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.executors.base import is_ids, one_hot

ONE_HOT_MATMUL_LIMIT = 256  # symbols up to which a matmul sums gradients by symbol faster


def input_gradients(
    x: Tensor, flat: Tensor, flat_compute: Tensor, weight_ih: Tensor, weight: bool, bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of W [GH, I] and of its bias [GH], if ``weight`` and ``bias``, in the dtype of W.

    flat: gradients of the input sides [TB, GH] in any dtype; flat_compute: the same in the compute dtype.
    """
    size, dtype = weight_ih.shape[1], weight_ih.dtype
    if not weight or not is_ids(x):
        inputs = x.reshape(-1, size).to(flat_compute.dtype) if weight else None
        d_weight = None if inputs is None else (flat_compute.t() @ inputs).to(dtype)
        return d_weight, flat.sum(0, dtype=dtype) if bias else None
    ids = x.reshape(-1).long()
    if size <= ONE_HOT_MATMUL_LIMIT:
        table = (one_hot(ids, size + 1, flat_compute.dtype).t() @ flat_compute).to(dtype)
    else:
        # This op sums by symbol in a deterministic order, on a GPU too.
        table = torch.ops.aten.embedding_dense_backward(flat.to(dtype), ids, size + 1, -1, False)
    return table[:size].t(), table.sum(0)
