"""The interface of torch.nn.RNNBase for a recurrent stack: argument and input checks, layouts, packed sequences."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from charlstm.cells import CELLS, Cell
from charlstm.executors import State
from charlstm.executors.tracing import silent_trace, traced_by_jit, tracing
from charlstm.model.initialization import Initializer
from charlstm.model.stack import RecurrentStack


class RecurrentBase(RecurrentStack):
    """A recurrent stack with the interface of torch.nn.

    Shapes, as in torch.nn: input [T, B, I], [B, T, I] if ``batch_first``, or [T, I] without a batch; output the same
    with D H for I; h_0 and h_n (and c_0, c_n) [L D, B, H], or [L D, H] without a batch. D is 2 if bidirectional.
    A PackedSequence as input gives a PackedSequence; h_0 and h_n have the original order of its sequences.

    Raises ValueError for sizes below 1, a dropout outside [0, 1], projections, and inputs or states whose shape, dtype
    or device does not match the weights; TypeError for sizes that are not integers, for inputs that are not
    floating-point tensors, and for initialization options that the cell does not have.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        **initialization: Any,
    ) -> None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int):
                raise TypeError(f"{name} must be an integer, found {size!r}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, found {size}")
        for name, flag in {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}.items():
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be True or False, found {flag!r}")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability from 0 to 1, found {dropout!r}")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout acts between layers: with num_layers=1, dropout={dropout} has no effect", stacklevel=3
            )
        if proj_size != 0:
            raise ValueError(f"{type(self).__name__} has no projections: proj_size must be 0, found {proj_size!r}")
        initialization = {name: value for name, value in initialization.items() if value is not None}
        if unknown := initialization.keys() - cell.init_options.keys():
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}")
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=float(dropout),
            dropout_kind="elementwise",
            bidirectional=bidirectional,
            initializer=Initializer(**initialization),
            executor=executor,
        )
        self.batch_first, self.proj_size = batch_first, proj_size
        self.to(device=device, dtype=dtype)

    @property
    def mode(self) -> str:
        """torch's name of the cell, such as ``LSTM`` or ``RNN_TANH``; for cells that torch does not have, the cell's
        name."""
        return (self.cell.torch or self.cell.name).upper()

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction, in the order of the state dictionary."""
        names = self.cell.parameter_shapes(1, 1, self.bias)
        suffixes = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
        return [[getattr(self, name + suffix) for name in names] for suffix in suffixes]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for weights in self.all_weights for weight in weights]

    def flatten_parameters(self) -> None:
        """Do nothing; for compatibility with torch.nn."""

    def __prepare_scriptable__(self) -> NoReturn:
        raise RuntimeError(
            f"torch.jit.script does not support {type(self).__name__}: use torch.jit.trace or torch.export, or script "
            "torch.nn's layer with this state_dict()"
        )

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:  # type: ignore[override]
        """``output, h_n`` or, for cells with a cell state, ``output, (h_n, c_n)``."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        with silent_trace():
            self._check_input(input, (2, 3), f"[T, B, {self.input_size}] or [T, {self.input_size}]")
            batched = input.dim() == 3
            x = input.transpose(0, 1) if batched and self.batch_first else input
            if not len(x):
                raise ValueError(f"expected at least one time step, found an input of {list(input.shape)}")
            state = None if hx is None else self._check_state(hx, batched, x.shape[1] if batched else 1)
        y, final = super().forward(x if batched else x.unsqueeze(1), state)
        # The output of kernels is a view of a buffer saved for the backward pass: a copy can be modified and saved.
        if not tracing(self.weights(), y) and y.untyped_storage().nbytes() > y.nbytes:
            y = y.clone()
        if not batched:
            y, final = y.squeeze(1), tuple(part.squeeze(1) for part in final)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, final if len(final) > 1 else final[0]

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        if traced_by_jit():
            raise RuntimeError(
                "a trace of packed sequences would be valid for their lengths only: trace with padded sequences"
            )
        x, sizes, sorted_indices, unsorted = input
        self._check_input(x, (2,), f"packed sequences of [N, {self.input_size}]")
        state = None if hx is None else self._check_state(hx, True, int(sizes[0]))
        if state is not None and sorted_indices is not None:
            state = tuple(part.index_select(1, sorted_indices) for part in state)
        y, final = super().forward(x, state, batch_sizes=sizes)
        if unsorted is not None:
            final = tuple(part.index_select(1, unsorted) for part in final)
        return PackedSequence(y, sizes, sorted_indices, unsorted), final if len(final) > 1 else final[0]

    def _check_input(self, x: Any, dimensions: tuple[int, ...], expected: str) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            actual = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"expected a floating-point tensor or a PackedSequence, found {actual}")
        if x.dim() not in dimensions or x.shape[-1] != self.input_size:
            raise ValueError(f"expected {expected}, found {list(x.shape)}")
        self._check_device_and_dtype("input", x)

    def _check_device_and_dtype(self, name: str, t: Tensor) -> None:
        weight = self.weight_hh_l0
        if t.device != weight.device:
            raise ValueError(
                f"the {name} is on {t.device} and the weights are on {weight.device}: move one to the other"
            )
        if t.dtype != weight.dtype and not torch.is_autocast_enabled(t.device.type):
            raise ValueError(
                f"the {name} is {t.dtype} and the weights are {weight.dtype}: convert one of them, with "
                f".to({weight.dtype}) or layer.to({t.dtype})"
            )

    def _check_state(self, hx: Any, batched: bool, batch_size: int) -> State:
        parts: State = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if wrong_types := [type(part).__name__ for part in parts if not isinstance(part, Tensor)]:
            raise TypeError(f"expected an initial state of tensors, found {', '.join(wrong_types)}")
        expected = [tuple(part.shape) for part in self.initial_state(batch_size)]
        if not batched:
            expected = [(layers, hidden_size) for layers, _, hidden_size in expected]
        if [tuple(part.shape) for part in parts] != expected:
            raise ValueError(f"expected an initial state of {expected}, found {[tuple(p.shape) for p in parts]}")
        for part in parts:
            self._check_device_and_dtype("initial state", part)
        return parts if batched else tuple(part.unsqueeze(1) for part in parts)

    def extra_repr(self) -> str:
        """As in torch.nn, plus other options that differ from their defaults."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        options = {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        if self.cell.torch is None:
            base = CELLS[self.cell.base].options
            options |= {name: value for name, value in self.cell.options.items() if value != base[name]}
        if self.executor != "auto":
            options["executor"] = self.executor
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{k}={v}" for k, v in options.items())])
