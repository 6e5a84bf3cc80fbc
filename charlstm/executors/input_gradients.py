"""Gradients of the input weight and its bias, from those of the input sides of all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.executors.base import is_ids, one_hot

ONE_HOT_PRODUCT_LIMIT = 256  # symbols up to which summing gradients by symbol is faster as a product


def input_gradients(
    x: Tensor, flat: Tensor, low: Tensor, weight_ih: Tensor, weight: bool, bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of W, [GH, I], and of its bias, [GH], if wanted, in the type of W.

    flat: gradients of the input sides, [TB, GH], of any type; low: the same in the type of the products.
    """
    size, dtype = weight_ih.shape[1], weight_ih.dtype
    if not weight or not is_ids(x):
        inputs = x.reshape(-1, size).to(low.dtype) if weight else None
        d_weight = None if inputs is None else (low.t() @ inputs).to(dtype)
        return d_weight, flat.sum(0, dtype=dtype) if bias else None
    ids = x.reshape(-1)
    if size <= ONE_HOT_PRODUCT_LIMIT:
        table = (one_hot(ids, size + 1, low.dtype).t() @ low).to(dtype)
    else:
        # The sums by symbol whose order is the same each time, on a GPU too.
        table = torch.ops.aten.embedding_dense_backward(flat.to(dtype), ids, size + 1, -1, False)
    return table[:size].t(), table.sum(0)
