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
from charlstm.comparison.results import Arm, Comparison, Evaluation, arm_colours
from charlstm.report.drawing import PALETTE, compact, short, spread

ROOT = Path(charlstm.__file__).parents[1]


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def has_colour(image: np.ndarray, shade: str) -> bool:
    wanted = matplotlib.colors.to_rgb(shade)
    return bool((np.abs(image[..., :3] - wanted).max(axis=-1) < 0.02).any())


@pytest.mark.parametrize("along", ["characters", "seconds"])
def test_learning_curves_show_every_arm(comparison, along):
    figure = learning_curves(comparison, along, arm_colours(comparison.arms))
    assert figure is not None
    image = pixels(figure.png)
    assert image.shape[0] > 400
    assert has_colour(image, PALETTE[0])
    assert has_colour(image, PALETTE[1])
    assert not has_colour(image, PALETTE[2])
    assert "lstm" in figure.svg
    assert "rnn goes from" in figure.alt


def test_final_scores_show_every_arm_and_its_mean(comparison):
    figure = final_scores(comparison, arm_colours(comparison.arms))
    assert figure is not None
    image = pixels(figure.png)
    assert has_colour(image, PALETTE[0])
    assert has_colour(image, PALETTE[1])
    assert "2.400" in figure.svg


def test_no_score_no_plot(make_run):
    empty = Comparison("t", [Arm("a", [make_run(None)])], "c")
    assert learning_curves(empty, "characters", {"a": 0}) is None
    assert final_scores(empty, {"a": 0}) is None


def test_scores_that_are_no_numbers_and_hostile_names_are_drawn_around(make_run):
    name = "$\\frac{<b>\x1b\u6f22\u5b57"
    broken = [Evaluation(0, 0, 0.0, 4.0), Evaluation(1, 10, 1.0, math.nan), Evaluation(2, 1000, 2.0, 1e6)]
    runs = [make_run(2.0, 1), make_run(2.0, 2, evaluations=broken)]
    figure = learning_curves(Comparison("t", [Arm(name, runs)], "c"), "characters", {name: 0})
    assert figure is not None
    assert "<b>" not in figure.svg
    assert "\x1b" not in figure.svg


def test_svgs_share_no_id_refer_outward_to_nothing_and_follow_the_theme(comparison):
    colours = arm_colours(comparison.arms)
    first = learning_curves(comparison, "characters", colours)
    second = learning_curves(comparison, "seconds", colours)
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


def test_plots_are_the_same_each_time_and_leave_matplotlib_alone(comparison):
    before = dict(matplotlib.rcParams)
    colours = arm_colours(comparison.arms)
    first, second = (final_scores(comparison, colours) for _ in range(2))
    assert first == second
    assert dict(matplotlib.rcParams) == before


def test_pseudo_likelihood_is_written_on_the_plot(comparison):
    arms = [replace(a, runs=[replace(r, causal=False) for r in a.runs]) for a in comparison.arms]
    pseudo = replace(comparison, arms=arms)
    for figure in (
        final_scores(pseudo, arm_colours(arms)),
        learning_curves(pseudo, "seconds", arm_colours(arms)),
    ):
        assert figure is not None
        assert "pseudo-likelihood" in figure.svg.lower()
        assert figure.name.startswith("pseudo-likelihood-")


def test_mean_curve_interpolates_over_the_shared_stretch():
    first = np.array([[0.0, 2.0, 4.0], [4.0, 2.0, 0.0]])
    second = np.array([[1.0, 3.0], [1.0, 1.0]])
    assert mean_curve([first, second]).tolist() == [[1.0, 2.0, 3.0], [2.0, 1.5, 1.0]]


def test_curves_that_share_no_stretch_have_no_mean():
    apart = [np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[2.0, 3.0], [1.0, 1.0]])]
    assert mean_curve(apart).size == 0


def test_labels_are_spread_in_order_and_stay_inside():
    assert spread([0.1, 0.5], gap=0.1) == [0.1, 0.5]
    assert spread([0.5, 0.5, 0.52], gap=0.1) == pytest.approx([0.40667, 0.50667, 0.60667], abs=1e-5)
    assert spread([0.0, 0.01], gap=0.1) == pytest.approx([0.0, 0.1])
    moved = spread([0.97, 0.98, 0.99], gap=0.1)
    assert moved == pytest.approx([0.8, 0.9, 1.0])


def test_short_names_keep_both_ends():
    assert short("lstm") == "lstm"
    assert short("peephole-on-a-long-text-7").startswith("peephole")
    assert short("peephole-on-a-long-text-7").endswith("text-7")
    assert len(short("x" * 99)) <= 16


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (500, "500"), (20_000, "20k"), (1.5e6, "1.5M"), (2e9, "2G")])
def test_compact_counts(value, text):
    assert compact(value) == text


def test_settings_of_the_user_change_no_picture(comparison):
    expected = final_scores(comparison, arm_colours(comparison.arms))
    wild = {
        "text.usetex": True,
        "savefig.dpi": 30,
        "axes.facecolor": "red",
        "svg.fonttype": "path",
        "lines.linewidth": 9,
    }
    with matplotlib.rc_context(wild):
        assert final_scores(comparison, arm_colours(comparison.arms)) == expected
        assert matplotlib.rcParams["text.usetex"]


@pytest.mark.parametrize("setting", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_of_a_notebook_is_none_of_our_business(setting, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: True\nbackend: \xff\n")
    program = (
        "from charlstm import cli\n"
        "try: cli.main()\n"
        "except SystemExit: from charlstm.comparison import drawing\n"
        "with drawing.style(): print(len(drawing.finish(drawing.canvas()[0], 'a', 'b').png) > 99)\n"
    )
    environment = {**os.environ, "MPLBACKEND": setting, "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("True", "")


@pytest.mark.parametrize("error", [RuntimeError("latex was not found"), OSError(28, "No space left"), MemoryError()])
def test_a_picture_that_fails_leaves_the_report(comparison, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    files = write_report(comparison, tmp_path)
    assert [file.name for file in files] == ["index.html", "report.json"]
    page = files[0].read_text()
    assert "A picture is missing here (final scores): it could not be drawn." in page
    assert page.count(str(error) or "MemoryError") == 3
