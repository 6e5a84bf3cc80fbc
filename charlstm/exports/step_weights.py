"""The weights of one step of a language model: character in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.schedule import summed_gates
from charlstm.errors import UserError
from charlstm.executors.buffers import gate_slice, joined_bias
from charlstm.model.front_end import ConvolutionWeights
from charlstm.model.language_model import LanguageModel


@dataclass(frozen=True)
class LayerWeights:
    """One recurrent layer: its input side is ``weight_ih x + bias``, its recurrent side ``weight_hh h + bias_hh``.

    weight_ih [GH, I], weight_hh [GH, H], biases [GH]. For gates that use only the sum of both sides, ``bias`` is that
    of both, and ``bias_hh`` zero. ``parameters`` are those of each unit, [H], by name and entry: ``weight_peephole.i``.
    """

    weight_ih: Tensor
    bias: Tensor
    weight_hh: Tensor
    bias_hh: Tensor
    parameters: Mapping[str, Tensor]


@dataclass(frozen=True)
class StepWeights:
    """A step: the front end, the recurrent layers from bottom to top, and the head.

    The first layer reads

    - the features of ``convolution``, if there is one;
    - else the character's row of ``vectors`` [V, I], if there are any; "no character" is the zero vector;
    - else the character: ``weight_ih`` of the first layer is [GH, V], and a character selects a column of it.

    head_weight [V, H] and head_bias [V] give the logits. With ``residual``, each layer above the first adds its input
    to its output; with ``sum_outputs``, the head reads the sum of the outputs of all layers.
    """

    cell: Cell
    layers: list[LayerWeights]
    head_weight: Tensor
    head_bias: Tensor
    residual: bool
    vectors: Tensor | None = None
    convolution: ConvolutionWeights | None = None
    sum_outputs: bool = False

    @property
    def hidden_size(self) -> int:
        return self.layers[0].weight_hh.shape[1]

    @property
    def vocabulary_size(self) -> int:
        return len(self.head_weight)


@torch.no_grad()
def step_weights(model: LanguageModel) -> StepWeights:
    """The weights of a model's step, in float32 on the CPU.

    Raises UserError for a bidirectional model, which has no such step.
    """
    if model.bidirectional:
        raise UserError(
            "a bidirectional model fills gaps and cannot continue a text, so it has no step to export: export it with "
            "--to hub, or train with direction: forward (or backward)"
        )
    stack, front_end = model.recurrent, model.front_end
    convolution, vectors = front_end.convolution_weights(), front_end.symbol_vectors()
    layers = []
    for number in range(stack.num_layers):
        weights = stack.weights(f"_l{number}")
        weight_ih = weights.weight_ih
        if number == 0 and convolution is None and vectors is None:
            weight_ih = front_end.one_hot_weights(weight_ih)
        assert weights.bias_hh is not None
        bias, bias_hh = joined_bias(stack.cell, weights.bias_ih, weights.bias_hh), weights.bias_hh.clone()
        assert bias is not None
        for k in summed_gates(stack.cell):
            bias_hh[gate_slice(stack.cell.gates, k, weights.hidden_size)] = 0
        parameters = {
            f"{name}.{entry}": part
            for name, entries in stack.cell.parameters.items()
            for entry, part in zip(entries, weights.parameters[name].chunk(len(entries)), strict=True)
        }
        plain = {name: _plain(part) for name, part in parameters.items()}
        layers.append(LayerWeights(_plain(weight_ih), _plain(bias), _plain(weights.weight_hh), _plain(bias_hh), plain))
    head = model.head
    return StepWeights(
        stack.cell,
        layers,
        _plain(head.weight),
        _plain(head.bias),
        stack.residual,
        None if vectors is None or convolution is not None else _plain(vectors),
        None if convolution is None else _plain_convolution(convolution),
        stack.sum_outputs,
    )


def _plain(t: Tensor) -> Tensor:
    return t.detach().to("cpu", torch.float32).contiguous()


def _plain_convolution(weights: ConvolutionWeights) -> ConvolutionWeights:
    highway = None if weights.highway is None else (_plain(weights.highway[0]), _plain(weights.highway[1]))
    return ConvolutionWeights(_plain(weights.vectors), _plain(weights.kernel), _plain(weights.bias), highway)
