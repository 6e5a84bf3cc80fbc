"""``charlstm compare`` for a file with experiments: output and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import charlstm as package
from charlstm.errors import UserError
from charlstm.jobs.this_process import ThisProcess
from charlstm.training.trainer import Trainer

ROOT = Path(package.__file__).parents[1]
MEMORY = """\
# recall, tiny
seeds: 2
search_seeds: 1
learning_rates: [1.0e-2]
test_strings: 20
shared:
  model: {hidden_size: 5, embedding_size: 4}
  training:
    {batch_size: 8, sequence_length: 32, evaluate_every: 4, sample_length: 0, device: cpu, budget: {steps: 8}}
arms:
  lstm: {model.cell: lstm}
  rnn: {model.cell: rnn}
experiments:
  recall:
    arms: [lstm, rnn]
    lags: [2, 4]
    keys: 3
    strings: 60
    claims:
      - {statement: It knows nothing yet, metric: longest lag, arm: rnn, at_most: 4}
quick: [seeds=1]
"""


@pytest.fixture
def memory_file(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "memory.yaml"
    path.write_text(MEMORY)
    return path


def test_compare_from_end_to_end(charlstm, memory_file, monkeypatch):
    result = charlstm("compare", memory_file.name, "--jobs", 1)
    assert result.code == 0
    assert "recall: 4 pairs of a text and an arm, about 12 runs" in result.out
    assert "training: 1 of 12, recall-2-lstm-0.01-seed1001" in result.out
    assert re.search(r"It knows nothing yet +rnn: longest lag at most 4 .* undecided", result.out)
    assert "2 seeds decide no claim about half of the seeds" in result.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.out)
    assert re.search(r"runs/memory: \d+\.\d MB on disk with --keep weights", result.out)
    assert {path.name for path in Path("runs/memory/cells").glob("*/checkpoints/*")} == {"best.safetensors"}
    report = Path("runs/memory/report")
    assert f"report: {report / 'index.html'}" in result.out
    assert "charlstm compare memory.yaml --only recall" in (report / "index.html").read_text()
    (verdict,) = json.loads((report / "report.json").read_text())["verdicts"]
    assert verdict["verdict"] == "undecided"
    monkeypatch.setattr(Trainer, "run", lambda _: pytest.fail("trained again"))
    again = charlstm("compare", memory_file.name, "--jobs", 1)
    assert again.out.splitlines()[-3:] == result.out.splitlines()[-3:]


def test_dry_run_prints_the_networks_and_writes_nothing(charlstm, memory_file):
    initializations = "arms.rnn.initializations={tanh: {}, large: {model.hidden_size: 1234}}"
    result = charlstm("compare", memory_file.name, "--dry-run", "--set", initializations)
    assert result.code == 0
    assert "recall: 6 pairs of a text and an arm, about 18 runs\n" in result.out
    rows = [line.split() for line in result.out.splitlines() if re.search(r" x ", line)]
    assert rows[0][:6] == ["recall", "lstm", "lstm", "1", "x", "5"]
    assert [row[:7] for row in rows[1:]] == [
        ["recall", "rnn,", "tanh", "rnn", "1", "x", "9"],
        ["recall", "rnn,", "large", "rnn", "1", "x", "1234"],
    ]
    assert [row[-1] for row in rows] == ["2", "2", "2"]
    assert f"would be in {Path('runs/memory')}, where complete ones" in result.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("arguments", [(), ("--set", "experiments.recall.strings=61"), ("--quick", "--name", "memory")])
def test_dry_run_changes_nothing_in_an_existing_folder(charlstm, memory_file, arguments):
    one_lag = ("--set", "experiments.recall.lags=[2]", "--set", "experiments.recall.claims=[]")
    assert charlstm("compare", memory_file.name, "--jobs", 1, *one_lag).code == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert charlstm("compare", memory_file.name, "--dry-run", *arguments).code == 0
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_verdicts_of_a_repetition_are_compared(charlstm, memory_file):
    for arguments in ((), ("--set", "first_seed=11", "--name", "repeated")):
        assert charlstm("compare", memory_file.name, "--jobs", 1, *arguments).code == 0
    result = charlstm("compare", "runs/memory", "runs/repeated")
    assert result.code == 0
    assert re.search(r"It knows nothing yet .*undecided.* all undecided", result.out, re.DOTALL)
    assert result.out.splitlines()[-1].startswith("Of 1 claims: 0 agree, 1 all undecided")
    assert charlstm("compare", "runs/memory", "runs/repeated", "--name", "x").code == 2


def test_quick_form_has_a_separate_folder(charlstm, memory_file):
    result = charlstm("compare", memory_file.name, "--quick", "--jobs", 1)
    assert (result.code, "about 8 runs" in result.out) == (0, True)
    assert "1 claim needs the full run" in result.out.splitlines()
    assert "It knows nothing yet" not in result.out
    assert "memory.yaml --quick --only recall" in Path("runs/memory-quick/report/index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("memory.yaml", "--only", "recal"), "--only recal: there is no such experiment in the file; it has recall"),
        (("memory.yaml", "--set", "arms.rnn={model.cell: rmn}"), "Did you mean rnn?"),
        (("memory.yaml", "--set", "experiments.recall.claims=[]", "--set", "seeds=0"), "seeds"),
        (("plain.yaml", "--quick"), "has no quick form: only files with experiments on memory"),
        (("plain.yaml", "--only", "recall"), "--only is only for experiments on memory"),
        (("plain.yaml", "--keep", "all"), "--keep is only for experiments on memory"),
        (("memory.yaml", "--dry-run", "--overwrite"), "--overwrite has no effect with --dry-run"),
        (("memory.yaml", "--dry-run", "--only", "recal"), "--only recal: there is no such experiment in the file"),
        ((".", "--dry-run"), "--dry-run is only for a comparison in YAML"),
        (("plain.yaml", "--jobs", "2", "--cluster", "tcp://x"), "--jobs has no effect with --cluster"),
        ((".", "--cluster", "tcp://x"), "--cluster is only for a comparison in YAML"),
        ((".", "--jobs", "2"), "--jobs is only for a comparison in YAML"),
    ],
    ids=str,
)
def test_mistakes_are_reported_in_one_message(charlstm, memory_file, arguments, message):
    Path("plain.yaml").write_text("corpus: {source: memory.yaml}\narms: {a: {}, b: {model.cell: rnn}}\n")
    result = charlstm("compare", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not Path("runs").exists()


def test_interrupted_comparison_resumes(charlstm, memory_file, monkeypatch):
    step, steps, sent = Trainer._step, [], []

    def stepping(self):
        steps.append(self.directory.path.name)
        if len(steps) == 12 and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Trainer, "_step", stepping)
    result = charlstm("compare", memory_file.name, "--jobs", 1)
    assert result.code == 130
    assert "saved; to resume, run the same command again" in result.out
    assert not Path("runs/memory/report").exists()
    done = steps[0]
    steps.clear()
    assert charlstm("compare", memory_file.name, "--jobs", 1).code == 0
    assert done not in steps


def test_interrupted_overwrite_resumes_as_reported(charlstm, memory_file, monkeypatch):
    step, steps, sent = Trainer._step, [], []

    def stepping(self):
        steps.append(self.directory.path.name)
        if len(steps) == 12 and sent == [False]:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Trainer, "_step", stepping)
    assert charlstm("compare", memory_file.name, "--jobs", 1).code == 0
    all_runs = set(steps)
    steps.clear()
    sent.append(False)
    result = charlstm("compare", memory_file.name, "--jobs", 1, "--overwrite")
    assert result.code == 130
    assert "saved; to resume, run the same command without --overwrite" in result.out
    assert charlstm("compare", memory_file.name, "--jobs", 1).code == 0
    assert set(steps) == all_runs
    assert steps[0] not in steps[12:]


def test_nothing_is_deleted_if_nobody_can_train_again(charlstm, memory_file, monkeypatch):
    assert charlstm("compare", memory_file.name, "--jobs", 1).code == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}

    def fail(*_):
        raise UserError("no scheduler answers")

    monkeypatch.setattr(ThisProcess, "__enter__", fail)
    result = charlstm("compare", memory_file.name, "--jobs", 1, "--overwrite")
    assert (result.code, result.err) == (2, "error: no scheduler answers\n")
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def running(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "charlstm", "compare", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background tests inherit an ignored SIGINT
    )


def until(condition, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(group: int) -> bool:
    """Whether a process of the group still runs; a zombie does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.slow
def test_workers_save_and_stop_with_their_parent(memory_file, number):
    """SIGINT comes to the whole group, as Ctrl-C does; SIGKILL to the parent alone."""
    long = ("--jobs", "2", "--set", "shared.training.budget={steps: 1000000}")
    process = running("memory.yaml", *long)
    try:
        until(lambda: len(list(Path("runs/memory/cells").glob("*/checkpoints/best*"))) >= 2)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.kill()
        out, _ = process.communicate(timeout=60)
        until(lambda: not alive(process.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "to resume, run the same command again" in out
        ends = [
            json.loads(path.read_text().splitlines()[-1]) for path in Path("runs/memory/cells").glob("*/metrics.jsonl")
        ]
        assert [end["stop_reason"] for end in ends] == ["stopped", "stopped"]
    assert "Traceback" not in out
