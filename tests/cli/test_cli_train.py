from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import charlstm as package
from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import load_config
from charlstm.hardware import device
from charlstm.training.trainer import Trainer

ROOT = Path(package.__file__).parents[1]


def steps(run: Path) -> int:
    return load_checkpoint(run / "checkpoints" / "last.safetensors")[1]["counters"]["step"]


def test_train_from_end_to_end_off_a_terminal(charlstm, config_file, corpus):
    found = charlstm("train", config_file)
    assert found.code == 0
    assert found.err == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found.out)
    lines = found.out.splitlines()
    assert "1,500 characters" in lines[0]
    assert any(line.startswith("step 1 epoch 0.06  loss ") for line in lines)
    assert any(
        re.match(r"step 6 .* held out \d\.\d+ nats, \d\.\d+ bits per character  \(best so far\)$", s) for s in lines
    )
    assert "12 steps, 960 characters" in found.out
    assert re.search(r"best held-out score: \d\.\d+ nats, \d\.\d+ bits per character, at step 12", found.out)
    run = Path("runs/tiny")
    for command in (f"charlstm sample {run}", f"charlstm evaluate {run}"):
        assert command in found.out
    files = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"config.yaml", "metrics.jsonl", "samples.txt", "report/index.html"} <= files
    assert {"checkpoints/best.safetensors", "checkpoints/last.safetensors"} <= files
    assert not [name for name in files if "tmp" in name]
    resolved = load_config(run / "config.yaml")
    assert resolved.name == "tiny"
    assert resolved.model.hidden_size == 8
    loaded = package.load(run)
    assert loaded.score("the cat").characters == 7


def test_on_a_terminal_one_line_is_kept_up_to_date(on_terminal, config_file):
    found = on_terminal("train", config_file)
    assert found.code == 0
    assert "\r" in found.out
    assert "held out" in found.out


def test_settings_name_and_seed_from_the_command_line(charlstm, config_file):
    options = ("--set", "model.cell=gru", "--set", "training.budget={steps: 2}", "--name", "other", "--seed", "7")
    assert charlstm("train", config_file, *options, "--device", "cpu", "--runs", "elsewhere").code == 0
    resolved = load_config(Path("elsewhere/other/config.yaml"))
    assert (resolved.model.cell, resolved.training.seed, resolved.training.device) == ("gru", 7, "cpu")
    assert steps(Path("elsewhere/other")) == 2


