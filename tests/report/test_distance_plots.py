from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from charlstm.report.axes import End, amount_axis, fraction_axis, label_ends, log_distance
from charlstm.report.count_plot import count_plot
from charlstm.report.distance_plots import context_plot, lag_plot, recall_plot
from charlstm.report.document import Figure
from charlstm.report.drawing import PALETTE, canvas, finish, percent, style
from charlstm.report.estimate_plots import bars_plot, difference_plot
from charlstm.report.gate_plots import LINE, MAX_UNITS, gate_map, half_life_plot, saturation_plot
from charlstm.report.gradient_plot import gradient_plot
from charlstm.report.influence_plot import influence_plot
from charlstm.report.solved_plot import solved_plot
from charlstm.report.training_plots import medians_plot

NAN = math.nan
NONE = (NAN, NAN, NAN)
HOSTILE = "$\\frac{<b>\x1b\u6f22"
COLORS = {"rnn": 0, "lstm": 1, HOSTILE: 2} | {f"arm-{k}": k for k in range(9)}
NINE = [f"arm-{k}" for k in range(9)]

Build = Callable[[list[str], float], Figure | None]

# Every plot of arms, as a function of the names of the arms and the value of all measurements.
BUILDERS: dict[str, Build] = {
    "recall": lambda arms, v: recall_plot([5, 100], {a: [[v, v], [v, NAN]] for a in arms}, COLORS, chance_level=0.125),
    "lag": lambda arms, v: lag_plot({"start": {a: ([v, v / 2, 0.0], 1) for a in arms}, "end": {}}, COLORS),
    "context": lambda arms, v: context_plot([0, 1, 10], {a: [(v, v, v), NONE, (v, NAN, NAN)] for a in arms}, COLORS),
    "difference": lambda arms, v: difference_plot(
        ["1–9", "10+"], [7, 0], {a: [(v, v, v), NONE] for a in arms}, COLORS, ("7-gram", [v, v]), "quotes", "Quotes"
    ),
    "medians": lambda arms, v: medians_plot(
        {a: {n: [v, v] for n in (0, 10) if v == v} for a in arms}, COLORS, "medians", "Depth", "characters"
    ),
    "solved": lambda arms, v: solved_plot(
        ["lag 1", "lag 2"], {a: [None if v != v else (round(v), 4), None] for a in arms}, COLORS, "s", "Solved"
    ),
    "bars": lambda arms, v: bars_plot(["a", "b"], {a: [(v, v, v), NONE] for a in arms}, COLORS, "bars", "Bars"),
    "half": lambda arms, v: half_life_plot({a: [v, v, NAN] for a in arms}, COLORS),
}
OTHERS: dict[str, Callable[[float], Figure | None]] = {
    "gates": lambda v: gate_map([[v, v], [v, NAN]], "a\x1b", "gates", HOSTILE),
    "saturation": lambda v: saturation_plot({HOSTILE: ([v, v], [0.0, v]), "forget gate": ([v], [v])}, "saturation"),
    "count": lambda v: count_plot([v, v, NAN], [1, 2, 1], "count", HOSTILE, {"first b": 3}),
}
ALL = {kind: lambda v, build=build: build(["rnn", "lstm"], v) for kind, build in BUILDERS.items()} | OTHERS


@pytest.fixture(autouse=True)
def _no_png(undrawn_plots, request):
    with undrawn_plots(*(() if "drawn_plots" in request.fixturenames else ("png",))):
        yield


@pytest.fixture
def _no_svg(undrawn_plots, drawn_plots):
    with undrawn_plots("svg"):
        yield


@pytest.fixture
def _not_rendered(undrawn_plots):
    with undrawn_plots("png", "svg"):
        yield


def texts(figure: Figure | None) -> list[str]:
    """All texts of the plot."""
    assert figure is not None
    result: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            if data.strip():
                result.append(data.strip())

    Reader().feed(re.sub(r"<style.*?</style>", "", figure.svg, flags=re.DOTALL))
    return result


