"""The training file can be given to its model, whatever its encoding, byte-order mark and line ends."""

from __future__ import annotations

import bz2
import io
import json
import sys
from types import SimpleNamespace

import pytest

import charlstm as package
from charlstm.text.corpus import load_corpus

TEXT = "Zoë ate\nseven crêpes\nin Köln\n" * 10
CASES = [
    ("utf-8", "utf-8-sig", "\r\n", "forward", None),
    ("utf-8", "utf-8", "\r\n", "backward", "newline"),
    ("utf-16", "utf-16", "\n", "forward", "newline"),
    ("utf-16-be", "utf-16-be", "\r\n", "bidirectional", None),
    ("latin-1", "latin-1", "\n", "forward", None),
    ("cp1252", "cp1252", "\r\n", "backward", None),
    ("bytes", "utf-8-sig", "\r\n", "bidirectional", None),
    ("bytes", "latin-1", "\n", "forward", "newline"),
]


@pytest.fixture
def make_run(make_config, make_trainer, tmp_path):
    def make(content: bytes, encoding: str, direction: str = "forward", documents: str | None = None):
        (tmp_path / "a.txt").write_bytes(content)
        corpus = {"source": str(tmp_path / "a.txt"), "encoding": encoding, "documents": documents}
        config = make_config({"direction": direction}, corpus, budget={"steps": 1})
        trainer = make_trainer(config, tmp_path / "run", load_corpus(**config.corpus.model_dump()))
        list(trainer.run())
        return trainer.directory.path

    return make


@pytest.mark.parametrize(("encoding", "written", "line_end", "direction", "documents"), CASES)
def test_training_file_can_be_given(
    encoding, written, line_end, direction, documents, make_run, charlstm, tmp_path, monkeypatch
):
    content = TEXT.replace("\n", line_end).encode(written)
    run, file = make_run(content, encoding, direction, documents), tmp_path / "a.txt"
    scored = charlstm("evaluate", run, "--text", file, "--json")
    assert scored.code == 0, scored.err
    loaded = package.load(run)
    assert loaded.score(content).nats == next(v for k, v in json.loads(scored.out).items() if k.startswith("nats_"))

    full = loaded.vocabulary.decode(loaded.corpus().ids)
    option = {"forward": "--prime", "backward": "--suffix", "bidirectional": "--infill"}[direction]
    more = ("--gap", "e", "--sweeps", 1) if direction == "bidirectional" else ("--length", 1)
    for given in (f"@{file}", "-"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        result = charlstm("sample", run, option, given, "--seed", 1, "--json", *more)
        assert result.code == 0, result.err
        text = json.loads(result.out)["samples"][0]["text"]
        assert len(text) == len(full) if direction == "bidirectional" else full in text


@pytest.mark.parametrize(("option", "more"), [("--prime", ()), ("--text", ())])
def test_wrong_encoding_is_an_error_with_a_remedy(option, more, make_run, charlstm, tmp_path):
    run = make_run(TEXT.encode(), "utf-8")
    (tmp_path / "other").write_bytes(TEXT.encode("latin-1"))
    command, given = ("sample", f"@{tmp_path}/other") if option == "--prime" else ("evaluate", tmp_path / "other")
    result = charlstm(command, run, option, given)
    assert result.code == 2
    assert "byte 0xEB at offset 2 (line 1, column 3). This model reads utf-8. Convert the text: iconv " in result.err
    assert "--set" not in result.err


def test_compressed_text_can_be_given(make_run, charlstm, tmp_path):
    run = make_run(TEXT.encode(), "utf-8")
    (tmp_path / "a.bz2").write_bytes(bz2.compress(TEXT.encode()))
    packed, plain = (charlstm("evaluate", run, "--text", tmp_path / name, "--json").out for name in ("a.bz2", "a.txt"))
    assert {**json.loads(packed), "text": 0} == {**json.loads(plain), "text": 0}


def test_unknown_line_ends_are_named(make_run, charlstm, tmp_path):
    run = make_run(TEXT.encode(), "utf-8")
    (tmp_path / "windows.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    result = charlstm("evaluate", run, "--text", tmp_path / "windows.txt")
    assert result.code == 2
    assert "Its lines end in CR LF, those of the training text in LF. " in result.err
