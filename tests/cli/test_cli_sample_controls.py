"""Options of ``charlstm sample`` that control a text as a whole, and that choose among texts."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import charlstm as package

OTHER = "checkpoints/previous.safetensors"
EVERY = {
    "schedule": (("--temperature", "1.5:0.4"), {"temperature": (1.5, 0.4)}),
    "no repeat": (("--no-repeat", 4), {"no_repeat": 4}),
    "regex": (("--regex", "[a-z]+( [a-z]+)?"), {"regex": "[a-z]+( [a-z]+)?"}),
    "average": (("--average-with", OTHER), {"average_with": [OTHER]}),
    "best": (("--best-of", 5), {"best_of": 5}),
}
STREAMED = {f"{name}, stream": ((*EVERY[name][0], "--stream"), EVERY[name][1]) for name in EVERY if name != "best"}


@pytest.fixture(scope="module")
def loaded(tiny_run):
    return package.load(tiny_run)


@pytest.mark.parametrize(("options", "arguments"), [*EVERY.values(), *STREAMED.values()], ids=[*EVERY, *STREAMED])
def test_every_control_is_used(charlstm, tiny_run, loaded, options, arguments):
    options = [tiny_run / OTHER if option == OTHER else option for option in options]
    if "average_with" in arguments:
        arguments = {"average_with": [package.load(tiny_run / OTHER)]}
    (expected,) = loaded.generate("the ", 40, seed=2, **arguments)
    result = charlstm("sample", tiny_run, "--prime", "the ", "--length", 40, "--seed", 2, *options)
    assert (result.code, result.out, result.err) == (0, expected.full_text + "\n", "")
    assert expected != loaded.generate("the ", 40, seed=2)[0]


def test_beam_prints_the_texts_of_the_search(charlstm, tiny_run, loaded):
    options = ("--beam", 4, "--num-samples", 2, "--length", 30, "--no-repeat", 9)
    expected = loaded.beam_search(length=30, width=4, num_samples=2, no_repeat=9)
    result = charlstm("sample", tiny_run, *options, "--json")
    record = json.loads(result.out)
    assert (result.err, record["seed"]) == ("", None)
    assert [s["text"] for s in record["samples"]] == [s.full_text for s in expected]
    assert [s["mean_log_probability_nats"] for s in record["samples"]] == [s.score for s in expected]
    assert charlstm("sample", tiny_run, *options).err == "--- 1 of 2\n--- 2 of 2\n"


def test_json_and_novelty_of_texts_that_match(charlstm, tiny_run):
    options = ("--regex", "(the|a) [a-z]{2,5}", "--num-samples", 4, "--seed", 1, "--novelty", "--json")
    samples = json.loads(charlstm("sample", tiny_run, *options).out)["samples"]
    assert all(re.fullmatch("(the|a) [a-z]{2,5}", s["written"]) for s in samples)
    assert all(s["novelty"]["characters"] == len(s["written"]) for s in samples)


def test_best_texts_come_first(charlstm, tiny_run, loaded):
    options = ("--best-of", 9, "--num-samples", 3, "--seed", 1, "--length", 30, "--json")
    samples = json.loads(charlstm("sample", tiny_run, *options).out)["samples"]
    scores = sorted((s.score for s in loaded.generate(length=30, seed=1, num_samples=9)), reverse=True)
    assert [s["mean_log_probability_nats"] for s in samples] == scores[:3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--temperature warm", "'warm' is neither a number nor two with a colon"),
        ("--temperature 1:2:3", "'1:2:3' is neither a number nor two with a colon"),
        ("--temperature 1:-1", "temperature must be 0 (greedy) or more, found -1.0"),
        ("--temperature 0:0 --top-k 3", "--top-k has no effect with --temperature 0"),
        ("--temperature 0 --best-of 3", "--best-of has no effect with --temperature 0"),
        ("--infill a_ --temperature 1:0.5", "--infill fills gaps in turns, at one temperature"),
        ("--infill a_ --no-repeat 5", "--no-repeat has no effect with --infill"),
        ("--infill a_ --average-with RUN", "--average-with has no effect with --infill"),
        ("--infill a_ --regex a", "--regex has no effect with --infill"),
        ("--infill a_ --best-of 2", "--best-of has no effect with --infill"),
        ("--infill a_ --beam 2", "--beam has no effect with --infill"),
        ("--best-of 2 --num-samples 2", "--best-of 2 has no effect with --num-samples 2"),
        ("--best-of 3 --stream", "--stream has no effect with --best-of"),
        ("--beam 0", "--beam"),
        ("--beam 3 --temperature 0.5", "--temperature has no effect with --beam"),
        ("--beam 3 --top-k 2", "--top-k has no effect with --beam"),
        ("--beam 3 --top-p .2", "--top-p has no effect with --beam"),
        ("--beam 3 --min-p .2", "--min-p has no effect with --beam"),
        ("--beam 3 --seed 1", "--seed has no effect with --beam"),
        ("--beam 3 --best-of 4", "--best-of has no effect with --beam"),
        ("--beam 3 --stream", "--stream has no effect with --beam"),
        ("--beam 3 --num-samples 4", "--beam 3 gives at most 3 texts, --num-samples is 4"),
        ("--regex a --until b", "--until has no effect with --regex"),
        ("--regex a[b", "'a[b' is not a regular expression: unterminated character set at position 1"),
        ("--regex é", "it does not know 'é'"),
        ("--regex aaa --length 2", "the shortest text that matches 'aaa' has 3 characters, and length is 2"),
        ("--no-repeat 0", "--no-repeat"),
        ("--average-with nothing", "nothing: there is no such run"),
    ],
)
def test_controls_that_cannot_work_are_refused(charlstm, tiny_run, options, message):
    result = charlstm("sample", tiny_run, *options.replace("RUN", str(tiny_run)).split())
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_runs_of_another_direction_are_refused_before_they_are_loaded(charlstm, tiny_run, tmp_path):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("direction: forward", "direction: backward"))
    shutil.rmtree(other / "checkpoints")
    result = charlstm("sample", tiny_run, "--average-with", other)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: --average-with {other}: it has direction: backward, RUN has direction: forward\n"
