"""INT, TERM and HUP at every phase of a command, once and twice; USR1; and readers that are gone."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import charlstm as package
from charlstm.checkpoints.format import load_checkpoint
from charlstm.cli.signals import handled
from charlstm.runs.directory import RunDirectory

ROOT = Path(package.__file__).parents[1]
INT, TERM, HUP, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1
ALL = pytest.mark.parametrize("number", [INT, TERM, HUP], ids=lambda n: n.name)
OPTIONS = ("--set", "model.dropout=0.2", "--set", "corpus.validation_fraction=0.3")

# Where a signal comes, and whether it finds a run to save.
PHASES = {
    "corpus": ("charlstm.text.corpus:load_corpus", False),
    "model": ("charlstm.training.trainer:LanguageModel", False),
    "training": ("charlstm.training.step:mean_nats", True),
    "scoring": ("charlstm.evaluation.score:target_nats", True),
    "sampling": ("charlstm.generation.sampler:prompt_ids", True),
    "saving": ("charlstm.training.state:TrainingState.tensors", True),
    "written": ("charlstm.atomic_io:move", True),
}
REPORT = "charlstm.comparison.report:write_report"


def signal_at(patch: pytest.MonkeyPatch, target: str, *numbers: int, call: int = 1) -> list[int]:
    """Send this process the signals as a function is called for the n-th time; how often it was called since."""
    module, path = target.split(":")
    owner = importlib.import_module(module)
    *classes, name = path.split(".")
    for class_ in classes:
        owner = getattr(owner, class_)
    function, calls = getattr(owner, name), []

    def calling(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return function(*arguments, **named)

    patch.setattr(owner, name, calling)
    return calls


@pytest.fixture
def whole(charlstm, config_file):
    """The run that no signal meets."""
    assert charlstm("train", config_file, *OPTIONS, "--name", "whole").code == 0
    return Path("runs/whole")


def assert_goes_on(charlstm, whole: Path, run: Path, *arguments: object) -> None:
    assert charlstm(*(arguments or ("train", run, "--resume"))).code == 0
    for name in ("last", "best"):
        ours, theirs = (load_checkpoint(p / "checkpoints" / f"{name}.safetensors")[0] for p in (run, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(t, theirs[key]) for key, t in ours.items())
    assert (run / "samples.txt").read_text() == (whole / "samples.txt").read_text()
    steps = [[(r["kind"], r["step"], r.get("nats")) for r in RunDirectory(p).metrics()] for p in (run, whole)]
    assert steps[0] == steps[1]


def test_every_signal_at_every_phase(charlstm, config_file, whole, monkeypatch):
    """The signals in turn."""
    for place, (phase, (target, running)) in enumerate(PHASES.items()):
        for call in {"training": (1, 3), "scoring": (1, 3), "saving": (2,), "written": (2,)}.get(phase, (1,)):
            number = (INT, TERM, HUP)[(place + call) % 3]
            run = Path(f"runs/{phase}-{call}")
            with monkeypatch.context() as patch:
                calls = signal_at(patch, target, number, call=call)
                found = charlstm("train", config_file, *OPTIONS, "--name", run.name)
            assert found.code == 128 + number, (phase, found)
            assert "Traceback" not in found.err
            if running:
                assert "once more to leave at once" in found.err
                assert f"go on:  charlstm train {run} --resume" in found.out
                if phase in ("scoring", "sampling"):  # broken off: no other chunk is scored, and nothing recorded
                    assert len(calls) == call
                    assert "held out" not in found.out
                assert_goes_on(charlstm, whole, run)
            else:
                assert not (run / "checkpoints").exists()


@ALL
def test_a_second_signal_leaves_at_once_and_harms_nothing(charlstm, config_file, whole, monkeypatch, number):
    for phase in ("training", "scoring", "sampling", "saving", "written"):
        run = Path(f"runs/{phase}")
        with monkeypatch.context() as patch:
            calls = signal_at(patch, PHASES[phase][0], INT, number, call=2)
            found = charlstm("train", config_file, *OPTIONS, "--name", phase)
        assert (found.code, "Traceback" in found.err) == (128 + number, False)
        assert len(calls) == 2
        assert RunDirectory(run).metrics()[-1]["kind"] != "end"
        assert_goes_on(charlstm, whole, run)


def test_a_signal_at_the_very_end(charlstm, config_file, whole, monkeypatch):
    """Of the last save, and of the report after it: the run is whole, and its report can be had later."""
    for name, target, call in (("last", "charlstm.atomic_io:move", 7), ("report", REPORT, 1)):
        run = Path(f"runs/{name}")
        with monkeypatch.context() as patch:
            signal_at(patch, target, TERM, call=call)
            found = charlstm("train", config_file, *OPTIONS, "--name", name)
        assert (found.code, "Traceback" in found.err) == (143, False)
        assert RunDirectory(run).finished
        assert not (run / "report" / "index.html").exists()
        if name == "last":
            assert f"its report:  charlstm compare {run}" in found.out
        assert_goes_on(charlstm, whole, run)
        assert (run / "report" / "index.html").exists()


@pytest.mark.parametrize("phase", ["corpus", "training", "scoring", "sampling"])
def test_usr1_saves_and_goes_on(charlstm, config_file, whole, monkeypatch, phase):
    monkeypatch.setattr("charlstm.console.PLAIN_INTERVAL", 0)
    signal_at(monkeypatch, PHASES[phase][0], USR1, call=4 if phase == "training" else 1)
    found = charlstm("train", config_file, *OPTIONS)
    assert found.code == 0
    if phase == "corpus":
        assert found.err == "SIGUSR1: there is nothing to save now\n"
    else:
        step = 4 if phase == "training" else 6
        assert found.out.count(f"saved at step {step}, as asked for\n") == 1
        assert f"step {step + 1} " in found.out.split(", as asked for\n")[1]
    assert_goes_on(charlstm, whole, Path("runs/tiny"))


COMPARE = """\
corpus: {{source: {source}, validation_fraction: 0.3}}
training: {{batch_size: 4, sequence_length: 20, evaluate_every: 4, sample_length: 9, precision: float32,
           device: cpu, warmup_steps: 2, budget: {{steps: 8}}}}
