from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charlstm.benchmark import BASELINE, NO_MEMORY, NO_TIME, Key, Measurement, Result, Size, candidates, environment
from charlstm.benchmark.round_robin import Speed
from charlstm.cli.bench import bar, left_out, table

TINY = ("--size", "1x4,2,3", "--rounds", 1, "--cell", "peephole", "--executor", "eager", "--precision", "float32")


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TURN_SECONDS", 0.0), ("PRODUCT_SIDES", (8,)), ("CHARACTERS", 5)):
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", value)


def measurement(**speeds: float) -> Measurement:
    """Of ``cell__executor__precision``; torch.nn is written ``torch``."""
    results = []
    for name, speed in speeds.items():
        cell, executor, precision = name.split("__")
        key = Key(cell, BASELINE if executor == "torch" else executor, precision)
        results.append(Result(key, Speed(speed, 0.9 * speed, speed), 10.0))
    peaks = {"float32": Speed(1e6, 1e6, 1e6), "bfloat16": Speed(2e6, 2e6, 2e6)}
    return Measurement("training", Size(1, 256, 32, 64), results, peaks, {}, 5)


def test_table_and_legend(charlstm):
    found = charlstm("bench", *TINY)
    assert found.code == 0
    assert "training 1x4,2,3, rounds: 1" in found.out
    assert "sampling 1x4, one text, rounds: 1" in found.out
    assert "sampling 1x4, 64 texts side by side" in found.out
    rows = [line.split() for line in found.out.splitlines()]
    first = [row[:3] for row in rows if row[:1] in (["lstm"], ["peephole"])][:2]
    assert first == [["lstm", "torch.nn", "float32"], ["peephole", "eager", "float32"]]
    assert "\npeak (torch.mm), thousand million multiply-adds per second: " in found.out
    assert "per multiply-add:" in found.out
    assert "[1 of 3] training 1x4,2,3: about 0:0" in found.err
    assert "\x1b" not in found.out + found.err


def test_json_is_one_document(charlstm):
    found = charlstm("bench", *TINY, "--json", "--training")
    document = json.loads(found.out)
    assert document.keys() == {"machine", "measurements"}
    (only,) = document["measurements"]
    assert {r["cell"] for r in only["results"]} == {"lstm", "peephole"}
    assert all(r["characters_per_second"]["median"] > 0 for r in only["results"])
    assert str(Path.cwd()) not in found.out


def test_progress_is_one_line_on_a_terminal_and_goes_away(charlstm, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    found = charlstm("bench", *TINY, "--training", "--quick")
    shown = terminal.getvalue()
    assert "\n" not in shown
    assert "[1 of 1] training 1x4,2,3: warming up" in shown
    assert re.search(r"%\|.*\| \[1 of 1\] training 1x4,2,3: about 0:00 left, lstm torch.nn float32", shown)
    assert shown.rstrip("\r").endswith("  ")
    assert "warming" not in found.out


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--training"], ["training"]),
        (["--sampling", "--texts", 2, "--texts", 3], ["sampling", "sampling"]),
        (["--training", "--sampling", "--texts", 1], ["training", "sampling"]),
    ],
)
def test_parts_that_are_asked_for(charlstm, flags, what):
    found = charlstm("bench", *TINY, "--json", *flags)
    assert [m["what"] for m in json.loads(found.out)["measurements"]] == what


