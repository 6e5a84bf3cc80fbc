"""Weights in 8 bits, with a scale for each row."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from charlstm.model.language_model import LanguageModel

LEVELS = 127


class Quantized(NamedTuple):
    """A matrix [R, C] as ``scales`` [R] in float32 times ``integers`` [R, C] in int8."""

    integers: Tensor
    scales: Tensor

    def dequantize(self) -> Tensor:
        """The matrix in float32."""
        return self.integers * self.scales[:, None]


def quantize(matrix: Tensor) -> Quantized:
    """The nearest of 255 levels for each element of a matrix [R, C]; the largest of each row is exact.

    Quantizing a dequantized matrix changes nothing but the rounding of the scales.
    """
    matrix = matrix.detach().to("cpu", torch.float32)
    scales = matrix.abs().amax(1) / LEVELS
    integers = torch.where(scales[:, None] > 0, matrix / scales[:, None], 0).round().clamp(-LEVELS, LEVELS)
    return Quantized(integers.to(torch.int8), scales)


def quantized_copy(model: LanguageModel) -> LanguageModel:
    """A copy of the model in which every weight matrix is quantized and dequantized; vectors, such as biases, are
    unchanged."""
    quantized = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*quantized.parameters(), *quantized.buffers()):
            if tensor.dim() == 2:
                tensor.copy_(quantize(tensor).dequantize())
    return quantized
