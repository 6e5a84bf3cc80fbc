"""Excerpts with which a sample may begin."""

from __future__ import annotations

import pytest

from charlstm.text.corpus import load_corpus
from charlstm.text.documents import first_characters
from charlstm.text.excerpts import excerpt, excerpt_of


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("It was a bright cold day in April\n", "It was a bright cold"),
        ('0x085d: "iu_CA", #: 12, 34, 56\nclass Walker walks a tree of nodes\n', "class Walker walks a"),
        ('0x085d: "iu_CA", #: 12, 34, 56\n', '0x085d: "iu_CA", #: 12,'),
        ("short\nlonger one\n", "longer"),
        ("if isinstanceconditional_of_one then\nclass Walker walks a tree of nodes\n", "class Walker walks a"),
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


@pytest.mark.parametrize("validation", ["tail", "blocks"])
def test_excerpt_begins_with_a_line_where_the_text_is_cut_within_one(tmp_path, monkeypatch, validation):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    line = "class Walker walks a tree of all nodes\n"
    (tmp_path / "a.txt").write_text(line * 1000)
    corpus = load_corpus(str(tmp_path / "a.txt"), validation=validation, validation_fraction=0.0123)
    split = corpus.split("validation")
    text = corpus.vocabulary.decode(first_characters(split, 24))
    assert text != line[:24]
    assert excerpt(corpus) == "class Walker walks a"
