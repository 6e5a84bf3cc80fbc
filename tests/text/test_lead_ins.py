"""Lead-ins: where they end, and that they come from the training split."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.lead_ins import encode_lead_ins, lead_ins

PROSE = "The first line of it.\nAnd another one.\n\nA new paragraph, which is a little longer than the first.\n" * 200


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))

    def load(content: str | bytes, **options) -> Corpus:
        path = tmp_path / "text.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_corpus(str(path), **options)

    return load


def test_passages_are_of_the_training_split_and_end_paragraphs(load):
    texts = lead_ins(load(PROSE + "é" * len(PROSE), validation_fraction=0.5), "forward")
    assert len(texts) > 8
    assert {len(text) for text in texts} == {128}
    assert all(text in PROSE and text.endswith("\n\n") for text in texts)


def test_passages_lie_within_training_blocks(load):
    corpus = load(PROSE, validation="blocks", validation_fraction=0.3)
    blocks = ["".join(corpus.vocabulary.decode(corpus.ids[a:b])) for a, b in corpus.spans[corpus.splits["train"]]]
    texts = lead_ins(corpus, "forward")
    assert len(texts) == len(blocks) == 8
    assert all(any(text in block for block in blocks) and text.endswith("\n\n") for text in texts)


def test_passages_of_backward_models_begin_with_the_line_end(load):
    texts = [text[::-1] for text in lead_ins(load(PROSE), "backward")]
    assert len(texts) > 8
    assert all(text in PROSE and text.startswith("\n\n") for text in texts)


@pytest.mark.parametrize(
    ("content", "end"),
    [("one line\nafter another\n" * 300, "\n"), ("words without any line end " * 300, " "), ("窗前明月光" * 900, "")],
    ids=["line", "word", "neither"],
)
def test_without_paragraphs_lines_or_words_end_a_passage(load, content, end):
    texts = lead_ins(load(content), "forward")
    assert texts
    assert all(text in content and text.endswith(end) for text in texts)


def test_bytes_have_passages_of_bytes(load):
    content = b"\xff\x00\n\n\xfe" * 500
    corpus = load(content, encoding="bytes")
    passages = [text.encode("latin-1") for text in lead_ins(corpus, "forward")]
    assert passages
    assert all(passage in content and passage.endswith(b"\n\n") for passage in passages)
    ids = encode_lead_ins(lead_ins(corpus, "forward"), corpus.vocabulary)
    assert [corpus.vocabulary.decode_bytes(row) for row in ids] == passages


@pytest.mark.parametrize("length", [2, 3, 5, 50, 300])
def test_short_texts_have_short_passages(load, length):
    content = ("ab\n" * length)[:length]
    passages = lead_ins(load(content, validation_fraction=0.1), "forward")
    assert len({len(text) for text in passages}) <= 1
    assert all(0 < len(text) <= length / 2 and text in content for text in passages)


def test_documents_and_bidirectional_models_have_none(load):
    assert lead_ins(load("a b\nc d\n" * 9, documents="newline"), "forward") == []
    assert lead_ins(load(PROSE), "bidirectional") == []