def image(figure: Figure | None) -> np.ndarray:
    assert figure is not None
    return matplotlib.image.imread(io.BytesIO(figure.png), format="png")


def has_color(pixels: np.ndarray, number: int) -> bool:
    wanted = matplotlib.colors.to_rgb(PALETTE[number])
    return bool((np.abs(pixels[..., :3] - wanted).max(axis=-1) < 0.02).any())


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("arms", [["rnn"], ["lstm", HOSTILE], NINE], ids=["one", "hostile", "nine"])
@pytest.mark.few(6)
def test_each_arm_is_named_in_plot_and_alt(kind, arms):
    figure = BUILDERS[kind](arms, 0.5)
    assert figure is not None
    shown = " ".join(texts(figure))
    for arm in arms:
        assert (kind == "bars" and len(arms) == 1) or arm.split("\x1b")[0] in shown
        assert arm.split("\x1b")[0] in figure.alt


@pytest.mark.parametrize("kind", ALL)
def test_hostile_names_are_escaped(kind):
    figure = BUILDERS[kind]([HOSTILE], 0.5) if kind in BUILDERS else OTHERS[kind](0.5)
    assert "<b>" not in figure.svg
    assert "\x1b" not in figure.svg + figure.alt + figure.caption


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.usefixtures("_no_svg")
def test_arm_has_its_color(kind):
    pixels = image(BUILDERS[kind](["lstm"], 0.5))
    assert has_color(pixels, 1)
    assert not has_color(pixels, 0)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.few(6)
def test_svg_is_self_contained_and_themed(kind):
    figure = ALL[kind](0.5)
    assert figure.svg.startswith("<svg ")
    assert not re.search(r"<script|https?:|@import|\son\w+=", figure.svg)
    ids = re.findall(r'\bid="([^"]+)"', figure.svg)
    assert ids
    assert all(identity.startswith(f"{figure.name}-") for identity in ids)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="([^"]*)"', figure.svg):
        assert target.startswith("data:image/png;base64,") or target[1:] in ids
    assert set(re.findall(r"url\(#([^)]*)\)", figure.svg)) <= set(ids)
    assert "var(--ink" in figure.svg
    assert len(figure.svg) < 60_000
    assert ALL[kind](0.5) == figure


@pytest.mark.parametrize("kind", [k if k == "gates" else pytest.param(k, marks=pytest.mark.slow) for k in ALL])
@pytest.mark.usefixtures("_no_svg")
def test_png_is_deterministic(kind):
    figure = ALL[kind](0.5)
    assert image(figure).std() > 0
    assert ALL[kind](0.5).png == figure.png


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.few(9)
@pytest.mark.usefixtures("_not_rendered")
def test_no_measurements_give_none_but_zeros_a_plot(kind):
    assert ALL[kind](NAN) is None
    # Only gradients are relative to their first value, which must not be zero.
    assert (ALL[kind](0.0) is None) == (kind == "lag")


@pytest.mark.usefixtures("_not_rendered")
def test_figure_names_are_unique():
    assert len({build(0.5).name for build in ALL.values()}) == len(ALL)


def test_recall_shows_median_chance_level_and_threshold():
    seeds = [[1.0, 0.2], [0.9, 0.4], [0.5, 0.9]]
    figure = recall_plot([5, 100], {"rnn": seeds}, COLORS, chance_level=0.125, solved=0.95)
    assert {"chance 12.5%", "solved 95%", "rnn 40%", "5", "100"} <= set(texts(figure))
    assert "rnn: 90% at 5, 40% at 100." in figure.alt
    assert "median" in figure.caption


def test_recall_median_ignores_missing_seeds():
    figure = recall_plot([5, 100], {"rnn": [[1.0, NAN], [0.9, 0.4]], "lstm": [[0.7, NAN]]}, COLORS, chance_level=0.125)
    assert "rnn: 95% at 5, 40% at 100." in figure.alt
    assert "lstm: 70% at 5." in figure.alt


