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
from charlstm.checkpoints.format import load_checkpoint, pack
from charlstm.config import load_config
from charlstm.hardware import device
from charlstm.training.trainer import Trainer

ROOT = Path(package.__file__).parents[1]


def steps(run: Path) -> int:
    return load_checkpoint(run / "checkpoints" / "last.safetensors")[1]["counters"]["step"]


def test_train_end_to_end_without_a_terminal(charlstm, config_file, corpus):
    result = charlstm("train", config_file)
    assert result.code == 0
    assert result.err == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.out)
    lines = result.out.splitlines()
    assert "1,500 characters" in lines[0]
    assert any(line.startswith("step 1 epoch 0.06  loss ") for line in lines)
    assert any(
        re.match(r"step 6 .* held out \d\.\d+ nats, \d\.\d+ bits per character  \(best so far\)$", s) for s in lines
    )
    assert "12 steps, 960 characters" in result.out
    assert re.search(r"best held-out score: \d\.\d+ nats, \d\.\d+ bits per character, at step 12", result.out)
    run = Path("runs/tiny")
    for command in (f"charlstm sample {run}", f"charlstm evaluate {run}"):
        assert command in result.out
    files = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"config.yaml", "metrics.jsonl", "samples.txt", "report/index.html"} <= files
    assert {"checkpoints/best.safetensors", "checkpoints/last.safetensors"} <= files
    assert not [name for name in files if "tmp" in name]
    resolved = load_config(run / "config.yaml")
    assert resolved.name == "tiny"
    assert resolved.model.hidden_size == 8
    loaded = package.load(run)
    assert loaded.score("the cat").characters == 7


def test_terminal_has_one_progress_line(on_terminal, config_file):
    result = on_terminal("train", config_file)
    assert result.code == 0
    assert "\r" in result.out
    assert "held out" in result.out


def test_options_override_the_configuration(charlstm, config_file):
    options = ("--set", "model.cell=gru", "--set", "training.budget={steps: 2}", "--name", "other", "--seed", "7")
    assert charlstm("train", config_file, *options, "--device", "cpu", "--runs", "elsewhere").code == 0
    resolved = load_config(Path("elsewhere/other/config.yaml"))
    assert (resolved.model.cell, resolved.training.seed, resolved.training.device) == ("gru", 7, "cpu")
    assert steps(Path("elsewhere/other")) == 2


