"""What is printed on terminals of 60, 80 and 120 columns: tables, live lines and help."""

from __future__ import annotations

import io
import math
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from commands import call
from screens import screen

from charlstm import cli, console
from charlstm import terminal_layout as layout
from charlstm.benchmark import Key, Measurement, Result, Size
from charlstm.benchmark.loops import LoopTimes
from charlstm.benchmark.round_robin import Speed
from charlstm.cli import bench_output
from charlstm.cli.runs_progress import Several
from charlstm.cli.steps_progress import TimeLeft
from charlstm.cli.steps_progress import progress_parts as memory_parts
from charlstm.comparison.step import Step
from charlstm.comparison.tables import BOUNDS, verdict_rows
from charlstm.report.document import Verdict
from charlstm.terminal_layout import fit_parts, join_parts
from charlstm.training.events import Ended, Evaluated, Progress
from charlstm.training_progress import LossHistory, Position, RunProgress, evaluated_parts, follow, progress_parts

WIDTHS = [60, 80, 120]
APP = typer.main.get_command(cli.app)
NUMBER = re.compile(r"\d[\d.,:]*\d|\d")
COMMANDS = (
    ("runs", "--all"),
    ("runs", "--runs", "others"),
    ("doctor",),
    ("config", "list"),
    ("corpus", "list"),
    ("evaluate", "one", "--restore", "1,8", "--gaps", 4, "--split", "train"),
    ("evaluate", "one", "--text", "copy.txt", "--unknown", "skip", "--map", "--output", "map"),
    ("evaluate", "one", "--dynamic", "--rate", "0.001", "--decay", "0.01"),
    ("novelty", "one", "copy.txt"),
    ("compare", "one", "runs/a-comparison/with-an-arm-of-a-long-name-seed2023"),
    ("train", "runs/one", "--resume", "--dry-run"),
    ("train", "copy.txt", "--range-test", "--set", "model.hidden_size=4"),
    ("sweep", "tiny-sweep.yaml", "--dry-run"),
    ("sweep", "tiny-sweep.yaml", "--jobs", 1),
)
SWEEP = """\
corpus: {source: copy.txt}
training: {batch_size: 2, sequence_length: 8, device: cpu, budget: {steps: 10}}
space:
  model.hidden_size: {min: 2, max: 9}
  training.learning_rate: {min: 1e-3, max: 1e-1, scale: log}
  training.weight_decay: [0, 1e-2]
trials: 3
seeds: 2
"""
Draw = Callable[[], object]


