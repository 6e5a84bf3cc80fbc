"""The data of the page, in as few bytes as its colors and figures need.

An array is a "blob": its elements in reading order of the page, compressed (zlib) and in base64. Values of units are
quantized to 63 levels of their range, the gates to 64 of 0 to 1; one array for each value and layer, unit by unit.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.inspection.leaning import Leaning
from charlstm.inspection.recording import Recording, Values, gate_name
from charlstm.inspection.unit_scores import FeatureScore, Unit
from charlstm.model import LanguageModel

Json: TypeAlias = dict[str, Any]

MAX_BYTES = 9_000_000
"""Of all units' values, in base64: beyond it, only those of the units of interest are stored."""
STATE_LEVELS, GATE_LEVELS = 31, 63


@dataclass(frozen=True)
class RunView:
    """What the page shows of one run."""

    name: str
    model: LanguageModel
    vocabulary: Sequence[str]
    recording: Recording
    scores: Sequence[FeatureScore]
    leaning: Leaning | None


def page_data(views: Sequence[RunView], symbols: Sequence[str], position: int) -> str:
    """JSON for a script element: the characters of the text, the position that is chosen at first, and each run."""
    remaining = MAX_BYTES // len(views)
    wide = sum(map(_is_wide, symbols)) > len(symbols) / 5
    data = {
        "text": list(symbols),
        "wide": wide,
        "position": position,
        "runs": [_run(view, remaining) for view in views],
    }
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def _is_wide(symbol: str) -> bool:
    return 0x2E80 <= ord(symbol) <= 0xFFDC and not 0xE000 <= ord(symbol) < 0xF900


def _run(view: RunView, max_bytes: int) -> Json:
    recording, stack = view.recording, view.model.recurrent
    of_interest = sorted({(score.units[0].layer, score.units[0].unit) for score in view.scores})
    quantities, used = list[Json](), 0
    for title, name, values, is_gate in _values(recording, view.model):
        full = [_layer(values[:, layer], is_gate, None) for layer in range(stack.num_layers)]
        size = sum(len(layer["values"]["data"]) for layer in full)
        if used + size > max_bytes:
            chosen = [[unit for at, unit in of_interest if at == layer] for layer in range(stack.num_layers)]
            full = [_layer(values[:, layer], is_gate, units or [0]) for layer, units in enumerate(chosen)]
            size = sum(len(layer["values"]["data"]) for layer in full)
        used += size
        levels = GATE_LEVELS if is_gate else STATE_LEVELS
        quantities.append({"name": name, "title": title, "isSigned": not is_gate, "levels": levels, "layers": full})
    names = [quantity["name"] for quantity in quantities]
    found = [
        {"text": score.sentence(), "quantity": names.index(one.part), "layer": one.layer, "unit": one.unit}
        for score in view.scores
        if score.is_represented
        for one in score.units[:1]
    ]
    return {
        "name": view.name,
        "vocabulary": list(view.vocabulary),
        "isBackward": recording.is_backward,
        "allUnits": list(range(stack.hidden_size)),
        "quantities": quantities,
        "found": found,
        "surprise": _blob(np.clip(np.rint(1000 * recording.nats / np.log(2)), 0, 65535).astype("<u2")),
        "topCount": recording.top.shape[1],
        "top": _blob(recording.top.astype("<u2")),
        "topP": _blob(np.rint(65535 * recording.top_p).astype("<u2")),
        "leaning": None if view.leaning is None else _leaning(view.leaning),
    }


def _values(recording: Recording, model: LanguageModel) -> list[tuple[str, str, Values, bool]]:
    """Title, name, values and whether they are gates: what remembers longest first, then the output, then the gates."""
    cell = model.recurrent.cell
    roles = {cell.forget_gate: "forget gate", cell.input_gate: "input gate"}
    output = cell.state[0] if len(cell.state) > 1 else None
    states = [
        (f"{'output' if letter == output else 'state'} {letter}", letter, values, False)
        for letter, values in reversed(list(recording.states.items()))
    ]
    gates = [
        (f"{roles.get(letter, 'gate')} {letter}", gate_name(letter, recording.states), values, True)
        for letter, values in recording.gates.items()
    ]
    return states + gates


def _layer(values: Values, is_gate: bool, units: Collection[int] | None) -> Json:
    """values [T, H] of one layer, of some units or all (None)."""
    stored = None if units is None else list(units)
    columns = values.T if stored is None else values.T[stored]
    if is_gate:
        return {"units": stored, "values": _blob(np.rint(columns * GATE_LEVELS).astype("i1"))}
    scales = np.abs(columns).max(1)
    quantized = np.divide(columns, scales[:, None], out=np.zeros_like(columns), where=scales[:, None] > 0)
    return {
        "units": stored,
        "scales": [float(f"{scale:.4g}") for scale in scales],
        "values": _blob(np.rint(STATE_LEVELS * quantized).astype("i1")),
    }


def _leaning(one: Leaning) -> Json:
    gradient = np.nan_to_num(one.gradient)
    largest = gradient.max(1, keepdims=True)
    relative = np.divide(gradient, largest, out=np.zeros_like(gradient), where=largest > 0)
    return {
        "context": gradient.shape[1],
        "gradient": _blob(np.rint(255 * relative).astype("u1")),
        "replaced": _blob(np.rint(10 * np.clip(np.nan_to_num(one.replaced), -12.7, 12.7)).astype("i1")),
    }


def _blob(array: npt.NDArray[np.integer]) -> Json:
    content = zlib.compress(np.ascontiguousarray(array).tobytes(), 6)
    return {"type": array.dtype.name, "data": base64.b64encode(content).decode("ascii")}


def top_units(scores: Sequence[FeatureScore], count: int) -> list[tuple[str, Unit]]:
    """The features that are represented best, with their units, each unit once."""
    chosen: dict[Unit, str] = {}
    for score in scores:
        if score.is_represented:
            chosen.setdefault(score.units[0], score.feature)
    return [(feature, unit) for unit, feature in list(chosen.items())[:count]]
