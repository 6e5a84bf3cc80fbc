"""Texts from a column of CSV, TSV and JSON lines, with clear errors for what is malformed."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.documents import Documents

CSV = 'id,label,title\n1,prose,"Peace, and War"\n2,verse,"said ""no"""\n3,verse,\n4,prose,"two\nlines"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(name: str, column: str = "title", documents: str = "newline", **options: object) -> Corpus:
    return load_corpus(name, documents=documents, column=column, **options)  # type: ignore[arg-type]


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV.replace("\n", "\r\n").replace("two\r\n", "two\n")),
        ("a.csv", CSV.replace("Peace, and", "Peace; and").replace(",", ";").replace("Peace;", "Peace,")),
        ("a.csv", CSV.replace(",", "\t").replace("Peace\t", "Peace,")),
        ("a.tsv", CSV.replace(",", "\t").replace("Peace\t", "Peace,")),
        (
            "a.jsonl",
            '{"label": "prose", "title": "Peace, and War"}\n\n{"title": "said \\"no\\"", "label": "verse", "n": []}\n'
            '{"label": "verse"}\n{"label": "prose", "title": "two\\nlines"}',
        ),
    ],
)
def test_every_format_gives_the_same_documents(name: str, content: str) -> None:
    Path(name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    corpus = load(name, context_column="label")
    assert text_of(corpus) == 'prose|Peace, and War\nverse|said "no"\nprose|two lines\n'
    assert corpus.changes == (
        "column: 4 rows of title, each after its label; 1 without text are left out; line breaks in 1 are replaced by "
        "spaces",
    )


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_tables_are_read(suffix, compress) -> None:
    Path(f"a.csv{suffix}").write_bytes(compress(CSV.encode()))
    assert text_of(load(f"a.csv{suffix}")) == 'Peace, and War\nsaid "no"\ntwo lines\n'


def test_line_breaks_remain_with_another_separator() -> None:
    Path("a.csv").write_text('title\n"one\n\n\ntwo"\nthree\n')
    assert text_of(load("a.csv", documents="\n%\n")) == "one\n\n\ntwo\n%\nthree\n%\n"
    assert text_of(load("a.csv", documents="blank_line")) == "one\ntwo\n\nthree\n\n"


def test_values_that_are_not_text_are_written_as_json() -> None:
    Path("a.jsonl").write_text('{"a": 3}\n{"a": true}\n{"a": null}\n{"a": 1.50}\n')
    assert text_of(load("a.jsonl", "a")) == "3\ntrue\n1.5\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "id,title\n1,a\n2,b,c\n", {}, r"a\.csv:3: this row has 3 values, the first line 2"),
        ("a.csv", 'id,title\n1,"a\n2,b\n', {}, r"a\.csv:3: not a row of CSV \(unexpected end of data\)"),
        ("a.csv", 'id,title\n1,"a"b\n', {}, r"a\.csv:2: not a row of CSV .*quote"),
        ("a.tsv", 'id\ttitle\n1\t"a"b\n', {}, r"a\.tsv:2: not a row of TSV"),
        ("a.csv", "id,Titel\n1,a\n", {}, r"no column 'title'\. Did you mean 'Titel'\? Columns: 'id', 'Titel'"),
        ("a.csv", "title,title\n1,a\n", {}, "2 columns have the name 'title'"),
        ("a.csv", "id,title\n", {}, "has no text in column title"),
        ("a.csv", "id,title\n1,a\n", {"context_column": "kind"}, "no column 'kind'"),
        ("a.csv", "k,title\nx|y,a\n", {"context_column": "k"}, r"a\.csv:2: 'k' contains '\|'"),
        ("a.csv", 'title\n"a\n%\nb"\n', {"documents": "\n%\n"}, r"a\.csv:4: this text contains '\\n%\\n'"),
        ("a.txt", "id,title\n", {}, r"a\.txt: corpus\.column needs a table, .*\.csv, \.tsv"),
        ("a.jsonl", '{"title": "a"}\n{"title": \n', {}, r"a\.jsonl:2: this line is not JSON"),
        ("a.jsonl", '["title"]\n', {}, r"a\.jsonl:1: expected an object"),
        ("a.jsonl", '{"titel": "a"}\n', {}, "Did you mean 'titel'"),
        ("a.jsonl", '{"title": ["a"]}\n', {}, r"a\.jsonl:1: 'title' is not a text, but \[\"a\"\]"),
        ("a.jsonl", "[" * 10_000 + "\n", {}, r"a\.jsonl:1: this line is not JSON: too deep"),
        ("a.jsonl", '{"title": ' + "1" * 5000 + "}\n", {}, r"a\.jsonl:1: this line is not JSON: Exceeds the limit"),
    ],
)
def test_malformed_table_is_an_error(name: str, content: str, options: dict[str, str], message: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load(name, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_long_values_and_many_rows_are_read() -> None:
    Path("a.csv").write_text("title\n" + "".join(f"{n}{'x' * (n % 7)}\n" for n in range(5000)) + "y" * 300_000 + "\n")
    corpus = load("a.csv")
    assert isinstance(corpus.documents, Documents)
    assert len(corpus.documents) == 5001
    assert text_of(corpus).endswith("4999x\n" + "y" * 300_000 + "\n")


def test_columns_of_one_file_have_different_caches() -> None:
    Path("a.csv").write_text("a,b\n1,2\n3,4\n")
    assert [text_of(load("a.csv", column)) for column in "aba"] == ["1\n3\n", "2\n4\n", "1\n3\n"]
    assert text_of(load("a.csv", "a", context_column="b", context_separator=":")) == "2:1\n4:3\n"
    assert load("a.csv", "a").changes == load("a.csv", "a").changes == ("column: 2 rows of a",)


@pytest.mark.parametrize("score_end", [False, True])
def test_end_of_an_answer_counts_if_asked_for(score_end: bool) -> None:
    Path("a.csv").write_text("k,v\nx,123\ny,45\nz,6\n")
    options = {"context_column": "k", "score_after": "|", "score_end": score_end, "shuffle_documents": False}
    corpus = load("a.csv", "v", **options)
    assert corpus.documents is not None
    assert corpus.documents.characters == 6 + 3 * score_end
