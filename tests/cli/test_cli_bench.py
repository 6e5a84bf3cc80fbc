from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charlstm.benchmark import (
    BASELINE,
    CAPTURED,
    NO_MEMORY,
    NO_TIME,
    Key,
    Measurement,
    Result,
    Size,
    environment,
    networks,
)
from charlstm.benchmark.loops import LoopTimes
from charlstm.benchmark.round_robin import Speed
from charlstm.cli.bench_output import bar, left_out, table

TINY = ("--size", "1x4,2,3", "--rounds", 1, "--cell", "peephole", "--executor", "eager", "--precision", "float32")


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TURN_SECONDS", 0.0), ("MATMUL_SIZES", (8,)), ("CHARACTERS", 5)):
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", value)


def measurement(**speeds: float) -> Measurement:
    """A measurement from speeds named ``cell__executor__precision``; ``torch`` means torch.nn."""
    results = []
    for name, speed in speeds.items():
        cell, executor, precision = name.split("__")
        key = Key(cell, BASELINE if executor == "torch" else executor, precision)
        results.append(Result(key, Speed(speed, 0.9 * speed, speed), 10.0))
    peaks = {"float32": Speed(1e6, 1e6, 1e6), "bfloat16": Speed(2e6, 2e6, 2e6)}
    return Measurement("training", Size(1, 256, 32, 64), results, peaks, {}, 5)


def test_table_and_legend_are_printed(charlstm):
    result = charlstm("bench", *TINY)
    assert result.code == 0
    assert "training 1x4,2,3, rounds: 1" in result.out
    assert "sampling 1x4, one text, rounds: 1" in result.out
    assert "sampling 1x4, 64 texts in parallel" in result.out
    rows = [line.split() for line in result.out.splitlines()]
    first = [row[:3] for row in rows if row[:1] in (["lstm"], ["peephole"])][:2]
    assert first == [["lstm", "torch.nn", "float32"], ["peephole", "eager", "float32"]]
    assert "\npeak (torch.mm), billion multiply-adds per second: " in result.out
    assert "per multiply-add:" in result.out
    assert "[1 of 3] training 1x4,2,3: about 0:0" in result.err
    assert "\x1b" not in result.out + result.err


def test_json_is_one_document(charlstm):
    result = charlstm("bench", *TINY, "--json", "--training")
    document = json.loads(result.out)
    assert document.keys() == {"machine", "measurements"}
    (only,) = document["measurements"]
    assert {r["cell"] for r in only["results"]} == {"lstm", "peephole"}
    assert all(r["characters_per_second"]["median"] > 0 for r in only["results"])
    assert str(Path.cwd()) not in result.out


