from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest

import charlstm
from charlstm.comparison.plots import final_scores, learning_curves, mean_curve
from charlstm.comparison.report import write_report
from charlstm.comparison.results import Arm, Comparison, Evaluation, arm_colors
from charlstm.report.drawing import PALETTE, compact, spread

ROOT = Path(charlstm.__file__).parents[1]


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def has_color(image: np.ndarray, color: str) -> bool:
    wanted = matplotlib.colors.to_rgb(color)
    return bool((np.abs(image[..., :3] - wanted).max(axis=-1) < 0.02).any())


@pytest.fixture
def _only_svg(undrawn_plots):
    with undrawn_plots("png"):
        yield


@pytest.mark.parametrize("along", ["characters", "seconds"])
def test_learning_curves_show_every_arm(comparison, along):
    figure = learning_curves(comparison, along, arm_colors(comparison.arms))
    assert figure is not None
    image = pixels(figure.png)
    assert image.shape[0] > 400
    assert has_color(image, PALETTE[0])
    assert has_color(image, PALETTE[1])
    assert not has_color(image, PALETTE[2])
    assert "lstm" in figure.svg
    assert "rnn goes from" in figure.alt


@pytest.mark.usefixtures("_only_svg")
def test_curves_of_a_sample_say_so_and_name_the_scores_on_all_text(comparison, make_run):
    sampled = [make_run(2.3, s, samples=True, whole_split_nats={"best": 2.5 * math.log(2)}) for s in (1, 2)]
    mixed = replace(comparison, arms=[comparison.arms[0], Arm("rnn", sampled)])
    figure = learning_curves(mixed, "characters", arm_colors(mixed.arms))
    assert "rnn, sample 2.30" in figure.svg
    assert "lstm, sample" not in figure.svg
    assert "on all of it, the best networks have rnn 2.500 " in figure.caption
    assert "sample" not in learning_curves(comparison, "characters", arm_colors(comparison.arms)).caption


@pytest.mark.usefixtures("_only_svg")
def test_the_score_on_all_text_is_that_of_an_arm_whose_runs_all_have_it(comparison, make_run):
    """Else the mean would mix scores on all of the text with those of a sample."""
    sampled = [make_run(2.3, 1, samples=True, whole_split_nats={"best": 2.5 * math.log(2)}), make_run(2.3, 2)]
    for of_all in (False, True):
        runs = [sampled[0], replace(sampled[1], samples=not of_all)]
        mixed = replace(comparison, arms=[comparison.arms[0], Arm("rnn", runs)])
        caption = learning_curves(mixed, "characters", arm_colors(mixed.arms)).caption
        assert "The curves score a sample" in caption
        assert ("the best networks have rnn 2.400 " in caption) == of_all


def test_final_scores_show_every_arm_and_its_mean(comparison):
    figure = final_scores(comparison, arm_colors(comparison.arms))
    assert figure is not None
    image = pixels(figure.png)
    assert has_color(image, PALETTE[0])
    assert has_color(image, PALETTE[1])
    assert "2.400" in figure.svg


def test_without_scores_there_is_no_plot(make_run):
    empty = Comparison("t", [Arm("a", [make_run(None)])], "c")
    assert learning_curves(empty, "characters", {"a": 0}) is None
    assert final_scores(empty, {"a": 0}) is None


@pytest.mark.usefixtures("_only_svg")
def test_nonfinite_scores_and_hostile_names_are_handled(make_run):
    name = "$\\frac{<b>\x1b\u6f22\u5b57"
    broken = [Evaluation(0, 0, 0.0, 4.0), Evaluation(1, 10, 1.0, math.nan), Evaluation(2, 1000, 2.0, 1e6)]
    runs = [make_run(2.0, 1), make_run(2.0, 2, evaluations=broken)]
    figure = learning_curves(Comparison("t", [Arm(name, runs)], "c"), "characters", {name: 0})
    assert figure is not None
    assert "<b>" not in figure.svg
    assert "\x1b" not in figure.svg


@pytest.mark.usefixtures("_only_svg")
def test_svgs_are_self_contained_and_themed(comparison):
    colors = arm_colors(comparison.arms)
    first = learning_curves(comparison, "characters", colors)
    second = learning_curves(comparison, "seconds", colors)
    assert first is not None
    assert second is not None
    for figure in (first, second):
        assert figure.svg.startswith("<svg ")
        assert "http" not in figure.svg
        assert "var(--arm-0, #0068a8)" in figure.svg
        ids = [part.split('"')[0] for part in figure.svg.split(' id="')[1:]]
        assert ids
        assert all(identity.startswith(figure.name) for identity in ids)
        links = [part.split(")")[0] for part in figure.svg.split("url(#")[1:]]
        links += [part.split('"')[0] for part in figure.svg.split('href="#')[1:]]
        assert links
        assert set(links) <= set(ids)


