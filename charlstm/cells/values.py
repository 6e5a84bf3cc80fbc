"""What equations are written with: the values that they compute, the gates that hold these, and the functions."""

from __future__ import annotations

from typing import Protocol


class Array(Protocol):
    """A value of [B, H], one number for each text of the batch and each unit: a tensor, or a symbol for one."""

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
    """One value for each gate, or for each entry of a per-unit parameter: ``x.f``, or ``x[k]`` for k in a loop."""

    def __getitem__(self, gate: str, /) -> Array: ...
    def __getattr__(self, gate: str, /) -> Array: ...


class Recurrent(Gates, Protocol):
    """The recurrent product, ``U_k h + b'_k`` for gate k."""

    def of(self, operand: Array, /) -> Gates:
        """The same product with another value for h."""


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), elementwise."""
    return a.sigmoid()


def tanh(a: Array) -> Array:
    """Hyperbolic tangent, elementwise."""
    return a.tanh()


def relu(a: Array) -> Array:
    """max(a, 0), elementwise."""
    return a.relu()