def test_gradient_is_relative_and_labeled_with_depth():
    curve = [8 * 0.1**k for k in range(20)]
    figure = lag_plot({"Before training": {"rnn": (curve, 2)}, "After training": {"lstm": (curve, 2)}}, COLORS)
    shown = texts(figure)
    assert {"rnn: 2", "lstm: 2", "Before training", "After training", "1%", "1", "10⁻¹²"} <= set(shown)
    assert figure.wide
    assert "Before training rnn: effective depth 2." in figure.alt
    assert not lag_plot({"": {"rnn": (curve, 2)}}, COLORS).wide


@pytest.mark.parametrize(("depth", "height"), [(2, 0.01), (2.5, 10**-2.5), (12, 1e-12), (19, None), (25, None)])
@pytest.mark.usefixtures("_not_rendered")
def test_dot_of_the_effective_depth_is_on_the_curve(monkeypatch, depth, height):
    dots, plot = [], Axes.plot

    def record(self, *args, **options):
        dots.extend([args[:2]] if options.get("markersize") == 8 else [])
        return plot(self, *args, **options)

    monkeypatch.setattr(Axes, "plot", record)
    figure = lag_plot({"": {"rnn": ([8 * 0.1**k for k in range(20)], depth)}}, COLORS)
    assert dots == ([] if height is None else [(depth, pytest.approx(height))])
    assert "the number is the median over seeds, the curve the mean" in figure.caption


def test_gradient_at_initialization_is_dashed():
    figure = gradient_plot({"rnn": [1.0, 0.1]}, {"rnn": [1.0, 0.5]}, COLORS, "gradient")
    assert "Gradient over the lag (dashed: at initialization)" in texts(figure)
    assert "Dashed: the network at initialization" in figure.caption
    assert "Gradient over the lag" in texts(gradient_plot({"rnn": [1.0, 0.1]}, {}, COLORS, "gradient"))


def test_exploding_gradient_is_within_axis():
    assert "10⁶" in texts(lag_plot({"": {"rnn": ([1.0, 1e6], 1)}}, COLORS))


def test_context_plot_shows_ngram_and_zero_context():
    curves = {"lstm": [(4.0, 3.9, 4.1), (2.0, 1.9, 2.1), (1.9, 1.8, 2.0)]}
    figure = context_plot([0, 1, 1000], curves, COLORS, ngram=(5, 2.25))
    assert {"5-gram 2.25", "lstm 1.90", "0", "1", "1k"} <= set(texts(figure))
    assert "lstm goes from 4.00 bits at 0 to 1.90 at 1000." in figure.alt
    assert "95% bound" in figure.caption
    assert "95% bound" not in context_plot([1], {"lstm": [(4.0, NAN, NAN)]}, COLORS).caption


def test_difference_plot_shows_counts_and_the_reference():
    curves = {"lstm": [(-0.5, -0.6, -0.4), (0.1, 0.0, 0.2)]}
    figure = difference_plot(["1–9", "200+"], [1520, 8], curves, COLORS, ("7-gram", [0.2, 9.0]), "d", "Quotes")
    assert {"1,520", "8", "lstm +0.10", "7-gram +9.00"} <= set(texts(figure))
    assert "lstm: -0.50 at 1–9, +0.10 at 200+." in figure.alt
    assert difference_plot(["1–9"], [1], {"lstm": [NONE]}, COLORS, ("7-gram", [0.2]), "d", "Quotes") is None


def test_solved_plot_shows_numbers_of_seeds():
    rows = {"lstm": [(10, 10), (4, 8)], "rnn": [(0, 10), None]}
    figure = solved_plot(["lag 10", "lag 20"], rows, COLORS, "s", "Seeds")
    assert {"10/10", "4/8", "0/10", "–", "lag 10", "lag 20"} <= set(texts(figure))
    assert "rnn, lag 10: 0 of 10, lag 20: –." in figure.alt
    assert figure.caption.endswith("–: not trained, since no seed learned the shorter lag.")
    assert "–" not in solved_plot(["lag 10"], {"rnn": [(0, 10)]}, COLORS, "s", "Seeds").caption
    assert solved_plot(["lag 10"], {"rnn": [None]}, COLORS, "s", "Seeds") is None


