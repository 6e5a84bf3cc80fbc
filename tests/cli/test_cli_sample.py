from __future__ import annotations

import io
import json
import math
import re
import sys
from pathlib import Path

import pytest

import charlstm as package
from charlstm.generation.infilling import SWEEPS
from charlstm.text.corpus import load_corpus


def test_standard_output_has_only_the_text(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, "--length", 40, "--seed", 3, "--prime", "the ")
    (expected,) = package.load(tiny_run).generate("the ", 40, seed=3)
    assert (result.code, result.out, result.err) == (0, expected.full_text + "\n", "")


def test_printed_seed_reproduces_the_text(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, "--length", 40)
    (seed,) = re.fullmatch(r"seed (\d+)\n", result.err).groups()
    assert charlstm("sample", tiny_run, "--length", 40, "--seed", seed).out == result.out
    assert charlstm("sample", tiny_run, "--length", 40).out != result.out


def test_json_has_log_probabilities(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, "--length", 9, "--seed", 3, "--prime", "the ", "--num-samples", 2, "--json")
    record = json.loads(result.out)
    assert (result.code, result.err, record["seed"], len(record["samples"])) == (0, "", 3, 2)
    for sample in record["samples"]:
        assert sample["text"] == sample["prime"] + sample["written"]
        assert sample["prime"] == "the "
        assert len(sample["log_probabilities_nats"]) == len(sample["written"]) == 9
        assert all(p <= 0 for p in sample["log_probabilities_nats"])


def test_several_samples_are_numbered(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, "--length", 20, "--seed", 3, "--num-samples", 2)
    assert result.err == "--- 1 of 2\n--- 2 of 2\n"
    texts = [s.full_text for s in package.load(tiny_run).generate(length=20, seed=3, num_samples=2)]
    assert result.out == "".join(text + "\n" for text in texts)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_streamed_text_equals_unstreamed_text(charlstm, tiny_run, stream):
    options = ("--length", 200, "--seed", 3, "--prime", "the ", "--temperature", 0.8, "--top-k", 5, "--until", "tw")
    result = charlstm("sample", tiny_run, *options, stream)
    sampling = {"temperature": 0.8, "top_k": 5, "until": "tw"}
    (expected,) = package.load(tiny_run).generate("the ", 200, seed=3, **sampling)
    assert result.out == expected.full_text + "\n"
    assert result.out.endswith("tw\n")


def test_every_sampling_option_is_used(charlstm, tiny_run):
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.8, "min_p": 0.05}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    (expected,) = package.load(tiny_run).generate("", 60, seed=1, **options)
    assert charlstm("sample", tiny_run, "--length", 60, "--seed", 1, *flags).out == expected.full_text + "\n"
    assert charlstm("sample", tiny_run, "--length", 9, "--temperature", 0).code == 0


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_lead_in_can_be_left_out(charlstm, tiny_run, stream):
    result = charlstm("sample", tiny_run, "--length", 60, "--seed", 1, "--no-lead-in", stream)
    (expected,) = package.load(tiny_run).generate("", 60, seed=1, lead_in=False)
    assert result.out == expected.full_text + "\n"
    assert result.out != charlstm("sample", tiny_run, "--length", 60, "--seed", 1, stream).out


def test_prime_from_a_file_and_from_standard_input(charlstm, tiny_run, tmp_path, monkeypatch):
    (tmp_path / "prime.txt").write_text("the cat\nsat")
    direct = charlstm("sample", tiny_run, "--prime", "the cat\nsat", "--length", 20, "--seed", 1)
    assert charlstm("sample", tiny_run, "--prime", f"@{tmp_path}/prime.txt", "--length", 20, "--seed", 1) == direct
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\nsat")))
    assert charlstm("sample", tiny_run, "--prime", "-", "--length", 20, "--seed", 1) == direct


