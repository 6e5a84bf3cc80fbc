"""INT, TERM and HUP in every phase of a command, once and twice; USR1; and closed pipes."""

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

# Function during which the signal arrives, and whether there is a run to save.
PHASES = {
    "corpus": ("charlstm.text.corpus:load_corpus", False),
    "model": ("charlstm.training.initial_state:LanguageModel", False),
    "training": ("charlstm.training.step:mean_nats", True),
    "scoring": ("charlstm.evaluation.score:target_nats", True),
    "sampling": ("charlstm.generation.requests:TextRequest.encode", True),
    "saving": ("charlstm.training.state:TrainingState.tensors", True),
    "written": ("charlstm.atomic_io:rename", True),
}
REPORT = "charlstm.comparison.report:write_report"
RUN_REPORT = "charlstm.run_report.page:write_run_report"


def signal_at(patch: pytest.MonkeyPatch, target: str, *numbers: int, call: int = 1) -> list[int]:
    """Send the signals when a function is called for the n-th time; the returned list grows with every call."""
    module, path = target.split(":")
    owner = importlib.import_module(module)
    *classes, name = path.split(".")
    for class_ in classes:
        owner = getattr(owner, class_)
    function, calls = getattr(owner, name), []

    def sending(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    patch.setattr(owner, name, sending)
    return calls


@pytest.fixture
def uninterrupted(charlstm, config_file):
    """A run without signals."""
    assert charlstm("train", config_file, *OPTIONS, "--name", "uninterrupted").code == 0
    return Path("runs/uninterrupted")


def assert_resumes(charlstm, uninterrupted: Path, run: Path, *arguments: object) -> None:
    assert charlstm(*(arguments or ("train", run, "--resume"))).code == 0
    for name in ("last", "best"):
        ours, theirs = (load_checkpoint(p / "checkpoints" / f"{name}.safetensors")[0] for p in (run, uninterrupted))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(t, theirs[key]) for key, t in ours.items())
    assert (run / "samples.txt").read_text() == (uninterrupted / "samples.txt").read_text()
    steps = [[(r["kind"], r["step"], r.get("nats")) for r in RunDirectory(p).metrics()] for p in (run, uninterrupted)]
    assert steps[0] == steps[1]


def test_signals_in_every_phase(charlstm, config_file, uninterrupted, monkeypatch):
    """INT, TERM and HUP alternate."""
    for index, (phase, (target, running)) in enumerate(PHASES.items()):
        for call in {"training": (1, 3), "scoring": (1, 3), "saving": (2,), "written": (2,)}.get(phase, (1,)):
            number = (INT, TERM, HUP)[(index + call) % 3]
            run = Path(f"runs/{phase}-{call}")
            with monkeypatch.context() as patch:
                calls = signal_at(patch, target, number, call=call)
                result = charlstm("train", config_file, *OPTIONS, "--name", run.name)
            assert result.code == 128 + number, (phase, result)
            assert "Traceback" not in result.err
            if running:
                assert "repeat to exit at once" in result.err
                assert f"resume:  charlstm train {run} --resume" in result.out
                if phase in ("scoring", "sampling"):  # aborted: no other chunk is scored, and nothing is recorded
                    assert len(calls) == call
                    assert "held out" not in result.out
                assert_resumes(charlstm, uninterrupted, run)
            else:
                assert not (run / "checkpoints").exists()


@ALL
@pytest.mark.few(1)
def test_second_signal_exits_at_once_without_damage(charlstm, config_file, uninterrupted, monkeypatch, number):
    for phase in ("training", "scoring", "sampling", "saving", "written"):
        run = Path(f"runs/{phase}")
        with monkeypatch.context() as patch:
            calls = signal_at(patch, PHASES[phase][0], INT, number, call=2)
            result = charlstm("train", config_file, *OPTIONS, "--name", phase)
        assert (result.code, "Traceback" in result.err) == (128 + number, False)
        step = RunDirectory(run).checkpoints.newest_step()  # none if the first one was being written
        assert (step is None) == (phase == "written")
        saved = "nothing is saved yet; start again" if step is None else f"saved: {run}, step {step}; resume"
        assert result.err.endswith(f"repeat to exit at once\n{saved}:  charlstm train {run} --resume\n")
        assert len(calls) == 2
        assert RunDirectory(run).metrics()[-1]["kind"] != "end"
        assert_resumes(charlstm, uninterrupted, run)


