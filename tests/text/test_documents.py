"""Documents: their boundaries, their order, their splits, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text import documents as module
from charlstm.text import separators
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.documents import Documents, Sequences, permutation, split_documents
from charlstm.text.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(documents: Documents, vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.decode(documents.ids[a:b]) for a, b in zip(documents.starts, documents.ends, strict=True)]


def pieces(text: str, separator: str) -> list[str]:
    vocabulary = Vocabulary.from_text(text + separator)
    return texts(split_documents(vocabulary.encode(text).astype(np.uint8), vocabulary, separator), vocabulary)


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("ann\nbo\n\n\ncy\n", "newline", ["ann", "bo", "cy"]),
        ("ann\r\nbo\r\n\r\ncy", "newline", ["ann", "bo", "cy"]),
        ("a\rb\n\r\n", "newline", ["a\rb"]),
        ("one\ntwo\n\n\n\nthree\n \nfour\n", "blank_line", ["one\ntwo", "three\n \nfour"]),
        ("\n\none\r\ntwo\r\n\r\nthree\r\n", "blank_line", ["one\r\ntwo", "three"]),
        ("\n\n", "blank_line", []),
        ("one<>two<><>three", "<>", ["one", "two", "three"]),
        ("one<>two<", "<>", ["one", "two"]),
        ("one\n%\ntwo\n%\nthree\n", "\n%\n", ["one", "two", "three"]),
        ("xaaay", "aa", ["x", "y"]),
        ("a b", "b", ["a "]),
        ("none", "<>", ["none"]),
    ],
)
def test_documents_have_the_expected_boundaries(text: str, separator: str, expected: list[str]) -> None:
    named = separator if separator in module.END_MARKS else "\n"
    vocabulary = Vocabulary.from_text(text + named + separator)
    documents = split_documents(vocabulary.encode(text), vocabulary, separator)
    assert texts(documents, vocabulary) == expected
    assert vocabulary.decode(documents.end_mark) == {"newline": "\n", "blank_line": "\n\n"}.get(separator, separator)


@settings(max_examples=200)
@given(st.text("ab\n ", max_size=40), st.sampled_from(["newline", "\n", "ab", "a"]), st.integers(1, 9))
def test_cut_equals_split_without_empty_parts(text: str, separator: str, block: int) -> None:
    literal = "\n" if separator == "newline" else separator
    vocabulary = Vocabulary.from_text("ab\n ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separators, "BLOCK", block)
        result = texts(split_documents(vocabulary.encode(text).astype(np.uint8), vocabulary, separator), vocabulary)
    expected = [part for part in text.split(literal) if part]
    if len(literal) == 2 and text.endswith(literal[0]):  # the text ends with half a separator
        expected[-1:] = [expected[-1][:-1]] if expected[-1][:-1] else []
    assert result == expected


@given(st.text("a\n", max_size=40))
def test_paragraphs_are_consecutive_nonempty_lines(text: str) -> None:
    vocabulary = Vocabulary.from_text("a\n")
    paragraphs = texts(split_documents(vocabulary.encode(text), vocabulary, "blank_line"), vocabulary)
    lines = [line if line else "\0" for line in text.split("\n")]
    assert paragraphs == [part.strip("\n") for part in "\n".join(lines).split("\0") if part.strip("\n")]


def test_missing_separator_is_an_error() -> None:
    vocabulary = Vocabulary.from_text("abc")
    with pytest.raises(UserError, match=r"newline: there is no such separator in the text$"):
        split_documents(vocabulary.encode("abc"), vocabulary, "newline")
    with pytest.raises(UserError, match=r"'blank-line': there is no such .*blank_line, file have a special meaning"):
        split_documents(vocabulary.encode("abc"), vocabulary, "blank-line")


@pytest.mark.parametrize(
    ("meant", "written"),
    [
        *(("newline", word) for word in ("line", "Lines", "new-line", "new_line", "line break", "LF", "\\n", "\\r\\n")),
        *(("newline", word) for word in ("'\\n'", "newlines", "end of line", "EOL", "/n")),
        *(("blank_line", word) for word in ("blank line", "blank-lines", "blank", "paragraph", "Paragraphs", "\\n\\n")),
        *(("blank_line", word) for word in ("empty line", "double newline", "\\r\\n\\r\\n")),
        *(
            (None, word)
            for word in ("\n", "\n\n", "\r\n", "<|end|>", "--", "outline", "online", "ln", "n", "l", " ", "=")
        ),
    ],
)
def test_meant_separator_detects_synonyms(meant: str | None, written: str) -> None:
    assert separators.meant_separator(written) == meant


TALE = "The line of the tale.\n\n" + "He said so, and again he said it.\n\nAnd so on.\n" * 300


@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        ("line", r"'line' as a text cuts a.txt into 2 documents: did you mean newline, which occurs in it 902 times\?"),
        ("paragraph", r"no such separator .*did you mean blank_line\?"),
        ("\\n", r"no such separator .*did you mean newline\?"),
        ("blank line", r"no such separator .*did you mean blank_line\?"),
        ("oo", r"splits it into 1 document: .*did you mean newline, which occurs in it 902 times\?"),
    ],
)
def test_rare_separator_error_suggests_another(folder: Path, separator: str, expected: str) -> None:
    (folder / "a.txt").write_text(TALE)
    with pytest.raises(UserError, match=expected):
        load_corpus("a.txt", documents=separator)


def test_rare_separator_is_noted_in_the_description(folder: Path) -> None:
    (folder / "a.txt").write_text(TALE)
    hint = "2 documents - did you mean newline, which occurs in it 902 times? - ("
    assert hint in load_corpus("a.txt", documents="of the").describe()
    for separator in ("\n", "\n\n", "newline", "blank_line", "so"):
        assert "did you mean" not in load_corpus("a.txt", documents=separator).describe()
    (folder / "b.txt").write_text(TALE.replace("he", "line"))
    assert "301 documents (" in load_corpus("b.txt", documents="nd again ").describe()


def test_cr_line_ends_are_named_in_the_error(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"ann\rbob\r" * 9)
    with pytest.raises(UserError, match=r"no such separator in the text: its lines end in CR\..*: tr '\\r' '\\n' <"):
        load_corpus("a.txt", documents="newline")


def test_byte_documents_have_the_same_boundaries(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"\xff\xfe\nab\n\x00\n\x80")
    corpus = load_corpus("a.bin", "bytes", documents="newline", shuffle_documents=False)
    assert corpus.documents is not None
    rows = zip(corpus.documents.starts, corpus.documents.ends, strict=True)
    assert [corpus.vocabulary.decode_bytes(corpus.ids[a:b]) for a, b in rows] == [
        b"\xff\xfe",
        b"ab",
        b"\x00",
        b"\x80",
    ]


def test_contain_finds_texts_among_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.from_text("abcd\n")
    documents = split_documents(vocabulary.encode("ab\nabc\nb\ncab\n").astype(np.uint16), vocabulary, "newline")
    candidates = ["ab", "abc", "ca", "cab", "b", "", "abcd", "ab\n"]
    for block in (1, 1 << 20):
        monkeypatch.setattr(module, "BLOCK", block)
        ids = [vocabulary.encode(text).tolist() for text in candidates]
        assert documents.contains_each(ids) == [True, True, False, True, True, False, False, False]


# the order


@pytest.mark.parametrize("seeds", [(1,), (1, 0), (2,), (1, 0, 1)])
def test_permutation_has_every_number_once(seeds: tuple[int, ...]) -> None:
    order = permutation(1000, *seeds)
    assert sorted(order.tolist()) == list(range(1000))
    assert (order == permutation(1000, *seeds)).all()
    others = [permutation(1000, *other) for other in ((1,), (1, 0), (2,), (1, 0, 1), (0, 1)) if other != seeds]
    assert all((order == other).sum() < 20 for other in others)


def test_permutation_is_splitmix64_order() -> None:
    """Another order would let a model be scored on documents that it was trained on."""

    def splitmix(state: int) -> int:
        z = (state + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    for seeds in ((1,), (2**32 - 1, 7)):
        key = 0
        for seed in seeds:
            key = splitmix(key + seed)
        keys = [splitmix(n + key) for n in range(50)]
        assert permutation(50, *seeds).tolist() == sorted(range(50), key=keys.__getitem__)


def test_permutation_is_uncorrelated() -> None:
    order = permutation(100_000, 1)
    assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.01
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.01


# the splits


def numbers_of(corpus: Corpus, split: str) -> list[int]:
    documents = corpus.split(split)
    assert isinstance(documents, Documents)
    return [int(text) for text in texts(documents, corpus.vocabulary)]


def test_documents_are_shuffled_and_not_divided(folder: Path) -> None:
    (folder / "a.txt").write_text("".join(f"{n}\n" for n in range(1000)))
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.1}
    corpus = load_corpus("a.txt", documents="newline", **fractions)
    parts = [numbers_of(corpus, name) for name in corpus.splits]
    assert sorted(n for part in parts for n in part) == list(range(1000))
    total = sum(len(f"{n}\n") for n in range(1000))
    for part, fraction in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert sum(len(f"{n}\n") for n in part) == pytest.approx(fraction * total, abs=4)
        assert np.mean(part) == pytest.approx(500, abs=80)
    again = load_corpus("a.txt", documents="newline", **fractions)
    assert [numbers_of(again, name) for name in again.splits] == parts
    in_order = load_corpus("a.txt", documents="newline", shuffle_documents=False, **fractions)
    assert [n for name in in_order.splits for n in numbers_of(in_order, name)] == list(range(1000))
    sizes = ", ".join(f"{len(part)} {name}" for part, name in zip(parts, corpus.splits, strict=True))
    assert corpus.describe() == f"a.txt: 3,890 characters, 11 distinct, 1,000 documents ({sizes})"


def test_fractions_are_of_characters(folder: Path) -> None:
    (folder / "a.txt").write_text("\n".join(["x" * 79, *"ab" * 5]) + "\n")
    corpus = load_corpus("a.txt", validation_fraction=0.2, documents="newline", shuffle_documents=False)
    assert corpus.describe().endswith("11 documents (1 train, 10 validation)")


@pytest.mark.parametrize(("count", "test", "expected"), [(2, 0.0, (1, 1, 0)), (3, 0.1, (1, 1, 1)), (4, 0.1, (2, 1, 1))])
def test_every_requested_split_has_a_document(folder: Path, count: int, test: float, expected: tuple[int, ...]) -> None:
    (folder / "a.txt").write_text("\n".join("abcdefghi"[:count]))
    corpus = load_corpus("a.txt", validation_fraction=0.01, test_fraction=test, documents="newline")
    assert tuple(part.stop - part.start for part in corpus.splits.values()) == expected


def test_too_few_documents_is_an_error(folder: Path) -> None:
    (folder / "a.txt").write_text("one\n")
    with pytest.raises(UserError, match=r"a\.txt: corpus\.documents splits it into 1 document: too few"):
        load_corpus("a.txt", documents="newline")
    (folder / "b.txt").write_text("one\n\n\ntwo\n")
    assert load_corpus("b.txt", documents="blank_line").documents is not None
    with pytest.raises(UserError, match=r"the test split .* is empty"):
        load_corpus("b.txt", documents="blank_line").split("test")


def test_million_documents_are_cut() -> None:
    ids = np.zeros(3_000_000, np.uint8)
    ids[2::3] = 1
    documents = split_documents(ids, Vocabulary(("\n", "a")), "newline")  # the letter is 1, the line end 0
    assert len(documents) == 1_000_000
    assert (documents.ends - documents.starts == 1).all()


# reading


@given(st.data())
def test_windows_are_in_reading_direction(data: st.DataObject) -> None:
    contents = data.draw(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=5))
    end, name = data.draw(st.sampled_from([("\n", "newline"), ("\n\n", "blank_line")]))
    vocabulary = Vocabulary.from_text("abc\n")
    documents = split_documents(vocabulary.encode(end.join(contents)), vocabulary, name)
    size = vocabulary.size
    for direction in ("forward", "backward", "bidirectional"):
        sequences = Sequences(documents, size, direction)
        read = [c if direction == "bidirectional" else c + end for c in contents]
        if direction == "backward":
            read = [c[::-1] + end for c in contents]
        assert sequences.lengths.tolist() == [len(text) for text in read]
        assert sequences.characters == sum(map(len, read))
        begin = data.draw(st.integers(-2, 8))
        stop = begin + data.draw(st.integers(1, 9))
        which = data.draw(st.lists(st.integers(-1, len(contents) - 1), min_size=1, max_size=4))
        window = sequences.window(np.array(which), begin, stop)
        for column, number in zip(window.T, which, strict=True):
            text = "" if number < 0 else read[number]
            expected = [vocabulary.encode(text[t])[0] if 0 <= t < len(text) else size for t in range(begin, stop)]
            assert column.tolist() == expected
