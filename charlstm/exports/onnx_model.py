"""A step of the model in ONNX: a character and the state in, the logits and the new state out.

character  [B] int64      id of a character, or V for "no character", which comes before the first
h, c ...   [L, B, H]      the state, by its letters in the cell's equations; zeros at the beginning of a text
window     [W, B] int64   with a convolution, V - id of each of the characters before; zeros at the beginning
logits     [B, V]         of the next character
new_h ...                 the new state, to be passed as h ... with the next character
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from charlstm import __version__
from charlstm.api import LoadedRun
from charlstm.compiler.onnx_printer import OnnxStep, onnx_step
from charlstm.exports.about import about
from charlstm.exports.step_weights import LayerWeights, StepWeights, step_weights
from charlstm.model.front_end import ConvolutionWeights

OPSET, IR = 17, 8
"""Of 2022: read by every onnxruntime from 1.13 on."""


def onnx_bytes(run: LoadedRun, name: str) -> bytes:
    """The ONNX model of a run. Raises UserError for a bidirectional model."""
    weights, facts = step_weights(run.model), about(run)
    metadata = {
        "network": facts.network,
        "text": facts.text,
        "direction": run.model.direction,
        "unit": run.vocabulary.unit,
        "vocabulary": json.dumps(run.vocabulary.symbols),
        "lead_ins": json.dumps(run.header.get("lead_ins", [])),
        "document_end": run.document_end,
        "lowercase": json.dumps(run.preparation.lowercase),
        "normalize": json.dumps(run.preparation.normalize),
    }
    content: bytes = step_model(weights, name, metadata).SerializeToString()
    return content


def step_model(weights: StepWeights, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The ONNX model of a step; to the metadata it adds ``no_character``, the id V, and ``states``, the names of the
    parts of the state, each with that of the new state."""
    graph = _Graph(weights)
    graph.print()
    model = helper.make_model(
        graph.proto(name),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="charlstm",
        producer_version=__version__,
        doc_string=__doc__,
    )
    states = json.dumps({state: f"new_{state}" for state in graph.states})
    helper.set_model_props(model, {**metadata, "no_character": str(weights.vocabulary_size), "states": states})
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass
class _Graph:
    """The nodes and initializers of the model, in the order in which they are printed."""

    weights: StepWeights
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, Any] = field(default_factory=dict)

    @property
    def states(self) -> list[str]:
        """The names of the parts of the state."""
        return [*self.weights.cell.state, *(["window"] if self._window else [])]

    @property
    def _window(self) -> int:
        convolution = self.weights.convolution
        return 0 if convolution is None else convolution.length - 1

    def print(self) -> None:
        """Print the whole step."""
        weights, step = self.weights, onnx_step(self.weights.cell)
        x = total = self._front_end()
        for number, layer in enumerate(weights.layers):
            prefix = f"layer_{number}/"
            h = self._layer(prefix, number, layer, step, x, is_input_side=number == 0 and self._is_table)
            x = self._add("Add", [h, x], f"{prefix}sum") if weights.residual and number else h
            total = self._add("Add", [h, total], f"{prefix}sum") if weights.sum_outputs and number else x
        self._affine(total, weights.head_weight, weights.head_bias, "head", "logits")
        for s in weights.cell.state:
            parts = [
                self._add("Unsqueeze", [f"layer_{n}/n_{s}", self._ints("axis_0", [0])], f"layer_{n}/stacked_{s}")
                for n in range(len(weights.layers))
            ]
            self._add("Concat", parts, f"new_{s}", axis=0)

    @property
    def _is_table(self) -> bool:
        return self.weights.vectors is None and self.weights.convolution is None

    def _front_end(self) -> str:
        """The value that the first layer reads; with one-hot vectors, its input side."""
        weights = self.weights
        if weights.convolution is not None:
            return self._convolution(weights.convolution)
        if weights.vectors is not None:
            rows = _with_zero_row(weights.vectors)
        else:
            layer = weights.layers[0]
            rows = _with_zero_row(layer.weight_ih.t()) + layer.bias.numpy()
        return self._add("Gather", [self._store("characters", rows), "character"], "front_end/x", axis=0)

    def _convolution(self, weights: ConvolutionWeights) -> str:
        latest = self._add("Unsqueeze", ["character", self._ints("axis_0", [0])], "front_end/latest")
        ids = latest
        if self._window:
            size = self._ints("vocabulary_size", self.weights.vocabulary_size)
            before = self._add("Sub", [size, "window"], "front_end/before")
            ids = self._add("Concat", [before, latest], "front_end/ids", axis=0)
            bounds = [self._ints(f"from_{n}", [n]) for n in (1, self._window + 1)]
            recent = self._add("Slice", [ids, *bounds, self._ints("axis_0", [0])], "front_end/recent")
            self._add("Sub", [size, recent], "new_window")
        vectors = self._store("characters", weights.vectors.numpy())
        by_batch = self._add("Transpose", [ids], "front_end/by_batch", perm=[1, 0])
        gathered = self._add("Gather", [vectors, by_batch], "front_end/vectors", axis=0)
        flat = self._add("Flatten", [gathered], "front_end/flat", axis=1)
        sums = self._affine(flat, weights.kernel, weights.bias, "front_end/kernel", "front_end/sums")
        x = self._add("Tanh", [sums], "front_end/features")
        if weights.highway is None:
            return x
        both = self._affine(x, *weights.highway, "front_end/highway", "front_end/both")
        gate, value = (f"front_end/{part}" for part in ("gate", "value"))
        self.nodes.append(helper.make_node("Split", [both], [gate, value], axis=1))
        opened, new = self._add("Sigmoid", [gate], f"{gate}_open"), self._add("Relu", [value], f"{value}_new")
        change = self._add("Mul", [opened, self._add("Sub", [new, x], "front_end/difference")], "front_end/change")
        return self._add("Add", [x, change], "front_end/x")

    def _layer(self, prefix: str, number: int, layer: LayerWeights, step: OnnxStep, x: str, is_input_side: bool) -> str:
        """Print one layer and return the name of its output."""
        cell, H = self.weights.cell, self.weights.hidden_size
        sides = x if is_input_side else self._affine(x, layer.weight_ih, layer.bias, f"{prefix}input", f"{prefix}x")
        gates = [f"{prefix}x_{k}" for k in cell.gates]
        if len(gates) > 1:
            self.nodes.append(helper.make_node("Split", [sides], gates, axis=-1))
        else:
            self._add("Identity", [sides], gates[0])
        for s in cell.state:
            self._add("Gather", [s, self._ints(f"index_{number}", number)], f"{prefix}s_{s}", axis=0)
        for name, value in step.constants.items():
            self._store(f"{prefix}{name}", np.array(value, np.float32))
        for name, parameter in layer.parameters.items():
            self._store(f"{prefix}p_{name.replace('.', '_')}", parameter.numpy())
        for ks in step.matmuls:
            rows = [row for k in ks for row in range(cell.gates.index(k) * H, (cell.gates.index(k) + 1) * H)]
            self._store(f"{prefix}u_{ks}", layer.weight_hh[rows].t().numpy())
            self._store(f"{prefix}b_{ks}", layer.bias_hh[rows].numpy())
        for one in step.operators:
            attributes: dict[str, Any] = {} if one.axis is None else {"axis": one.axis}
            inputs, outputs = ([f"{prefix}{name}" for name in names] for names in (one.inputs, one.outputs))
            self.nodes.append(helper.make_node(one.name, inputs, outputs, **attributes))
        return f"{prefix}n_{cell.state[0]}"

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _affine(self, x: str, weight: Tensor, bias: Tensor, name: str, output: str) -> str:
        """W x + b."""
        parameters = [self._store(f"{name}.weight", weight.numpy()), self._store(f"{name}.bias", bias.numpy())]
        return self._add("Gemm", [x, *parameters], output, transB=1)

    def _store(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self.initializers[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def _ints(self, name: str, value: int | list[int]) -> str:
        return self._store(name, np.array(value, np.int64))

    def proto(self, name: str) -> Any:
        """The graph with its inputs and outputs."""
        weights = self.weights
        inputs = [helper.make_tensor_value_info("character", TensorProto.INT64, ["batch"])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights.vocabulary_size])]
        for state in self.states:
            shape: list[str | int | None] = [len(weights.layers), "batch", weights.hidden_size]
            kind = TensorProto.FLOAT
            if state == "window":
                kind, shape = TensorProto.INT64, [self._window, "batch"]
            inputs.append(helper.make_tensor_value_info(state, kind, shape))
            outputs.append(helper.make_tensor_value_info(f"new_{state}", kind, shape))
        return helper.make_graph(self.nodes, name, inputs, outputs, list(self.initializers.values()))


def _with_zero_row(rows: Tensor) -> np.ndarray[Any, Any]:
    """The rows, and a last one of zeros for "no character"."""
    table: np.ndarray[Any, Any] = np.pad(rows.numpy(), ((0, 1), (0, 0)))
    return table
