"""Several texts of ``charlstm sample``: temperatures, and what stands between texts."""

from __future__ import annotations

import json

import pytest

import charlstm as package


def test_each_temperature_writes_a_text_from_the_same_seed(charlstm, tiny_run):
    run, options = package.load(tiny_run), ("--length", 30, "--seed", 3, "--prime", "the ")
    result = charlstm("sample", tiny_run, *options, "--temperature", "0,0.5,1.2:0.6")
    expected = [run.generate("the ", 30, seed=3, temperature=t)[0].full_text for t in (0, 0.5, (1.2, 0.6))]
    assert result.out == "".join(text + "\n" for text in expected)
    assert result.err == "--- temperature 0\n--- temperature 0.5\n--- temperature 1.2:0.6\n"


def test_several_texts_at_several_temperatures(charlstm, tiny_run):
    options = ("sample", tiny_run, "--length", 8, "--seed", 3, "--num-samples", 2, "--temperature", "0.5,1")
    run = package.load(tiny_run)
    expected = [s.text for t in (0.5, 1) for s in run.generate("", 8, seed=3, temperature=t, num_samples=2)]
    result = charlstm(*options)
    assert result.out == "".join(text + "\n" for text in expected)
    headings = [f"--- temperature {t}, {n} of 2" for t in ("0.5", "1") for n in (1, 2)]
    assert result.err.splitlines() == headings
    samples = json.loads(charlstm(*options, "--json").out)["samples"]
    assert [s["text"] for s in samples] == expected
    assert [s["temperature"] for s in samples] == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--temperature", "0.5,1", "--stream"), "--stream has no effect with 2 temperatures"),
        (("--temperature", "0.5,"), "'' is neither a number"),
        (("--temperature", "0.5,-1"), "temperature"),
        (("--temperature", "0,0", "--top-k", 3), "--top-k has no effect with --temperature 0"),
        (("--temperature", "0.5,1", "--interactive"), "keys change the temperature: give one"),
        (("--temperature", "0.5,1", "--beam", 2), "--temperature has no effect with --beam"),
        (("--separator", "---"), "--separator has no effect on a single text"),
        (("--separator", "---", "--num-samples", 2, "--json"), "--separator has no effect with --json"),
    ],
    ids=str,
)
def test_mistakes_are_refused(charlstm, tiny_run, arguments, message):
    result = charlstm("sample", tiny_run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_separator_takes_texts_apart(charlstm, tiny_run):
    options = {"length": 60, "seed": 3, "num_samples": 3}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = charlstm("sample", tiny_run, *flags, "--separator", "=== next")
    texts = [s.text for s in package.load(tiny_run).generate(**options)]
    assert result.out.removesuffix("\n").split("\n=== next\n") == texts
    assert result.err == ""


def test_separated_texts_have_a_heading_for_each_temperature(charlstm, tiny_run):
    options = ("--temperature", "0.5,1", "--num-samples", 2, "--length", 5, "--seed", 3, "--separator", "===")
    assert charlstm("sample", tiny_run, *options).err == "--- temperature 0.5\n--- temperature 1\n"
