"""Recurrent layers with the interface of torch.nn: constructor arguments, inputs, outputs and state dictionaries.

``RNN``, ``LSTM`` and ``GRU`` exchange their state dictionaries with torch.nn's, and all take packed sequences. What
differs: ``GRU`` also takes ``reset_after``, the cells with a forget gate take ``forget_bias`` (a number or ``chrono``
with ``chrono_length``; 1 by default, while torch starts at about 0, as does ``GRU``), ``RNN`` with relu starts as the
IRNN, all take the ``executor`` that runs them, and ``LSTM`` has no projections. What starts mean is said in
:mod:`charlstm.model.initialization`.

Second derivatives work with every executor. ``torch.func``, forward-mode differentiation, ``torch.jit.trace``,
``torch.compile`` and ``torch.export`` work with ``executor="auto"``, ``"eager"`` and ``"reference"``; the equations
then run step by step, so that a trace or a compiled graph fits one length only. ``cpp`` and ``triton`` refuse.
``torch.compiler.disable(layer)`` keeps their kernels in a compiled program.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from charlstm.cells import CELLS, Cell, find
from charlstm.executors import State
from charlstm.executors.tracing import silent_trace, traced_by_jit, tracing
from charlstm.model.initialization import Initializer
from charlstm.model.stack import RecurrentStack

__all__ = ["GRU", "LSTM", "RNN", "CoupledLSTM", "Leaky", "PeepholeLSTM"]


class _Layers(RecurrentStack):
    """The interface of torch.nn around a stack.

    Shapes, as in torch.nn: input [T, B, I], [B, T, I] if ``batch_first``, or [T, I] without a batch; output the same
    with D H for I; h_0 and h_n (and c_0, c_n) [L D, B, H], or [L D, H] without a batch. D is 2 if bidirectional.
    A PackedSequence gives a PackedSequence; h_0 and h_n keep the order in which its sequences were given.

    Raises ValueError for sizes below 1, a dropout outside [0, 1], projections, and inputs or states of another shape,
    type or device than the weights; TypeError for sizes that are no whole numbers, for what is no floating-point tensor
    and for an option of the start that the cell does not have.
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
        **start: Any,
    ) -> None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int):
                raise TypeError(f"{name} must be a whole number, found {size!r}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, found {size}")
        for name, flag in {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}.items():
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be True or False, found {flag!r}")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout is a probability, from 0 to 1, found {dropout!r}")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout acts between layers: with num_layers=1, dropout={dropout} does nothing", stacklevel=3
            )
        if proj_size != 0:
            raise ValueError(f"{type(self).__name__} has no projections: proj_size must be 0, found {proj_size!r}")
        start = {name: value for name, value in start.items() if value is not None}
        if idle := start.keys() - cell.init_options.keys():
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(idle))}")
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=float(dropout),
            dropout_kind="elementwise",
            bidirectional=bidirectional,
            start=Initializer(**start),
            executor=executor,
        )
        self.batch_first, self.proj_size = batch_first, proj_size
        self.to(device=device, dtype=dtype)

    @property
    def mode(self) -> str:
        """torch's name of the cell, such as ``LSTM`` or ``RNN_TANH``; of a cell that torch does not have, its own."""
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
        """Nothing to do; torch.nn's layers have it, so programs call it."""

    def __prepare_scriptable__(self) -> NoReturn:
        raise RuntimeError(
            f"torch.jit.script cannot read {type(self).__name__}: use torch.jit.trace or torch.export, or script "
            "torch.nn's layer with this state_dict()"
        )

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:  # type: ignore[override]
        """``output, h_n`` or, for cells with a cell state, ``output, (h_n, c_n)``."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        with silent_trace():
            self._check(input, (2, 3), f"[T, B, {self.input_size}] or [T, {self.input_size}]")
            batched = input.dim() == 3
            x = input.transpose(0, 1) if batched and self.batch_first else input
            if not len(x):
                raise ValueError(f"expected at least one time step, found an input of {list(input.shape)}")
            state = None if hx is None else self._given(hx, batched, x.shape[1] if batched else 1)
        y, last = super().forward(x if batched else x.unsqueeze(1), state)
        # The output of kernels is part of what they keep for the way back: a copy can be viewed, changed and saved.
        if not tracing(self.weights(), y) and y.untyped_storage().nbytes() > y.nbytes:
            y = y.clone()
        if not batched:
            y, last = y.squeeze(1), tuple(part.squeeze(1) for part in last)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, last if len(last) > 1 else last[0]

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        if traced_by_jit():
            raise RuntimeError("a trace of packed sequences would fit their lengths only: trace with padded sequences")
        x, sizes, order, back = input
        self._check(x, (2,), f"packed sequences of [N, {self.input_size}]")
        state = None if hx is None else self._given(hx, True, int(sizes[0]))
        if state is not None and order is not None:
            state = tuple(part.index_select(1, order) for part in state)
        y, last = super().forward(x, state, batch_sizes=sizes)
        if back is not None:
            last = tuple(part.index_select(1, back) for part in last)
        return PackedSequence(y, sizes, order, back), last if len(last) > 1 else last[0]

    def _check(self, x: Any, dimensions: tuple[int, ...], expected: str) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            found = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"expected a floating-point tensor or a PackedSequence, found {found}")
        if x.dim() not in dimensions or x.shape[-1] != self.input_size:
            raise ValueError(f"expected {expected}, found {list(x.shape)}")
        self._check_kind("input", x)

    def _check_kind(self, name: str, t: Tensor) -> None:
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

    def _given(self, hx: Any, batched: bool, batch_size: int) -> State:
        parts: State = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if strange := [type(part).__name__ for part in parts if not isinstance(part, Tensor)]:
            raise TypeError(f"expected a first state of tensors, found {', '.join(strange)}")
        expected = [tuple(part.shape) for part in self.initial_state(batch_size)]
        if not batched:
            expected = [(layers, units) for layers, _, units in expected]
        if [tuple(part.shape) for part in parts] != expected:
            raise ValueError(f"expected a first state of {expected}, found {[tuple(p.shape) for p in parts]}")
        for part in parts:
            self._check_kind("first state", part)
        return parts if batched else tuple(part.unsqueeze(1) for part in parts)

    def extra_repr(self) -> str:
        """As torch.nn's, and what torch.nn does not have where it is not the default."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        shown = {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        if self.cell.torch is None:
            base = CELLS[self.cell.base].options
            shown |= {name: value for name, value in self.cell.options.items() if value != base[name]}
        if self.executor != "auto":
            shown["executor"] = self.executor
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{k}={v}" for k, v in shown.items())])


