"""The readout of a model in exact arithmetic, fixed or learning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charlstm.compression.fixed_point import (
    BIAS_LIMIT,
    MATMUL_LIMIT,
    VALUE_BITS,
    WEIGHT_BITS,
    WIDE_BITS,
    Integers,
    Matmul,
    quantize,
    wide_bias,
)

ERROR_BITS = 16
FINE_BITS = 16
"""Bits of the learning weights beyond those of all others: a step is smaller than what one step changes visibly."""
OPERAND_LIMIT = 1 << 21
"""Largest magnitude of a unit's output, +-2, from which a readout learns."""


class Readout:
    """The logits of V characters, W h + b, for outputs h [B, H] of the last layer."""

    def __init__(self, weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating]) -> None:
        self._matmul, self._bias = Matmul(weight), wide_bias(bias)

    def __call__(self, h: Integers, out: Integers) -> None:
        """Set ``out`` [B, V] to the logits, as wide sums."""
        self._matmul(h, out=out)
        out += self._bias


class LearningReadout(Readout):
    """A readout that is trained on each character once that is coded, by gradient descent at the rate 2^-k (dynamic
    evaluation: Mikolov et al. 2010; Krause et al. 2018).

    The gradient of -ln p is the error p - 1 or p of each character times h: a matmul of integers, exact like all others
    for up to 4,096 texts. The gradients of the layers below would be, too, but need exact backpropagation through
    time; so only the readout learns.
    """

    def __init__(self, weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating], rate: int) -> None:
        super().__init__(weight, bias)
        self._rate, limit = rate, MATMUL_LIMIT // OPERAND_LIMIT // weight.shape[1]
        self._limit = float(limit << FINE_BITS)
        self._fine = quantize(weight.T, WEIGHT_BITS + FINE_BITS, limit << FINE_BITS)
        self._weight = np.rint(self._fine * 2.0**-FINE_BITS)

    def __call__(self, h: Integers, out: Integers) -> None:
        np.matmul(np.clip(h, -OPERAND_LIMIT, OPERAND_LIMIT), self._weight, out=out)
        out += self._bias

    def learn(self, h: Integers, errors: Integers) -> None:
        """One step, given -dL/dlogits [B, V] as multiples of 2^-16, at most 1: 1 - p for the coded character and -p for
        all others."""
        gradient = np.clip(h, -OPERAND_LIMIT, OPERAND_LIMIT).T @ errors
        gradient *= 2.0 ** (WEIGHT_BITS + FINE_BITS - VALUE_BITS - ERROR_BITS - self._rate)
        self._fine += np.rint(gradient, out=gradient)
        np.clip(self._fine, -self._limit, self._limit, out=self._fine)
        np.multiply(self._fine, 2.0**-FINE_BITS, out=self._weight)
        np.rint(self._weight, out=self._weight)
        self._bias += np.rint(errors.sum(0) * 2.0 ** (WIDE_BITS - ERROR_BITS - self._rate))
        np.clip(self._bias, -BIAS_LIMIT, BIAS_LIMIT, out=self._bias)
