"""Any file whatever can be learnt as bytes, and comes out as bytes."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

import charlstm as package
from charlstm.text.corpus import load_corpus

ALL = bytes(range(256)) * 3 + b"\n\n\r\n\n" + b"\xff\xfe\x00" * 7
OPTIONS = ("--length", 3000, "--seed", 1, "--temperature", 9)


@pytest.fixture
def run(make_config, make_trainer, tmp_path):
    (tmp_path / "any").write_bytes(ALL)
    corpus = load_corpus(str(tmp_path / "any"), "bytes")
    assert corpus.vocabulary.size == 256
    assert corpus.vocabulary.decode_bytes(corpus.ids) == ALL
    config = make_config(None, {"source": str(tmp_path / "any"), "encoding": "bytes"}, budget={"steps": 2})
    trainer = make_trainer(config, tmp_path / "run", corpus)
    list(trainer.run())
    return trainer.directory.path


@pytest.fixture
def piped(charlstm, monkeypatch):
    """Runs a command with a pipe for its standard output; the bytes that it wrote."""

    def call(*arguments):
        content = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="utf-8", newline="\n"))
            found = charlstm(*arguments)
            assert found.code == 0, found.err
            return content.getvalue()

    return call


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_a_pipe_gets_the_very_bytes(piped, run, stream):
    (sample,) = package.load(run).generate(b"\xff\x00".decode("latin-1"), length=3000, seed=1, temperature=9)
    written = package.load(run).vocabulary.decode_bytes(sample.ids)
    assert len(set(written)) == 256
    assert piped("sample", run, *OPTIONS, "--prime", b"\xff\x00".decode("latin-1"), stream) == written
    assert len(piped("sample", run, *OPTIONS, stream)) == 3000


def test_the_prime_comes_back_as_it_was(piped, run, tmp_path):
    prime = bytes(range(256))[::-1]
    (tmp_path / "prime").write_bytes(prime)
    found = piped("sample", run, *OPTIONS, "--prime", f"@{tmp_path}/prime", "--no-stream")
    assert (found[:256], len(found)) == (prime, 3256)


def test_several_texts_are_lines_and_json_has_them_in_hex(piped, run):
    record = json.loads(piped("sample", run, *OPTIONS, "--num-samples", 2, "--json"))
    texts = [bytes.fromhex(sample["hex"]) for sample in record["samples"]]
    assert [len(text) for text in texts] == [3000, 3000]
    assert piped("sample", run, *OPTIONS, "--num-samples", 2) == b"".join(text + b"\n" for text in texts)


def test_a_terminal_gets_what_it_can_show(on_terminal, run):
    found = on_terminal("sample", run, *OPTIONS, "--no-stream")
    assert found.code == 0
    assert "\\x1b" in found.out
    assert "\ufffd" in found.out
    assert "\x1b" not in found.out


def test_any_file_can_be_scored(charlstm, run, tmp_path):
    (tmp_path / "other").write_bytes(np.random.default_rng(1).integers(0, 256, 700).astype(np.uint8).tobytes())
    record = json.loads(charlstm("evaluate", run, "--text", tmp_path / "other", "--json").out)
    assert record["bytes_scored"] == 700