def test_bars_show_missing_values_and_thresholds():
    arms = {"rnn": [(0.25, 0.2, 0.3), NONE], "lstm": [NONE, NONE]}
    figure = bars_plot(["length 50", "length 100"], arms, COLORS, "b", "Order", {"chance": 0.25})
    shown = texts(figure)
    assert shown.count("not measured") == 3
    assert {"length 50", "length 100", "25%", "chance"} <= set(shown)
    assert "length 50, rnn: 25%. length 50, lstm: not measured." in figure.alt


def test_bars_of_single_arm_are_named_by_groups():
    figure = bars_plot(["bias 0", "chrono"], {"lstm": [(0.1, NAN, NAN)] * 2}, COLORS, "b", "Copying", unit="nats")
    assert {"bias 0", "chrono", "0.1 nats"} <= set(texts(figure))
    assert "lstm" not in texts(figure)


def test_gate_map_shows_each_value_and_character(drawn_plots):
    text = "if x:\n\tgo\x1b\u202e." * 10
    values = np.linspace(0, 1, 2 * len(text)).reshape(-1, 2)
    figure = gate_map(values, text, "g", "Forget gate", units=[7, 30])
    shown = texts(figure)
    # The map has two lines, each with the indices of the units.
    assert len(text) > LINE
    assert shown.count("7") == shown.count("30") == 2
    assert [shown.count(symbol) for symbol in "·↵→□x"] == [10, 10, 10, 20, 10]
    assert figure.wide
    colors = matplotlib.colormaps["viridis"]([0.0, 1.0])[:, :3]
    assert all((np.abs(image(figure)[..., :3] - color).max(axis=-1) < 0.02).any() for color in colors)
    assert "7: 0.50, 30: 0.50" in figure.alt


def test_gate_map_reports_wrong_shapes():
    assert "at most 24" in gate_map(np.zeros((3, MAX_UNITS + 1)), "abc", "g", "t").error
    assert "for 2 characters" in gate_map(np.zeros((3, 2)), "ab", "g", "t").error
    assert gate_map(np.zeros((0, 2)), "", "g", "t") is None


def test_saturation_has_a_panel_per_gate():
    figure = saturation_plot({"input gate": ([0.1, 0.3], [0.5, 0.7]), "forget gate": ([0.0], [1.0])}, "s")
    assert {"input gate", "forget gate"} <= set(texts(figure))
    assert "input gate: closed 20% and open 60% of the time, mean over 2 units." in figure.alt


def test_infinite_half_lives_are_at_the_edge():
    figure = half_life_plot({"lstm": [math.inf, math.inf, 1.0], "rnn": [0.0, 5.0, NAN]}, COLORS)
    assert {"lstm: median 100k+", "rnn: median 2.5"} <= set(texts(figure))
    assert "lstm: median 100k+ characters over 3 units." in figure.alt


def test_half_lives_within_a_factor_of_ten_have_several_ticks():
    figure = half_life_plot({"lstm": [110.0, 270.0, 480.0]}, COLORS)
    assert {"100", "200", "500"} <= set(texts(figure))


@pytest.mark.usefixtures("drawn_plots")
def test_image_has_the_caption_of_the_page():
    with style():
        images = [image(finish(canvas()[0], "f", "", caption)) for caption in ("", "Two lines. " * 10)]
    assert images[1].shape[0] > images[0].shape[0] + 50
    assert images[1].shape[1] == images[0].shape[1]


@pytest.mark.usefixtures("drawn_plots")
def test_long_title_is_wrapped():
    figure = bars_plot(["a"], {"lstm": [(0.5, 0.4, 0.6)]}, COLORS, "b", "Answers with the other key " * 5)
    right = image(figure)[:120, -8:, :3]  # at the top of the right edge
    assert (right > 0.99).all()


