"""The plot of measurements during training."""

from __future__ import annotations

from charlstm.report import training_plots
from charlstm.report.drawing import PALETTE
from charlstm.report.training_plots import FLOOR, TrainingCurve, medians_plot, training_plot


def test_medians_of_arms_with_different_steps():
    """A depth of 0, which a logarithmic axis cannot show, is drawn at the floor."""
    curves = {"gru": {0: [0.0, 0.0, 4.0], 10: [2.0, 8.0, 3.0], 100: [5.0]}, "rnn": {10: [1.0, 2.0]}, "none": {}}
    figure = medians_plot(curves, {"gru": 0, "rnn": 1, "none": 2}, "depth", "Depth", "characters")
    assert figure is not None
    assert f"gru: {FLOOR:g} after 0, 3 after 10, 5 after 100. rnn: 1.5 after 10." in figure.alt
    assert "none" not in figure.alt
    assert medians_plot({"none": {}}, {"none": 0}, "depth", "Depth", "characters") is None


def test_panels_of_training_have_one_axis_and_the_colors_of_the_arms():
    short, long = TrainingCurve([0, 50], [12.0, 12.0], 50), TrainingCurve([0, 1000], [7.0, 2.0], None)
    figure = training_plot(
        {"lstm": {"lstm": [short]}, "rnn": {"rnn": [long]}}, {"lstm": 0, "rnn": 5}, "d", "Depth", "y"
    )
    assert figure is not None
    assert figure.svg.count(">1000</text>") == 2
    assert PALETTE[5] in figure.svg
    assert "1/1" in figure.svg
    assert "lstm 1/1" not in figure.svg
    assert figure.caption.endswith("the numbers count the runs that solve it.")


def test_labels_are_placed_when_the_common_scale_is_known(monkeypatch):
    scales = []
    monkeypatch.setattr(training_plots, "label_ends", lambda axes, *_: scales.append(axes.get_ylim()))
    high, low = TrainingCurve([0, 50], [52.0, 52.0], 50), TrainingCurve([0, 50], [7.0, 2.0], None)
    training_plot({"lstm": {"lstm": [high]}, "rnn": {"rnn": [low]}}, {"lstm": 0, "rnn": 5}, "d", "Depth", "y")
    assert scales[0] == scales[1]
    assert scales[0][0] <= 2
    assert scales[0][1] >= 52
