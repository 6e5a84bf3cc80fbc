"""Plans: the time loops of one layer at one shape, on static buffers."""

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
from charlstm.executors.triton.kernels import constexpr_arguments, launch_geometry
from charlstm.executors.triton.loops import backward_loop, forward_loop


@dataclass(frozen=True)
class Shape:
    """Everything that a plan depends on.

    symbols         size of the one-hot vectors if the input is ids
    compute_dtype   dtype of matmuls; ``param_dtype`` is that of the weights and of everything else
    stream          address of the CUDA stream on which the loops run
    fp32_precision  torch's setting for float32 matmuls, which a CUDA graph captures
    """

    cell: Cell
    steps: int
    batch: int
    hidden_size: int
    symbols: int | None
    compute_dtype: torch.dtype
    param_dtype: torch.dtype
    training: bool
    device: torch.device
    stream: int
    fp32_precision: str


class Plan:
    """The buffers and loops of a shape, captured in CUDA graphs if ``capture``; the buffers are documented in
    :mod:`charlstm.compiler.triton_printer`.

    ``busy``: the content of the buffers is still needed.
    """

    def __init__(self, shape: Shape, capture: bool) -> None:
        self.shape, self.busy = shape, False
        cell, steps, batch, H = shape.cell, shape.steps, shape.batch, shape.hidden_size
        # Tensors created in inference mode cannot be written to outside of it.
        with torch.inference_mode(False):
            self._weight = self._empty(len(cell.gates) * H, H, in_compute_dtype=True)
            self._forward_buffers = self._make_forward()
            self._backward_buffers = self._make_backward() if shape.training else {}
        constexprs = constexpr_arguments(H, launch_geometry(batch * H).block, shape.param_dtype, shape.training)
        rest = (self._weight, constexprs)
        loops = [forward_loop(cell, steps, batch, self._forward_buffers, *rest)]
        if shape.training:
            loops.append(backward_loop(cell, steps, batch, self._backward_buffers, *rest))
        self._loops = [CudaGraph(loop, shape.device) for loop in loops] if capture else loops

    def _empty(self, *size: int, in_compute_dtype: bool = False) -> Tensor:
        return torch.empty(
            size,
            dtype=self.shape.compute_dtype if in_compute_dtype else self.shape.param_dtype,
            device=self.shape.device,
        )

    def _make_forward(self) -> dict[str, Tensor | None]:
        shape = self.shape
        cell, steps, batch, H, training = (
            shape.cell,
            shape.steps,
            shape.batch,
            shape.hidden_size,
            shape.training,
        )
        rows = len(cell.gates) * H
        if shape.symbols is None:
            x, ids = self._empty(steps, batch, rows, in_compute_dtype=True), None
        else:
            x = self._empty(shape.symbols + 1, rows, in_compute_dtype=True)
            x[-1] = 0
            # The capture runs before there are ids, and kernels do not check them.
            ids = torch.zeros(steps, batch, dtype=torch.int64, device=shape.device)
        program = forward_program(cell)
        return {
            "x": x,
            "ids": ids,
            "bias_x": self._empty(rows),
            "bias_h": self._empty(rows),
            **{
                f"s_{s}": self._empty(steps + 1 if training and s in backward_states(cell) else 2, batch, H)
                for s in cell.state
            },
            **{f"l_{s}": self._empty(steps + 1, batch, H, in_compute_dtype=True) for s in operand_states(cell)},
            **{
                name: self._empty(steps if training else 1, batch, H, in_compute_dtype=True)
                for name in stored_values(cell).values()
            },
            **{f"p_{name}": self._empty(len(letters) * H) for name, letters in cell.parameters.items()},
            **{name: self._empty(batch, len(run) * H, in_compute_dtype=True) for name, run in program.outputs.items()},
            **{f"w_{number}": self._empty(2, batch, H) for number in range(program.scratch)},
        }

    def _make_backward(self) -> dict[str, Tensor | None]:
        shape = self.shape
        cell, steps, batch, H = shape.cell, shape.steps, shape.batch, shape.hidden_size
        gates = (steps, batch, len(cell.gates) * H)
        program = backward_program(cell)
        return {
            **self._forward_buffers,
            "y": self._empty(steps, batch, H, in_compute_dtype=True),
            # The backward pass does not read the input sides, so d overwrites them.
            "d": self._forward_buffers["x"] if shape.symbols is None else self._empty(*gates, in_compute_dtype=True),
            "e": self._empty(*gates, in_compute_dtype=True) if separate_gates(cell) else None,
            **{f"g_{s}": self._empty(2, batch, H) for s in cell.state},
            **{f"z_{name}": self._empty(len(letters), batch, H) for name, letters in cell.parameters.items()},
            **{name: self._empty(batch, H, in_compute_dtype=True) for name in program.outputs},
            **{f"w_{number}": self._empty(2, batch, H) for number in range(program.scratch)},
        }

    def forward(self, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        """y [T, B, H] in the compute dtype, and the last state."""
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
        self._loops[0]()
        last = (self.buffer(f"s_{s}") for s in cell.state)
        return self.buffer(f"l_{cell.state[0]}")[1:].clone(), tuple(
            stack[steps if len(stack) > 2 else steps & 1].clone() for stack in last
        )

    def backward(self, d_output: Tensor, d_state: State) -> State:
        """Fill d, e and z from the gradients of the outputs; returns the gradients of the initial state."""
        steps, letters = self.shape.steps, self.shape.cell.state
        self._fill("y", d_output)
        for s, part in zip(letters, d_state, strict=True):
            self.buffer(f"g_{s}")[steps & 1] = part
        self._loops[1]()
        return tuple(self.buffer(f"g_{s}")[0].clone() for s in letters)

    def buffer(self, name: str) -> Tensor:
        buffer = (self._backward_buffers or self._forward_buffers)[name]
        assert buffer is not None
        return buffer

    def _fill(self, name: str, value: Tensor | float) -> None:
        out = self.buffer(name)
        out.fill_(value) if isinstance(value, (int, float)) else out.copy_(value)

    def _fill_input(self, weight_ih: Tensor, x: Tensor) -> None:
        out, symbols = self._forward_buffers["x"], self.shape.symbols
        assert out is not None
        if symbols is None:
            inputs = x.reshape(-1, x.shape[-1]).to(out.dtype)
            torch.mm(inputs, weight_ih.to(out.dtype).t(), out=out.view(len(inputs), -1))
        else:
            torch._assert_async(((x >= 0) & (x <= symbols)).all(), f"ids must be from 0 to {symbols}")
            self._fill("ids", x)
            out[:-1] = weight_ih.t()
