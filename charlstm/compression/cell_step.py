"""One time step of any cell in the arithmetic of :mod:`charlstm.compression.fixed_point`, from its traced equations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from charlstm.cells import Cell
from charlstm.compiler.graph import ACTIVATIONS, Node, ordered, trace
from charlstm.compression.fixed_point import (
    EXACT,
    LIMIT,
    ONE,
    VALUE_BITS,
    WIDE_BITS,
    Integers,
    Matmul,
    look_up,
    narrow,
    quantize,
    wide_bias,
)
from charlstm.executors import Weights

LINEAR = {"input", "matmul", "addmm"}
MAX_FACTOR = 1 << 26
"""The largest bound of the smaller one of two factors."""


class CellStep:
    """A layer over B texts, one step at a time. ``state`` holds its parts [B, H], as values, before the next step.

    The graph of the step (:func:`charlstm.compiler.graph.trace`) becomes a list of array operations with fixed buffers.
    Matmuls with one operand are computed at once. The result of an addition or multiplication whose bound exceeds the
    limits of exact arithmetic is saturated.
    """

    def __init__(self, cell: Cell, weights: Weights, batch_size: int) -> None:
        self.cell, self._shape = cell, (batch_size, weights.hidden_size)
        self._arrays: dict[Node, Integers] = {}
        self._bounds: dict[Node, int] = {}
        self._narrowed: dict[Node, Integers] = {}
        self._program: list[Callable[[], object]] = []
        self._index = np.zeros(self._shape, np.intp)
        step = trace(cell)
        self._gates = self._gate_order(step.matmuls)
        size = weights.hidden_size
        self._rows = {k: slice(n * size, (n + 1) * size) for n, k in enumerate(cell.gates)}
        self.input_size = size * len(cell.gates)
        self.x: Integers = np.zeros((batch_size, self.input_size))
        """The input side of the next step: wide sums, gates in the order of :meth:`rows`."""
        self.state = [self._zeros() for _ in cell.state]
        self._joined = {n.label for n in step.matmuls if n.op == "addmm"}
        for n in ordered(step.new_state):
            if n not in self._arrays:
                self._add(n, weights, step.matmuls)
        self._new_state = [self._copied(n) if n.op == "state" else self._value(n) for n in step.new_state]
        self.input_bias = self._input_bias(weights)

    def _gate_order(self, matmuls: list[Node]) -> list[str]:
        """All gates; those of each operand together, those whose input side is added to the matmul first."""
        order = [n.label for group in _by_operand(matmuls) for n in group]
        return order + [k for k in self.cell.gates if k not in order]

    def rows(self, stacked: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The rows [GH, ...] of a weight matrix or bias in the order of the columns of ``x``."""
        return np.concatenate([stacked[self._rows[k]] for k in self._gates])

    def _input_bias(self, weights: Weights) -> Integers:
        """Wide sums [GH] to be added to the products of W: b, and b' where only its sum with the input side matters."""
        total = np.zeros(self.input_size)
        if weights.bias_ih is not None:
            total += wide_bias(self.rows(to_array(weights.bias_ih)))
        if weights.bias_hh is not None:
            joined = np.repeat([k in self._joined for k in self._gates], self._shape[1])
            total += wide_bias(self.rows(to_array(weights.bias_hh))) * joined
        return total

    def __call__(self) -> Integers:
        """The output [B, H] of the next step, as values, valid until the next call."""
        for operation in self._program:
            operation()
        for part, new in zip(self.state, self._new_state, strict=True):
            np.copyto(part, new)
        return self.state[0]

    def _zeros(self, columns: int | None = None) -> Integers:
        return np.zeros((self._shape[0], columns or self._shape[1]))

    def _columns(self, gate: str) -> slice:
        at = self._gates.index(gate) * self._shape[1]
        return slice(at, at + self._shape[1])

    def _add(self, n: Node, weights: Weights, matmuls: list[Node]) -> None:
        if n.op == "state":
            self._set(n, self.state[self.cell.state.index(n.label)], LIMIT)
        elif n.op == "constant":
            constant = quantize(np.array(n.label), VALUE_BITS, LIMIT)
            self._set(n, constant, int(abs(constant)))
        elif n.op == "parameter":
            name, entry = n.label
            at = self.cell.parameters[name].index(entry) * self._shape[1]
            values = quantize(to_array(weights.parameters[name])[at : at + self._shape[1]], VALUE_BITS, LIMIT)
            self._set(n, values, int(np.abs(values).max()))
        elif n.op == "input":
            self._set(n, self.x[:, self._columns(n.label)], LIMIT)
        elif n.op in LINEAR:
            self._add_matmuls(next(group for group in _by_operand(matmuls) if n in group), weights)
        elif n.op in ACTIVATIONS - {"relu"}:
            self._add_activation(n)
        elif n.op == "relu":
            out = self._zeros()
            self._program.append(partial(np.maximum, self._value(n.args[0]), 0.0, out=out))
            self._set(n, out, self._bounds[n.args[0]])
        elif n.op == "neg":
            out = self._zeros()
            self._program.append(partial(np.negative, self._value(n.args[0]), out=out))
            self._set(n, out, self._bounds[n.args[0]])
        elif n.op == "mul":
            self._add_product(n)
        else:
            out, bound = self._zeros(), sum(self._bounds[a] for a in n.args)
            operation = {"add": np.add, "sub": np.subtract}[n.op]
            self._program.append(partial(operation, *map(self._value, n.args), out=out))
            if bound > LIMIT:
                self._program.append(partial(np.clip, out, -LIMIT, LIMIT, out=out))
            self._set(n, out, min(bound, LIMIT))

    def _copied(self, n: Node) -> Integers:
        """The array of a part of the old state before the new one overwrites it."""
        out = self._zeros()
        self._program.append(partial(np.copyto, out, self._arrays[n]))
        return out

    def _set(self, n: Node, array: Integers, bound: int) -> None:
        self._arrays[n], self._bounds[n] = array, bound

    def _value(self, n: Node) -> Integers:
        """The array of a node as values: a wide sum is narrowed once."""
        if n.op not in LINEAR:
            return self._arrays[n]
        if n not in self._narrowed:
            self._narrowed[n] = self._zeros()
            self._program.append(partial(narrow, self._arrays[n], out=self._narrowed[n]))
        return self._narrowed[n]

    def _add_matmuls(self, group: list[Node], weights: Weights) -> None:
        """The matmuls of all gates with the same operand, with their input sides or their recurrent biases added."""
        rows = np.concatenate([to_array(weights.weight_hh)[self._rows[n.label]] for n in group])
        matmul, out = Matmul(rows), self._zeros(len(rows))
        self._program.append(partial(matmul, self._value(group[0].args[0]), out=out))
        joined = sum(n.op == "addmm" for n in group) * self._shape[1]
        if joined:
            begin = self._columns(group[0].label).start
            x = self.x[:, begin : begin + joined]
            self._program.append(partial(np.add, out[:, :joined], x, out=out[:, :joined]))
        if joined < len(rows) and weights.bias_hh is not None:
            rest = [to_array(weights.bias_hh)[self._rows[n.label]] for n in group if n.op != "addmm"]
            self._program.append(partial(np.add, out[:, joined:], wide_bias(np.concatenate(rest)), out=out[:, joined:]))
        for number, n in enumerate(group):
            self._set(n, out[:, number * self._shape[1] : (number + 1) * self._shape[1]], LIMIT)

    def _add_activation(self, n: Node) -> None:
        (argument,) = n.args
        bits = WIDE_BITS if argument.op in LINEAR else VALUE_BITS
        array, out = self._arrays[argument], self._zeros()
        if array.shape != out.shape:  # of a parameter [H]
            array = np.broadcast_to(array, out.shape)
        self._program.append(partial(look_up, n.op, array, bits, self._index, out))
        self._set(n, out, ONE)

    def _add_product(self, n: Node) -> None:
        values, bounds = [self._value(a) for a in n.args], [self._bounds[a] for a in n.args]
        small, large = (0, 1) if bounds[0] <= bounds[1] else (1, 0)
        limits = {small: min(bounds[small], MAX_FACTOR)}
        limits[large] = EXACT // max(limits[small], 1)
        for number, limit in limits.items():
            if bounds[number] > limit:
                clipped = self._zeros()
                self._program.append(partial(np.clip, values[number], -limit, limit, out=clipped))
                values[number], bounds[number] = clipped, limit
        out = self._zeros()
        self._program.append(partial(np.multiply, *values, out=out))
        self._program.append(partial(np.multiply, out, 2.0**-VALUE_BITS, out=out))
        self._program.append(partial(np.rint, out, out=out))
        bound = (bounds[0] * bounds[1] >> VALUE_BITS) + 1
        if bound > LIMIT:
            self._program.append(partial(np.clip, out, -LIMIT, LIMIT, out=out))
        self._set(n, out, min(bound, LIMIT))


def _by_operand(matmuls: list[Node]) -> list[list[Node]]:
    groups: dict[Node, list[Node]] = {}
    for n in matmuls:
        groups.setdefault(n.args[0], []).append(n)
    return [sorted(group, key=lambda n: n.op) for group in groups.values()]  # addmm before matmul


def to_array(tensor: object) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = tensor.detach().cpu().double().numpy()  # type: ignore[attr-defined]
    return array
