"""Hints at settings: where they help, and none for ordinary prose, verse and code."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path

import pytest

from charlstm.text.corpus import load_corpus
from charlstm.text.hints import text_hints

RNG = random.Random(1)
WORDS = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "he",
    "she",
    "it",
    "was",
    "had",
    "not",
    "with",
    "that",
    "his",
    "her",
    "at",
    "on",
    "for",
    "as",
    "house",
    "river",
    "king",
    "letter",
]
IDEOGRAPHS = [chr(0x4E00 + n) for n in range(2000)]


def sentence(length: int = 12) -> str:
    return " ".join(RNG.choice(WORDS) for _ in range(RNG.randint(4, 2 * length))).capitalize() + "."


def paragraph() -> str:
    return " ".join(sentence() for _ in range(RNG.randint(1, 9)))


def names(count: int = 300) -> str:
    return "".join("".join(RNG.choice("aeioulmnrst") for _ in range(RNG.randint(3, 9))) + "\n" for _ in range(count))


def novel(separator: str) -> str:
    return separator.join(textwrap.fill(paragraph(), 72) for _ in range(80)) + "\n"


TEXTS = {
    "wrapped novel": novel("\n\n"),
    "wrapped novel without blank lines": novel("\n"),
    "a paragraph a line": "\n".join(paragraph() for _ in range(200)) + "\n",
    "verse": "\n".join(f"{sentence(4)[:-1]}{RNG.choice(',,,;.')}" for _ in range(200)) + "\n",
    "code": "def f(x):\n    if x:\n        return x\n    y = x + 1\n    return y\n\n\n" * 60,
    "a chinese novel": "".join(
        "".join(RNG.choice(IDEOGRAPHS[:400]) for _ in range(RNG.randint(10, 150))) + "。\n" for _ in range(300)
    ),
    "a poem": "\n".join(sentence(3) for _ in range(20)),
}


def hints(text: str, **options: str) -> list[str]:
    Path("a.txt").write_bytes(text.encode())
    return text_hints(load_corpus("a.txt", **options))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_ordinary_text_gets_no_hint(name: str) -> None:
    assert hints(TEXTS[name]) == []


@pytest.mark.parametrize(
    "text", [names(), "".join(f"{sentence(4)[:-1]}\n" for _ in range(200))], ids=["names", "titles"]
)
def test_list_of_lines_is_taken_for_documents(text: str) -> None:
    (hint,) = hints(text)
    assert hint.startswith("its lines look independent, like ")
    assert hint.endswith("; if they are, --set corpus.documents=newline")
    assert hints(text, documents="newline") == []
    assert hints(text[:600]) == []  # too short to be sure


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("a.csv", "{n},{word}\n"),
        ("a.csv", "{n};{word}\r\n"),
        ("a.TSV", "{n}\t{word}\n"),
        ("a.jsonl", '{{"id": {n}, "name": "{word}"}}\n'),
    ],
)
def test_table_gets_a_hint_at_its_columns(name: str, row: str) -> None:
    rows = [row.format(n=n, word=word) for n, word in enumerate(names().split())]
    Path(name).write_bytes("".join([row.format(n="id", word="name"), *rows] if "json" not in name else rows).encode())
    hint = next(hint for hint in text_hints(load_corpus(name)) if "table" in hint)
    assert "--set corpus.column=NAME" in hint
    assert hint.endswith(": 'id', 'name'")
    assert text_hints(load_corpus(name, column="name", documents="newline")) == []


@pytest.mark.parametrize(("name", "text"), [("a.csv", names()), ("a.jsonl", "[1, 2]\n{\n" * 9), ("a.txt", "a,b\n" * 9)])
def test_other_text_gets_no_hint_at_columns(name: str, text: str) -> None:
    Path(name).write_text(text)
    assert not any("table" in hint for hint in text_hints(load_corpus(name)))


def test_lines_that_end_in_cr_lf_get_a_hint() -> None:
    text = TEXTS["wrapped novel"].replace("\n", "\r\n")
    (hint,) = hints(text)
    assert "CR LF" in hint
    assert "--set corpus.normalize=true" in hint
    assert (
        hints(text, normalize="line_ends") == hints(text, documents="blank_line") == hints(text, encoding="bytes") == []
    )


def test_alphabet_that_is_too_large_gets_a_hint() -> None:
    (hint,) = hints("".join(RNG.choice(IDEOGRAPHS) for _ in range(24_000)))
    assert hint.startswith("2,000 different characters in a text of 24,000: ")
    assert hints("".join(RNG.choice(IDEOGRAPHS) for _ in range(81_000))) == []
    assert hints("".join(map(chr, range(32, 126))) * 3) == []