def test_a_wrong_configuration(charlstm, config_file):
    text = config_file.read_text()
    config_file.write_text(text.replace("hidden_size: 8", "hiden_size: 8").replace("1e-2", "'fast'"))
    found = charlstm("train", config_file)
    assert (found.code, found.out) == (2, "")
    assert f"{config_file}:4: " in found.err
    assert "hidden_size" in found.err
    assert f"{config_file}:8: " in found.err
    assert "Traceback" not in found.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.yaml",), "missing.yaml"),
        (("tiny.yaml", "--set", "model.cell=lstn"), "lstm"),
        (("tiny.yaml", "--set", "corpus.source=nowhere.txt"), "nowhere.txt"),
        (("tiny.yaml", "--device", "cuda:99"), "cuda:99"),
        (("tiny.yaml", "--set", "model.cell=peephole", "--set", "model.executor=vendor"), "executor vendor"),
        (("tiny.yaml", "--name", "up/.."), "cannot be part of a name"),
        (("tiny.yaml", "--name", ".hidden"), "--name"),
        (("tiny.yaml", "--resume"), "nothing to resume"),
        ((".", "--resume"), "is no run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_message_and_leave_nothing_behind(charlstm, config_file, arguments, message):
    found = charlstm("train", *arguments)
    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert [p.name for p in Path().iterdir()] == ["tiny.yaml"]


def test_a_file_whose_name_cannot_name_a_run(charlstm, config_file):
    found = charlstm("train", config_file.rename("a:b.yaml"))
    assert found.code == 2
    assert "--name NAME" in found.err


def test_an_existing_run(charlstm, config_file):
    quick = ("--set", "training.budget.steps=1")
    assert charlstm("train", config_file, *quick).code == 0
    before = Path("runs/tiny/metrics.jsonl").read_text()
    found = charlstm("train", config_file, *quick)
    assert found.code == 2
    assert "--resume" in found.err
    assert "--overwrite" in found.err
    failing = charlstm("train", config_file, "--overwrite", "--device", "cuda:99")
    assert failing.code == 2
    assert Path("runs/tiny/metrics.jsonl").read_text() == before
    assert charlstm("train", config_file, "--overwrite", "--set", "training.budget.steps=2").code == 0
    assert steps(Path("runs/tiny")) == 2


def test_resume_with_a_longer_budget_and_the_wrong_model(charlstm, config_file):
    assert charlstm("train", config_file).code == 0
    found = charlstm("train", config_file, "--resume", "--set", "model.hidden_size=9")
    assert found.code == 2
    assert "model.hidden_size was 8, is 9" in found.err
    assert load_config(Path("runs/tiny/config.yaml")).model.hidden_size == 8
    found = charlstm("train", "runs/tiny", "--resume", "--set", "training.budget.steps=20")
    assert found.code == 0
    assert steps(Path("runs/tiny")) == 20
    assert load_config(Path("runs/tiny/config.yaml")).training.budget.steps == 20


def test_a_diverged_run(charlstm, config_file):
    wild = ("--set", "training.learning_rate=1e6", "--set", "training.warmup_steps=0")
    found = charlstm("train", config_file, *wild)
    assert found.code == 3
    assert "the loss went bad" in found.err
    assert "learning_rate=" in found.err
    assert "last good checkpoint is kept" in found.out
    assert charlstm("sample", "runs/tiny", "--length", "5", "--seed", "1").code == 0
    tame = ("--set", "training.learning_rate=1e-3")
    assert charlstm("train", "runs/tiny", "--resume", *tame).code == 0
    assert steps(Path("runs/tiny")) == 12


def test_dry_run_trains_and_writes_nothing(charlstm, config_file, corpus):
    one_hot = ("--set", "model.front_end=one_hot")
    found = charlstm("train", config_file, "--dry-run", *one_hot, "--set", "model.num_layers=2")
    assert found.code == 0
    assert [p.name for p in Path().iterdir()] == ["tiny.yaml"]
    assert "\x1b" not in found.out
    assert "hidden_size: 8" in found.out
    vocabulary, hidden = corpus.vocabulary.size, 8
    head = hidden * vocabulary + vocabulary
    recurrent = 4 * hidden * (vocabulary + hidden + 2) + 4 * hidden * (2 * hidden + 2)
    for part, count in (("recurrent", recurrent), ("head", head), ("all", recurrent + head)):
        assert re.search(rf"{part} +{count:,}\b", found.out)
    assert "memory (estimate)" in found.out
    assert re.search(r"layer 1: executor \w+: ", found.out)
    assert "not reference: " in found.out
    assert "17 steps an epoch" in found.out


def test_dry_run_on_a_gpu_says_what_is_free(charlstm, config_file, monkeypatch):
    assert "free on" not in charlstm("train", config_file, "--dry-run").out
    memory = device.Memory(24_000_000_000, 20_000_000_000, 1_500_000_000)
    monkeypatch.setattr(device, "memory", lambda _: memory)
    assert "free on cpu: 21,500.0 MB of 24,000.0 MB" in charlstm("train", config_file, "--dry-run").out


def test_what_is_fixed_is_told_beside_what_learns(charlstm, config_file, corpus):
    settings = ("--set", "model={cell: esn, hidden_size: 8}", "--set", "training.budget={steps: 1}")
    vocabulary, hidden = corpus.vocabulary.size, 8
    head, fixed = hidden * vocabulary + vocabulary, hidden * (vocabulary + hidden + 3)
    found = charlstm("train", config_file, "--dry-run", *settings)
    assert re.search(rf"all +{head:,}\b", found.out)
    assert re.search(rf"fixed, beside them +{fixed:,}\b", found.out)
    assert not re.search(r"recurrent +\d", found.out)
    assert f"{head:,} parameters that learn, {fixed:,} fixed, cpu" in charlstm("train", config_file, *settings).out


def test_control_characters_in_a_sample_do_not_reach_the_log(charlstm, on_terminal, config_file):
    source = Path("control.txt")
    source.write_bytes(b"\x1b[31m\rred\x07\x9b" * 80)
    options = ("--set", "corpus={source: control.txt, encoding: latin-1}", "--set", "training.sample_length=60")
    found = charlstm("train", config_file, *options)
    assert found.code == 0
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found.out)
    assert "\\x1b" in found.out
    found = on_terminal("train", config_file, *options, "--overwrite")
    assert "\x1b[31m" not in found.out
    assert "\x9b" not in found.out
    assert "\\x1b" in found.out


# signals


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", "-m", "charlstm", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def stop_early(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(line)
        if line.startswith("step "):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    return process.returncode, "".join(read) + out, err


def test_interrupted_and_terminated_runs_go_on_bit_for_bit(charlstm, config_file, monkeypatch):
    options = ("--set", "training.budget.steps=700", "--set", "training.evaluate_every=250")
    options += ("--set", "model.dropout=0.2", "--set", "training.sample_length=0")
    code, out, err = stop_early(start(config_file, *options), signal.SIGINT)
    assert (code, "once more to leave at once" in err, "Traceback" in err) == (130, True, False)
    assert "go on:  charlstm train runs/tiny --resume" in out
    first = steps(Path("runs/tiny"))
    assert 0 < first < 600
    assert f"saved at step {first:,}" in out

    take = Trainer._step

    def stepping(self: Trainer):
        if self.counters.step == first + 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stepping)
        assert charlstm("train", "runs/tiny", "--resume").code == 143
    assert steps(Path("runs/tiny")) == first + 21

    assert charlstm("train", "runs/tiny", "--resume").code == 0
    assert charlstm("train", config_file, *options, "--name", "whole").code == 0
    for name in ("last", "best"):
        ours, theirs = (
            load_checkpoint(Path(f"runs/{run}/checkpoints/{name}.safetensors"))[0] for run in ("tiny", "whole")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(t, theirs[key]) for key, t in ours.items())


VANISHING = """
import fcntl, os, pty, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    time.sleep(0.1)
    os.execv(sys.executable, [sys.executable, "-m", "charlstm", "train", *sys.argv[1:]])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
seen = b""
while b"nats" not in seen:
    seen += os.read(terminal, 4096)
time.sleep(0.2)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_terminal_that_vanishes_does_not_lose_the_run(config_file):
    """As when an SSH connection breaks: HUP comes, and nothing can be printed any more."""
    options = ["--set", "training.budget.steps=100000000", "--set", "training.evaluate_every=100000000"]
    command = [sys.executable, "-c", VANISHING, str(config_file), *options]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert found.returncode == 129
    assert steps(Path("runs/tiny")) > 0
    assert json.loads(Path("runs/tiny/metrics.jsonl").read_text().splitlines()[-1])["stop_reason"] == "stopped"
