"""Excerpts with which a sample may begin."""

from __future__ import annotations

import pytest

from charlstm.text.corpus import load_corpus
from charlstm.text.excerpts import excerpt, excerpt_of


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("It was a bright cold day in April\n", "It was a bright cold"),
        ('0x085d: "iu_CA", #: 12, 34, 56\nclass Walker walks a tree of nodes\n', "class Walker walks a"),
        ('0x085d: "iu_CA", #: 12, 34, 56\n', '0x085d: "iu_CA", #: 12,'),
        ("short\nlonger one\n", "longer"),
        (
            "窗前明月光疑是地上霜举头望明月低头思故乡床前看月光疑是地上霜\n",
            "窗前明月光疑是地上霜举头望明月低头思故乡床前看月",
        ),
        ("\0\1\n", ""),
    ],
)
def test_excerpt_is_of_words_where_there_are_any(text, excerpt):
    assert excerpt_of(text) == excerpt


def test_prompt_of_a_backward_model_ends_a_line():
    assert excerpt_of("It was a bright cold day in April,\n", at_end=True) == "cold day in April,"
    assert excerpt_of("short\nlonger one\n", at_end=True) == "one"


def test_excerpt_is_of_words_also_after_a_long_table(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    table = '    0x085d: "iu_CA", # Inuktitut\n' * 100
    (tmp_path / "a.txt").write_text(table * 20 + "class Walker walks a tree of nodes\n" * 20)
    corpus = load_corpus(str(tmp_path / "a.txt"), validation_fraction=3700 / (33 * 2000 + 700))
    assert excerpt(corpus) == "class Walker walks a"