@pytest.fixture(scope="module")
def tables(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Draw]]:
    """For each module that prints tables, functions that print each of its tables again."""
    drawn: dict[str, list[Draw]] = {}
    draw = console.table

    def record(*arguments: object, **options: object) -> None:
        name = sys._getframe(1).f_globals["__name__"]
        drawn.setdefault(name, []).append(lambda: draw(*arguments, **options))  # type: ignore[arg-type]

    folder = tmp_path_factory.mktemp("work")
    for name in ("runs/one", "runs/a-comparison/with-an-arm-of-a-long-name-seed2023", "others/" + "本" * 30 + "12345"):
        shutil.copytree(tiny_run, folder / name)
    (folder / "tiny-sweep.yaml").write_text(SWEEP, encoding="utf-8")
    (folder / "copy.txt").write_text("the cat sat on the mat. " * 9, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, screen(10_000), redirect_stderr(io.StringIO()):
        patch.chdir(folder)
        patch.setattr(console, "table", record)
        patch.setattr("charlstm.comparison.report.write_report", lambda *_: [Path("index.html")])
        patch.setattr("charlstm.sweep.report.write_document", lambda *_: [Path("index.html")])
        patch.setattr("charlstm.run_report.range_report.write_document", lambda *_: [Path("index.html")])
        patch.setattr("charlstm.cli.compare._inspect", lambda *_: None)
        for command in COMMANDS:
            assert call(command) == 0, command
        bench_output.show(_measurement())
        times = {"graph": (5.31, 5.3), "one kernel": (2.351, 5.149), "cuDNN bfloat16": (35.0, 60.25)}
        bench_output.show_loops([LoopTimes("gru_reset_before", 2048, 256, 128, times, {})], 5)
    verdicts = [
        Verdict("the LSTM recalls a letter over 100 steps", "at least 0.95", "0.973", "0.951 to 0.9875", "held")
    ]
    rows = verdict_rows(verdicts)
    optional = ["criterion", BOUNDS, "measured"]
    drawn["charlstm.cli.memory"] = [lambda: draw(rows, "recall", prose=True, optional=optional)]
    return drawn


def _measurement() -> Measurement:
    speeds = {"gru_reset_before": 123_456.0, "lstm": 7_654_321.0}
    keys = [Key(cell, "cpp", precision) for cell in speeds for precision in ("float32", "bfloat16")]
    results = [Result(key, Speed(speeds[key.cell], 0.9 * speeds[key.cell], speeds[key.cell]), 10.0) for key in keys]
    peaks = {precision: Speed(1e8, 1e8, 1e8) for precision in ("float32", "bfloat16")}
    return Measurement("training", Size(1, 256, 32, 64), results, peaks, {}, 5)


def test_every_module_with_tables_is_tested(tables):
    folder = Path(cli.__file__).parent
    users = {f"charlstm.cli.{path.stem}" for path in folder.glob("*.py") if "console.table(" in path.read_text()}
    assert users == set(tables)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", WIDTHS)
def test_tables_fit_and_break_no_number(tables, width, encoding):
    for draw in (draw for draws in tables.values() for draw in draws):
        with screen(10_000, encoding) as whole:
            draw()
        with screen(width, encoding) as shown:
            draw()
        assert max(map(len, shown.lines())) <= width
        assert set(NUMBER.findall(shown.text())) <= set(NUMBER.findall(whole.text()))
        assert shown.text().count("…") <= whole.text().count("…")


def test_left_out_columns_are_named(tables):
    with screen(60) as shown:
        tables["charlstm.cli.runs"][0]()
    assert "best" in shown.text()
    assert "finished" in shown.text()
    assert "not shown on a terminal this narrow: held out" in shown.text()
    with screen(60) as shown:
        bench_output.show(_measurement())
        times = {"graph": (5.31, 5.3), "one kernel": (2.351, 5.149), "cuDNN bfloat16": (35.0, 60.25)}
        bench_output.show_loops([LoopTimes("gru_reset_before", 2048, 256, 128, times, {})], 5)
    assert "not shown on a terminal this narrow: per multiply-add" in shown.text()


def test_tables_are_whole_in_a_pipe(tables, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    tables["charlstm.cli.runs"][0]()
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "not shown" not in out


def progress(step: int = 1234, fraction: float = 0.5) -> Progress:
    return Progress(step, 12.25, math.log(4), 1e-3, 0.5, 123_456.0, fraction, 3600.0)


@pytest.mark.parametrize(
    ("width", "position", "line"),
    [
        (20, None, "2.000 bits/char"),
        (30, None, "2.000 bits/char  1:00:00 left"),
        (60, None, " 50% step 1,234 ▁ 2.000 bits/char  1:00:00 left"),
        (72, None, "[lstm]  50%|██████      | step 1,234 ▁ 2.000 bits/char  1:00:00 left"),
        (60, Position(3, 6, 3), "run 3 of 6  50% step 1,234 ▁ 2.000 bits/char  1:00:00 left"),
        (90, Position(3, 6, 3), "run 3 of 6  50% step 1,234 ▁ 2.000 bits/char  1:00:00 left, 7:00:00 for all runs"),
        (
            140,
            Position(3, 6, 0),
            "run 3 of 6 [lstm]  50%|██████      | step 1,234 epoch 12.25  loss ▁ 1.386 nats, 2.000 bits/char  "
            "123,456 char/s  1:00:00 left",
        ),
    ],
)
def test_live_line_keeps_bits_and_time_left_longest(width, position, line):
    with screen(width) as shown, RunProgress("[lstm] ", position=position) as run:
        run.show(progress())
        run.show(Ended("budget", 3, 1.0, 2, 1.0, 100))
    assert line.strip() in [each.strip() for each in shown.lines()]
    assert max(map(len, shown.lines())) < width


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (16, "1 of 6 runs"),
        (30, "1 of 6 runs  14:00:00 left"),
        (60, "1 of 6 runs, 2 now: lstm, seed 1 50%  14:00:00 left"),
        (70, "1 of 6 runs, 2 now: lstm, seed 1 50%; rnn, seed 2 10%  14:00:00 left"),
        (99, "1 of 6 runs, 2 now: lstm, seed 1 50% 2.000 bits; rnn, seed 2 10% 2.000 bits  14:00:00 left"),
    ],
)
def test_line_of_several_runs_keeps_their_number_and_the_time_left_longest(width, line, capsys):
    jobs = [
        SimpleNamespace(key=Path(f"{arm}{seed}"), trial=SimpleNamespace(label=f"{arm}, seed {seed}"))
        for seed in (1, 2, 3)
        for arm in ("rnn", "lstm")
    ]
    with Several(jobs, later=5, unit="character") as runs:  # the first is done
        runs.show(jobs[1], progress(fraction=0.5))
        runs.show(jobs[2], progress(fraction=0.1))
        parts = runs._parts()
    assert fit_parts(parts, width) == line