@pytest.mark.parametrize("numbers", [(HUP, HUP), (TERM, HUP), (TERM, TERM)], ids=lambda pair: pair[0].name)
@pytest.mark.few(1)
def test_signal_that_is_repeated_by_a_shell_or_a_scheduler_saves_the_run(
    charlstm, config_file, uninterrupted, monkeypatch, numbers
):
    run = Path("runs/repeated")
    with monkeypatch.context() as patch:
        signal_at(patch, PHASES["saving"][0], *numbers, call=2)
        result = charlstm("train", config_file, *OPTIONS, "--name", run.name)
    assert (result.code, result.err.count("repeat to exit at once")) == (128 + numbers[0], 1)
    assert RunDirectory(run).metrics()[-1]["stop_reason"] == "stopped"
    assert_resumes(charlstm, uninterrupted, run)


def test_signal_that_is_repeated_later_exits_at_once(charlstm, config_file, monkeypatch):
    monkeypatch.setattr("charlstm.cli.signals.REPEAT_SECONDS", 0)
    signal_at(monkeypatch, PHASES["saving"][0], TERM, TERM, call=2)
    assert charlstm("train", config_file, *OPTIONS).code == 143
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["kind"] != "end"


def test_signal_after_training(charlstm, config_file, uninterrupted, monkeypatch):
    """During the last save, and during the report: the run is complete, and its report can be made later."""
    for name, target, call in (("last", "charlstm.atomic_io:rename", 7), ("report", RUN_REPORT, 1)):
        run = Path(f"runs/{name}")
        with monkeypatch.context() as patch:
            signal_at(patch, target, TERM, call=call)
            result = charlstm("train", config_file, *OPTIONS, "--name", name)
        assert (result.code, "Traceback" in result.err) == (143, False)
        assert RunDirectory(run).finished
        assert not (run / "report" / "index.html").exists()
        if name == "last":
            assert f"make the report:  charlstm compare {run}" in result.out
        assert_resumes(charlstm, uninterrupted, run)
        assert (run / "report" / "index.html").exists()


@pytest.mark.parametrize("phase", ["corpus", "training", "scoring", "sampling"])
def test_usr1_saves_and_continues(charlstm, config_file, uninterrupted, monkeypatch, phase):
    monkeypatch.setattr("charlstm.progress_line.PLAIN_INTERVAL", 0)
    signal_at(monkeypatch, PHASES[phase][0], USR1, call=4 if phase == "training" else 1)
    result = charlstm("train", config_file, *OPTIONS)
    assert result.code == 0
    if phase == "corpus":
        assert result.err == "SIGUSR1: nothing to save now\n"
    else:
        step = 4 if phase == "training" else 6
        assert result.out.count(f"saved at step {step}, as requested\n") == 1
        assert f"step {step + 1} " in result.out.split(", as requested\n")[1]
    assert_resumes(charlstm, uninterrupted, Path("runs/tiny"))


COMPARE = """\
corpus: {{source: {source}, validation_fraction: 0.3}}
training: {{batch_size: 4, sequence_length: 20, evaluate_every: 4, sample_length: 9, precision: float32,
           device: cpu, warmup_steps: 2, budget: {{steps: 8}}}}
arms:
  one: {{model: {{cell: rnn, hidden_size: 8}}}}
  two: {{model: {{cell: gru, hidden_size: 8}}}}
seeds: 1
"""


