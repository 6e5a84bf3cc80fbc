"""Documents are cut where they should be, shuffled and split whole, and read from their beginnings."""

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
from charlstm.text.documents import Documents, Sequences, cut, permutation
from charlstm.text.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(documents: Documents, vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.decode(documents.ids[a:b]) for a, b in zip(documents.starts, documents.ends, strict=True)]


def pieces(text: str, separator: str) -> list[str]:
    vocabulary = Vocabulary.from_text(text + separator)
    return texts(cut(vocabulary.encode(text).astype(np.uint8), vocabulary, separator), vocabulary)


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
def test_where_documents_begin_and_end(text: str, separator: str, expected: list[str]) -> None:
    named = separator if separator in module.END_MARKS else "\n"
    vocabulary = Vocabulary.from_text(text + named + separator)
    found = cut(vocabulary.encode(text), vocabulary, separator)
    assert texts(found, vocabulary) == expected
    assert vocabulary.decode(found.end_mark) == {"newline": "\n", "blank_line": "\n\n"}.get(separator, separator)


@settings(max_examples=200)
@given(st.text("ab\n ", max_size=40), st.sampled_from(["newline", "\n", "ab", "a"]), st.integers(1, 9))
def test_cutting_is_splitting_without_what_is_empty(text: str, separator: str, block: int) -> None:
    literal = "\n" if separator == "newline" else separator
    vocabulary = Vocabulary.from_text("ab\n ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separators, "BLOCK", block)
        found = texts(cut(vocabulary.encode(text).astype(np.uint8), vocabulary, separator), vocabulary)
    expected = [part for part in text.split(literal) if part]
    if len(literal) == 2 and text.endswith(literal[0]):  # a separator that is cut off at the end
        expected[-1:] = [expected[-1][:-1]] if expected[-1][:-1] else []
    assert found == expected


@given(st.text("a\n", max_size=40))
def test_paragraphs_are_runs_of_filled_lines(text: str) -> None:
    vocabulary = Vocabulary.from_text("a\n")
    found = texts(cut(vocabulary.encode(text), vocabulary, "blank_line"), vocabulary)
    lines = [line if line else "\0" for line in text.split("\n")]
    assert found == [part.strip("\n") for part in "\n".join(lines).split("\0") if part.strip("\n")]


def test_a_separator_that_does_not_occur() -> None:
    vocabulary = Vocabulary.from_text("abc")
    with pytest.raises(UserError, match=r"newline: there is no such separator in the text$"):
        cut(vocabulary.encode("abc"), vocabulary, "newline")
    with pytest.raises(UserError, match=r"'blank-line': there is no such .*newline and blank_line have a meaning"):
        cut(vocabulary.encode("abc"), vocabulary, "blank-line")


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
def test_what_a_separator_is_likely_to_mean(meant: str | None, written: str) -> None:
    assert separators.called(written) == meant


TALE = "The line of the tale.\n\n" + "He said so, and again he said it.\n\nAnd so on.\n" * 300


@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        ("line", r"'line' as a text cuts a.txt into 2 documents: did you mean newline, which stands in it 902 times\?"),
        ("paragraph", r"no such separator .*did you mean blank_line\?"),
        ("\\n", r"no such separator .*did you mean newline\?"),
        ("blank line", r"no such separator .*did you mean blank_line\?"),
        ("oo", r"finds 1 document in it: .*did you mean newline, which stands in it 902 times\?"),
    ],
)
def test_a_separator_that_hardly_occurs_is_asked_about(here: Path, separator: str, expected: str) -> None:
    (here / "a.txt").write_text(TALE)
    with pytest.raises(UserError, match=expected):
        load_corpus("a.txt", documents=separator)


def test_a_text_that_may_be_a_separator_is_asked_about_aside(here: Path) -> None:
    (here / "a.txt").write_text(TALE)
    asked = "2 documents - did you mean newline, which stands in it 902 times? - ("
    assert asked in load_corpus("a.txt", documents="of the").describe()
    for separator in ("\n", "\n\n", "newline", "blank_line", "so"):
        assert "did you mean" not in load_corpus("a.txt", documents=separator).describe()
    (here / "b.txt").write_text(TALE.replace("he", "line"))
    assert "301 documents (" in load_corpus("b.txt", documents="nd again ").describe()


def test_line_ends_of_old_macintoshes_are_named(here: Path) -> None:
    (here / "a.txt").write_bytes(b"ann\rbob\r" * 9)
    with pytest.raises(
        UserError, match=r"no such separator in the text: its lines end in CR alone.*: tr '\\r' '\\n' <"
    ):
        load_corpus("a.txt", documents="newline")


def test_bytes_are_cut_like_characters(here: Path) -> None:
    (here / "a.bin").write_bytes(b"\xff\xfe\nab\n\x00\n\x80")
    corpus = load_corpus("a.bin", "bytes", documents="newline", shuffle_documents=False)
    assert corpus.documents is not None
    found = zip(corpus.documents.starts, corpus.documents.ends, strict=True)
    assert [corpus.vocabulary.decode_bytes(corpus.ids[a:b]) for a, b in found] == [b"\xff\xfe", b"ab", b"\x00", b"\x80"]


