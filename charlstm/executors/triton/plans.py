"""A plan: the loops of one layer at one shape, on buffers that stay where they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.schedule import separate_gates
from charlstm.compiler.stages import backward_states, operand_states, stored_values
from charlstm.compiler.triton_printer import backward_program, forward_program
from charlstm.executors.base import State, Weights
from charlstm.executors.buffers import joined_bias
from charlstm.executors.cuda_graph import CudaGraph
from charlstm.executors.triton.kernels import constants, launch_geometry
from charlstm.executors.triton.loops import backward_loop, forward_loop


@dataclass(frozen=True)
class Shape:
    """All that a plan is made for.

    low        type of the products; ``exact`` is that of the weights and of all else
    symbols    size of the one-hot vectors where the input is ids
    stream     the GPU's stream on which all the work is done, by its address
    rounded    how the GPU rounds float32 matrices for products, which a recording holds on to
    """

    cell: Cell
    steps: int
    batch: int
    units: int
    symbols: int | None
    low: torch.dtype
    exact: torch.dtype
    training: bool
    device: torch.device
    stream: int
    rounded: str


class Plan:
    """Buffers and both loops of a shape, recorded if so wished; :mod:`charlstm.compiler.triton_printer` says what the
    buffers are.

    ``busy`` says that what is in the buffers is still needed.
    """

    def __init__(self, shape: Shape, record: bool) -> None:
        self.shape, self.busy = shape, False
        cell, steps, batch, units = shape.cell, shape.steps, shape.batch, shape.units
        # Tensors made in inference mode could never be written to outside of it.
        with torch.inference_mode(False):
            self._weight = self._room(len(cell.gates) * units, units, low=True)
            self._forward_buffers = self._make_forward()
            self._backward_buffers = self._make_backward() if shape.training else {}
        given = constants(units, launch_geometry(batch * units).block, shape.exact, shape.training)
        rest = (self._weight, given)
        work = [forward_loop(cell, steps, batch, self._forward_buffers, *rest)]
        if shape.training:
            work.append(backward_loop(cell, steps, batch, self._backward_buffers, *rest))
        self._work = [CudaGraph(w, shape.device) for w in work] if record else work

    def _room(self, *size: int, low: bool = False) -> Tensor:
        return torch.empty(size, dtype=self.shape.low if low else self.shape.exact, device=self.shape.device)

    def _make_forward(self) -> dict[str, Tensor | None]:
        shape = self.shape
        cell, steps, batch, units, training = shape.cell, shape.steps, shape.batch, shape.units, shape.training
        rows = len(cell.gates) * units
        if shape.symbols is None:
            x, ids = self._room(steps, batch, rows, low=True), None
        else:
            x = self._room(shape.symbols + 1, rows, low=True)
            x[-1] = 0
            # A recording is made before there are any ids, and a kernel looks up whatever it finds.
            ids = torch.zeros(steps, batch, dtype=torch.int64, device=shape.device)
        program = forward_program(cell)
        return {
            "x": x,
            "ids": ids,
            "bias_x": self._room(rows),
            "bias_h": self._room(rows),
            **{
                f"s_{s}": self._room(steps + 1 if training and s in backward_states(cell) else 2, batch, units)
                for s in cell.state
            },
            **{f"l_{s}": self._room(steps + 1, batch, units, low=True) for s in operand_states(cell)},
            **{
                name: self._room(steps if training else 1, batch, units, low=True)
                for name in stored_values(cell).values()
            },
            **{f"p_{name}": self._room(len(letters) * units) for name, letters in cell.parameters.items()},
            **{name: self._room(batch, len(run) * units, low=True) for name, run in program.outputs.items()},
            **{f"w_{number}": self._room(2, batch, units) for number in range(program.scratch)},
        }

    def _make_backward(self) -> dict[str, Tensor | None]:
        shape = self.shape
        cell, steps, batch, units = shape.cell, shape.steps, shape.batch, shape.units
        gates = (steps, batch, len(cell.gates) * units)
        program = backward_program(cell)
        return {
            **self._forward_buffers,
            "y": self._room(steps, batch, units, low=True),
            # The input sides are not needed on the way back, and are made anew for each way forward.
            "d": self._forward_buffers["x"] if shape.symbols is None else self._room(*gates, low=True),
            "e": self._room(*gates, low=True) if separate_gates(cell) else None,
            **{f"g_{s}": self._room(2, batch, units) for s in cell.state},
            **{f"z_{name}": self._room(len(letters), batch, units) for name, letters in cell.parameters.items()},
            **{name: self._room(batch, units, low=True) for name in program.outputs},
            **{f"w_{number}": self._room(2, batch, units) for number in range(program.scratch)},
        }

    def forward(self, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        """y [T, B, H] in the type of the products, and the last state."""
        cell, steps, buffers = self.shape.cell, self.shape.steps, self._forward_buffers
        self._weight.copy_(weights.weight_hh)
        self._fill_input(weights.weight_ih, x)
        bias = joined_bias(cell, weights.bias_ih, weights.bias_hh)
        for name, value in (("bias_x", bias), ("bias_h", weights.bias_hh)):
            self._fill(name, 0 if value is None else value)
        for name, value in weights.parameters.items():
            self._fill(f"p_{name}", value)
        for s, part in zip(cell.state, state, strict=True):
            for name in (f"s_{s}", f"l_{s}"):
                stack = buffers.get(name)
                if stack is not None:
                    stack[0] = part
        self._work[0]()
        last = (self.buffer(f"s_{s}") for s in cell.state)
        return self.buffer(f"l_{cell.state[0]}")[1:].clone(), tuple(
            stack[steps if len(stack) > 2 else steps & 1].clone() for stack in last
        )

    def backward(self, d_output: Tensor, d_state: State) -> State:
        """Fill d, e and z, from the gradients of the outputs; those of the first state."""
        steps, letters = self.shape.steps, self.shape.cell.state
        self._fill("y", d_output)
        for s, part in zip(letters, d_state, strict=True):
            self.buffer(f"g_{s}")[steps & 1] = part
        self._work[1]()
        return tuple(self.buffer(f"g_{s}")[0].clone() for s in letters)

    def buffer(self, name: str) -> Tensor:
        found = (self._backward_buffers or self._forward_buffers)[name]
        assert found is not None
        return found

    def _fill(self, name: str, value: Tensor | float) -> None:
        room = self.buffer(name)
        room.fill_(value) if isinstance(value, (int, float)) else room.copy_(value)

    def _fill_input(self, weight_ih: Tensor, x: Tensor) -> None:
        room, symbols = self._forward_buffers["x"], self.shape.symbols
        assert room is not None
        if symbols is None:
            inputs = x.reshape(-1, x.shape[-1]).to(room.dtype)
            torch.mm(inputs, weight_ih.to(room.dtype).t(), out=room.view(len(inputs), -1))
        else:
            torch._assert_async(((x >= 0) & (x <= symbols)).all(), f"ids must be from 0 to {symbols}")
            self._fill("ids", x)
            room[:-1] = weight_ih.t()
