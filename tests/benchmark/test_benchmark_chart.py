from __future__ import annotations

import io
from dataclasses import replace

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from charlstm.benchmark import Size
from charlstm.benchmark.chart import BASELINE_COLOR, draw
from charlstm.report.drawing import PALETTE

MACHINE = {"cpu": None, "threads": 2, "torch": "2"}


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def longest_bar(image: np.ndarray, shade: str) -> int:
    """Number of pixels of this color in the row that has most of them: the longest bar."""
    close = np.abs(image - matplotlib.colors.to_rgb(shade)).max(axis=-1) < 0.02
    return int(close.sum(axis=1).max())


def test_bars_are_as_long_as_the_ratios(example):
    only = [r for r in example.results if r.key.cell == "lstm" and r.key.precision == "float32"]
    image = pixels(draw([replace(example, results=only)], MACHINE))
    image = image[int(0.45 * len(image)) :]  # below the legend
    base, eager, cpp = (longest_bar(image, shade) for shade in (BASELINE_COLOR, PALETTE[0], PALETTE[1]))
    assert base > 100
    assert abs(eager / base - 1.5) < 0.05
    assert abs(cpp / base - 2.0) < 0.05
    assert longest_bar(image, PALETTE[2]) == 0


@pytest.fixture(scope="module")
def example_pixels(example):
    return pixels(draw([example], MACHINE))


def test_every_measurement_has_panels(example, example_pixels):
    sampled = [replace(example, workload="sampling", size=Size(1, 256, texts, 200)) for texts in (1, 64)]
    more = pixels(draw([example, *sampled], MACHINE))
    assert example_pixels.shape[1] == more.shape[1]
    assert len(more) > 2 * len(example_pixels)


def test_measurement_without_baseline_is_not_drawn(example, example_pixels):
    without_baseline = replace(example, results=example.results[2:])
    assert len(pixels(draw([without_baseline], MACHINE))) < len(example_pixels)