def test_influence_names_its_floor():
    figure = influence_plot({"lstm": [1.0, 0.1, 0.0001]}, {"lstm": 0}, "influence")
    assert "0.001 or less" in texts(figure)


def test_influence_of_one_distance_is_a_point(monkeypatch):
    markers = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *args, **style: markers.append(style.get("marker")) or plot(*args, **style)
    )
    influence_plot({"lstm": [1.0]}, {"lstm": 0}, "influence")
    influence_plot({"lstm": [1.0, 0.5]}, {"lstm": 0}, "influence")
    assert markers == ["o", None]


def test_leaders_of_labels_are_no_curves():
    """A leader from the last measured point must not look like a curve that goes on."""
    figure = recall_plot([10, 20, 50], {"lstm": [[1.0, 0.5, NAN]]}, COLORS, 0.125)
    leader = figure.svg[figure.svg.rindex('<g id="recall-over-lag-patch') :]
    assert "stroke-dasharray" in leader
    assert "var(--muted" in leader


def test_count_is_fitted_to_unit_by_least_squares():
    counts = [0, 1, 2, 3, 2, 1]
    figure = count_plot([5 - 2.0 * n for n in counts], counts, "c", "c of unit 3", {"first b": 5})
    assert {"c of unit 3", "the count, scaled", "first b"} <= set(texts(figure))
    gap = float(re.search(r"at most (\S+)\.$", figure.alt)[1])
    assert gap < 1e-9
    unfitted = count_plot([0, 1, 0, 1], [1, 1, 2, 2], "c", "h", {})
    assert unfitted.alt.endswith("at most 0.5.")


def test_labels_are_at_curve_ends_on_any_scale():
    with style():
        _, axes = canvas()
        axes.plot([0, 1], [1e-8, 1.0])
        axes.set_yscale("log")
        axes.set_ylim(1e-8, 1.0)
        label_ends(axes, [End("half way", "black", 1.0, 1e-4), End("above", "black", 1.0, 7.0)], gap=0.05)
        assert [label.xyann for label in axes.texts] == [(1.03, pytest.approx(0.5)), (1.03, 1.0)]
        _, flat = canvas()
        flat.plot([0, 1], [2.0, 2.0])  # matplotlib computes its limits lazily
        label_ends(flat, [End("flat", "black", 1.0, 2.0)], gap=0.05)
        assert flat.texts[0].xyann == (1.03, pytest.approx(0.5))


def test_distance_axis_omits_ticks_that_do_not_fit():
    with style():
        _, axes = canvas()
        x_values = log_distance(axes, [0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 1000])
        assert x_values.tolist() == [0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 1000]
        shown = [label.get_text() for label in axes.get_xticklabels()]
        assert {"0", "1", "100", "1k"} <= set(shown)
        assert not {"20", "30", "50"} <= set(shown)


@pytest.mark.parametrize("factor", [8, 20, 49, 100, 190, 500, 1900, 5000, 1e6])
def test_labels_of_amounts_of_training_do_not_touch(factor):
    with style():
        figure, axes = canvas()
        amount_axis(axes, np.array([5000.0, 5000.0 * factor]))
        axes.set_ylabel("bits")
        label_ends(axes, [End("best 2.454, all held out", "black", 5000.0 * factor, 0.5)], gap=0.05)
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    low, high = axes.bbox.x0 - 1, axes.bbox.x1 + 1
    boxes = sorted((box for box in boxes if low <= (box.x0 + box.x1) / 2 <= high), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(left.x1 + 3 < right.x0 for left, right in itertools.pairwise(boxes))


def test_marks_replace_nearby_ticks():
    with style():
        _, axes = canvas()
        fraction_axis(axes, {"solved": 0.95, "chance": 0.04})
        shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["25%", "50%", "75%", "solved 95%", "chance 4%"]


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.95, "95%"), (0.125, "12.5%"), (0, "0%"), (1, "100%"), (0.0025, "0.25%")]
)
def test_percent(fraction, text):
    assert percent(fraction) == text
