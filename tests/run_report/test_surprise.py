"""The page of a scored text shades each character by its surprise."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

import charlstm as package
from charlstm.evaluation import nats_per_character
from charlstm.run_report.surprise import EDGES, _counted, other_predictors, surprise, write_page
from charlstm.text.documents import Documents
from charlstm.units import bits


@pytest.fixture(scope="module")
def scored(tiny_run):
    run = package.load(tiny_run)
    content = run.read("the cat\nsat on a mat")
    nats = nats_per_character(run.model, content)
    return run, content, nats, surprise(run, content, nats, "mat.txt")


def test_each_character_has_its_bits(scored):
    _, _, nats, result = scored
    assert result.symbols == "the cat\nsat on a mat"
    assert result.bits == pytest.approx(nats / math.log(2), rel=1e-6)
    assert len(result.levels) == len(result.symbols)
    for level, value in zip(result.levels, result.bits, strict=True):
        assert level == sum(value >= edge for edge in EDGES)


def test_characters_of_documents_are_in_the_order_of_the_text():
    ids = np.arange(8)
    documents = Documents(ids, np.array([0, 3]), np.array([3, 8]), np.array([9]))
    nats = np.arange(10, dtype=np.float32)
    forward, backward = (_counted(documents, nats, 10, direction) for direction in ("forward", "backward"))
    assert forward[0].tolist() == [0, 1, 2, 9, 3, 4, 5, 6, 7, 9]
    assert forward[1].tolist() == nats.tolist()
    assert backward[0].tolist() == [9, 0, 1, 2, 9, 3, 4, 5, 6, 7]
    assert backward[1].tolist() == [3, 2, 1, 0, 9, 8, 7, 6, 5, 4]


def test_other_predictors_read_the_same_characters(scored):
    run, content, _, _ = scored
    result = dict(other_predictors(run, content))
    assert 0 < result["7-gram model of the training text"] < bits(math.log(run.vocabulary.size))
    assert result["xz, after the training text"] < result["xz -9e"]


def test_page_shades_the_text(scored, tmp_path):
    run, content, _, result = scored
    page = write_page(result, other_predictors(run, content), "tiny", tmp_path / "map", "charlstm evaluate tiny --map")
    html = page.read_text(encoding="utf-8")
    shades = re.findall(r'<span class="shade" style="--level: (\d)">(.*?)</span>', html, re.DOTALL)
    assert {int(level) for level, _ in shades} == set(result.levels) - {0}
    assert f"tiny reads mat.txt at {result.bits.mean():.3f} bits per character" in html
    assert "charlstm evaluate tiny --map" in html
    record = json.loads((tmp_path / "map" / "report.json").read_text())
    assert record["sections"]["the-text"]["bits"] == pytest.approx(result.bits, abs=1e-3)
