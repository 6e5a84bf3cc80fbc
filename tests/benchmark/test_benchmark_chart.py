from __future__ import annotations

import io
from dataclasses import replace

import matplotlib
import matplotlib.image
import numpy as np

from charlstm.benchmark import Size
from charlstm.benchmark.chart import BASELINE_COLOUR, draw
from charlstm.report.drawing import PALETTE

MACHINE = {"cpu": None, "threads": 2, "torch": "2"}


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def wide(image: np.ndarray, shade: str) -> int:
    """Pixels of this colour in the row that has most of them: the longest bar."""
    close = np.abs(image - matplotlib.colors.to_rgb(shade)).max(axis=-1) < 0.02
    return int(close.sum(axis=1).max())


def test_bars_are_as_long_as_the_ratios(made_up):
    only = [r for r in made_up.results if r.key.cell == "lstm" and r.key.precision == "float32"]
    image = pixels(draw([replace(made_up, results=only)], MACHINE))
    image = image[int(0.45 * len(image)) :]  # below the legend
    base, eager, cpp = (wide(image, shade) for shade in (BASELINE_COLOUR, PALETTE[0], PALETTE[1]))
    assert base > 100
    assert abs(eager / base - 1.5) < 0.05
    assert abs(cpp / base - 2.0) < 0.05
    assert wide(image, PALETTE[2]) == 0


def test_every_measurement_has_its_panels(made_up):
    sampled = [replace(made_up, what="sampling", size=Size(1, 256, texts, 200)) for texts in (1, 64, 7)]
    one, more = (pixels(draw(measured, MACHINE)) for measured in ([made_up], [made_up, *sampled]))
    assert one.shape[1] == more.shape[1]
    assert len(more) > 2 * len(one)


def test_without_a_base_nothing_is_drawn_and_nothing_fails(made_up):
    headless = replace(made_up, results=made_up.results[2:])
    assert len(pixels(draw([headless], MACHINE))) < len(pixels(draw([made_up], MACHINE)))
