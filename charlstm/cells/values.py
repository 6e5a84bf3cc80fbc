"""The types and functions that a cell's equations are written with."""

from __future__ import annotations

from typing import Any, Protocol


class Array(Protocol):
    """A value of shape [B, H]: a tensor, or a symbol for one."""

    def __add__(self, other: Array | float, /) -> Array: ...
    def __radd__(self, other: float, /) -> Array: ...
    def __sub__(self, other: Array | float, /) -> Array: ...
    def __rsub__(self, other: float, /) -> Array: ...
    def __mul__(self, other: Array | float, /) -> Array: ...
    def __rmul__(self, other: float, /) -> Array: ...
    def __neg__(self, /) -> Array: ...
    def sigmoid(self) -> Array: ...
    def tanh(self) -> Array: ...
    def relu(self) -> Array: ...


class Gates(Protocol):
    """One value per gate, or per entry of a per-unit parameter: ``x.f``, or ``x[k]`` for k in a loop."""

    def __getitem__(self, gate: str, /) -> Array: ...
    def __getattr__(self, gate: str, /) -> Array: ...


class ByLetter:
    """``x.f`` for ``x["f"]``, in classes that define ``__getitem__``."""

    def __getitem__(self, letter: str, /) -> Any:
        raise NotImplementedError

    def __getattr__(self, letter: str, /) -> Any:
        if letter.startswith("_"):
            raise AttributeError(letter)
        return self[letter]


class Recurrent(Gates, Protocol):
    """The recurrent side, ``U_k h + b'_k`` for gate k."""

    def of(self, operand: Array, /) -> Gates:
        """The recurrent side for another value in place of h."""


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), elementwise."""
    return a.sigmoid()


def tanh(a: Array) -> Array:
    """Hyperbolic tangent, elementwise."""
    return a.tanh()


def relu(a: Array) -> Array:
    """max(a, 0), elementwise."""
    return a.relu()