def test_mistakes_in_a_configuration_name_their_lines(charlstm, config_file):
    text = config_file.read_text()
    config_file.write_text(text.replace("hidden_size: 8", "hiden_size: 8").replace("1e-2", "'fast'"))
    result = charlstm("train", config_file)
    assert (result.code, result.out) == (2, "")
    assert f"{config_file}:4: " in result.err
    assert "hidden_size" in result.err
    assert f"{config_file}:8: " in result.err
    assert "Traceback" not in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.yaml",), "missing.yaml"),
        (("tiny.yaml", "--set", "model.cell=lstn"), "lstm"),
        (("tiny.yaml", "--set", "corpus.source=nowhere.txt"), "nowhere.txt"),
        (("tiny.yaml", "--device", "cuda:99"), "cuda:99"),
        (("tiny.yaml", "--set", "model.cell=peephole", "--set", "model.executor=vendor"), "executor vendor"),
        (("tiny.yaml", "--name", "up/.."), "so it cannot contain"),
        (("tiny.yaml", "--name", ".hidden"), "--name"),
        (("tiny.yaml", "--resume"), "nothing to resume"),
        ((".", "--resume"), "is not a run directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_message_and_leave_no_files(charlstm, config_file, arguments, message):
    result = charlstm("train", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert [p.name for p in Path().iterdir()] == ["tiny.yaml"]


def test_file_name_that_cannot_name_a_run_is_refused(charlstm, config_file):
    result = charlstm("train", config_file.rename("a:b.yaml"))
    assert result.code == 2
    assert "--name NAME" in result.err


def test_existing_run_needs_resume_or_overwrite(charlstm, config_file):
    quick = ("--set", "training.budget.steps=1")
    assert charlstm("train", config_file, *quick).code == 0
    before = Path("runs/tiny/metrics.jsonl").read_text()
    result = charlstm("train", config_file, *quick)
    assert result.code == 2
    assert "--resume" in result.err
    assert "--overwrite" in result.err
    failing = charlstm("train", config_file, "--overwrite", "--device", "cuda:99")
    assert failing.code == 2
    assert Path("runs/tiny/metrics.jsonl").read_text() == before
    assert charlstm("train", config_file, "--overwrite", "--set", "training.budget.steps=2").code == 0
    assert steps(Path("runs/tiny")) == 2


def test_resume_takes_a_longer_budget_but_no_other_model(charlstm, config_file):
    assert charlstm("train", config_file).code == 0
    result = charlstm("train", config_file, "--resume", "--set", "model.hidden_size=9")
    assert result.code == 2
    assert "model.hidden_size was 8, is 9" in result.err
    assert load_config(Path("runs/tiny/config.yaml")).model.hidden_size == 8
    result = charlstm("train", "runs/tiny", "--resume", "--set", "training.budget.steps=20")
    assert result.code == 0
    assert steps(Path("runs/tiny")) == 20
    assert load_config(Path("runs/tiny/config.yaml")).training.budget.steps == 20


@pytest.mark.parametrize("resumed", [("runs/tiny",), None], ids=["run", "configuration"])
def test_run_from_before_the_unigram_bias_is_resumed(charlstm, config_file, resumed):
    """Its files do not have the field. Its LSTM started at zero, not as the default is now."""
    start = ("--set", "model.unigram_bias=false")
    assert charlstm("train", config_file, "--set", "model.cell=lstm", *start).code == 0
    run = Path("runs/tiny")
    for path in (run / "checkpoints").iterdir():
        tensors, header = load_checkpoint(path)
        assert header["config"]["model"].pop("unigram_bias") is False
        path.write_bytes(b"".join(pack(tensors, header)))
    recorded = run / "config.yaml"
    recorded.write_text("".join(line for line in recorded.read_text().splitlines(True) if "unigram_bias" not in line))
    longer = ("--resume", "--set", "training.budget.steps=20")
    if resumed is None:
        result = charlstm("train", config_file, *longer, "--set", "model.cell=lstm")
        assert "model.unigram_bias was false, is true" in result.err
        resumed = (config_file, "--set", "model.cell=lstm", *start)
    assert charlstm("train", *resumed, *longer).code == 0
    assert steps(run) == 20
    assert load_config(recorded).model.unigram_bias is False


def test_diverged_run_exits_with_3_and_resumes(charlstm, config_file):
    diverging = ("--set", "training.learning_rate=1e6", "--set", "training.warmup_steps=0")
    result = charlstm("train", config_file, *diverging)
    assert result.code == 3
    assert "the held-out loss diverged" in result.err
    assert "learning_rate=" in result.err
    assert "the last checkpoint before the divergence is saved" in result.out
    assert charlstm("sample", "runs/tiny", "--length", "5", "--seed", "1").code == 0
    stable = ("--set", "training.learning_rate=1e-3")
    assert charlstm("train", "runs/tiny", "--resume", *stable).code == 0
    assert steps(Path("runs/tiny")) == 12


def test_dry_run_trains_and_writes_nothing(charlstm, config_file, corpus):
    one_hot = ("--set", "model.front_end=one_hot")
    result = charlstm("train", config_file, "--dry-run", *one_hot, "--set", "model.num_layers=2")
    assert result.code == 0
    assert [p.name for p in Path().iterdir()] == ["tiny.yaml"]
    assert "\x1b" not in result.out
    assert "hidden_size: 8" in result.out
    vocabulary, hidden = corpus.vocabulary.size, 8
    head = hidden * vocabulary + vocabulary
    recurrent = 4 * hidden * (vocabulary + hidden + 2) + 4 * hidden * (2 * hidden + 2)
    for part, count in (("recurrent", recurrent), ("head", head), ("all", recurrent + head)):
        assert re.search(rf"{part} +{count:,}\b", result.out)
    assert "memory (estimate)" in result.out
    assert re.search(r"layer 1: executor \w+: ", result.out)
    assert "not reference: " in result.out
    assert "17 steps per epoch" in result.out
    assert "\nevaluations score all " in result.out


def test_dry_run_names_a_run_that_exists(charlstm, config_file):
    planned = charlstm("train", config_file, "--dry-run").out
    assert charlstm("train", config_file, "--set", "training.budget={steps: 1}").code == 0
    again = charlstm("train", config_file, "--dry-run").out
    assert (planned.count("exists already"), again.count("runs/tiny, which exists already")) == (0, 1)


def test_run_that_exists_is_refused_before_its_text_is_read(charlstm, config_file, monkeypatch):
    assert charlstm("train", config_file, "--set", "training.budget={steps: 1}").code == 0
    monkeypatch.setattr("charlstm.cli.distributed.load_shared_corpus", None)
    result = charlstm("train", config_file)
    assert (result.code, result.out) == (2, "")
    assert "runs/tiny exists already. Resume it: --resume." in result.err


def test_dry_run_on_a_gpu_prints_free_memory(charlstm, config_file, monkeypatch):
    assert "free on" not in charlstm("train", config_file, "--dry-run").out
    memory = device.Memory(24_000_000_000, 20_000_000_000, 1_500_000_000)
    monkeypatch.setattr("charlstm.cli.train_output.memory", lambda _: memory)
    assert "free on cpu: 21,500.0 MB of 24,000.0 MB" in charlstm("train", config_file, "--dry-run").out


def test_frozen_parameters_are_counted_separately(charlstm, config_file, corpus):
    settings = ("--set", "model={cell: esn, hidden_size: 8}", "--set", "training.budget={steps: 1}")
    vocabulary, hidden = corpus.vocabulary.size, 8
    head, frozen = hidden * vocabulary + vocabulary, hidden * (vocabulary + hidden + 3)
    result = charlstm("train", config_file, "--dry-run", *settings)
    assert re.search(rf"all +{head:,}\b", result.out)
    assert re.search(rf"frozen, not included +{frozen:,}\b", result.out)
    assert not re.search(r"recurrent +\d", result.out)
    assert f"{head:,} trainable parameters, {frozen:,} frozen, cpu" in charlstm("train", config_file, *settings).out


def test_control_characters_in_a_sample_do_not_reach_the_log(charlstm, on_terminal, config_file):
    source = Path("control.txt")
    source.write_bytes(b"\x1b[31m\rred\x07\x9b" * 80)
    options = ("--set", "corpus={source: control.txt, encoding: latin-1}", "--set", "training.sample_length=60")
    result = charlstm("train", config_file, *options)
    assert result.code == 0
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.out)
    assert "\\x1b" in result.out
    result = on_terminal("train", config_file, *options, "--overwrite")
    assert "\x1b[31m" not in result.out
    assert "\x9b" not in result.out
    assert "\\x1b" in result.out


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


@pytest.mark.slow
def test_interrupted_run_equals_uninterrupted_run(charlstm, config_file, monkeypatch):
    options = ("--set", "training.budget.steps=700", "--set", "training.evaluate_every=250")
    options += ("--set", "model.dropout=0.2", "--set", "training.sample_length=0")
    code, out, err = stop_early(start(config_file, *options), signal.SIGINT)
    assert (code, "repeat to exit at once" in err, "Traceback" in err) == (130, True, False)
    assert "resume:  charlstm train runs/tiny --resume" in out
    first = steps(Path("runs/tiny"))
    assert 0 < first < 600
    assert f"saved at step {first:,}" in out

    original_step = Trainer._step

    def stepping(self: Trainer):
        if self.counters.step == first + 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return original_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stepping)
        assert charlstm("train", "runs/tiny", "--resume").code == 143
    assert steps(Path("runs/tiny")) == first + 21

    assert charlstm("train", "runs/tiny", "--resume").code == 0
    assert charlstm("train", config_file, *options, "--name", "uninterrupted").code == 0
    for name in ("last", "best"):
        ours, theirs = (
            load_checkpoint(Path(f"runs/{run}/checkpoints/{name}.safetensors"))[0] for run in ("tiny", "uninterrupted")
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(t, theirs[key]) for key, t in ours.items())


CLOSE_TERMINAL = """
import fcntl, os, pty, signal, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, perhaps around the tests, ignores it
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


def test_closed_terminal_saves_the_run(config_file):
    """As when an SSH connection breaks: HUP arrives, and nothing can be printed."""
    options = ["--set", "training.budget={steps: 100000000, minutes: 1}", "--set", "training.evaluate_every=100000000"]
    command = [sys.executable, "-c", CLOSE_TERMINAL, str(config_file), *options]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert result.returncode == 129
    assert steps(Path("runs/tiny")) > 0
    assert json.loads(Path("runs/tiny/metrics.jsonl").read_text().splitlines()[-1])["stop_reason"] == "stopped"