def test_plots_are_deterministic_and_restore_rcparams(comparison):
    before = dict(matplotlib.rcParams)
    colors = arm_colors(comparison.arms)
    first, second = (final_scores(comparison, colors) for _ in range(2))
    assert first == second
    assert dict(matplotlib.rcParams) == before


@pytest.mark.usefixtures("_only_svg")
def test_plot_names_pseudo_likelihood(comparison):
    arms = [replace(a, runs=[replace(r, causal=False) for r in a.runs]) for a in comparison.arms]
    pseudo = replace(comparison, arms=arms)
    for figure in (
        final_scores(pseudo, arm_colors(arms)),
        learning_curves(pseudo, "seconds", arm_colors(arms)),
    ):
        assert figure is not None
        assert "pseudo-likelihood" in figure.svg.lower()
        assert figure.name.startswith("pseudo-likelihood-")


def test_mean_curve_interpolates_over_common_range():
    first = np.array([[0.0, 2.0, 4.0], [4.0, 2.0, 0.0]])
    second = np.array([[1.0, 3.0], [1.0, 1.0]])
    assert mean_curve([first, second]).tolist() == [[1.0, 2.0, 3.0], [2.0, 1.5, 1.0]]


def test_curves_without_common_range_have_no_mean():
    disjoint = [np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[2.0, 3.0], [1.0, 1.0]])]
    assert mean_curve(disjoint).size == 0


def test_curves_of_single_points_have_a_mean():
    points = [np.array([[2.0], [1.0]]), np.array([[2.0], [4.0]])]
    assert mean_curve(points).tolist() == [[2.0], [2.5]]


@pytest.mark.usefixtures("_only_svg")
def test_the_description_of_curves_is_of_their_mean_at_both_ends(make_run):
    runs = [make_run(2.0, 1), make_run(2.4, 2)]
    figure = learning_curves(Comparison("t", [Arm("a", runs)], "c"), "characters", {"a": 0})
    assert "a goes from 3.20 to 2.20 bits." in figure.alt


def test_spread_keeps_order_and_limits():
    assert spread([0.1, 0.5], gap=0.1) == [0.1, 0.5]
    assert spread([0.5, 0.5, 0.52], gap=0.1) == pytest.approx([0.40667, 0.50667, 0.60667], abs=1e-5)
    assert spread([0.0, 0.01], gap=0.1) == pytest.approx([0.0, 0.1])
    moved = spread([0.97, 0.98, 0.99], gap=0.1)
    assert moved == pytest.approx([0.8, 0.9, 1.0])


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (500, "500"), (20_000, "20k"), (1.5e6, "1.5M"), (2e9, "2G")])
def test_compact(value, text):
    assert compact(value) == text


def test_user_rcparams_do_not_change_plots(comparison):
    expected = final_scores(comparison, arm_colors(comparison.arms))
    user_settings = {
        "text.usetex": True,
        "savefig.dpi": 30,
        "axes.facecolor": "red",
        "svg.fonttype": "path",
        "lines.linewidth": 9,
    }
    with matplotlib.rc_context(user_settings):
        assert final_scores(comparison, arm_colors(comparison.arms)) == expected
        assert matplotlib.rcParams["text.usetex"]


@pytest.mark.parametrize("setting", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_matplotlib_backend_setting_is_ignored(setting, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: True\nbackend: \xff\n")
    program = (
        "from charlstm import cli\n"
        "try: cli.main()\n"
        "except SystemExit: from charlstm.report import drawing\n"
        "with drawing.style(): print(len(drawing.finish(drawing.canvas()[0], 'a', 'b').png) > 99)\n"
    )
    environment = {**os.environ, "MPLBACKEND": setting, "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, env=environment, check=False
    )
    assert (result.stdout.splitlines()[-1], result.stderr) == ("True", "")


@pytest.mark.parametrize("error", [RuntimeError("latex was not found"), OSError(28, "No space left"), MemoryError()])
def test_failing_plot_does_not_prevent_report(comparison, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    files = write_report(comparison, tmp_path)
    assert [file.name for file in files] == ["index.html", "report.json"]
    page = files[0].read_text()
    assert "A plot is missing here (final scores): it could not be drawn." in page
    assert page.count(str(error) or "MemoryError") == 3
