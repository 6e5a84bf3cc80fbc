"""The commands that a finished training suggests suit the text and the direction of its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.cli import next_steps
from charlstm.cli.next_steps import use_commands
from charlstm.config import Config
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus

NAMES = "".join(f"{a}{b}\n" for a in ("emm", "oliv", "av", "isab", "soph", "mi") for b in "abcdefghijklmnopqrst")
PROSE = "It was a bright cold day in April, and the\nclocks were striking thirteen; Winston Smith\n" * 50
POEMS = "\n\n".join(f"{n} roses are red,\nviolets are blue,\n" * 9 for n in range(40))
TABLE = "label,title\n" + "".join(f"{'pq'[n % 2]},The title {n}\n" for n in range(200))
TEXTS = {"names": NAMES, "prose": PROSE, "poems": POEMS, "table": TABLE, "letters": "\f".join([PROSE] * 4)}


@pytest.mark.parametrize(
    ("text", "fields", "options"),
    [
        ("prose", {}, "--prime 'It was a bright cold' --length 400"),
        ("prose", {"direction": "backward"}, "--suffix 'day in April, and the' --length 400"),
        ("prose", {"direction": "bidirectional"}, "--infill 'It was a ______ cold'"),
        ("names", {}, "--length 400"),
        ("names", {"direction": "backward"}, "--length 400"),
        ("names", {"documents": "newline"}, "--num-samples 20"),
        ("names", {"documents": "newline", "direction": "backward"}, "--num-samples 20"),
        ("poems", {"documents": "blank_line"}, "--num-samples 6 --length 700"),
        ("letters", {"documents": "\f"}, "--length 2000"),
        ("table", {"column": "title", "context_column": "label"}, "--prime 'q|' --num-samples 20"),
        ("table", {"column": "title"}, "--num-samples 20"),
        ("table", {"column": "title", "context_column": "label", "score_after": "|"}, "--prime 'q|' --num-samples 20"),
    ],
    ids=str,
)
def test_suggested_commands_suit_text_and_direction(text, fields, options, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    source = tmp_path / ("text.csv" if text == "table" else "text.txt")
    source.write_text(TEXTS[text], encoding="utf-8")
    model = {"direction": fields.pop("direction", "forward")}
    config = Config.model_validate(
        {"corpus": {"source": str(source), "validation_fraction": 0.1, **fields}, "model": model}
    )
    corpus = load_corpus(**config.corpus.model_dump())
    sample, *others = use_commands(config, corpus, RunDirectory(Path("runs/x")))
    temperature = "" if model["direction"] == "bidirectional" else " --temperature 0.8"
    assert sample == f"charlstm sample runs/x {options}{temperature}"
    more = [] if model["direction"] == "bidirectional" else ["inspect", "export"]
    assert others == [f"charlstm {name} runs/x" for name in ("evaluate", *more)]


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("To be or not to be", "To be or ___ to be"),
        ("I saw (Winston's) hats", "I saw (_______'s) hats"),
        ("其自身的发展道路与众不同", "其自身的___路与众不同"),
        ("a_b c d", "a____ d"),
    ],
)
def test_gap_to_fill_is_a_word(text, gap):
    assert next_steps._with_gap(text) == gap
