from __future__ import annotations

import decimal
from fractions import Fraction

import numpy as np
import pytest

from charlstm.compression import fixed_point
from charlstm.compression.fixed_point import EXACT, LIMIT, MATMUL_LIMIT, ONE, Matmul, check_machine, narrow, table
from charlstm.errors import UserError

EXACT_VALUES = {
    "tanh": lambda i: (1 - (-2 * decimal.Decimal(i) / 4096).exp()) / (1 + (-2 * decimal.Decimal(i) / 4096).exp()),
    "sigmoid": lambda i: 1 / (1 + (-decimal.Decimal(i) / 2048).exp()),
}


@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_table_entries_are_nearest_integers(function):
    entries = table(function)
    assert len(entries) == 65537
    for i in (-32768, -20000, -4097, -65, -1, 0, 1, 63, 64, 100, 3333, 12345, 32767, 32768):
        exact = EXACT_VALUES[function](i) * ONE
        assert abs(decimal.Decimal(int(entries[i + 32768])) - exact) < decimal.Decimal("0.51")
    assert (np.diff(entries) >= 0).all()


def test_exponentials_fall_to_zero():
    entries = table("exp")
    assert entries[0] == 1 << 28
    assert entries[-1] == 0
    assert (np.diff(entries) <= 0).all()
    assert entries[1024] == pytest.approx(np.exp(-1) * 2**28, abs=1)


def test_tables_are_the_same_as_ever():
    """Another table would make all compressed files unreadable: increase container.FORMAT."""
    digests = {name: int(table(name) @ np.arange(len(table(name))) % 1000003) for name in ("tanh", "sigmoid", "exp")}
    assert digests == {"tanh": 820723, "sigmoid": 211992, "exp": 212119}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_matmul_is_exact_in_any_order(scale):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 300)) * scale
    matmul = Matmul(weight)
    x = rng.integers(-LIMIT, LIMIT, (4, 300)).astype(float)
    integers = np.clip(np.rint(weight * 2**16), -(2**31), 2**31).astype(np.int64)
    operand = np.clip(x, -matmul.operand_limit, matmul.operand_limit).astype(np.int64)
    exact = [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in integers] for row in operand]
    assert matmul(x).tolist() == exact
    # the bound of all partial sums, in whatever order
    assert int(np.abs(integers).sum(1).max()) * matmul.operand_limit <= MATMUL_LIMIT < EXACT


def test_narrow_rounds_halves_to_even_and_saturates():
    half = 1 << 15
    assert narrow(np.array([half, 3.0 * half, -half, half + 1.0, 2.0**51])).tolist() == [0, 2, 0, 1, LIMIT]


def test_inexact_machine_is_refused(monkeypatch):
    check_machine()
    check_machine.cache_clear()
    monkeypatch.setattr(fixed_point, "np", _Inexact())
    with pytest.raises(UserError, match="IEEE 754"):
        check_machine()
    check_machine.cache_clear()


class _Inexact:
    """numpy on a machine whose float64 has the precision of float32."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def arange(*arguments, **options):
        return np.arange(*arguments, **options).view(_Rounded)


class _Rounded(np.ndarray):
    def astype(self, dtype, *arguments, **options):
        return super().astype(np.float32 if dtype is float else dtype, *arguments, **options)


def test_quantization_is_the_nearest_multiple():
    values = np.array([0.1, -0.1, 1 / 3, 5e9])
    expected = [round(Fraction(float(v)) * 2**20) for v in values[:3]]
    assert fixed_point.quantize(values, 20, LIMIT).tolist() == [*expected, LIMIT]
