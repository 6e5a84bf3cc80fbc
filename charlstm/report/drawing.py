"""How plots look: colours, style, and rendering to PNG and to inline SVG that follows the page's theme."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from charlstm.report.document import Figure
from charlstm.text.visible import visible

P = ParamSpec("P")
Drawn = TypeVar("Drawn")

HEIGHT = 3.6  # inches
WIDTH = 5.3
FULL_WIDTH = 10.6  # of a figure that takes the page's whole width
INK, MUTED, GRID = "#1f2430", "#59616e", "#dde1e7"
# Okabe and Ito's colours, the lighter ones darkened until a label in them can be read on white.
PALETTE = ("#0068a8", "#cf4a00", "#00805c", "#a8498a", "#8a6500", "#454a52", "#0093a8")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_PNG_DPI = 200
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # An arm may have a dollar sign in its name.
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "charlstm",
}


def colour(number: int) -> str:
    """The colour of arm `number`."""
    return PALETTE[number % len(PALETTE)]


def dashes(number: int) -> object:
    """Solid until the colours run out."""
    return _DASHES[number // len(PALETTE) % len(_DASHES)]


def stroke(number: int) -> dict[str, Any]:
    """How the lines of arm `number` look, as matplotlib's arguments."""
    return {"color": colour(number), "linestyle": dashes(number)}


def picture(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """A drawing function, whose failure takes no report with it: the figure then says what is missing, and why."""

    @functools.wraps(draw)
    def attempt(*arguments: P.args, **named: P.kwargs) -> Drawn:
        try:
            return draw(*arguments, **named)
        except Exception as error:
            what = draw.__name__.replace("_", " ")
            why = " ".join(f"{type(error).__name__}: {error}".split())
            lacking = f"A picture is missing here ({what}): it could not be drawn. {visible(why)[:300]}"
            return cast(Drawn, Figure(what, "", b"", lacking, lacking=lacking))

    return attempt


@contextmanager
def style() -> Iterator[None]:
    """The house style, whatever the user's own settings of matplotlib are; draw and `finish` inside it."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", matplotlib.MatplotlibDeprecationWarning
        )  # of settings that are on their way out
        kept = ("backend", "interactive", "toolbar")
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(kept)})
        matplotlib.rcParams.update(_STYLE)
        # Names in other scripts: the browser has the glyphs, and the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(height: float = HEIGHT, width: float = WIDTH) -> tuple[Canvas, Axes]:
    """An empty figure of the house's size, in inches, with one set of axes."""
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: Canvas, name: str, alt: str, caption: str = "") -> Figure:
    """Render a drawn figure as SVG for the page and PNG for a file. `name` must be unlike every other's.

    One that is much wider than the house's width takes the whole width of the page.
    """
    wide = bool(figure.get_figwidth() > (WIDTH + FULL_WIDTH) / 2)
    png, svg = io.BytesIO(), io.StringIO()
    FigureCanvasAgg(figure)  # said outright: another backend may have put itself in charge of a format
    figure.savefig(png, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None})
    FigureCanvasSVG(figure)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(svg, format="svg", transparent=True, metadata=nothing)
    return Figure(name, _inline(svg.getvalue(), name), png.getvalue(), alt, caption, wide)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending `heights` moved as little as possible (least squares) until `gap` lies between them.

    They are kept within 0 and 1 where there is room for all of them.
    """
    # Less the gaps below it, a height may equal the one before: isotonic regression, by pooling neighbours.
    pools: list[list[float]] = []
    for place, height in enumerate(heights):
        pools.append([height - place * gap])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    room = max(1.0 - gap * (len(heights) - 1), 0.0)
    level = [min(max(fmean(pool), 0.0), room) for pool in pools for _ in pool]
    return [height + place * gap for place, height in enumerate(level)]


def compact(value: float) -> str:
    """A count for an axis: 500, 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def percent(share: float) -> str:
    """A share, to three digits: 95%, 12.5%, 0.25%."""
    return f"{100 * share:.3g}%"


def short(name: str, longest: int = 16) -> str:
    """A name for a label; of a long one the beginning and the end, where run names differ."""
    name = visible(name).replace("\n", " ").replace("\t", " ")
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-(longest // 2 - 1) :]}"


def _inline(svg: str, name: str) -> str:
    """The svg element alone, its ids made the page's own, its colours those of the page's theme."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'url\(#|href="#', lambda match: f"{match[0]}{name}-", svg)
    themed = {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
    themed |= {shade: f"--arm-{number}" for number, shade in enumerate(PALETTE)}
    for shade, variable in themed.items():
        svg = re.sub(rf":\s*{shade}\b", f": var({variable}, {shade})", svg)
    return svg
