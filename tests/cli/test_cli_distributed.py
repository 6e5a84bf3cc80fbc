"""``charlstm train`` as torchrun starts it, in several processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from charlstm import console
from charlstm.checkpoints.format import load_checkpoint
from charlstm.cli.distributed import work_together
from charlstm.cli.signals import Signals
from charlstm.distributed import ProcessGroup, ProcessLostError, SynchronizedError
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
LONG = ("--set", "training.budget.steps=100000", "--set", "training.evaluate_every=50000")


def start(processes, *arguments):
    command = [*LAUNCH, f"--nproc-per-node={processes}", "-m", "charlstm", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ours(text: str) -> list[str]:
    """The lines that are not torchrun's."""
    return [line for line in text.splitlines() if line.startswith(("error:", "rank ", "note:", "stopping"))]


def test_stopped_while_training(config_file):
    process = start(2, config_file, *LONG)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step "):
            process.send_signal(signal.SIGINT)  # torchrun hands it on to each process
            break
    rest, errors = process.communicate(timeout=60)
    assert ours(errors) == ["stopping after this step; once more to leave at once"]
    said = "".join(lines) + rest
    assert said.count("2 processes train together, each on 2 of the 4 streams\n") == 1
    step = load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"]
    assert said.count(f"saved at step {step:,}\ngo on:  torchrun --nproc-per-node=2 -m charlstm train runs/tiny") == 1
    assert [r["kind"] for r in RunDirectory(Path("runs/tiny")).metrics()].count("start") == 1


@pytest.mark.slow
def test_what_all_refuse_is_said_once(config_file):
    process = start(2, config_file, "--set", "training.batch_size=3")
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ours(errors) == [
        "error: training.batch_size 3 cannot be divided evenly among 2 processes. "
        "Set training.batch_size to 2 or 4, or start another number of them"
    ]
    assert "exitcode  : 2 " in errors  # the first one that torchrun sees; it then ends the others
    assert "Traceback" not in errors.split("torch/distributed")[0]
    assert not Path("runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_is_killed(config_file, victim):
    """The others do not wait for it, and the run goes on from what was saved."""
    process = start(2, config_file, *LONG, "--set", "training.evaluate_every=20")
    for line in process.stdout:
        if "held out" in line:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            subprocess.run(["kill", "-9", children[victim]], check=True)
            break
    _, errors = process.communicate(timeout=60)
    name = "rank 1: " if victim == 0 else ""
    assert [line.split(" has ended")[0] for line in ours(errors)] == [f"{name}error: another process of this run"]
    last = load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"]
    process = start(2, "runs/tiny", "--resume", "--set", f"training.budget.steps={last + 2}")
    assert process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads((Path("runs/tiny") / "metrics.jsonl").read_text().splitlines()[-1])["step"] == last + 2


class Imagined(ProcessGroup):
    """A team that needs no others."""

    def joined(self):
        return pytest.MonkeyPatch.context()

    def most(self, *numbers):
        return numbers


@pytest.fixture
def _leaving(monkeypatch):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    yield
    console.only_errors("")


@pytest.mark.parametrize(
    ("problem", "number", "code", "said"),
    [
        (UserError("no room"), None, 2, "no room"),
        (ProcessLostError(RuntimeError("Connection closed")), None, 2, "another process"),
        (ProcessLostError(RuntimeError("Connection closed")), signal.SIGTERM, 143, "another process"),
        (UserError("no room"), signal.SIGTERM, 2, "no room"),
    ],
)
@pytest.mark.usefixtures("_leaving")
def test_an_error_of_one_alone_is_told_with_its_rank(capsys, problem, number, code, said):
    signals = Signals()
    signals.number = number

    def work():
        console.out("not said")
        console.note("not said")
        console.table([["not"], ["said"]])
        raise problem

    with pytest.raises(SystemExit) as left:
        work_together(Imagined(1, 2, 1, 2), signals, work)
    assert left.value.code == code
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"rank 1: error: {said}"), err.count("\n")) == ("", True, 1)


@pytest.mark.usefixtures("_leaving")
def test_an_error_of_all_is_told_by_one(capsys):
    for message, err in (("no such file", "rank 1: error: no such file\n"), ("", "")):

        def work(message=message):
            raise SynchronizedError(message)

        with pytest.raises(typer.Exit) as raised:
            work_together(Imagined(1, 2, 1, 2), Signals(), work)
        assert raised.value.exit_code == 2
        assert capsys.readouterr() == ("", err)