class RNN(_Layers):
    """``torch.nn.RNN``: h = tanh(W x + b + U h + b'); ``nonlinearity="relu"`` starts U as the identity (IRNN).

    As in torch.nn, ``nonlinearity`` is also the fourth argument by position. Raises ValueError for another one.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        identity_scale: with relu, what the identity is multiplied by at the start; None: 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        *,
        identity_scale: float | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is tanh or relu, found {nonlinearity!r}")
        super().__init__(
            find("rnn", nonlinearity=nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            identity_scale=identity_scale,
        )
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"


class LSTM(_Layers):
    """``torch.nn.LSTM``, without projections; equations in :mod:`charlstm.cells.lstm`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        forget_bias: what the biases of the forget gate add up to at the start, or ``"chrono"``; None: 1.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
    """

    def __init__(
        self,
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
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
    ) -> None:
        super().__init__(
            find("lstm"),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            forget_bias=forget_bias,
            chrono_length=chrono_length,
        )


class GRU(_Layers):
    """``torch.nn.GRU``; ``reset_after=False`` applies the reset gate before the product (:mod:`charlstm.cells.gru`).

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        reset_after: whether the reset gate acts after the recurrent product, as in torch.nn.
        forget_bias: what the biases of the update gate add up to at the start, or ``"chrono"``; None: as in torch.nn.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
    """

    def __init__(
        self,
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
        *,
        reset_after: bool = True,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
    ) -> None:
        super().__init__(
            find("gru", reset_after=reset_after),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            forget_bias=forget_bias,
            chrono_length=chrono_length,
        )


class PeepholeLSTM(_Layers):
    """LSTM with peepholes, ``weight_peephole_l0`` of 3H in the order i f o; :mod:`charlstm.cells.peephole`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        forget_bias: what the biases of the forget gate add up to at the start, or ``"chrono"``; None: 1.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
    """

    def __init__(
        self,
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
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
    ) -> None:
        super().__init__(
            find("peephole"),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            forget_bias=forget_bias,
            chrono_length=chrono_length,
        )


class CoupledLSTM(_Layers):
    """LSTM with coupled input and forget gates; :mod:`charlstm.cells.coupled`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        forget_bias: what the biases of the forget gate add up to at the start, or ``"chrono"``; None: 1.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
    """

    def __init__(
        self,
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
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
    ) -> None:
        super().__init__(
            find("coupled"),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            forget_bias=forget_bias,
            chrono_length=chrono_length,
        )


class Leaky(_Layers):
    """Leaky units; ``leak_rate`` is a number, or the smallest and the largest: :mod:`charlstm.cells.leaky`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of units, H.
        num_layers: layers on top of each other.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the probability with which the output of every layer but the last is zeroed, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: what runs the layers: auto, or the name of an executor (:func:`charlstm.executors.executors`).
        learn_leak: whether the leak rates are learnt.
        leak_rate: of all units, or the smallest and the largest, above 0 and at most 1; None: the cell's default.
    """

    def __init__(
        self,
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
        *,
        learn_leak: bool = True,
        leak_rate: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            find("leaky", learn_leak=learn_leak),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            leak_rate=leak_rate,
        )
