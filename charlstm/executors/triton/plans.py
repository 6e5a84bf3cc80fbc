"""Plans: the time loops of one layer at one shape, on static buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.loops import Buffer, backward_loop, forward_loop
from charlstm.compiler.persistent_printer import PersistentKernel, persistent_backward, persistent_forward
from charlstm.compiler.triton_printer import backward_program, forward_program
from charlstm.executors.base import State, Weights
from charlstm.executors.buffers import allocate, joined_bias, read_state, write_state
from charlstm.executors.cuda_graph import CudaGraph, memory_pool
from charlstm.executors.triton.kernels import constexpr_arguments, interpreting, launch_geometry
from charlstm.executors.triton.loops import Loop, backward_launcher, forward_launcher
from charlstm.executors.triton.persistent import Division, Tiles, persistent_constexprs, persistent_loop

NOT_DIVIDED = Division()


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
    :mod:`charlstm.compiler.loops` and :mod:`charlstm.compiler.triton_printer`.

    With ``division``, in training, a loop is one kernel that is divided so.
    ``loops``: the forward pass, and in training the backward pass, on what is in the buffers.
    ``busy``: the content of the buffers is still needed.
    """

    def __init__(self, shape: Shape, capture: bool, division: Division = NOT_DIVIDED) -> None:
        self.shape, self.busy, self.division = shape, False, division
        cell, batch, H = shape.cell, shape.batch, shape.hidden_size
        # Tensors created in inference mode cannot be written to outside of it.
        with torch.inference_mode(False):
            self._weight = torch.empty(len(cell.gates) * H, H, dtype=shape.compute_dtype, device=shape.device)
            self._forward_buffers = self._make_forward()
            self.buffers = self._make_backward() if shape.training else self._forward_buffers
        self._constexprs = constexpr_arguments(H, launch_geometry(batch * H).block, shape.param_dtype, shape.training)
        loops = [self._loop(forward_launcher, persistent_forward, division.forward, self._forward_buffers)]
        if shape.training:
            loops.append(self._loop(backward_launcher, persistent_backward, division.backward, self.buffers))
        if capture:
            pool = memory_pool(shape.device)
            loops = [CudaGraph(loop, shape.device, pool=pool) for loop in loops]
        self.loops = loops

    def _loop(
        self,
        launcher: Callable[..., Loop],
        print_kernel: Callable[[Cell, int, int, bool], PersistentKernel],
        division: Tiles | None,
        buffers: dict[str, Tensor],
    ) -> Loop:
        shape = self.shape
        if division is None:
            return launcher(shape.cell, shape.steps, shape.batch, buffers, self._weight, self._constexprs)
        if not shape.training:
            raise ValueError("a loop in one kernel needs a buffer for the values of each step, as in training")
        kernel = print_kernel(shape.cell, shape.hidden_size, division.parts, interpreting())
        arguments = persistent_constexprs(self._constexprs, division, shape.fp32_precision)
        with torch.inference_mode(False):
            return persistent_loop(kernel, shape.steps, shape.batch, buffers, self._weight, arguments, division)

    def _allocate(self, buffers: Iterable[Buffer]) -> dict[str, Tensor]:
        shape = self.shape
        like = torch.empty(0, dtype=shape.param_dtype, device=shape.device)
        return allocate(buffers, like, shape.compute_dtype, shape.steps, shape.batch, shape.hidden_size, shape.training)

    def _make_forward(self) -> dict[str, Tensor]:
        shape, loop = self.shape, forward_loop(self.shape.cell, joined=True)
        x, *inputs = loop.inputs
        results = () if self.division.forward else forward_program(shape.cell).buffers
        buffers = self._allocate([*inputs, *loop.outputs, *results])
        rows = len(x.letters) * shape.hidden_size
        if shape.symbols is None:
            return {x.name: self._weight.new_empty(shape.steps, shape.batch, rows), **buffers}
        table = self._weight.new_empty(shape.symbols + 1, rows)
        table[-1] = 0
        # The capture runs before there are ids, and kernels do not check them.
        ids = torch.zeros(shape.steps, shape.batch, dtype=torch.int64, device=shape.device)
        return {x.name: table, "ids": ids, **buffers}

    def _make_backward(self) -> dict[str, Tensor]:
        loop = backward_loop(self.shape.cell, joined=True)
        results = () if self.division.backward else backward_program(self.shape.cell).buffers
        y, outputs = loop.inputs[0], [*loop.outputs, *results]
        buffers = dict(self._forward_buffers)
        if self.shape.symbols is None:
            buffers["d"] = buffers["x"]  # The backward pass does not read the input sides, so d overwrites them.
            outputs = [b for b in outputs if b.name != "d"]
        return buffers | self._allocate([y, *outputs])

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
        write_state(cell, buffers, 0, state)
        self.loops[0]()
        return buffers[f"l_{cell.state[0]}"][1:].clone(), tuple(
            part.clone() for part in read_state(cell, buffers, steps)
        )

    def backward(self, d_output: Tensor, d_state: State) -> State:
        """Fill d, e and z from the gradients of the outputs; returns the gradients of the initial state."""
        steps, letters = self.shape.steps, self.shape.cell.state
        self._fill("y", d_output)
        for s, part in zip(letters, d_state, strict=True):
            self.buffers[f"g_{s}"][steps & 1] = part
        self.loops[1]()
        return tuple(self.buffers[f"g_{s}"][0].clone() for s in letters)

    def _fill(self, name: str, value: Tensor | float) -> None:
        out = self.buffers[name]
        out.fill_(value) if isinstance(value, (int, float)) else out.copy_(value)

    def _fill_input(self, weight_ih: Tensor, x: Tensor) -> None:
        out, symbols = self._forward_buffers["x"], self.shape.symbols
        if symbols is None:
            inputs = x.reshape(-1, x.shape[-1]).to(out.dtype)
            torch.mm(inputs, weight_ih.to(out.dtype).t(), out=out.view(len(inputs), -1))
        else:
            torch._assert_async(((x >= 0) & (x <= symbols)).all(), f"ids must be from 0 to {symbols}")
            self._fill("ids", x)
            out[:-1] = weight_ih.t()