def test_line_ends_of_a_prime_file_are_kept(charlstm, tiny_run, tmp_path):
    (tmp_path / "prime.txt").write_bytes(b"the\r\n")
    result = charlstm("sample", tiny_run, "--prime", f"@{tmp_path}/prime.txt")
    assert result.code == 2
    assert "U+000D" in result.err


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
def test_mistakes_are_reported_in_one_message(charlstm, tiny_run, arguments, message):
    result = charlstm("sample", tiny_run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_unknown_characters_may_be_skipped(charlstm, tiny_run):
    result = charlstm("sample", tiny_run, "--prime", "the€ ", "--unknown", "skip", "--length", 5, "--seed", 1)
    assert result.out.startswith("the ")


def test_missing_run_error_lists_existing_runs(charlstm, tiny_run):
    result = charlstm("sample", tiny_run.with_name("nothing"))
    assert result.code == 2
    assert str(tiny_run) in result.err


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
def test_control_characters_are_escaped_on_a_terminal(charlstm, on_terminal, trained, stream):
    run = trained("\x1b[31m\r\u202ered\x07\x9b\n".encode() * 80)
    options = ("--length", 300, "--seed", 1, "--temperature", 5, stream)
    raw = charlstm("sample", run, *options)
    assert {"\x1b", "\r", "\u202e", "\x07", "\x9b"} <= set(raw.out)
    shown = on_terminal("sample", run, *options)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.out)
    for escape in ("\\x1b", "\\r", "\\u202e", "\\x07", "\\x9b"):
        assert escape in shown.out
    assert len(shown.out.split("\n")) == len(raw.out.split("\n"))


def test_bidirectional_model_needs_infill(charlstm, trained):
    result = charlstm("sample", trained(b"the cat sat on a mat " * 40, direction="bidirectional"))
    assert result.code == 2
    assert "direction: forward" in result.err


def test_backward_model_writes_before_the_suffix(charlstm, trained):
    run = trained(b"the cat sat on a mat " * 40, direction="backward")
    result = charlstm("sample", run, "--suffix", "mat", "--length", 20, "--seed", 1)
    assert result.out.endswith("mat\n")
    assert len(result.out) == 24
    (sample,) = json.loads(charlstm("sample", run, "--suffix", "mat", "--length", 5, "--json").out)["samples"]
    assert sample["text"] == sample["written"] + sample["suffix"]
    assert sample["suffix"] == "mat"


def test_suffix_from_a_file(charlstm, trained, tmp_path):
    run = trained(b"the cat sat on a mat " * 40, direction="backward")
    (tmp_path / "end.txt").write_text("a mat")
    direct = charlstm("sample", run, "--suffix", "a mat", "--length", 9, "--seed", 1)
    assert charlstm("sample", run, "--suffix", f"@{tmp_path}/end.txt", "--length", 9, "--seed", 1) == direct
    missing = charlstm("sample", run, "--suffix", "@nothing")
    assert (missing.code, missing.out) == (2, "")
    assert "--suffix @nothing" in missing.err


def test_until_of_a_backward_model_begins_the_text(charlstm, trained):
    run = trained(b"the cat sat on a mat " * 40, direction="backward")
    result = charlstm("sample", run, "--until", "a", "--length", 400, "--seed", 1)
    assert result.out.startswith("a")
    assert len(result.out) < 400
    assert "a" not in result.out[1:]


@pytest.fixture
def filler(trained) -> Path:
    return trained(b"the cat sat on a_mat " * 40, direction="bidirectional")


def test_infill_fills_gaps(charlstm, filler):
    result = charlstm("sample", filler, "--infill", "the _a_ sat", "--seed", 3, "--num-samples", 2)
    texts = [f.full_text for f in package.load(filler).infill("the _a_ sat", seed=3, num_samples=2)]
    assert (result.code, result.out) == (0, "".join(text + "\n" for text in texts))
    assert result.err == "--- 1 of 2\n--- 2 of 2\n"


def test_every_infill_option_is_used(charlstm, filler):
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.8, "min_p": 0.05, "sweeps": 7, "gap": "?"}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    (expected,) = package.load(filler).infill("the ca????? sat", seed=1, **options)
    result = charlstm("sample", filler, "--infill", "the ca€????? sat", "--seed", 1, "--unknown", "skip", *flags)
    assert result.out == expected.full_text + "\n"