@pytest.mark.parametrize(
    "parts",
    [
        progress_parts(progress(), "character", "▁▂▃", later=3),
        evaluated_parts(Evaluated(123_456, 12.25, 1.2345, 9, False, True, 1.2, "", 1.1111, 9, 1.3333), "character"),
        evaluated_parts(
            Evaluated(123_456, 12.25, 1.2345, 9, False, True, 1.2, "", 1.1111, 9, 1.3333, 99, 0.0123), "character"
        ),
        evaluated_parts(Evaluated(123_456, 12.25, None, 0, True, False, None, "", 1.1111, 9), "character"),
    ],
)
def test_no_number_of_a_line_is_cut(parts):
    numbers = set(NUMBER.findall(join_parts(parts)))
    for width in range(15, 130):
        line = fit_parts(parts, width)
        assert len(line) <= width
        assert "bits" in line
        assert set(NUMBER.findall(line)) <= numbers


@pytest.mark.parametrize(
    ("columns", "names", "last"), [(80, 6, "n5"), (80, 30, "... 25 more lines in samples.txt"), (None, 30, "n29")]
)
def test_terminal_shows_the_first_lines_of_a_sample(monkeypatch, capsys, columns, names, last):
    monkeypatch.setattr(console, "width", lambda: columns)
    sample = "\n".join(f"n{number}" for number in range(names))
    follow([Evaluated(2, 0.5, 1.0, 10, False, True, 1.0, sample), Ended("budget", 3, 1.0, 2, 1.0, 100)])
    assert capsys.readouterr().out.rstrip().splitlines()[-1] == f"    {last}"


def test_terminal_wraps_the_lines_of_a_sample(monkeypatch, capsys):
    monkeypatch.setattr(console, "width", lambda: 30)
    sample = "It was a bright cold day in April.\nA  short line"
    follow([Evaluated(2, 0.5, 1.0, 10, False, True, 1.0, sample), Ended("budget", 3, 1.0, 2, 1.0, 100)])
    lines = capsys.readouterr().out.rstrip().splitlines()[-3:]
    assert lines == ["    It was a bright cold day", "        in April.", "    A  short line"]


def test_sparkline_of_the_loss_follows_it():
    history = LossHistory()
    for step in range(1000):
        history.add(1000 - step)
    with screen(80):
        bars = history.sparkline()
    assert (bars[0], bars[-1], len(bars)) == (layout.BLOCKS[-1], layout.BLOCKS[0], len(layout.BLOCKS))
    assert sorted(bars, reverse=True) == list(bars)
    with screen(80, "ascii"):
        assert set(history.sparkline()) == set(layout.ASCII_LEVELS)