def test_signals_in_every_phase_of_a_comparison(charlstm, config_file, corpus_file, monkeypatch):
    path = Path("both.yaml")
    path.write_text(COMPARE.format(source=corpus_file))
    assert charlstm("compare", path, "--name", "uninterrupted").code == 0
    phases = [("corpus", INT, 1), ("training", TERM, 11), ("scoring", HUP, 6), ("sampling", INT, 3), ("model", TERM, 2)]
    for phase, number, call in [*phases, ("report", HUP, 1)]:
        with monkeypatch.context() as patch:
            target = {"report": REPORT, "corpus": "charlstm.comparison.arms:load_corpus"}.get(phase)
            calls = signal_at(patch, target or PHASES[phase][0], number, call=call)
            result = charlstm("compare", path, "--name", phase)
        assert len(calls) >= call
        assert (result.code, "Traceback" in result.err) == (128 + number, False), phase
        assert ("to resume, run the same command" in result.out) == (phase not in ("corpus", "report")), phase
        for arm in ("one", "two"):
            again = ("compare", path, "--name", phase)
            assert_resumes(charlstm, Path(f"runs/uninterrupted/{arm}-seed1"), Path(f"runs/{phase}/{arm}-seed1"), *again)


def test_stopped_run_with_a_closed_pipe_is_saved(config_file):
    """As with ``2>&1 | tee log``, where Ctrl-C also ends tee. USR1 is sent first."""
    options = ["--set", "training.budget.steps=100000000", "--set", "training.evaluate_every=100000000"]
    program = "from charlstm import cli, progress_line; progress_line.PLAIN_INTERVAL = 0.1; cli.main()"
    command = [sys.executable, "-u", "-c", program, "train", str(config_file), *options]
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


def test_pipe_closed_before_the_first_step_saves_the_run(config_file):
    """As with ``| head -1``, which has its line once the corpus is described."""
    program = """
import time
from charlstm import cli, standard_streams
from charlstm.training.trainer import Trainer

start = Trainer.start

def start_and_wait(trainer, overwrite):
    start(trainer, overwrite)
    while not standard_streams.is_pipe_closed():
        time.sleep(0.01)

Trainer.start = start_and_wait
cli.main()
"""
    command = [sys.executable, "-u", "-c", program, "train", str(config_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 141
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["stop_reason"] == "stopped"
    load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))


def test_first_signal_exits_if_nothing_has_to_be_saved():
    for number in (INT, TERM, HUP):
        with handled(), pytest.raises(SystemExit) as exited:
            signal.raise_signal(number)
        assert exited.value.code == 128 + number


class FakeTrainer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def request_stop(self) -> None:
        self.calls.append("stop")

    def request_save(self) -> None:
        self.calls.append("save")


def test_first_signal_stops_and_second_exits(capsys):
    trainer = FakeTrainer()
    with handled() as signals:
        with signals.saving(trainer):
            signal.raise_signal(USR1)
            signal.raise_signal(TERM)
            assert (trainer.calls, signals.number, signals.exit_code) == (["save", "stop"], TERM, 143)
            with pytest.raises(SystemExit) as exited:
                signal.raise_signal(INT)
        assert exited.value.code == 130
    assert trainer.calls == ["save", "stop"]


def test_signal_handlers_are_restored():
    numbers = (INT, TERM, HUP, USR1)
    before = [signal.getsignal(s) for s in numbers]
    with handled():
        assert not set(before) & {signal.getsignal(s) for s in numbers}
    assert [signal.getsignal(s) for s in numbers] == before


def test_ignored_signals_stay_ignored():
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        with handled() as signals:
            os.kill(os.getpid(), HUP)
        assert signals.number is None
        assert signal.getsignal(HUP) is signal.SIG_IGN
    finally:
        signal.signal(HUP, before)


def test_signal_during_a_write_is_handled(monkeypatch):
    """Python refuses a write to a stream in a handler that interrupted another write to it."""
    trainer = FakeTrainer()

    def reentrant(text):
        raise RuntimeError("reentrant call")

    monkeypatch.setattr("charlstm.console.note", reentrant)
    with handled() as signals, signals.saving(trainer):
        signal.raise_signal(INT)
        signal.raise_signal(USR1)
    assert trainer.calls == ["stop", "save"]