def test_json_has_the_filled_gaps(charlstm, filler):
    result = charlstm("sample", filler, "--infill", "_he c__ sat", "--seed", 3, "--json")
    record = json.loads(result.out)
    (sample,) = record["samples"]
    (expected,) = package.load(filler).infill("_he c__ sat", seed=3)
    assert (record["seed"], sample["text"]) == (3, expected.full_text)
    assert [(gap["position"], len(gap["text"])) for gap in sample["gaps"]] == [(0, 1), (5, 2)]
    nats = [p for gap in sample["gaps"] for p in gap["pseudo_log_probabilities_nats"]]
    assert sample["pseudo_nats_per_filled_character"] == pytest.approx(-sum(nats) / 3)
    assert sample["pseudo_bits_per_filled_character"] == pytest.approx(-sum(nats) / 3 / math.log(2))


def test_infill_from_a_file_and_from_standard_input(charlstm, filler, tmp_path, monkeypatch):
    (tmp_path / "gaps.txt").write_text("the ___ sat")
    direct = charlstm("sample", filler, "--infill", "the ___ sat", "--seed", 1)
    assert charlstm("sample", filler, "--infill", f"@{tmp_path}/gaps.txt", "--seed", 1) == direct
    assert charlstm("sample", filler, "--infill-file", f"{tmp_path}/gaps.txt", "--seed", 1) == direct
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the ___ sat")))
    assert charlstm("sample", filler, "--infill", "-", "--seed", 1) == direct


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--infill", "the cat"), "no gap"),
        (("--infill", ""), "no gap"),
        (("--infill", "the €_"), "'€' (U+20AC) at 1:5"),
        (("--infill", "@missing.txt"), "--infill @missing.txt"),
        (("--infill", "a__", "--gap", "__"), "single character"),
        (("--infill", "a_", "--sweeps", "0"), "--sweeps"),
        (("--infill", "a_", "--prime", "the"), "--prime has no effect with --infill"),
        (("--infill-file", "missing.txt"), "missing.txt"),
        (("--infill-file", "a", "--length", "4"), "--length has no effect with --infill-file"),
        (("--infill-file", "a", "--infill", "a_"), "--infill and --infill-file both give the text"),
        (("--infill", "a_", "--suffix", "the"), "--suffix has no effect with --infill"),
        (("--infill", "a_", "--length", "400"), "--length has no effect with --infill"),
        (("--infill", "a_", "--until", "a"), "--until has no effect with --infill"),
        (("--infill", "a_", "--no-stream"), "--stream has no effect with --infill"),
        (("--infill", "a_", "--precision", "float32"), "--precision has no effect with --infill"),
        (("--sweeps", "3"), "--sweeps has no effect without --infill"),
        (("--gap", "_"), "--gap has no effect without --infill"),
        ((), "--infill"),
    ],
    ids=str,
)
def test_infill_mistakes_are_reported(charlstm, filler, arguments, message):
    result = charlstm("sample", filler, *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_options_must_fit_the_direction(charlstm, tiny_run, trained):
    backward = trained(b"the cat sat on a mat " * 40, direction="backward")
    for run, options, message in (
        (tiny_run, ["--suffix"], "--prime"),
        (backward, ["--prime"], "--suffix"),
        (tiny_run, ["--infill"], "direction: bidirectional"),
        (backward, ["--infill"], "direction: bidirectional"),
        (backward, ["--stream", "--suffix"], "--stream has no effect with direction: backward"),
    ):
        result = charlstm("sample", run, *options, "the _at")
        assert (result.code, result.out) == (2, "")
        assert message in result.err


def test_help_has_the_default_number_of_sweeps(charlstm):
    assert re.search(rf"--sweeps.*?default: \({SWEEPS}\)", " ".join(charlstm("sample", "--help").out.split()))


def test_bytes_that_are_not_utf_8(charlstm, trained, tmp_path):
    run = trained(bytes([0xFF, 0xE9, 0x41, 0x0A]) * 100, encoding="bytes")
    (tmp_path / "prime").write_bytes(b"\xff\xe9A")
    result = charlstm("sample", run, "--prime", f"@{tmp_path}/prime", "--length", 8, "--seed", 1, "--json")
    assert result.code == 0
    (sample,) = json.loads(result.out)["samples"]
    assert sample["prime"] == "\ufffd\ufffdA"
    assert len(sample["log_probabilities_nats"]) == 8


def test_interrupted_command_exits_with_130(charlstm, tiny_run, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("charlstm.api.load", interrupt)
    result = charlstm("sample", tiny_run)
    assert result.code == 130
    assert "Traceback" not in result.err
