"""Stacked recurrent layers with the parameter names of torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from charlstm.cells import Cell
from charlstm.executors import Choice, Executor, StackRunner, State, Weights, candidates, choose, stack_runner
from charlstm.model.dropout import dropout
from charlstm.model.initialization import Initializer
from charlstm.model.packed import run_packed
from charlstm.model.state_dropout import StateDropout
from charlstm.model.weight_drop import WeightDrop
from charlstm.model.zoneout import Zoneout

Project = Callable[[Tensor], Tensor]
PreparedLayer = list[tuple[Weights, Executor]]
DEFAULT_INITIALIZER = Initializer()


class RecurrentStack(nn.Module):
    """``num_layers`` layers of one cell.

    Parameters have the names and shapes of torch.nn (``weight_ih_l0``, ``bias_hh_l1``, ``weight_ih_l0_reverse``), those
    specific to a cell likewise (``weight_peephole_l0``), and are initialized as in torch.nn, uniform in +-1/sqrt(H),
    except for what the cell declares and ``initializer`` sets (:mod:`charlstm.model.initialization`). Parameters that
    the cell declares frozen have no gradient.

    ``dropout`` acts between layers, on the output of every layer but the last; ``dropout_kind`` is ``elementwise``
    (torch.nn's) or ``locked`` (one mask for all time steps: Gal & Ghahramani 2016).
    ``residual`` adds its input to the output of every layer above the first (He et al. 2016; Wu et al. 2016, section
    3.1); dropout acts on the sum.
    ``sum_outputs`` makes y the sum of the outputs of all layers, each before dropout (Melis, Dyer & Blunsom 2018).
    ``weight_drop`` is the probability of :class:`~charlstm.model.weight_drop.WeightDrop`, and ``zoneout`` has those of
    :class:`~charlstm.model.zoneout.Zoneout` by the letters of the state, ``state_dropout`` that of
    :class:`~charlstm.model.state_dropout.StateDropout`.
    ``bidirectional`` as in torch.nn: every layer gets both directions of the layer below.

    Shapes: x [T, B, I] or ids [T, B]; y [T, B, D H]; each part of the state [L D, B, H], with D = 2 if bidirectional.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        dropout_kind: str = "locked",
        bidirectional: bool = False,
        initializer: Initializer = DEFAULT_INITIALIZER,
        executor: str = "auto",
        residual: bool = False,
        sum_outputs: bool = False,
        weight_drop: float = 0.0,
        zoneout: Mapping[str, float] | None = None,
        state_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.zoneout = Zoneout(cell, zoneout) if zoneout else None
        self.cell = cell = self.zoneout.cell if self.zoneout else cell
        self._training_cell = self.zoneout.training_cell if self.zoneout else cell
        self.state_dropout = StateDropout(self._training_cell, state_dropout) if state_dropout else None
        if self.state_dropout:
            self._training_cell = self.state_dropout.training_cell
        self.executor = executor
        self.preferred_executor: str | None = None
        """Name of the executor that ``auto`` chooses if it supports the layer."""
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.dropout, self.dropout_kind = bias, dropout, dropout_kind
        self.bidirectional, self.initializer = bidirectional, initializer
        self.residual, self.sum_outputs, self.weight_drop = residual, sum_outputs, WeightDrop(weight_drop)
        self._flat: list[int] = []
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            size = input_size if layer == 0 else hidden_size * directions
            for suffix in self._suffixes(layer):
                for name, shape in cell.parameter_shapes(size, hidden_size, bias).items():
                    requires_grad = name not in cell.frozen
                    self.register_parameter(
                        name + suffix, nn.Parameter(torch.empty(shape), requires_grad=requires_grad)
                    )
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def reset_parameters(self) -> None:
        """Initialize all parameters."""
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                self.initializer.apply(self.cell, self.weights(suffix))

    def weights(self, suffix: str = "_l0") -> Weights:
        """The parameters of one layer and direction; suffix as in torch.nn: ``_l0``, ``_l1_reverse``."""

        def get(name: str) -> Tensor:
            parameter: Tensor = getattr(self, name + suffix)
            return parameter

        bias_ih, bias_hh = (get("bias_ih"), get("bias_hh")) if self.bias else (None, None)
        cell_parameters = {name: get(name) for name in self.cell.parameters}
        return Weights(get("weight_ih"), get("weight_hh"), bias_ih, bias_hh, cell_parameters)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move or cast the parameters, then arrange them in memory for an executor that runs whole stacks."""
        module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        runner = None if self.bidirectional else stack_runner(self.executor, self.weights().weight_hh.device.type)
        self._flat = []
        if runner is not None:
            layers = [self.weights(f"_l{layer}") for layer in range(self.num_layers)]
            runner.arrange_stack(self.cell, layers)
            self._flat = _data_pointers(layers)
        return module

    def initial_state(self, batch_size: int) -> State:
        """Zeros."""
        first = self.weights().weight_hh  # not of parameters(): a replica of DataParallel has none
        layers = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(first.new_zeros(layers, batch_size, self.hidden_size) for _ in self.cell.state)

    def choices(self, x: Tensor) -> Iterator[Choice]:
        """For each layer, the executor chosen for an input such as x, and the reason."""
        for weights, below in self._layers(x):
            yield choose(self.executor, self._cell_to_run, weights, below, self.preferred_executor)

    def candidates(self, x: Tensor) -> list[str]:
        """The executors that ``auto`` may choose for all layers, in order of preference."""
        supported = [candidates(self._cell_to_run, weights, below) for weights, below in self._layers(x)]
        return [name for name in supported[0] if all(name in names for names in supported)]

    def _layers(self, x: Tensor) -> Iterator[tuple[Weights, Tensor]]:
        """For each layer its weights and an example of its input when the first layer gets x."""
        for layer in range(self.num_layers):
            yield self.weights(f"_l{layer}"), x if layer == 0 else torch.empty(1, 1, 1, device=x.device)

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        project: Project | None = None,
        batch_sizes: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run all layers; ``project`` maps the first layer's input weights to weights for ids.

        With ``batch_sizes``, x and y are packed sequences, [N, I] and [N, D H]; see :mod:`charlstm.model.packed`.
        """
        if state is None:
            state = self.initial_state(x.shape[1] if batch_sizes is None else int(batch_sizes[0]))
        cell, steps = self._cell_to_run, x.shape[0]
        layers = [
            self._prepare_layer(layer, state[0] if layer else x, project, steps) for layer in range(self.num_layers)
        ]
        runner = self._common_stack_runner(layers, x.device.type) if batch_sizes is None else None
        if runner is not None:
            all_weights = [weights for ((weights, _),) in layers]
            return runner.run_stack(cell, all_weights, x, state, flat=_data_pointers(all_weights) == self._flat)
        final: list[State] = []
        total: Tensor | None = None
        for layer, directions in enumerate(layers):
            outputs = []
            for reverse, (weights, executor) in enumerate(directions):
                initial = tuple(part[len(final)] for part in state)
                run = partial(executor.run, cell, weights)
                y, new = _run(run, x, initial, bool(reverse), batch_sizes)
                outputs.append(y)
                final.append(new)
            y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
            x = x + y if self.residual and layer else y
            if self.sum_outputs:
                total = y if total is None else total + y
            if layer < self.num_layers - 1:
                x = dropout(x, self.dropout, self.dropout_kind, self.training)
        return x if total is None else total, tuple(torch.stack(part) for part in zip(*final, strict=True))

    @property
    def _cell_to_run(self) -> Cell:
        """The cell, or in training the one that takes masks, if there are any."""
        return self._training_cell if self.training else self.cell

    def _prepare_layer(self, layer: int, x: Tensor, project: Project | None, steps: int) -> PreparedLayer:
        """For each direction of a layer, its weights, projected in the first layer and in training with elements
        dropped and masks for ``steps``, and the executor for an input such as x."""
        prepared = []
        for suffix in self._suffixes(layer):
            weights = self.weights(suffix)
            if self.training and self.weight_drop.probability:
                weights = replace(weights, weight_hh=self.weight_drop(suffix, weights.weight_hh))
            for masks in (self.zoneout, self.state_dropout):
                if masks is not None and self.training:
                    weights = masks.with_masks(weights, steps, x.shape[1])
            if project is not None and layer == 0:
                weights = replace(weights, weight_ih=project(weights.weight_ih))
            choice = choose(self.executor, self._cell_to_run, weights, x, self.preferred_executor)
            prepared.append((weights, choice.executor))
        return prepared

    def _common_stack_runner(self, layers: Sequence[PreparedLayer], device: str) -> StackRunner | None:
        """The runner for all layers in one call, if one executor with such a runner is chosen for all of them and there
        is no work between them."""
        drops = self.training and self.dropout > 0
        has_work_between = self.num_layers > 1 and (self.residual or self.sum_outputs or drops)
        first, *others = (executor for directions in layers for _, executor in directions)
        runner = first.stacks
        if runner is None or device not in runner.stack_devices or has_work_between or self.bidirectional:
            return None
        return runner if all(executor is first for executor in others) else None

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


def _run(
    run: Callable[[Tensor, State], tuple[Tensor, State]],
    x: Tensor,
    state: State,
    reverse: bool,
    batch_sizes: Tensor | None,
) -> tuple[Tensor, State]:
    """Run one layer in one direction."""
    if batch_sizes is not None:
        return run_packed(run, x, batch_sizes, state, reverse)
    y, new = run(x.flip(0) if reverse else x, state)
    return (y.flip(0) if reverse else y), new


def _data_pointers(layers: Sequence[Weights]) -> list[int]:
    """The memory addresses of the weights."""
    tensors = (t for w in layers for t in (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh))
    return [t.data_ptr() for t in tensors if t is not None]
