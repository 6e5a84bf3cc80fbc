"""Learning curves from the records of runs."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from charlstm.run_report.curves import Curves, ladder, learning_curve, read_curves, several_curves

RECORDS = [
    {"kind": "start", "step": 0},
    {"kind": "train", "step": 1, "characters": 80, "seconds": 0.5, "nats": 2.0},
    {"kind": "evaluation", "step": 2, "characters": 160, "seconds": 1.0, "nats": 1.5, "pseudo_likelihood": False},
    {"kind": "train", "step": 3, "characters": 240, "seconds": 1.5, "nats": 1.4},
    {"kind": "evaluation", "step": 4, "characters": 320, "seconds": 2.0, "nats": 1.0},
    {"kind": "evaluation", "step": 6, "characters": 480, "seconds": 3.0, "nats": 1.2},
]


def test_points_of_the_records():
    curves = read_curves(RECORDS)
    assert curves.training[:, :3].tolist() == [[80, 0.5, 1], [240, 1.5, 3]]
    assert curves.evaluations[:, 3] == pytest.approx(np.array([1.5, 1.0, 1.2]) / np.log(2))
    assert curves.best()[2] == 4
    assert curves.kind == "held out"
    assert read_curves([]).best() is None
    assert read_curves([{**RECORDS[2], "pseudo_likelihood": True}]).kind == "pseudo-likelihood"


def test_scores_of_training_text_have_no_best_point():
    records = [{**record, "training_split_nats": record["nats"], "nats": None} for record in RECORDS[2::2]]
    curves = read_curves([*RECORDS[:2], *records])
    assert (curves.kind, curves.best()) == ("training text", None)
    figure = learning_curve(curves, "character")
    assert "training text 1.44" in figure.svg
    assert "best" not in figure.svg + figure.caption


@pytest.mark.parametrize("along", ["characters", "seconds", "steps"])
def test_learning_curve_marks_the_best_point(along):
    figure = learning_curve(read_curves(RECORDS), "character", along)
    assert not figure.error
    assert "best 1.443" in figure.svg
    assert "The best is 1.443 bits at step 4." in figure.alt
    assert "training 2.02" in figure.svg


def test_score_of_raw_weights_is_a_curve():
    records = [{**record, "raw_nats": 1.6} if record["step"] > 2 else record for record in RECORDS]
    curves = read_curves(records)
    assert curves.raw[:, 2].tolist() == [4, 6]
    assert curves.evaluations.tolist() == read_curves(RECORDS).evaluations.tolist()
    figure = learning_curve(curves, "character")
    assert "raw weights 2.31" in figure.svg
    assert "raw weights goes from 2.31 to 2.31 bits." in figure.alt
    assert "raw weights" not in learning_curve(read_curves(RECORDS), "character").svg


@pytest.mark.parametrize("kept", [["train"], ["evaluation"]])
def test_curve_without_scores_or_without_losses(kept):
    figure = learning_curve(read_curves([r for r in RECORDS if r["kind"] in kept]), "character")
    assert not figure.error
    assert ("best" in figure.svg) == (kept == ["evaluation"])


def test_nothing_to_draw():
    assert learning_curve(read_curves([]), "character") is None
    assert several_curves({"a": read_curves([])}, "character", "steps", True) is None


def test_several_runs_are_labeled():
    curves = {"a": read_curves(RECORDS), "$b$": read_curves(RECORDS[:3])}
    figure = several_curves(curves, "byte", "steps", True)
    assert not figure.error
    for text in ("a 1.73", "$b$ 2.16", "Held-out bits per byte", "training steps"):
        assert text in figure.svg


def test_high_losses_do_not_compress_the_curves():
    training = np.array([[1, 1, 1, 400.0], [2, 2, 2, 2.5]])
    held_out = np.array([[2, 2, 2, 2.0]])
    ticks = learning_curve(Curves(training, held_out), "character").svg
    assert "400" not in ticks


@pytest.mark.usefixtures("drawn_plots")
def test_diverged_run_is_drawn_on_a_logarithmic_axis():
    training = np.array([[1, 1, 1, 6.0], [2, 2, 2, 1500.0], [3, 3, 3, 900.0]])
    curves = Curves(training, np.array([[2, 2, 2, 1300.0], [3, 3, 3, 835.0]]))
    for figure in (learning_curve(curves, "character"), several_curves({"a": curves}, "character", "steps", True)):
        assert not figure.error
        assert {"10", "300"} <= set(re.findall(r">([^<>]+)</text>", figure.svg))


def test_ladder_is_in_the_order_of_the_scores():
    figure = ladder([("xz", 2.5), ("this model", 2.0), ("V", 6.0)], "this model", "character")
    assert not figure.error
    assert figure.alt.endswith("V: 6.000. xz: 2.500. this model: 2.000.")


def test_curves_load_no_torch():
    code = "import sys, charlstm.run_report.curves; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
