"""The data of the page, in as few bytes as its colors and figures need.

An array is a "blob": its elements in reading order of the page, compressed (zlib) and in base64. Values of units are
quantized to 63 levels of their range, the gates to 64 of 0 to 1; one array for each value and layer, unit by unit.
"""

from __future__ import annotations

import base64
import json
import unicodedata
import zlib
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.inspection.attribution import Attribution
from charlstm.inspection.inspect import Inspection
from charlstm.inspection.recording import Recording, Values
from charlstm.probes.closing import characters_of

Json: TypeAlias = dict[str, Any]

MAX_BYTES = 9_000_000
"""Of all units' values, in base64: beyond it, only those of the best units for the features are stored."""
STATE_LEVELS, GATE_LEVELS = 31, 63
GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "r": "reset gate", "z": "update gate"}
"""The names in the literature of gates with these letters."""


def page_data(inspections: Sequence[Inspection], position: int) -> str:
    """JSON for a script element: the characters of the text, the position that is chosen at first, and each run."""
    first = inspections[0]
    symbols = list(characters_of(first.recording.ids, first.run.vocabulary))
    if first.run.vocabulary.kind == "bytes":
        symbols = list(map(glyph_of_byte, symbols))
    data = {
        "text": symbols,
        "wide": [n for n, symbol in enumerate(symbols) if is_wide(symbol)],
        "position": position,
        "runs": [_run(one, MAX_BYTES // len(inspections)) for one in inspections],
    }
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def is_wide(symbol: str) -> bool:
    """Whether a symbol is wider than a letter: a Chinese character, an emoji, or several signs."""
    return len(symbol) > 1 or unicodedata.east_asian_width(symbol) in "WF"


def glyph_of_byte(symbol: str) -> str:
    """Hexadecimal digits for a byte that is not ASCII."""
    return symbol if ord(symbol) < 127 else f"{ord(symbol):02X}"


def _run(one: Inspection, max_bytes: int) -> Json:
    recording, stack = one.recording, one.run.model.recurrent
    of_interest = sorted({(score.units[0].layer, score.units[0].unit) for score in one.scores})
    quantities, used = list[Json](), 0
    for title, name, values, is_gate in _values(recording):
        layers = [_layer(values[:, layer], is_gate, None) for layer in range(stack.num_layers)]
        if used + _size(layers) > max_bytes:
            chosen = [[unit for at, unit in of_interest if at == layer] for layer in range(stack.num_layers)]
            layers = [_layer(values[:, layer], is_gate, units or [0]) for layer, units in enumerate(chosen)]
        used += _size(layers)
        levels = GATE_LEVELS if is_gate else STATE_LEVELS
        quantities.append({"name": name, "title": title, "isSigned": not is_gate, "levels": levels, "layers": layers})
    names = [quantity["name"] for quantity in quantities]
    found = [
        {"text": score.sentence(), "quantity": names.index(unit.part), "layer": unit.layer, "unit": unit.unit}
        for score in one.scores
        if score.is_represented
        for unit in score.units[:1]
    ]
    symbols = one.run.vocabulary.symbols
    return {
        "name": one.name,
        "vocabulary": list(map(glyph_of_byte, symbols)) if one.run.vocabulary.kind == "bytes" else list(symbols),
        "isBackward": recording.is_backward,
        "starts": list(recording.starts),
        "allUnits": list(range(stack.hidden_size)),
        "quantities": quantities,
        "found": found,
        "scored": None if recording.scored.all() else _blob(recording.scored.astype("u1")),
        "surprise": _blob(np.clip(np.rint(1000 * recording.nats / np.log(2)), 0, 65535).astype("<u2")),
        "topCount": recording.top.shape[1],
        "top": _blob(recording.top.astype("<u4")),
        "topP": _blob(np.rint(65535 * recording.top_p).astype("<u2")),
        "attribution": None if one.attribution is None else _attribution(one.attribution),
    }


def _size(layers: Sequence[Json]) -> int:
    return sum(len(layer["values"]["data"]) for layer in layers)


def _values(recording: Recording) -> list[tuple[str, str, Values, bool]]:
    """Title, name, values and whether they are gates: the parts of the state, the output last, then the gates."""
    parts = list(recording.states.items())
    states = [
        (f"{'hidden' if letter == parts[0][0] else 'cell'} state {letter}", letter, values, False)
        for letter, values in reversed(parts)
    ]
    gates = [
        (f"{GATES.get(letter, 'gate')} {letter}", f"gate {letter}", values, True)
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


def _attribution(one: Attribution) -> Json:
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