def test_whether_texts_are_among_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.from_text("abcd\n")
    found = cut(vocabulary.encode("ab\nabc\nb\ncab\n").astype(np.uint16), vocabulary, "newline")
    asked = ["ab", "abc", "ca", "cab", "b", "", "abcd", "ab\n"]
    for block in (1, 1 << 20):
        monkeypatch.setattr(module, "BLOCK", block)
        ids = [vocabulary.encode(text).tolist() for text in asked]
        assert found.contain(ids) == [True, True, False, True, True, False, False, False]


# the order


@pytest.mark.parametrize("seeds", [(1,), (1, 0), (2,), (1, 0, 1)])
def test_a_permutation_has_every_number_once(seeds: tuple[int, ...]) -> None:
    found = permutation(1000, *seeds)
    assert sorted(found.tolist()) == list(range(1000))
    assert (found == permutation(1000, *seeds)).all()
    others = [permutation(1000, *other) for other in ((1,), (1, 0), (2,), (1, 0, 1), (0, 1)) if other != seeds]
    assert all((found == other).sum() < 20 for other in others)


def test_a_permutation_is_the_same_for_ever() -> None:
    """What is held out must stay held out: another order would let a model be scored on what it was trained on."""

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


def test_a_permutation_mixes_well() -> None:
    found = permutation(100_000, 1)
    assert abs(np.corrcoef(found, np.arange(100_000))[0, 1]) < 0.01
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.01


# the splits


def numbers_of(corpus: Corpus, split: str) -> list[int]:
    documents = corpus.split(split)
    assert isinstance(documents, Documents)
    return [int(text) for text in texts(documents, corpus.vocabulary)]


def test_documents_are_shuffled_once_and_split_whole(here: Path) -> None:
    (here / "a.txt").write_text("".join(f"{n}\n" for n in range(1000)))
    shares = {"validation_fraction": 0.2, "test_fraction": 0.1}
    corpus = load_corpus("a.txt", documents="newline", **shares)
    parts = [numbers_of(corpus, name) for name in corpus.splits]
    assert sorted(n for part in parts for n in part) == list(range(1000))
    whole = sum(len(f"{n}\n") for n in range(1000))
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert sum(len(f"{n}\n") for n in part) == pytest.approx(share * whole, abs=4)
        assert np.mean(part) == pytest.approx(500, abs=80)
    again = load_corpus("a.txt", documents="newline", **shares)
    assert [numbers_of(again, name) for name in again.splits] == parts
    in_order = load_corpus("a.txt", documents="newline", shuffle_documents=False, **shares)
    assert [n for name in in_order.splits for n in numbers_of(in_order, name)] == list(range(1000))
    sizes = ", ".join(f"{len(part)} {name}" for part, name in zip(parts, corpus.splits, strict=True))
    assert corpus.describe() == f"a.txt: 3,890 characters, 11 distinct, 1,000 documents ({sizes})"


def test_shares_are_of_characters_not_of_documents(here: Path) -> None:
    (here / "a.txt").write_text("\n".join(["x" * 79, *"ab" * 5]) + "\n")
    corpus = load_corpus("a.txt", validation_fraction=0.2, documents="newline", shuffle_documents=False)
    assert corpus.describe().endswith("11 documents (1 train, 10 validation)")


@pytest.mark.parametrize(("count", "test", "expected"), [(2, 0.0, (1, 1, 0)), (3, 0.1, (1, 1, 1)), (4, 0.1, (2, 1, 1))])
def test_every_split_that_is_asked_for_has_a_document(
    here: Path, count: int, test: float, expected: tuple[int, ...]
) -> None:
    (here / "a.txt").write_text("\n".join("abcdefghi"[:count]))
    corpus = load_corpus("a.txt", validation_fraction=0.01, test_fraction=test, documents="newline")
    assert tuple(part.stop - part.start for part in corpus.splits.values()) == expected


def test_too_few_documents(here: Path) -> None:
    (here / "a.txt").write_text("one\n")
    with pytest.raises(UserError, match=r"a\.txt: corpus\.documents finds 1 document in it: too few"):
        load_corpus("a.txt", documents="newline")
    (here / "b.txt").write_text("one\n\n\ntwo\n")
    assert load_corpus("b.txt", documents="blank_line").documents is not None
    with pytest.raises(UserError, match=r"the test split .* is empty"):
        load_corpus("b.txt", documents="blank_line").split("test")


def test_many_documents_take_little_memory_and_time() -> None:
    ids = np.zeros(3_000_000, np.uint8)
    ids[2::3] = 1
    found = cut(ids, Vocabulary(("\n", "a")), "newline")  # the letter is 1, the line end 0
    assert len(found) == 1_000_000
    assert (found.ends - found.starts == 1).all()


# reading


@given(st.data())
def test_windows_are_what_the_direction_reads(data: st.DataObject) -> None:
    contents = data.draw(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=5))
    end, name = data.draw(st.sampled_from([("\n", "newline"), ("\n\n", "blank_line")]))
    vocabulary = Vocabulary.from_text("abc\n")
    found = cut(vocabulary.encode(end.join(contents)), vocabulary, name)
    size = vocabulary.size
    for direction in ("forward", "backward", "bidirectional"):
        sequences = Sequences(found, size, direction)
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
