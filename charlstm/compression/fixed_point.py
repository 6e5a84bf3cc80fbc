"""Arithmetic with the same results on every machine: integers in float64, all of whose operations are exact.

A decoder must compute exactly the probabilities that the encoder computed, on another CPU and with other libraries.
Floating-point results differ there, since sums are rounded in another order, with or without fused multiply-adds, and
every library has its own ``exp``. Here nothing is ever rounded by the hardware: all values are integers, and every
product, sum and partial sum is an integer below 2^53 in magnitude, which float64 represents exactly. IEEE 754 then
leaves one possible result, in whatever order and with whatever instructions a library computes it, so matmuls can use
the fast ones of BLAS. Multiplying by a power of two is exact, too, and ``rint`` to the nearest integer (halves to even)
has only one result. sigmoid, tanh and exp are looked up in tables, which are computed in decimal arithmetic whose
results are specified digit by digit (:mod:`decimal`).

=================  ====================================================================================================
value              an integer v that means v / 2^20, saturated at +-2^32 (+-4096)
weight             an integer w that means w / 2^16, at most 2^31 in magnitude
wide sum           a sum of products of both, that means s / 2^36, below 2^52 in magnitude: two matmuls of at most 2^50
                   each (:class:`Matmul` clips its operand so far that this holds for its weights, which in practice
                   changes nothing) and two biases of at most 2^49 each
=================  ====================================================================================================

The price is less than a thousandth of a bit per character.
"""

from __future__ import annotations

from decimal import Context, Decimal
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError

Integers: TypeAlias = npt.NDArray[np.float64]
"""Integers, held in float64."""

VALUE_BITS, WEIGHT_BITS = 20, 16
WIDE_BITS = VALUE_BITS + WEIGHT_BITS
ONE = 1 << VALUE_BITS
LIMIT = 1 << 32
"""Largest magnitude of a value."""
EXACT = 1 << 53
MATMUL_LIMIT, BIAS_LIMIT, WEIGHT_LIMIT = 1 << 50, 1 << 49, 1 << 31

TABLE_CENTER = 1 << 15
"""Index of 0 in the tables of tanh and sigmoid, which have twice as many entries and one more."""
ARGUMENT_BITS = {"tanh": 12, "sigmoid": 11}
"""The entries of a table are 2^-12 or 2^-11 apart: the largest argument is 8 or 16, where both are 1 within 2^-20."""
EXP_ARGUMENT_BITS, EXP_BITS = 10, 28
"""exp(-i / 2^10) as a multiple of 2^-28; zero in the last of 2^15 entries."""

_DECIMAL = Context(prec=30)
_COARSE = 64


def quantize(values: npt.NDArray[np.floating], bits: int, limit: int) -> Integers:
    """The nearest multiples of 2^-bits, as integers, clipped to +-limit."""
    return np.clip(np.rint(np.ldexp(np.asarray(values, np.float64), bits)), -limit, limit)


