from __future__ import annotations

import pytest
from matplotlib import font_manager

from charlstm.report.drawing import font_families
from charlstm.report.text_map import text_map


@pytest.mark.parametrize(
    ("installed", "families"),
    [
        ({"DejaVu Sans", "SimHei", "Noto Sans CJK SC"}, ["DejaVu Sans", "Noto Sans CJK SC"]),
        ({"DejaVu Sans", "SimHei"}, ["DejaVu Sans", "SimHei"]),
        ({"DejaVu Sans"}, ["DejaVu Sans"]),
    ],
)
def test_one_installed_font_draws_what_the_first_lacks(monkeypatch, installed, families):
    monkeypatch.setattr(font_manager, "get_font_names", lambda: sorted(installed))
    assert font_families.__wrapped__("DejaVu Sans") == families


@pytest.mark.skipif(len(font_families("DejaVu Sans")) == 1, reason="no font with Chinese characters is installed")
def test_chinese_characters_are_drawn():
    one, other = (text_map([0.0, 0.0], list(text), "map", "title") for text in ("春眠", "夜来"))
    assert one.png != other.png
