"""Weights for plain torch.nn modules, and a script that samples with nothing else."""

from __future__ import annotations

import torch
from safetensors.torch import save
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.cells import CELLS, Cell
from charlstm.compiler.graph import trace
from charlstm.errors import UserError
from charlstm.exports.step_weights import StepWeights, step_weights
from charlstm.model.zoneout import NAME as ZONEOUT

SCRIPT, WEIGHTS = "sample.py", "model.safetensors"
TEMPLATE = '''"""Sample text from {name} with torch.nn: python {script} [{beginning}] [LENGTH] [TEMPERATURE]"""
import sys
{imports}from pathlib import Path

import torch
from safetensors.torch import load_file

symbols = {symbols!r}  # by id; the id {V} means "no character", before the first
lead_in = {lead_in!r}  # training text that the model reads before its text, in its reading order
model = torch.nn.ModuleDict({{{modules}}})
model.load_state_dict(load_file(Path(__file__).with_name("{weights}")))


@torch.no_grad()
def predict(ids, state=None):
    """The logits [T, {V}] of the characters after ids [T], and the state after them."""
{predict}


def sample(text="", length=400, temperature=0.8):
{sample}


if __name__ == "__main__":
    try:
        print(sample(*sys.argv[1:2], *map(int, sys.argv[2:3]), *map(float, sys.argv[3:4])))
    except ValueError as error:
        sys.exit(str(error))
'''


def torch_cell(cell: Cell) -> Cell | None:
    """The cell of torch.nn with the same equations as this one, forward, if there is one."""
    for other in CELLS.values():
        same_layout = (other.gates, other.state, other.parameters) == (cell.gates, cell.state, cell.parameters)
        if other.torch and same_layout and repr(trace(other).new_state) == repr(trace(cell).new_state):
            return other
    return None


def torch_files(run: LoadedRun, name: str) -> dict[str, bytes]:
    """The weights and the script.

    Raises UserError for a cell or a front end that torch.nn does not have, and for a bidirectional model.
    """
    weights = step_weights(run.model)
    equal = torch_cell(weights.cell)
    if equal is None:
        known = "; ".join(_describe(c) for c in CELLS.values() if c.torch)
        raise UserError(
            f"torch.nn has no layer with the equations of {_describe(weights.cell)}; it has those of {known}. "
            "Train with one of them, such as --set model.cell=lstm, or export --to onnx, html or hub, which take every "
            "cell"
        )
    if weights.convolution is not None:
        raise UserError(
            "--to torch takes the front ends one_hot and embedding; --to onnx, html and hub also take convolution"
        )
    tensors = _tensors(run, weights)
    return {WEIGHTS: save(tensors, {"format": "pt"}), SCRIPT: _script(run, name, weights, equal).encode("utf-8")}


def _describe(cell: Cell) -> str:
    options = [f"{name}: {str(value).lower()}" for name, value in cell.options.items() if value is not None]
    options += ["zoneout"] if ZONEOUT in cell.parameters else []
    return cell.base + (f" with {', '.join(options)}" if options else "")


def _tensors(run: LoadedRun, weights: StepWeights) -> dict[str, Tensor]:
    stack, tensors = run.model.recurrent, dict[str, Tensor]()
    for number, layer in enumerate(weights.layers):
        prefix, suffix = (f"recurrent.{number}", "_l0") if _is_list(weights) else ("recurrent", f"_l{number}")
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            value = layer.weight_ih if part == "weight_ih" else stack.get_parameter(f"{part}_l{number}")
            tensors[f"{prefix}.{part}{suffix}"] = value
    if weights.vectors is not None:
        zero = weights.vectors.new_zeros(1, weights.vectors.shape[1])
        tensors["embedding.weight"] = torch.cat([weights.vectors, zero])
    tensors |= {"head.weight": weights.head_weight, "head.bias": weights.head_bias}
    return {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in tensors.items()}


