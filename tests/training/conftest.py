"""Fixtures of the tests of training."""

from __future__ import annotations

import random

import pytest

from charlstm.text.corpus import load_corpus


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A text of 310 random characters."""
    path = tmp_path_factory.mktemp("texts") / "short.txt"
    rng = random.Random(2)
    path.write_text("".join(rng.choice("abcde \n") for _ in range(310)))
    return load_corpus(str(path))
