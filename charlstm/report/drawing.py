"""The style of plots, and rendering to PNG and to inline SVG that follows the theme of the page."""

from __future__ import annotations

import functools
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as MplFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from charlstm.report.document import Figure
from charlstm.text.visible import visible

P = ParamSpec("P")
Drawn = TypeVar("Drawn")

HEIGHT = 3.6  # inches
WIDTH = 5.3
FULL_WIDTH = 10.6  # of a figure with the width of the page
INK, MUTED, GRID = "#1f2430", "#59616e", "#dde1e7"
# The colors of Okabe and Ito, the lighter ones darkened so that labels are readable on white.
PALETTE = ("#0068a8", "#cf4a00", "#00805c", "#a8498a", "#8a6500", "#454a52", "#0093a8")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_PNG_DPI = 200
_TITLE_CHARACTERS, _CAPTION_CHARACTERS = 9.5, 15  # in an inch, of wide ones
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # The name of an arm can contain a dollar sign.
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


_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Serif CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)


@functools.cache
def font_families(first: str) -> list[str]:
    """The font, and an installed one for the Chinese, Japanese and Korean characters that it lacks, if there is any."""
    installed = set(font_manager.get_font_names())
    return [first, *[name for name in _CJK_FONTS if name in installed][:1]]


def color(number: int) -> str:
    """The color with this number."""
    return PALETTE[number % len(PALETTE)]


def dashes(number: int) -> object:
    """The line style with this number: solid for the first palette of colors, then dashed."""
    return _DASHES[number // len(PALETTE) % len(_DASHES)]


def stroke(number: int) -> dict[str, Any]:
    """The line color and style with this number, as matplotlib arguments."""
    return {"color": color(number), "linestyle": dashes(number)}


def placeholder_on_error(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """Decorate a drawing function: if it fails, return a figure with the error, so that the report is still written."""

    @functools.wraps(draw)
    def attempt(*arguments: P.args, **named: P.kwargs) -> Drawn:
        try:
            return draw(*arguments, **named)
        except Exception as error:
            plot = draw.__name__.replace("_", " ")
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"A plot is missing here ({plot}): it could not be drawn. {visible(reason)[:300]}"
            return cast(Drawn, Figure(plot, "", b"", message, error=message))

    return attempt


@contextmanager
def style() -> Iterator[None]:
    """Use the style of the reports, whatever the user's matplotlib settings; draw and `finish` within this context."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)  # about deprecated settings
        unchanged = ("backend", "interactive", "toolbar")
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(unchanged)})
        matplotlib.rcParams.update(_STYLE | {"font.family": font_families("DejaVu Sans")})
        # Characters for which no font is there: browsers have the glyphs, and the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(height: float = HEIGHT) -> tuple[MplFigure, Axes]:
    """An empty figure with one axes; its height in inches."""
    figure = MplFigure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: MplFigure, name: str, alt: str, caption: str = "") -> Figure:
    """Render a figure as SVG for the page and as PNG for a file, which has the caption, too. `name` must be unique.

    A figure that is much wider than the standard width gets the width of the page.
    """
    wide = bool(figure.get_figwidth() > (WIDTH + FULL_WIDTH) / 2)
    png, svg = io.BytesIO(), io.StringIO()
    FigureCanvasSVG(figure)  # explicitly, since another backend may have registered itself for the format
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(svg, format="svg", transparent=True, metadata=no_metadata)
    FigureCanvasAgg(figure)
    _add_caption(figure, caption)
    figure.savefig(png, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None})
    return Figure(name, _inline(svg.getvalue(), name), png.getvalue(), alt, caption, wide)


def add_title(figure: MplFigure, title: str) -> None:
    """Write a title at the left edge of the figure, for one that need not fit over the axes, in as many lines as
    needed."""
    lines = textwrap.wrap(visible(title), int(figure.get_figwidth() * _TITLE_CHARACTERS))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)


def _add_caption(figure: MplFigure, caption: str) -> None:
    """Write the caption below the figure, which becomes higher."""
    lines = textwrap.wrap(visible(caption), int(figure.get_figwidth() * _CAPTION_CHARACTERS))
    if not lines:
        return
    added = 0.07 + 0.16 * len(lines)  # inches
    height = figure.get_figheight() + added
    figure.set_figheight(height)
    cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(rect=(0, added / height, 1, 1 - added / height))
    figure.text(0.01, 0.05 / height, "\n".join(lines), fontsize=8.5, color=MUTED, va="bottom")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending `heights` as little as possible (least squares) so that they are at least `gap` apart.

    They stay between 0 and 1 if all of them fit.
    """
    # After subtraction of the gaps below, heights must not decrease: isotonic regression by pooling neighbors.
    pools: list[list[float]] = []
    for index, height in enumerate(heights):
        pools.append([height - index * gap])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    limit = max(1.0 - gap * (len(heights) - 1), 0.0)
    level = [min(max(fmean(pool), 0.0), limit) for pool in pools for _ in pool]
    return [height + index * gap for index, height in enumerate(level)]


def compact(value: float) -> str:
    """Format a count for an axis: 500, 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def percent(fraction: float) -> str:
    """Format a fraction with three digits: 95%, 12.5%, 0.25%."""
    return f"{100 * fraction:.3g}%"


def _inline(svg: str, name: str) -> str:
    """The svg element, with ids that are unique on the page, and the colors of the page's theme."""
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
