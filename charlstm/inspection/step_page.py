"""The page of one step of a cell: its diagram and equations, with the numbers of a trained model reading a text."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape
from torch import Tensor

from charlstm.api import LoadedRun
from charlstm.cells import CELLS, Cell
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.inspection.step_elements import Elements
from charlstm.inspection.step_equations import equations
from charlstm.inspection.step_layout import UNIT, Layout, Wire, step_layout, unit_steps
from charlstm.inspection.step_routes import Point
from charlstm.inspection.step_values import StepValues, step_values
from charlstm.report.document import resource
from charlstm.text.visible import escape as escape_invisible
from charlstm.text.visible import invisible
from charlstm.text.vocabulary import Vocabulary
from charlstm.units import finite

GLYPHS = {"\n": "↵", "\t": "⇥", " ": "␣"}
SUBSCRIPT = re.compile(r"_([^\s()_]+)")


def step_page(
    run: LoadedRun, ids: Tensor | Sequence[int], scored: Sequence[bool] | npt.NDArray[np.bool_] | None = None
) -> str:
    """A self-contained HTML page that shows a step of the run's cell at each character of a short text.

    ``ids`` [T] is the text; of a longer one, the first 60 characters are shown. ``scored`` [T] is whether each counts
    in the loss (default: all do): the page shows no prediction of the others.

    Raises UserError for a bidirectional model and for an empty text.
    """
    values = step_values(run.model, ids, scored=scored)
    layout = _layout(values.cell)
    elements = layout.elements
    shown = _shown(layout)
    return _template().render(
        title=f"One step of {_variant(values.cell)}",
        summary=values.cell.summary,
        run=run.directory.path.name if run.directory else "",
        backward=run.model.direction == "backward",
        unit=UNIT,
        layout=layout,
        belts=[
            next(p.y for p in layout.ports if p.kind == "new" and p.node is path[-1])
            for path in elements.belts.values()
        ],
        nets=_nets(layout),
        ranks=_ranks(elements),
        equations=equations(elements),
        index={n: k for k, n in enumerate(shown)},
        layers=run.model.recurrent.num_layers,
        units=run.model.config.hidden_size,
        glyphs=[glyph(run.vocabulary, i) for i in values.ids],
        data=_json(_data(values, elements, shown, run.vocabulary)),
        css=resource("inspection/step.css"),
        script=resource("inspection/step.js"),
    )


@cache
def _layout(cell: Cell) -> Layout:
    """The diagram of a cell. Routing its lines takes half a second, and the arms of a comparison often share a cell."""
    return step_layout(trace(cell))


def glyph(vocabulary: Vocabulary, i: int) -> str:
    """A visible sign for a symbol, on its own: ``↵`` for a newline, hexadecimal digits for a byte that is not ASCII."""
    symbol = vocabulary.symbols[i]
    if symbol in GLYPHS:
        return GLYPHS[symbol]
    if vocabulary.kind == "bytes" and ord(symbol) > 126:
        return f"{ord(symbol):02X}"
    if invisible(symbol) or unicodedata.category(symbol) in ("Cf", "Zs"):
        return escape_invisible(symbol)
    return f"◌{symbol}" if unicodedata.category(symbol).startswith("M") else symbol


def _variant(cell: Cell) -> str:
    """The cell as a configuration names it: ``gru``, ``gru (reset_after: false)``."""
    changed = {k: v for k, v in cell.options.items() if v != CELLS[cell.base].options[k]}
    options = ", ".join(f"{k}: {str(v).lower()}" for k, v in changed.items())
    return f"{cell.base} ({options})" if options else cell.base


def _shown(layout: Layout) -> list[Node]:
    """The nodes whose values the page prints."""
    nodes = [n for shape in layout.shapes for n in (shape.element.node, shape.element.argument) if n is not None]
    nodes += [port.node for port in layout.ports if port.node is not None]
    nodes += [t.node for e in equations(layout.elements) for t in e.tokens if t.node is not None]
    return list(dict.fromkeys(nodes))


@dataclass(frozen=True)
class Net:
    """The lines of one value that carry all units (``is_bundle``) or one, with the points at which they branch.

    ``has_halo``: whether they interrupt what they cross; not if they run on top of the lines of all units.
    """

    node: Node | None
    is_bundle: bool
    has_halo: bool
    wires: list[Wire]
    junctions: list[Point]


def _nets(layout: Layout) -> list[Net]:
    """The lines by value, those of all units first. A point where both kinds branch belongs to the line of one unit."""
    wires: dict[tuple[bool, Node | None], list[Wire]] = {}
    for wire in layout.wires:
        wires.setdefault((wire.role in ("x", "matmul"), wire.node), []).append(wire)
    single = {
        (w.node, p) for w in layout.wires if w.role not in ("x", "matmul") for s in unit_steps(w.points) for p in s
    }
    return [
        Net(
            node,
            is_bundle,
            is_bundle or (True, node) not in wires,
            own,
            [p for n, p in layout.junctions if n is node and ((n, p) in single) != is_bundle],
        )
        for (is_bundle, node), own in sorted(wires.items(), key=lambda item: not item[0][0])
    ]


def _ranks(elements: Elements) -> dict[Node | None, int]:
    """When each value is computed in a step: 0 for the input and the old state, else one more than what it needs."""
    ranks: dict[Node | None, int] = {None: 0}
    for node in ordered(elements.step.new_state):
        element = elements.by_node.get(node)
        ranks[node] = 1 + max((ranks[i.source] for i in element.inputs), default=-1) if element else 0
    return ranks


def _points(wire: Wire) -> str:
    """The corners of a line in pixels, for SVG; it ends before the tip of its arrow."""
    (*others, before, end) = wire.points
    dx, dy = _direction(before, end)
    pixels = [(x * UNIT, y * UNIT) for x, y in (*others, before)]
    return " ".join(f"{x},{y}" for x, y in (*pixels, (end[0] * UNIT - 9 * dx, end[1] * UNIT - 9 * dy)))


def _angle(wire: Wire) -> int:
    """The direction in which a line ends, in degrees clockwise from the right."""
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[_direction(*wire.points[-2:])]


def _direction(start: Point, end: Point) -> Point:
    return (end[0] > start[0]) - (end[0] < start[0]), (end[1] > start[1]) - (end[1] < start[1])


def _data(values: StepValues, elements: Elements, shown: list[Node], vocabulary: Vocabulary) -> dict[str, object]:
    """What the script needs; ``values`` is float32 [N, T, L, H] in base64, little-endian."""
    stacked = np.stack([values.nodes[n] for n in shown])
    belts = [path[-1] for path in elements.belts.values()]
    states = list(dict.fromkeys([*belts, *elements.step.new_state]))
    gates = [n for n, e in elements.by_node.items() if n.op == "sigmoid" and e.name]
    index = {n: k for k, n in enumerate(shown)}
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged model
        numbers, variances = stacked.astype("<f4"), stacked[index[states[0]]].var(0)
    steps = range(len(values.ids))
    following = [values.ids[t + 1] if t + 1 < len(values.ids) else None for t in steps]
    return {
        "glyphs": [glyph(vocabulary, i) for i in values.ids],
        "shape": stacked.shape,
        "values": base64.b64encode(numbers.tobytes()).decode("ascii"),
        "states": [{"node": index[n], "name": elements.name(n)} for n in states],
        "gates": [{"node": index[n], "name": elements.name(n)} for n in sorted(gates, key=_gate_order(elements))],
        "units": variances.argmax(-1).tolist(),
        "bits": [*values.bits.tolist(), None],
        "scored": [*values.scored.tolist(), True],
        "top": [
            [[glyph(vocabulary, i), p, i == after] for i, p in values.most_probable(t)]
            for t, after in zip(steps, following, strict=True)
        ],
        "next": [
            None if i is None else [glyph(vocabulary, i), float(values.probabilities[t, i])]
            for t, i in enumerate(following)
        ],
    }


def _gate_order(elements: Elements) -> Any:
    letters = elements.cell.gates
    return lambda n: letters.find(elements.name(n)) % (len(letters) + 1)


def _json(data: dict[str, object]) -> Markup:
    """ASCII JSON that no text can end early in a script element."""
    return Markup(json.dumps(finite(data), allow_nan=False).replace("<", "\\u003c"))


def subscripts(text: str, tag: str = "sub") -> Markup:
    """The text with its subscripts as elements: ``c_t`` as c<sub>t</sub>, or in SVG as lowered ``tspan``."""
    lowered = (
        "<sub>{}</sub>" if tag == "sub" else '<tspan dy=".3em" class="sub">{}</tspan><tspan dy="-.3em">\u200b</tspan>'
    )
    parts = SUBSCRIPT.split(text)
    return Markup().join(Markup(lowered).format(p) if k % 2 else escape(p) for k, p in enumerate(parts))


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"subscripts": subscripts, "points": _points, "angle": _angle}
    return environment.from_string(resource("inspection/step.html.jinja"))
