"""Sampling on the CPU: the steps of a stack, its head and the draw of the next character in one C++ call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.cpp_printer import forward_code
from charlstm.compiler.loops import forward_loop, masks
from charlstm.executors.base import State, Weights
from charlstm.executors.buffers import allocate, joined_bias, read_state, write_state
from charlstm.executors.cpp.build import BuildError, load_library
from charlstm.executors.cpp.memory import (
    PANEL,
    buffer_structure,
    check_ids,
    input_table,
    int64_array,
    load_kernels,
    pack,
    pad_gates,
    pad_last,
    padded_size,
)
from charlstm.executors.cpp.partition import autotuned_partition
from charlstm.generation.cpp_window import CppWindow
from charlstm.model.front_end import ConvolutionWeights


@cache
def decoder_library(dtype: torch.dtype) -> ctypes.CDLL | str:
    """The C++ decoder of all cells with matmuls in ``dtype``, built if needed; or the reason why it cannot be built."""
    folder = Path(__file__).parent
    try:
        sources = [(folder / name).read_text(encoding="utf-8") for name in ("cpp/window.h", "cpp/decoder.h")]
        return load_library("decoder", dtype, "\n".join(sources))
    except BuildError as reason:
        return str(reason)


class CppDecoder:
    """Decodes B texts, with the weights at construction and a carried state.

    layers: the weights of the stack, bottom first; the input weights of the first layer are for one-hot vectors,
    [GH, V], or for the outputs of ``convolution``, [GH, N]. head [V, H] and head_bias [V] give the logits of the next
    character. ``dtype`` is the dtype of the matmuls; with ``residual`` every layer above the first adds its input to
    its output.

    Raises BuildError if the decoder cannot be built.
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
        sum_outputs: bool = False,
        convolution: ConvolutionWeights | None = None,
    ) -> None:
        self._cell, self._dtype, self._batch, self._step = cell, dtype, batch_size, 0
        gates, hidden_size, vocabulary = len(cell.gates), layers[0].hidden_size, head.shape[0]
        self._padded_size, self._hidden_size = padded_size(hidden_size), hidden_size
        decoder = decoder_library(dtype)
        if isinstance(decoder, str):
            raise BuildError(decoder)
        self._decoder = decoder

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype)

        self._ids = torch.full((batch_size,), vocabulary)
        self._window = None if convolution is None else CppWindow(cell, convolution, batch_size, dtype)
        self._states: list[dict[str, Tensor]] = []
        self._keep_alive: list[object] = []
        structures = []
        inputs, outputs = [], []
        input_weights: list[Tensor | None] = []
        for number, weights in enumerate(layers):
            stacks = allocate(
                forward_loop(cell).outputs, zeros(0), dtype, 1, batch_size, self._padded_size, training=False
            )
            self._states.append({name: stack.zero_() for name, stack in stacks.items()})
            bias = joined_bias(cell, weights.bias_ih, weights.bias_hh)
            no_bias = zeros(gates * self._padded_size)
            input_is_ids = number == 0 and convolution is None
            if input_is_ids:
                x = input_table(weights.weight_ih, gates, dtype)
                input_weights.append(None)
            else:
                x = zeros(batch_size, gates * self._padded_size, dtype=dtype)
                input_weights.append(pack(cell, weights.weight_ih, gates, dtype))
            buffers = {
                "T": 1,
                "B": batch_size,
                "H": self._padded_size,
                "threads": 1,
                "by_rows": 0,
                "x": x,
                "ids": self._ids if input_is_ids else None,
                "weights": pack(cell, weights.weight_hh, gates, dtype),
                "bias_x": no_bias if bias is None else pad_gates(bias, gates),
                "bias_h": no_bias if weights.bias_hh is None else pad_gates(weights.bias_hh, gates),
                **{f"{name}_mask": mask for name, mask in masks(training=False).items()},
                "operand_mask": 1,
                "input_mask": 0,
                **stacks,
                **{
                    f"p_{name}": pad_gates(weights.parameters[name], len(letters))
                    for name, letters in cell.parameters.items()
                },
            }
            prepared, scratch = buffer_structure(forward_code(cell), buffers)
            structures.append(prepared)
            inputs.append(x)
            outputs.append(stacks[f"l_{cell.state[0]}"])
            self._keep_alive += [buffers, scratch]
        padded_vocabulary = padded_size(vocabulary)
        self._logits = zeros(batch_size, padded_vocabulary)
        self._vocabulary = vocabulary
        layer_addresses = (ctypes.c_int64 * len(layers))(*map(ctypes.addressof, structures))
        weight_addresses = int64_array(*input_weights)
        input_addresses, output_addresses = int64_array(*inputs), int64_array(*outputs)
        kernels = load_kernels(cell, dtype)
        self._cell_kernels = (
            gates,
            ctypes.c_int64.in_dll(kernels, "forward_stages").value,
            ctypes.c_int64.in_dll(kernels, "forward_matmuls").value,
            ctypes.cast(kernels.forward_stage, ctypes.c_void_p).value,
        )
        has_sums = residual or sum_outputs
        sums = zeros(len(layers), batch_size, self._padded_size, dtype=dtype) if has_sums else None
        head_panels, bias = pack(cell, head, 1, dtype), pad_gates(head_bias, 1)
        self._keep_alive += [structures, layer_addresses, input_weights, weight_addresses, head_panels, bias]
        self._keep_alive += [input_addresses, output_addresses]
        self._network = (
            ctypes.addressof(layer_addresses),
            ctypes.addressof(input_addresses),
            ctypes.addressof(output_addresses),
            None if self._window is None else ctypes.addressof(self._window.structure),
            ctypes.addressof(weight_addresses),
            sums,
            int(residual),
            head_panels,
            bias,
            self._logits,
            self._ids,
        )

    @property
    def logits(self) -> Tensor:
        """The logits [B, V] from which the latest character was sampled."""
        return self._logits[:, : self._vocabulary]

    @property
    def state(self) -> State:
        """The state of all layers, each part [L, B, H], and of the window, before the latest sampled character."""
        states = [read_state(self._cell, stacks, self._step) for stacks in self._states]
        layers = (torch.stack([part[:, : self._hidden_size] for part in parts]) for parts in zip(*states, strict=True))
        return (*layers,) if self._window is None else (*layers, self._window.state)

    @state.setter
    def state(self, state: State) -> None:
        if self._window is not None:
            *layers, self._window.state = state
            state = tuple(layers)
        for stacks, parts in zip(self._states, zip(*state, strict=True), strict=True):
            write_state(self._cell, stacks, self._step & 1, (pad_last(part, self._padded_size) for part in parts))

    def sample(
        self,
        draws: Tensor,
        prompt: Tensor | None = None,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Encode ``prompt`` [N, B], or else the characters sampled last, and sample one character for each of
        ``draws``.

        draws [T, B]: uniform in [0, 1), float64; the first character whose cumulative probability exceeds its draw is
        sampled. The options are those of :class:`charlstm.generation.sampling.Sampling`. Returns the sampled ids and
        ln p at temperature 1, both [T, B].
        """
        count = draws.shape[0]
        assert count > 0
        assert draws.dtype == torch.float64
        prompt_length = 0 if prompt is None else prompt.shape[0]
        prompt = None if prompt is None else check_ids(prompt, self._vocabulary)
        settings = torch.tensor([temperature, top_p, min_p], dtype=torch.float64)
        sampled = torch.empty(count, self._batch, dtype=torch.int64)
        log_probabilities = torch.empty(count, self._batch)
        key = (self._cell, self._dtype, "sample", self._batch, self._padded_size, len(self._states))
        steps = count + max(prompt_length - 1, 0)
        with autotuned_partition(key, self._batch, self._padded_size // PANEL, steps) as partition:
            task = int64_array(
                len(self._states),
                self._batch,
                self._padded_size,
                self._vocabulary,
                *map(int, partition),
                *self._cell_kernels,
                self._step,
                prompt_length,
                count,
                int(temperature == 0),
                top_k,
                settings,
                *self._network,
                prompt,
                draws.contiguous(),
                sampled,
                log_probabilities,
            )
            self._decoder.sample_text(ctypes.byref(task))
        self._step += steps
        return sampled, log_probabilities
