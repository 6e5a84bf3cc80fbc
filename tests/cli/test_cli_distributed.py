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
from charlstm.cli.distributed import run_distributed
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


@pytest.mark.slow
def test_signal_stops_all_processes(config_file):
    process = start(2, config_file, *LONG)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step "):
            process.send_signal(signal.SIGINT)  # torchrun forwards it to each process
            break
    rest, errors = process.communicate(timeout=60)
    assert ours(errors) == ["stopping after this step; repeat to exit at once"]
    output = "".join(lines) + rest
    assert output.count("2 processes train together, each on 2 of the 4 streams\n") == 1
    step = load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"]
    assert output.endswith(
        f"saved at step {step:,}\nreport: {Path('runs/tiny/report/index.html')}\n"
        "resume:  torchrun --nproc-per-node=2 -m charlstm train runs/tiny --resume\n"
    )
    assert output.count("saved at step") == 1
    assert [r["kind"] for r in RunDirectory(Path("runs/tiny")).metrics()].count("start") == 1


@pytest.mark.slow
def test_common_error_is_printed_once(config_file):
    process = start(2, config_file, "--set", "training.batch_size=3")
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ours(errors) == [
        "error: training.batch_size 3 cannot be divided evenly among 2 processes. "
        "Set training.batch_size to 2 or 4, or start another number of processes"
    ]
    assert "exitcode  : 2 " in errors  # of the first process that torchrun sees; it then ends the others
    assert "Traceback" not in errors.split("torch/distributed")[0]
    assert not Path("runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_others_end_when_one_process_is_killed(config_file, victim):
    """The others do not wait for it, and the run resumes from its checkpoint."""
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


class FakeGroup(ProcessGroup):
    """A process group without other processes."""

    def connect(self):
        return pytest.MonkeyPatch.context()

    def all_reduce_max(self, *numbers):
        return numbers


@pytest.fixture
def _exit_raises(monkeypatch):
    def fake_exit(code):
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", fake_exit)
    yield
    console.print_errors_only("")


@pytest.mark.parametrize(
    ("error", "number", "code", "message"),
    [
        (UserError("no space"), None, 2, "no space"),
        (ProcessLostError(RuntimeError("Connection closed")), None, 2, "another process"),
        (ProcessLostError(RuntimeError("Connection closed")), signal.SIGTERM, 143, "another process"),
        (UserError("no space"), signal.SIGTERM, 2, "no space"),
    ],
)
@pytest.mark.usefixtures("_exit_raises")
def test_error_of_one_process_is_printed_with_its_rank(capsys, error, number, code, message):
    signals = Signals()
    signals.number = number

    def work():
        console.out("not printed")
        console.note("not printed")
        console.table([["not"], ["printed"]])
        raise error

    with pytest.raises(SystemExit) as exited:
        run_distributed(FakeGroup(1, 2, 1, 2), signals, work)
    assert exited.value.code == code
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"rank 1: error: {message}"), err.count("\n")) == ("", True, 1)


@pytest.mark.usefixtures("_exit_raises")
def test_common_error_is_printed_by_one_process(capsys):
    for message, err in (("no such file", "rank 1: error: no such file\n"), ("", "")):

        def work(message=message):
            raise SynchronizedError(message)

        with pytest.raises(typer.Exit) as raised:
            run_distributed(FakeGroup(1, 2, 1, 2), Signals(), work)
        assert raised.value.exit_code == 2
        assert capsys.readouterr() == ("", err)