def test_time_left_of_a_memory_comparison(monkeypatch):
    now = iter([0.0, 10.0, 30.0, 34.0, 35.0, 37.0])
    monkeypatch.setattr("charlstm.cli.steps_progress.time.monotonic", lambda: next(now))
    left = TimeLeft()
    steps = [Step("training", "lstm", 7, 10), Step("training", "gru", 8, 10), Step("measuring", "lstm", 1, 3)]
    steps += [Step("to 10%", "", 0, 4), Step("to 10%", "trial 1", 1, 4)]
    assert [left.after(step) for step in steps] == [30.0, 30.0, 8.0, None, 9.0]


def test_memory_comparison_counts_its_runs():
    step = Step("training", "recall, lstm, seed 2", 7, 10)
    assert join_parts(memory_parts(step, None)) == "training: 7 of 10, recall, lstm, seed 2"
    assert join_parts(memory_parts(step, 65.0)) == "training: 7 of 10, recall, lstm, seed 2  1:05 left"
    assert fit_parts(memory_parts(step, 65.0), 30) == "training: 7 of 10  1:05 left"


def test_compare_counts_its_runs(config_file):
    arms = "arms: {narrow: {model.hidden_size: 4}, wide: {}}"
    Path("versus.yaml").write_text(f"{config_file.read_text()}{arms}\nseeds: 1\n", encoding="utf-8")
    with screen(70) as shown, pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlstm.comparison.report.write_report", lambda *_: [Path("index.html")])
        patch.setattr("charlstm.cli.compare._inspect", lambda *_: None)
        assert call(("compare", "versus.yaml")) == 0
    assert [number for number in (1, 2) if f"run {number} of 2 " in shown.text()] == [1, 2]


def test_hints_of_a_training_are_wrapped_on_a_terminal(monkeypatch, capsys):
    with screen(40) as shown:
        monkeypatch.setattr(sys, "stderr", shown)
        console.note("note: the budget is 0.47 epochs of 1,234 steps", is_wrapped=True)
        monkeypatch.undo()
        console.note("note: the budget is 0.47 epochs of 1,234 steps", is_wrapped=True)
    assert shown.lines() == ["note: the budget is 0.47 epochs of 1,234", "    steps"]
    assert capsys.readouterr().err == "note: the budget is 0.47 epochs of 1,234 steps\n"


def test_ending_of_a_run_shows_its_curve(config_file):
    options = ("--set", "training.evaluate_every=2", "--set", "training.budget.steps=8")
    with screen(60) as shown, pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlstm.cli.train_output._write_report", lambda _: "index.html")
        assert call(("train", config_file, *options)) == 0
    (curve,) = [line for line in shown.lines() if line.startswith("held-out bits from first to last: ")]
    assert re.fullmatch(r"\d\.\d{3} [▁▂▃▄▅▆▇█]{4} \d\.\d{3}", curve.partition(": ")[2])


@pytest.mark.parametrize("width", WIDTHS)
def test_help_is_whole(width):
    for name, command in {"": APP, **APP.commands}.items():
        text = command.get_help(context(command, name, width))
        assert "…" not in text
        assert not re.search(r"\w\.\.\.$", text, re.MULTILINE), name
        assert max(map(len, text.splitlines())) <= width
        words = set(re.split(r"[\s,/]+", text))
        assert {option for each in command.params for option in each.opts if option.startswith("-")} <= words
    for command in APP.commands.values():
        sentence = " ".join(command.help.split("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
        assert sentence in " ".join(APP.get_help(context(APP, "", width)).split())


def context(command, name, width):
    """With the settings of the application: a command keeps the names of its help option from the first context."""
    return typer.Context(command, info_name=name, terminal_width=width, **APP.context_settings)
