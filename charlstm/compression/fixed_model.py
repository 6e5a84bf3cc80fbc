"""A language model in the arithmetic of :mod:`charlstm.compression.fixed_point`: equal predictions on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.compression.cell_step import CellStep, to_array
from charlstm.compression.fixed_point import (
    EXP_ARGUMENT_BITS,
    LIMIT,
    VALUE_BITS,
    WIDE_BITS,
    Integers,
    Matmul,
    look_up,
    narrow,
    quantize,
    table,
    wide_bias,
)
from charlstm.compression.readout import LearningReadout, Readout
from charlstm.model import LanguageModel
from charlstm.model.front_end import ConvolutionWeights
from charlstm.text.vocabulary import Vocabulary

Ids = npt.NDArray[np.int64]


class FixedModel:
    """B texts, one character of each at a time: :meth:`read` a character, then the next is predicted by ``weights``.

    A text begins with the state zero, after "no character", V. A forward or a backward model only. With a ``rate`` k,
    the readout learns at 2^-k.
    """

    def __init__(self, model: LanguageModel, batch_size: int, rate: int = 0) -> None:
        stack = model.recurrent
        weights = [stack.weights(f"_l{layer}") for layer in range(stack.num_layers)]
        self.vocabulary_size = model.vocabulary_size
        self._residual, self._sum_outputs = stack.residual, stack.sum_outputs
        self._layers = [CellStep(stack.cell, w, batch_size) for w in weights]
        self._matmuls = [
            Matmul(layer.rows(to_array(w.weight_ih))) for layer, w in zip(self._layers[1:], weights[1:], strict=True)
        ]
        first, rows = self._layers[0], self._layers[0].rows(to_array(weights[0].weight_ih))
        convolution = model.front_end.convolution_weights()
        if convolution is None:
            embedding = dict(model.front_end.named_parameters()).get("weight")
            columns = (
                wide_bias(rows.T)
                if embedding is None
                else Matmul(rows)(quantize(to_array(embedding), VALUE_BITS, LIMIT))
            )
            self._convolution = None
            self._table = np.concatenate([columns, np.zeros((1, first.input_size))]) + first.input_bias
        else:
            self._convolution, self._input_matmul = _Convolution(convolution, batch_size), Matmul(rows)
        head = to_array(model.head.weight), to_array(model.head.bias)
        self._readout = LearningReadout(*head, rate) if rate else Readout(*head)
        self._output: Integers = np.zeros((batch_size, model.config.hidden_size))
        self._logits: Integers = np.zeros((batch_size, model.vocabulary_size))
        self._index = np.zeros(self._logits.shape, np.intp)
        self.weights: Integers = np.zeros(self._logits.shape)
        """The probabilities of the next characters [B, V] up to a factor: integers up to 2^28, the largest."""
        self.read(np.full(batch_size, model.vocabulary_size))

    def read(self, ids: Ids) -> None:
        """Read one character of each text, [B]; V is "no character"."""
        h = total = self._first_layer(ids)
        for matmul, layer in zip(self._matmuls, self._layers[1:], strict=True):
            matmul(h, out=layer.x)
            layer.x += layer.input_bias
            y = layer()
            h = np.clip(h + y, -LIMIT, LIMIT) if self._residual else y
            total = np.clip(total + y, -LIMIT, LIMIT) if self._sum_outputs else h
        self._output = total
        self._readout(total, self._logits)
        np.subtract(self._logits.max(1, keepdims=True), self._logits, out=self.weights)
        self.weights *= 2.0 ** (EXP_ARGUMENT_BITS - WIDE_BITS)
        self.weights += 0.5
        np.copyto(self._index, self.weights, casting="unsafe")
        table("exp").take(self._index, out=self.weights, mode="clip")

    def learn(self, errors: Integers) -> None:
        """Train the readout on the characters that were predicted last; see :meth:`LearningReadout.learn`."""
        assert isinstance(self._readout, LearningReadout)
        self._readout.learn(self._output, errors)

    def _first_layer(self, ids: Ids) -> Integers:
        layer = self._layers[0]
        if self._convolution is None:
            self._table.take(ids, 0, out=layer.x, mode="clip")
        else:
            self._input_matmul(self._convolution(ids), out=layer.x)
            layer.x += layer.input_bias
        return layer()

    def restart(self, which: npt.NDArray[np.bool_]) -> None:
        """Begin new texts in these places [B] at the next character that is read, which must be V there."""
        for layer in self._layers:
            for part in layer.state:
                part[which] = 0
        if self._convolution is not None:
            self._convolution.ids[which] = self.vocabulary_size


class _Convolution:
    """The convolution of :mod:`charlstm.model.convolution`, with its highway layer if there is one."""

    def __init__(self, weights: ConvolutionWeights, batch_size: int) -> None:
        self._vectors = quantize(to_array(weights.vectors), VALUE_BITS, LIMIT)
        self._kernel, self._bias = Matmul(to_array(weights.kernel)), wide_bias(to_array(weights.bias))
        self._highway = None
        if weights.highway is not None:
            weight, bias = map(to_array, weights.highway)
            self._highway = Matmul(weight), wide_bias(bias)
        self.ids: Ids = np.full((batch_size, weights.length), len(self._vectors) - 1)

    def __call__(self, ids: Ids) -> Integers:
        self.ids[:, :-1] = self.ids[:, 1:].copy()
        self.ids[:, -1] = ids
        x = _activate("tanh", self._kernel(self._vectors[self.ids].reshape(len(ids), -1)) + self._bias)
        if self._highway is None:
            return x
        matmul, bias = self._highway
        gate, value = np.split(matmul(x) + bias, 2, 1)
        opened, candidate = _activate("sigmoid", np.ascontiguousarray(gate)), np.maximum(narrow(value), 0)
        # at most 2^20 (2^32 + 2^20), exact
        return np.clip(x + np.rint(opened * (candidate - x) * 2.0**-VALUE_BITS), -LIMIT, LIMIT)


def _activate(function: str, wide: Integers) -> Integers:
    out = np.empty_like(wide)
    look_up(function, wide, WIDE_BITS, np.empty(wide.shape, np.intp), out)
    return out


@dataclass(frozen=True)
class Reading:
    """How a model reads a text: its direction, and the ids that end a document, none for one running text."""

    is_backward: bool
    end_mark: tuple[int, ...]


def model_digest(model: LanguageModel, vocabulary: Vocabulary, reading: Reading) -> bytes:
    """SHA-256 of all that the predictions depend on: equations, weights, vocabulary and reading."""
    config = model.config
    facts: Sequence[object] = [
        model.recurrent.cell.name,
        config.front_end,
        config.kernel_sizes,
        config.residual,
        *([config.output] if config.output != "last" else []),
        reading.is_backward,
        reading.end_mark,
        vocabulary.to_json(),
    ]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().to(torch.float64).numpy().astype("<f8").tobytes())
    return digest.digest()