def test_progress_is_one_line_on_a_terminal(charlstm, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    result = charlstm("bench", *TINY, "--training", "--quick")
    shown = terminal.getvalue()
    assert "\n" not in shown
    assert "[1 of 1] training 1x4,2,3: warming up" in shown
    assert re.search(r"%\|.*\| \[1 of 1\] training 1x4,2,3: about 0:00 left, lstm torch.nn float32", shown)
    assert shown.rstrip("\r").endswith("  ")
    assert "warming" not in result.out


@pytest.mark.parametrize(
    ("flags", "workloads"),
    [
        (["--training"], ["training"]),
        (["--sampling", "--texts", 2, "--texts", 3], ["sampling", "sampling"]),
        (["--training", "--sampling", "--texts", 1], ["training", "sampling"]),
    ],
)
def test_only_requested_parts_are_measured(charlstm, flags, workloads):
    result = charlstm("bench", *TINY, "--json", *flags)
    assert [m["workload"] for m in json.loads(result.out)["measurements"]] == workloads


def test_quick_lists_candidates_without_time(charlstm, monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.QUICK_SECONDS", 1e-9)
    result = charlstm("bench", "--quick", "--training", "--size", "1x4,2,3", "--executor", "eager", "--json")
    assert result.code == 0
    (only,) = json.loads(result.out)["measurements"]
    assert only["rounds"] == 1
    assert {(left["cell"], left["reason"]) for left in only["left_out"]} >= {("gru", NO_TIME), ("peephole", NO_TIME)}


def test_missing_device_is_an_error(charlstm):
    result = charlstm("bench", *TINY, "--device", "cuda:7")
    assert result.code == 2
    assert "device cuda:7 is not available" in result.err


def test_notes_are_below_the_table(charlstm, monkeypatch):
    monkeypatch.setattr("charlstm.benchmark.plan.notes", lambda _: ["something to know"])
    result = charlstm("bench", *TINY, "--training", "--device", "cpu")
    assert "\nsomething to know\n" in result.out
    result = charlstm("bench", *TINY, "--training", "--json")
    assert json.loads(result.out)["measurements"][0]["notes"] == ["something to know"]


def test_plot_writes_a_png(charlstm, tmp_path, drawn_plots):
    path = tmp_path / "speed.png"
    result = charlstm("bench", *TINY, "--training", "--plot", path)
    assert result.code == 0
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert f"bar chart: {path}" in result.err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--size", "512"], "'512' is not a size"),
        (["--size", "1x0,1,1"], "at least 1"),
        (["--cell", "nonsense"], "'nonsense' is not one of"),
        (["--executor", "nonsense"], "'nonsense' is not one of"),
        (["--precision", "float8"], "'float8' is not one of"),
        (["--precision", "float16", "--device", "cpu"], "--precision float16 is for NVIDIA GPUs; the device is cpu"),
        (["--executor", "torch.nn-captured", "--device", "cpu"], "--executor torch.nn-captured is for NVIDIA GPUs"),
        (["--rounds", "0"], "--rounds"),
        (["--texts", "0"], "--texts"),
        (["--plot", "speed.svg"], "ends in .png"),
        (["--plot", "nowhere/speed.png"], "there is no folder nowhere"),
    ],
)
def test_mistakes_are_reported_before_measuring(charlstm, monkeypatch, tmp_path, arguments, error):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.benchmark.measure", lambda _: pytest.fail("measured"))
    result = charlstm("bench", *arguments)
    assert result.code == 2
    assert error in " ".join(result.err.replace("│", " ").split())
    assert result.out == ""


def test_ratios_utilization_and_bars_in_the_table():
    example = measurement(
        lstm__torch__float32=20_000,
        lstm__torch__bfloat16=40_000,
        lstm__cpp__float32=30_000,
        rnn__cpp__float32=80_000,
    )
    header, *rows = table(example, 200)
    assert [" ".join(name.split()) for name in header] == [
        *("cell", "executor", "precision", "char/s", "spread"),
        *("to nn.LSTM float32", "to nn.LSTM bfloat16", "utili- zation", "per multi- ply-add", ""),
    ]
    assert rows[0][3:9] == ["20,000", "10%", "1.00", "0.50", "20%", "0.67"]
    assert rows[1][3:9] == ["40,000", "10%", "2.00", "1.00", "20%", "–"]
    assert rows[3][3:9] == ["80,000", "10%", "4.00", "2.00", "80%", "2.67"]
    assert [row[-1].count("█") for row in rows] == [6, 12, 9, 24]


def test_narrow_terminal_shows_ratio_and_bars():
    example = measurement(lstm__torch__float32=1.0, lstm__torch__bfloat16=2.0, gru_reset_before__cpp__bfloat16=3.0)
    seen = set()
    for width in range(60, 160):
        header, *rows = table(example, width)
        seen.add(len(header))
        assert header[-1] == ""
        assert "to\nnn.LSTM\nfloat32" in header
        columns = zip(header, *rows, strict=True)
        width_used = 1 + sum(3 + max(len(line) for cell in column for line in cell.split("\n")) for column in columns)
        assert width_used <= max(width, 80) + 3
    assert seen == {6, 7, 8, 9}