def _script(run: LoadedRun, name: str, weights: StepWeights, equal: Cell) -> str:
    V, H, L = weights.vocabulary_size, weights.hidden_size, len(weights.layers)
    inputs = weights.layers[0].weight_ih.shape[1]
    options = "".join(f", {option}={value!r}" for option, value in equal.torch_options.items())

    def layers(input_size: int, number: int) -> str:
        return f"torch.nn.{equal.torch}({input_size}, {H}{f', {number}' if number > 1 else ''}{options})"

    recurrent = layers(inputs, L)
    if _is_list(weights):
        recurrent = f"torch.nn.ModuleList([{layers(inputs, 1)}, *({layers(H, 1)} for _ in range({L - 1}))])"
    modules = [] if weights.vectors is None else [f'"embedding": torch.nn.Embedding({V + 1}, {inputs})']
    modules += [f'"recurrent": {recurrent}', f'"head": torch.nn.Linear({H}, {V})']
    return TEMPLATE.format(
        imports="import unicodedata\n" if "unicode" in run.preparation.normalize else "",
        name=ascii(name)[1:-1].replace('"', ""),
        script=SCRIPT,
        beginning="END" if run.model.direction == "backward" else "BEGINNING",
        symbols="".join(run.vocabulary.symbols),
        lead_in="".join(run.header.get("lead_ins", [])[:1]),
        V=V,
        weights=WEIGHTS,
        modules="\n    " + ",\n    ".join(modules) + ",\n",
        predict=_indented(_predict(weights)),
        sample=_indented(_sample(run, V)),
    )


def _is_list(weights: StepWeights) -> bool:
    """Whether the layers are separate modules, because their outputs are added."""
    return weights.residual or weights.sum_outputs


def _predict(weights: StepWeights) -> list[str]:
    V = weights.vocabulary_size
    one_hot = f"torch.nn.functional.one_hot(ids, {V + 1})[:, :{V}].float()"
    x = one_hot if weights.vectors is None else 'model["embedding"](ids)'
    if not _is_list(weights):
        return [f'h, state = model["recurrent"]({x}, state)', 'return model["head"](h), state']
    if weights.residual:
        before, top = f"h, new = {x}, []", "h"
        add = ["y, after = layer(h, state and state[n])", "h = h + y if n else y"]
    else:
        before, top = f"h, y, new = {x}, 0, []", "y"
        add = ["h, after = layer(h, state and state[n])", "y = y + h"]
    loop = [f"    {line}" for line in (*add, "new.append(after)")]
    return [before, 'for n, layer in enumerate(model["recurrent"]):', *loop, f'return model["head"]({top}), new']


def _sample(run: LoadedRun, V: int) -> list[str]:
    is_backward, is_bytes = run.model.direction == "backward", run.vocabulary.kind == "bytes"
    step = "[::-1]" if is_backward else ""
    prepared = []  # as the training text was
    if "unicode" in run.preparation.normalize:
        prepared.append('text = unicodedata.normalize("NFC", text)')
    if run.preparation.lowercase:
        prepared.append('text = text.replace("\\u03a3", "\\u03c3").lower()')
    if is_bytes:
        prepared.append('text = text.encode().decode("latin-1")')
    end = []
    if end_text := run.document_end:  # what follows would be written from a state that was never trained
        mark = end_text.encode().decode("latin-1") if is_bytes else end_text
        condition = f"text.{'startswith' if is_backward else 'endswith'}({mark!r})"
        end = [f"    if {condition}:", "        break"]
    return [
        *prepared,
        "if unknown := {*text} - {*symbols}:",
        '    raise ValueError(f"the model does not know {sorted(unknown)}: leave them out")',
        f"logits, state = predict(torch.tensor([{V}, *map(symbols.index, lead_in + text{step})]))",
        "for _ in range(length):",
        "    id = logits[-1:].argmax(1)",
        "    if temperature > 0:",
        "        id = torch.multinomial(torch.softmax(logits[-1] / temperature, 0), 1)",
        "    text = symbols[id] + text" if is_backward else "    text += symbols[id]",
        *end,
        "    logits, state = predict(id, state)",
        'return text.encode("latin-1").decode("utf-8", "replace")' if is_bytes else "return text",
    ]


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
