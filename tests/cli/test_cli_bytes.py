"""Byte mode: any file can be trained on, and samples are bytes."""

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
    """Runs a command with a pipe as standard output; returns the bytes that it wrote."""

    def call(*arguments):
        content = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="utf-8", newline="\n"))
            result = charlstm(*arguments)
            assert result.code == 0, result.err
            return content.getvalue()

    return call


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_pipe_gets_the_sampled_bytes(piped, run, stream):
    (sample,) = package.load(run).generate(b"\xff\x00".decode("latin-1"), length=3000, seed=1, temperature=9)
    written = package.load(run).vocabulary.decode_bytes(sample.ids)
    assert len(set(written)) == 256
    assert piped("sample", run, *OPTIONS, "--prime", b"\xff\x00".decode("latin-1"), stream) == written
    assert len(piped("sample", run, *OPTIONS, stream)) == 3000


def test_prime_is_printed_unchanged(piped, run, tmp_path):
    prime = bytes(range(256))[::-1]
    (tmp_path / "prime").write_bytes(prime)
    result = piped("sample", run, *OPTIONS, "--prime", f"@{tmp_path}/prime", "--no-stream")
    assert (result[:256], len(result)) == (prime, 3256)


def test_samples_are_lines_and_hex_in_json(piped, run):
    record = json.loads(piped("sample", run, *OPTIONS, "--num-samples", 2, "--json"))
    texts = [bytes.fromhex(sample["hex"]) for sample in record["samples"]]
    assert [len(text) for text in texts] == [3000, 3000]
    assert piped("sample", run, *OPTIONS, "--num-samples", 2) == b"".join(text + b"\n" for text in texts)


def test_terminal_gets_escapes(on_terminal, run):
    result = on_terminal("sample", run, *OPTIONS, "--no-stream")
    assert result.code == 0
    assert "\\x1b" in result.out
    assert "\ufffd" in result.out
    assert "\x1b" not in result.out


def test_random_bytes_can_be_scored(charlstm, run, tmp_path):
    (tmp_path / "other").write_bytes(np.random.default_rng(1).integers(0, 256, 700).astype(np.uint8).tobytes())
    record = json.loads(charlstm("evaluate", run, "--text", tmp_path / "other", "--json").out)
    assert record["bytes_scored"] == 700