def test_columns_without_values_are_left_out():
    header, *_ = table(measurement(lstm__torch__float32=1.0, gru__torch__float32=2.0), 200)
    assert "to\nnn.LSTM\nbfloat16" not in header
    assert "per\nmulti-\nply-add" not in header
    header, *rows = table(measurement(gru__cpp__float32=2.0), 200)
    assert "to\nnn.LSTM\nfloat32" not in header
    assert rows[0][-1].strip("▏ ") == ""


def test_one_round_has_no_spread():
    example = measurement(lstm__torch__float32=1.0)
    assert "spread" in table(example, 200)[0]
    assert "spread" not in table(replace(example, rounds=1), 200)[0]


def test_lines_on_left_out_candidates():
    example = measurement(lstm__torch__float32=1.0, lstm__cpp__float32=2.0)
    example.left_out[Key("gru", "vendor", "float32")] = "torch has no gru"
    example.left_out[Key("gru", "vendor", "bfloat16")] = "torch has no gru"
    example.left_out[Key("lstm", "cpp", "bfloat16")] = "another reason"
    for precision in ("float32", "bfloat16"):
        example.left_out[Key("lstm", CAPTURED, precision)] = "it cannot be captured"
    example.left_out[Key("rnn", "cpp", "float32")] = NO_TIME
    example.left_out[Key("rnn", "triton", "float32")] = NO_MEMORY
    assert left_out(example) == [
        "vendor cannot run: gru",
        "cpp cannot run in bfloat16 (another reason): lstm",
        "torch.nn-captured cannot run (it cannot be captured): lstm",
        "no time left for: rnn cpp float32",
        "no memory left for: rnn triton float32",
    ]


def test_cpu_without_bfloat16_is_measured_in_float32(charlstm, monkeypatch):
    monkeypatch.setattr(environment, "emulates_bfloat16", lambda: True)
    result = charlstm("bench", *TINY[:-2], "--training", "--json")
    assert "bfloat16 is left out" in result.err
    assert {r["precision"] for m in json.loads(result.out)["measurements"] for r in m["results"]} == {"float32"}


def test_unsupported_precision_is_left_out_with_reason(charlstm, monkeypatch):
    for module in (networks, environment):
        monkeypatch.setattr(
            module, "training_error", lambda *args: "no primitive" if args[-1] == torch.bfloat16 else None
        )
    result = charlstm("bench", *TINY[:-1], "bfloat16", "--training")
    assert result.code == 0
    assert "torch.nn cannot run in bfloat16 (no primitive): lstm" in result.out


def test_bar_lengths():
    assert bar(1.0, 8) == "████████▏"
    assert bar(0.5, 8) == "████    ▏"
    assert bar(1 / 64, 8) == "▏       ▏"
    assert bar(0.0, 8) == "        ▏"
    assert {len(bar(percent / 100, 11)) for percent in range(101)} == {12}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--loops needs an NVIDIA GPU; the device is cpu"),
        (("--size", "2x64,3,4"), "--loops measures one layer: write 1xHIDDEN,BATCH,STEPS"),
        (("--training",), "--training"),
    ],
)
def test_loops_are_measured_on_a_gpu_only(charlstm, options, message):
    result = charlstm("bench", "--loops", "--device", "cpu", *options)
    assert result.code == 2
    assert message in result.err


def test_interrupted_measurement_of_loops_leaves_what_was_measured(charlstm, monkeypatch):
    def measure_all(cells, shapes, rounds, device):
        yield LoopTimes(cells[0], *shapes[0], {"graph": (5.0, 6.25)}, {})
        raise KeyboardInterrupt

    monkeypatch.setattr("charlstm.hardware.device.resolve_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr("charlstm.benchmark.machine_facts", lambda _: {})
    monkeypatch.setattr("charlstm.benchmark.loops.measure_all", measure_all)
    result = charlstm("bench", "--loops", "--size", "1x256,32,128")
    assert result.code == 130
    assert "lstm, 256 units, batch 32: graph 5.00 and 6.25\n" in result.err