class Matmul:
    """W x for values x [..., I] and W [R, I], as wide sums [..., R]."""

    def __init__(self, weight: npt.NDArray[np.floating]) -> None:
        integers = quantize(weight, WEIGHT_BITS, WEIGHT_LIMIT)
        self._transposed = np.ascontiguousarray(integers.T)
        largest = int(np.abs(integers).sum(1).max(initial=1.0))
        self.operand_limit = min(LIMIT, MATMUL_LIMIT // max(largest, 1))

    def __call__(self, x: Integers, out: Integers | None = None) -> Integers:
        if self.operand_limit < LIMIT:
            x = np.clip(x, -self.operand_limit, self.operand_limit)
        result: Integers = np.matmul(x, self._transposed, out=out)
        return result


def wide_bias(bias: npt.NDArray[np.floating]) -> Integers:
    """A bias as a wide sum."""
    return quantize(bias, WIDE_BITS, BIAS_LIMIT)


def narrow(wide: Integers, out: Integers | None = None) -> Integers:
    """The values of wide sums, saturated."""
    result: Integers = np.multiply(wide, 2.0**-WEIGHT_BITS, out=out)
    np.rint(result, out=result)
    return np.clip(result, -LIMIT, LIMIT, out=result)


def look_up(function: str, argument: Integers, bits: int, index: npt.NDArray[np.intp], out: Integers) -> None:
    """Set ``out`` to sigmoid or tanh of arguments that are multiples of 2^-bits; ``index`` is scratch."""
    np.multiply(argument, 2.0 ** (ARGUMENT_BITS[function] - bits), out=out)
    np.add(out, TABLE_CENTER + 0.5, out=out)
    np.copyto(index, out, casting="unsafe")  # truncated; the clipped entries make no difference between -1 and 0
    table(function).take(index, out=out, mode="clip")


@cache
def table(function: str) -> Integers:
    """tanh or sigmoid at multiples of 2^-12 or 2^-11, as values; ``exp``: exp(-x) at multiples of 2^-10."""
    if function == "exp":
        return _exp_table().astype(np.float64)
    # Both functions of e = exp(-x), x > 0. Every 64th entry is computed in decimal, and the entries between by a cubic
    # polynomial through the four nearest ones, in integers.
    scale, coarse = 1 << 40, []
    for number in range(TABLE_CENTER // _COARSE + 3):
        x = Decimal(number * _COARSE) / (1 << ARGUMENT_BITS[function])
        e = _DECIMAL.exp(-2 * x if function == "tanh" else -x)
        value = _DECIMAL.divide(1 - e if function == "tanh" else Decimal(1), 1 + e)
        coarse.append(int(_DECIMAL.to_integral_value(value * scale)))
    mirrored = [-coarse[1] if function == "tanh" else scale - coarse[1], *coarse]
    p = np.array(mirrored, np.int64)
    before, left, right, after = (p[n : n + TABLE_CENTER // _COARSE + 1, None] for n in range(4))
    t = np.arange(_COARSE, dtype=np.int64)
    n = _COARSE
    # Lagrange's polynomial through -n, 0, n, 2n, by differences: left + t d1 + t(t-n) d2 / 2 + (t+n)t(t-n) d3 / 6
    d1, d2, d3 = right - left, right - 2 * left + before, after - 3 * right + 3 * left - before
    fine = left + (6 * n * n * t * d1 + 3 * n * t * (t - n) * d2 + (t + n) * t * (t - n) * d3) // (6 * n**3)
    half = (fine.reshape(-1)[: TABLE_CENTER + 1] + (1 << 19)) >> (40 - VALUE_BITS)
    negative = -half[:0:-1] if function == "tanh" else ONE - half[:0:-1]
    return np.concatenate([negative, half]).astype(np.float64)


def _exp_table() -> npt.NDArray[np.int64]:
    """The products of 32 x 1024 factors, each in decimal."""
    step = Decimal(1) / (1 << EXP_ARGUMENT_BITS)
    fine = [int(_DECIMAL.to_integral_value(_DECIMAL.exp(-step * n) * (1 << 31))) for n in range(1024)]
    coarse = [int(_DECIMAL.to_integral_value(_DECIMAL.exp(Decimal(-n)) * (1 << 31))) for n in range(32)]
    products = np.array(coarse, np.int64)[:, None] * np.array(fine, np.int64)
    shift = 62 - EXP_BITS
    exponentials: npt.NDArray[np.int64] = ((products + (1 << (shift - 1))) >> shift).reshape(-1)
    assert exponentials[-1] == 0
    return exponentials


@cache
def check_machine() -> None:
    """Raise UserError if this machine's matmuls of float64 are not exact where they have to be.

    No CPU or library in use is known to fail; one that computes them in a lower precision would.
    """
    size = 256
    signs = np.where(np.arange(size * size).reshape(size, size) % 3 == 0, -1, 1)
    left = (np.arange(size * size, dtype=np.int64).reshape(size, size) * 2654435761 % (1 << 32)) * signs
    right = np.arange(size * size, dtype=np.int64).reshape(size, size) * 40503 % (1 << 10)
    if not np.array_equal(left.astype(float) @ right.astype(float), (left @ right).astype(float)):
        raise UserError(
            "the matrix products of this machine are not those of IEEE 754, which compression relies on: use another "
            "machine"
        )