def test_quick_ends_soon_and_says_whom_it_had_no_time_for(charlstm, monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.QUICK_SECONDS", 1e-9)
    found = charlstm("bench", "--quick", "--training", "--size", "1x4,2,3", "--executor", "eager", "--json")
    assert found.code == 0
    (only,) = json.loads(found.out)["measurements"]
    assert only["rounds"] == 1
    assert {(left["cell"], left["reason"]) for left in only["left_out"]} >= {("gru", NO_TIME), ("peephole", NO_TIME)}


def test_a_device_that_is_not_there_is_an_error(charlstm):
    found = charlstm("bench", *TINY, "--device", "cuda:7")
    assert found.code == 2
    assert "there is no device cuda:7 here" in found.err


def test_notes_stand_under_the_table(charlstm, monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.notes", lambda _: ["something to know"])
    found = charlstm("bench", *TINY, "--training", "--device", "cpu")
    assert "\nsomething to know\n" in found.out
    found = charlstm("bench", *TINY, "--training", "--json")
    assert json.loads(found.out)["measurements"][0]["notes"] == ["something to know"]


def test_plot(charlstm, tmp_path, drawn_plots):
    path = tmp_path / "speed.png"
    found = charlstm("bench", *TINY, "--training", "--plot", path)
    assert found.code == 0
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert f"bar chart: {path}" in found.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--size", "512"], "'512' is no size"),
        (["--size", "1x0,1,1"], "at least 1"),
        (["--cell", "nonsense"], "'nonsense' is none of"),
        (["--executor", "nonsense"], "'nonsense' is none of"),
        (["--precision", "float16"], "'float16' is none of"),
        (["--rounds", "0"], "--rounds"),
        (["--texts", "0"], "--texts"),
        (["--plot", "speed.svg"], "ends in .png"),
        (["--plot", "nowhere/speed.png"], "no folder nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(charlstm, monkeypatch, tmp_path, arguments, problem):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.benchmark.measure", lambda _: pytest.fail("measured"))
    found = charlstm("bench", *arguments)
    assert found.code == 2
    assert problem in " ".join(found.err.replace("│", " ").split())
    assert found.out == ""


def test_ratios_shares_and_bars_in_the_table():
    measured = measurement(
        lstm__torch__float32=20_000,
        lstm__torch__bfloat16=40_000,
        lstm__native__float32=30_000,
        rnn__native__float32=80_000,
    )
    header, *rows = table(measured, 200)
    assert [" ".join(name.split()) for name in header] == [
        *("cell", "executor", "precision", "char/s", "spread"),
        *("to nn.LSTM float32", "to nn.LSTM bfloat16", "of peak", "per multi- ply-add", ""),
    ]
    assert rows[0][3:9] == ["20,000", "10%", "1.00", "0.50", "20%", "0.67"]
    assert rows[1][3:9] == ["40,000", "10%", "2.00", "1.00", "20%", "–"]
    assert rows[3][3:9] == ["80,000", "10%", "4.00", "2.00", "80%", "2.67"]
    assert [row[-1].count("█") for row in rows] == [6, 12, 9, 24]


def test_a_narrow_terminal_keeps_ratio_and_bars():
    measured = measurement(lstm__torch__float32=1.0, lstm__torch__bfloat16=2.0, gru_reset_before__native__bfloat16=3.0)
    seen = set()
    for width in range(60, 160):
        header, *rows = table(measured, width)
        seen.add(len(header))
        assert header[-1] == ""
        assert "to\nnn.LSTM\nfloat32" in header
        columns = zip(header, *rows, strict=True)
        room = 1 + sum(3 + max(len(line) for cell in column for line in cell.split("\n")) for column in columns)
        assert room <= max(width, 80) + 3
    assert seen == {6, 7, 8, 9}


def test_columns_without_a_figure_are_left_out():
    header, *_ = table(measurement(lstm__torch__float32=1.0, gru__torch__float32=2.0), 200)
    assert "to\nnn.LSTM\nbfloat16" not in header
    assert "per\nmulti-\nply-add" not in header
    header, *rows = table(measurement(gru__native__float32=2.0), 200)
    assert "to\nnn.LSTM\nfloat32" not in header
    assert rows[0][-1].strip("▏ ") == ""


def test_one_round_has_no_spread():
    measured = measurement(lstm__torch__float32=1.0)
    assert "spread" in table(measured, 200)[0]
    assert "spread" not in table(replace(measured, rounds=1), 200)[0]


def test_lines_for_those_that_were_left_out():
    measured = measurement(lstm__torch__float32=1.0, lstm__native__float32=2.0)
    measured.left_out[Key("gru", "vendor", "float32")] = "torch has none"
    measured.left_out[Key("gru", "vendor", "bfloat16")] = "torch has none"
    measured.left_out[Key("lstm", "cpp", "bfloat16")] = "another reason"
    measured.left_out[Key("rnn", "cpp", "float32")] = NO_TIME
    measured.left_out[Key("rnn", "triton", "float32")] = NO_MEMORY
    assert left_out(measured) == [
        "vendor refuses: gru",
        "cpp refuses bfloat16 (another reason): lstm",
        "no time left for: rnn cpp float32",
        "no memory left for: rnn triton float32",
    ]


def test_a_cpu_that_imitates_bfloat16_is_measured_in_float32(charlstm, monkeypatch):
    monkeypatch.setattr(environment, "imitates_bfloat16", lambda: True)
    result = charlstm("bench", *TINY[:-2], "--training", "--json")
    assert "bfloat16 is left out" in result.err
    assert {r["precision"] for m in json.loads(result.out)["measurements"] for r in m["results"]} == {"float32"}


def test_what_torch_cannot_run_is_left_out_with_the_reason(charlstm, monkeypatch):
    for module in (candidates, environment):
        monkeypatch.setattr(module, "cannot_run", lambda *args: "no primitive" if args[-1] == torch.bfloat16 else None)
    result = charlstm("bench", *TINY[:-1], "bfloat16", "--training")
    assert result.code == 0
    assert "torch.nn refuses bfloat16 (no primitive): lstm" in result.out


def test_bars():
    assert bar(1.0, 8) == "████████▏"
    assert bar(0.5, 8) == "████    ▏"
    assert bar(1 / 64, 8) == "▏       ▏"
    assert bar(0.0, 8) == "        ▏"
    assert {len(bar(share / 100, 11)) for share in range(101)} == {12}
