from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

import charlstm as package
from charlstm.text.corpus import load_corpus


def test_standard_output_has_the_text_and_nothing_else(charlstm, tiny_run):
    found = charlstm("sample", tiny_run, "--length", 40, "--seed", 3, "--prime", "the ")
    (expected,) = package.load(tiny_run).generate("the ", 40, seed=3)
    assert (found.code, found.out, found.err) == (0, expected.whole + "\n", "")


def test_a_seed_is_told_and_makes_the_same_text(charlstm, tiny_run):
    found = charlstm("sample", tiny_run, "--length", 40)
    (seed,) = re.fullmatch(r"seed (\d+)\n", found.err).groups()
    assert charlstm("sample", tiny_run, "--length", 40, "--seed", seed).out == found.out
    assert charlstm("sample", tiny_run, "--length", 40).out != found.out


def test_json(charlstm, tiny_run):
    found = charlstm("sample", tiny_run, "--length", 9, "--seed", 3, "--prime", "the ", "--num-samples", 2, "--json")
    record = json.loads(found.out)
    assert (found.code, found.err, record["seed"], len(record["samples"])) == (0, "", 3, 2)
    for sample in record["samples"]:
        assert sample["text"] == sample["prime"] + sample["written"]
        assert sample["prime"] == "the "
        assert len(sample["log_probabilities_nats"]) == len(sample["written"]) == 9
        assert all(p <= 0 for p in sample["log_probabilities_nats"])


def test_several_samples(charlstm, tiny_run):
    found = charlstm("sample", tiny_run, "--length", 20, "--seed", 3, "--num-samples", 2)
    assert found.err == "--- 1 of 2\n--- 2 of 2\n"
    texts = [s.whole for s in package.load(tiny_run).generate(length=20, seed=3, num_samples=2)]
    assert found.out == "".join(text + "\n" for text in texts)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_streamed_or_not_is_the_same_text(charlstm, tiny_run, stream):
    options = ("--length", 200, "--seed", 3, "--prime", "the ", "--temperature", 0.8, "--top-k", 5, "--until", "tw")
    found = charlstm("sample", tiny_run, *options, stream)
    sampling = {"temperature": 0.8, "top_k": 5, "until": "tw"}
    (expected,) = package.load(tiny_run).generate("the ", 200, seed=3, **sampling)
    assert found.out == expected.whole + "\n"
    assert found.out.endswith("tw\n")


def test_every_sampling_option_arrives(charlstm, tiny_run):
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.8, "min_p": 0.05}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    (expected,) = package.load(tiny_run).generate("", 60, seed=1, **options)
    assert charlstm("sample", tiny_run, "--length", 60, "--seed", 1, *flags).out == expected.whole + "\n"
    assert charlstm("sample", tiny_run, "--length", 9, "--temperature", 0).code == 0


def test_a_prime_from_a_file_and_from_standard_input(charlstm, tiny_run, tmp_path, monkeypatch):
    (tmp_path / "prime.txt").write_text("the cat\nsat")
    direct = charlstm("sample", tiny_run, "--prime", "the cat\nsat", "--length", 20, "--seed", 1)
    assert charlstm("sample", tiny_run, "--prime", f"@{tmp_path}/prime.txt", "--length", 20, "--seed", 1) == direct
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\nsat")))
    assert charlstm("sample", tiny_run, "--prime", "-", "--length", 20, "--seed", 1) == direct


def test_line_ends_of_a_prime_file_stay_as_they_are(charlstm, tiny_run, tmp_path):
    (tmp_path / "prime.txt").write_bytes(b"the\r\n")
    found = charlstm("sample", tiny_run, "--prime", f"@{tmp_path}/prime.txt")
    assert found.code == 2
    assert "U+000D" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prime", "the €"), "'€' (U+20AC) at 1:5"),
        (("--prime", "@missing.txt"), "missing.txt"),
        (("--temperature", "-1"), "temperature"),
        (("--top-p", "0"), "top-p"),
        (("--min-p", "2"), "min-p"),
        (("--top-k", "-1"), "top-k"),
        (("--length", "-1"), "--length"),
        (("--num-samples", "0"), "--num-samples"),
        (("--seed", "99999999999999999999"), "--seed"),
        (("--unknown", "maybe"), "maybe"),
        (("--checkpoint", "newest"), "newest"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--until", "€"), "€"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes(charlstm, tiny_run, arguments, message):
    found = charlstm("sample", tiny_run, *arguments)
    assert (found.code, found.out) == (2, "")
    assert message in found.err
    assert "Traceback" not in found.err


def test_unknown_characters_may_be_skipped(charlstm, tiny_run):
    found = charlstm("sample", tiny_run, "--prime", "the€ ", "--unknown", "skip", "--length", 5, "--seed", 1)
    assert found.out.startswith("the ")


def test_no_such_run_names_those_there_are(charlstm, tiny_run):
    found = charlstm("sample", tiny_run.with_name("nothing"))
    assert found.code == 2
    assert str(tiny_run) in found.err


@pytest.fixture
def trained(make_config, make_trainer, tmp_path):
    def train(raw: bytes, encoding: str = "utf-8", **model) -> Path:
        source = tmp_path / "source"
        source.write_bytes(raw)
        config = make_config(model, {"source": str(source), "encoding": encoding}, budget={"steps": 2}, sample_length=0)
        trainer = make_trainer(config, tmp_path / "trained", load_corpus(str(source), encoding))
        list(trainer.run())
        return trainer.directory.path

    return train


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_control_characters_are_escapes_on_a_terminal_only(charlstm, on_terminal, trained, stream):
    run = trained("\x1b[31m\r\u202ered\x07\x9b\n".encode() * 80)
    options = ("--length", 300, "--seed", 1, "--temperature", 5, stream)
    raw = charlstm("sample", run, *options)
    assert {"\x1b", "\r", "\u202e", "\x07", "\x9b"} <= set(raw.out)
    shown = on_terminal("sample", run, *options)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.out)
    for escape in ("\\x1b", "\\r", "\\u202e", "\\x07", "\\x9b"):
        assert escape in shown.out
    assert len(shown.out.split("\n")) == len(raw.out.split("\n"))


def test_a_bidirectional_model_is_refused(charlstm, trained):
    found = charlstm("sample", trained(b"the cat sat on a mat " * 40, direction="bidirectional"))
    assert found.code == 2
    assert "direction: forward" in found.err


def test_a_backward_model_writes_before_the_prime(charlstm, trained):
    run = trained(b"the cat sat on a mat " * 40, direction="backward")
    for stream in ("--stream", "--no-stream"):
        found = charlstm("sample", run, "--prime", "mat", "--length", 20, "--seed", 1, stream)
        assert found.out.endswith("mat\n")
        assert len(found.out) == 24


def test_bytes_that_are_no_utf_8(charlstm, trained, tmp_path):
    run = trained(bytes([0xFF, 0xE9, 0x41, 0x0A]) * 100, encoding="bytes")
    (tmp_path / "prime").write_bytes(b"\xff\xe9A")
    found = charlstm("sample", run, "--prime", f"@{tmp_path}/prime", "--length", 8, "--seed", 1, "--json")
    assert found.code == 0
    (sample,) = json.loads(found.out)["samples"]
    assert sample["prime"] == "\ufffd\ufffdA"
    assert len(sample["log_probabilities_nats"]) == 8


def test_an_interrupted_command_says_so_by_its_exit_code(charlstm, tiny_run, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("charlstm.training.loaded.load", interrupt)
    found = charlstm("sample", tiny_run)
    assert found.code == 130
    assert "Traceback" not in found.err
