"""Writing text natively: whole steps of a stack, its head and the draw of the next character, in one C++ call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.cpp_loops import forward_loop
from charlstm.compiler.stages import operand_states
from charlstm.executors.base import State, Weights
from charlstm.executors.buffers import joined_bias
from charlstm.executors.cpp.build import BuildError, load
from charlstm.executors.cpp.memory import (
    PANEL,
    checked,
    input_table,
    library,
    pack,
    pad_gates,
    pad_last,
    padded_units,
    structure,
    words,
)
from charlstm.executors.cpp.partition import shared
from charlstm.generation.cpp_window import Windows
from charlstm.model.front_end import Convolved


@cache
def decoder_library(dtype: torch.dtype) -> ctypes.CDLL | str:
    """The C++ decoder of all cells with products in ``dtype``, built if need be; or why there is none."""
    folder = Path(__file__).parent / "cpp"
    try:
        parts = [(folder / name).read_text(encoding="utf-8") for name in ("window.h", "decoder.h")]
        return load("decoder", dtype, "\n".join(parts))
    except BuildError as reason:
        return str(reason)


class CppDecoder:
    """B texts that go on from a state of their own, in the weights as they are now.

    layers: the stack's weights from the bottom; the input weights of the first are those of one-hot vectors,
    [GH, V], or where it reads what is ``convolved``, [GH, N]. head [V, H] and head_bias [V] give the logits of the next
    character. ``dtype`` is that of the products; with ``residual`` every layer above the first adds its input to its
    output.
    """

    def __init__(
        self,
        cell: Cell,
        layers: Sequence[Weights],
        head: Tensor,
        head_bias: Tensor,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        *,
        residual: bool = False,
        convolved: Convolved | None = None,
    ) -> None:
        self._cell, self._dtype, self._batch, self._turn = cell, dtype, batch_size, 0
        gates, units, vocabulary = len(cell.gates), layers[0].hidden_size, head.shape[0]
        self._padded, self._units = padded_units(units), units
        decoder = decoder_library(dtype)
        if isinstance(decoder, str):
            raise BuildError(decoder)
        self._decoder = decoder
        loop = forward_loop(cell)

        def room(*shape: int, low: bool = False) -> Tensor:
            return torch.zeros(shape, dtype=dtype if low else torch.float32)

        self._ids = torch.full((batch_size,), vocabulary)
        self._windows = None if convolved is None else Windows(cell, convolved, batch_size, dtype)
        self._states: list[dict[str, list[Tensor]]] = []
        self._kept: list[object] = []
        structures = []
        inputs, outputs = [], []
        input_weights: list[Tensor | None] = []
        for number, weights in enumerate(layers):
            exact = {s: room(2, batch_size, self._padded) for s in cell.state}
            low = {s: room(2, batch_size, self._padded, low=True) for s in operand_states(cell)}
            self._states.append({s: [exact[s], low[s]] if s in low else [exact[s]] for s in cell.state})
            bias = joined_bias(cell, weights.bias_ih, weights.bias_hh)
            none = room(gates * self._padded)
            reads_ids = number == 0 and convolved is None
            if reads_ids:
                x = input_table(weights.weight_ih, gates, dtype)
                input_weights.append(None)
            else:
                x = room(batch_size, gates * self._padded, low=True)
                input_weights.append(pack(cell, weights.weight_ih, gates, dtype))
            buffers = {
                "T": 1,
                "B": batch_size,
                "H": self._padded,
                "threads": 1,
                "by_rows": 0,
                "x": x,
                "ids": self._ids if reads_ids else None,
                "weights": pack(cell, weights.weight_hh, gates, dtype),
                "bias_x": none if bias is None else pad_gates(bias, gates),
                "bias_h": none if weights.bias_hh is None else pad_gates(weights.bias_hh, gates),
                "keep": 0,
                "input_mask": 0,
                "low_mask": 1,
                **{f"s_{s}": stack for s, stack in exact.items()},
                **{f"all_{s}": 1 for s in cell.state},
                **{f"l_{s}": stack for s, stack in low.items()},
                **{name: room(batch_size, self._padded, low=True) for name in loop.values.values()},
                **{
                    f"p_{name}": pad_gates(weights.parameters[name], len(letters))
                    for name, letters in cell.parameters.items()
                },
            }
            prepared, scratch = structure(loop, buffers)
            structures.append(prepared)
            inputs.append(x)
            outputs.append(low[cell.state[0]])
            self._kept += [buffers, scratch]
        wide = padded_units(vocabulary)
        self._logits = room(batch_size, wide)
        self._vocabulary = vocabulary
        layer_addresses = (ctypes.c_int64 * len(layers))(*map(ctypes.addressof, structures))
        weight_addresses = words(*input_weights)
        input_addresses, output_addresses = words(*inputs), words(*outputs)
        kernels = library(cell, dtype)
        self._cell_kernels = (
            gates,
            ctypes.c_int64.in_dll(kernels, "forward_stages").value,
            ctypes.c_int64.in_dll(kernels, "forward_products").value,
            ctypes.cast(kernels.forward_stage, ctypes.c_void_p).value,
        )
        with_inputs = room(len(layers), batch_size, self._padded, low=True) if residual else None
        head_panels, bias = pack(cell, head, 1, dtype), pad_gates(head_bias, 1)
        self._kept += [structures, layer_addresses, input_weights, weight_addresses, head_panels, bias]
        self._kept += [input_addresses, output_addresses]
        self._network = (
            ctypes.addressof(layer_addresses),
            ctypes.addressof(input_addresses),
            ctypes.addressof(output_addresses),
            None if self._windows is None else ctypes.addressof(self._windows.structure),
            ctypes.addressof(weight_addresses),
            with_inputs,
            head_panels,
            bias,
            self._logits,
            self._ids,
        )

    @property
    def logits(self) -> Tensor:
        """The logits [B, V] from which the latest character was drawn."""
        return self._logits[:, : self._vocabulary]

    @property
    def state(self) -> State:
        """The state of all layers, each part [L, B, H], and of the windows, before the latest character that was
        written is read."""
        turn, units = self._turn & 1, self._units
        layers = (torch.stack([layer[s][0][turn, :, :units] for layer in self._states]) for s in self._cell.state)
        return (*layers,) if self._windows is None else (*layers, self._windows.state)

    @state.setter
    def state(self, state: State) -> None:
        if self._windows is not None:
            *layers, self._windows.state = state
            state = tuple(layers)
        for s, part in zip(self._cell.state, state, strict=True):
            for layer, own in zip(self._states, part, strict=True):
                for stack in layer[s]:
                    stack[self._turn & 1] = pad_last(own, self._padded)

    def write(
        self,
        chances: Tensor,
        read: Tensor | None = None,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Read the characters ``read`` [N, B], or those written last, and write as many as ``chances`` [T, B] says.

        chances: uniform in [0, 1), float64; the first character whose cumulative probability exceeds it is written. The
        options are those of :class:`charlstm.generation.sampler.Sampling`. Returns the ids written and the natural
        logarithms of their probabilities at temperature 1, both [T, B].
        """
        count = chances.shape[0]
        assert count > 0
        assert chances.dtype == torch.float64
        given = 0 if read is None else read.shape[0]
        read = None if read is None else checked(read, self._vocabulary)
        settings = torch.tensor([temperature, top_p, min_p], dtype=torch.float64)
        written = torch.empty(count, self._batch, dtype=torch.int64)
        log_probabilities = torch.empty(count, self._batch)
        key = (self._cell, self._dtype, "sample", self._batch, self._padded, len(self._states))
        steps = count + max(given - 1, 0)
        with shared(key, self._batch, self._padded // PANEL, steps) as way:
            task = words(
                len(self._states),
                self._batch,
                self._padded,
                self._vocabulary,
                *map(int, way),
                *self._cell_kernels,
                self._turn,
                given,
                count,
                int(temperature == 0),
                top_k,
                settings,
                *self._network,
                read,
                chances.contiguous(),
                written,
                log_probabilities,
            )
            self._decoder.sample_text(ctypes.byref(task))
        self._turn += steps
        return written, log_probabilities