arms:
  one: {{model: {{cell: rnn, hidden_size: 8}}}}
  two: {{model: {{cell: gru, hidden_size: 8}}}}
seeds: 1
"""


def test_a_comparison_at_every_phase(charlstm, config_file, corpus_file, monkeypatch):
    path = Path("both.yaml")
    path.write_text(COMPARE.format(source=corpus_file))
    assert charlstm("compare", path, "--name", "whole").code == 0
    phases = [("corpus", INT, 1), ("training", TERM, 11), ("scoring", HUP, 6), ("sampling", INT, 3), ("model", TERM, 2)]
    for phase, number, call in [*phases, ("report", HUP, 1)]:
        with monkeypatch.context() as patch:
            target = {"report": REPORT, "corpus": "charlstm.comparison.experiment:load_corpus"}.get(phase)
            calls = signal_at(patch, target or PHASES[phase][0], number, call=call)
            found = charlstm("compare", path, "--name", phase)
        assert len(calls) >= call
        assert (found.code, "Traceback" in found.err) == (128 + number, False), phase
        assert ("the same command goes on" in found.out) == (phase in ("training", "scoring", "sampling")), phase
        for arm in ("one", "two"):
            again = ("compare", path, "--name", phase)
            assert_goes_on(charlstm, Path(f"runs/whole/{arm}-seed1"), Path(f"runs/{phase}/{arm}-seed1"), *again)


def test_readers_that_are_gone_do_not_keep_a_stopped_run_from_being_saved(config_file):
    """As with ``2>&1 | tee log``: the same Ctrl-C ends tee. Before it USR1, to another process."""
    options = ["--set", "training.budget.steps=100000000", "--set", "training.evaluate_every=100000000"]
    command = [sys.executable, "-u", "-m", "charlstm", "train", str(config_file), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step "):
            process.send_signal(USR1)
        if line.startswith("saved at step "):
            break
    saved = int(line.split()[3].rstrip(",").replace(",", ""))
    process.stdout.close()
    process.send_signal(INT)
    assert process.wait(timeout=60) == 130
    assert load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"] >= saved
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["stop_reason"] == "stopped"


def test_while_nothing_runs_the_first_signal_leaves():
    for number in (INT, TERM, HUP):
        with handled(), pytest.raises(SystemExit) as left:
            signal.raise_signal(number)
        assert left.value.code == 128 + number


class Asked:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def request_stop(self) -> None:
        self.calls.append("stop")

    def request_save(self) -> None:
        self.calls.append("save")


def test_while_something_runs_it_is_asked_to_stop_once(capsys):
    asked = Asked()
    with handled() as signals:
        with signals.saving(asked):
            signal.raise_signal(USR1)
            signal.raise_signal(TERM)
            assert (asked.calls, signals.number, signals.exit_code) == (["save", "stop"], TERM, 143)
            with pytest.raises(SystemExit) as left:
                signal.raise_signal(INT)
        assert left.value.code == 130
    assert asked.calls == ["save", "stop"]


def test_handlers_are_put_back():
    numbers = (INT, TERM, HUP, USR1)
    before = [signal.getsignal(s) for s in numbers]
    with handled():
        assert not set(before) & {signal.getsignal(s) for s in numbers}
    assert [signal.getsignal(s) for s in numbers] == before


def test_nohup_is_respected():
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        with handled() as signals:
            os.kill(os.getpid(), HUP)
        assert signals.number is None
        assert signal.getsignal(HUP) is signal.SIG_IGN
    finally:
        signal.signal(HUP, before)


def test_a_line_that_is_being_written_is_no_hindrance(monkeypatch):
    """Python refuses to write into a stream from a handler that came amid another write to it."""
    asked = Asked()

    def reentrant(text):
        raise RuntimeError("reentrant call")

    monkeypatch.setattr("charlstm.console.note", reentrant)
    with handled() as signals, signals.saving(asked):
        signal.raise_signal(INT)
        signal.raise_signal(USR1)
    assert asked.calls == ["stop", "save"]
