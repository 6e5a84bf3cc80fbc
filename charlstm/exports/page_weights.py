"""The weights of a step as the page has them: one compressed array of bytes, and where each tensor is in it."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from charlstm.exports.quantization import quantize
from charlstm.exports.step_weights import StepWeights


class _Pool:
    """Collects matrices as int8 with scales, and vectors as float32."""

    def __init__(self) -> None:
        self._floats: list[npt.NDArray[np.float32]] = []
        self._integers: list[npt.NDArray[np.int8]] = []
        self._float_count = self._integer_count = 0

    def vector(self, values: Tensor) -> dict[str, int]:
        """Store a vector; ``at`` is its place among the floats."""
        at = self._float_count
        self._floats.append(values.numpy())
        self._float_count += values.numel()
        return {"at": at, "length": values.numel()}

    def matrix(self, values: Tensor) -> dict[str, int]:
        """Store a matrix; ``at`` is its place among the integers, ``scales`` that of its scales among the floats."""
        integers, scales = quantize(values)
        at = self._integer_count
        self._integers.append(integers.numpy().ravel())
        self._integer_count += integers.numel()
        rows, columns = values.shape
        return {"at": at, "scales": self.vector(scales)["at"], "rows": rows, "columns": columns}

    def packed(self) -> dict[str, Any]:
        """All floats, then all integers, little-endian."""
        floats = np.concatenate(self._floats).astype("<f4").tobytes()
        content = floats + np.concatenate(self._integers).tobytes()
        data = base64.b64encode(zlib.compress(content, 9)).decode("ascii")
        return {"floats": self._float_count, "integers": self._integer_count, "data": data}


def page_weights(weights: StepWeights) -> dict[str, Any]:
    """The structure of the step and its weights, in JSON types, as ``model.js`` reads them."""
    pool = _Pool()
    layers = [
        {
            "input": pool.matrix(layer.weight_ih),
            "bias": pool.vector(layer.bias),
            "recurrent": pool.matrix(layer.weight_hh),
            "recurrentBias": pool.vector(layer.bias_hh),
            "parameters": {name: pool.vector(part) for name, part in layer.parameters.items()},
        }
        for layer in weights.layers
    ]
    return {
        "gates": weights.cell.gates,
        "state": weights.cell.state,
        "hiddenSize": weights.hidden_size,
        "residual": weights.residual,
        "sumOutputs": weights.sum_outputs,
        "vectors": None if weights.vectors is None else pool.matrix(weights.vectors),
        "convolution": _convolution(weights, pool),
        "layers": layers,
        "head": {"weight": pool.matrix(weights.head_weight), "bias": pool.vector(weights.head_bias)},
        "weights": pool.packed(),
    }


def _convolution(weights: StepWeights, pool: _Pool) -> dict[str, Any] | None:
    """A row of the kernel matrix has the weights of one filter for one character of the window, oldest first."""
    convolution = weights.convolution
    if convolution is None:
        return None
    highway = None
    if convolution.highway is not None:
        weight, bias = convolution.highway
        highway = {"weight": pool.matrix(weight), "bias": pool.vector(bias)}
    return {
        "vectors": pool.matrix(convolution.vectors[:-1]),
        "kernel": pool.matrix(convolution.kernel.reshape(-1, convolution.vectors.shape[1])),
        "bias": pool.vector(convolution.bias),
        "length": convolution.length,
        "highway": highway,
    }
