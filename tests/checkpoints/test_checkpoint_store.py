"""No crash loses an acknowledged checkpoint: every prefix of the writes, power cuts, kill -9, full disks.

The kills: 15 in the fast suite, 200 in ``pytest -m slow``; any number, with statistics, by
``CHARLSTM_KILLS=1000 pytest tests/checkpoints/test_checkpoint_store.py -k kill -s``.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import select
import shutil
import signal
import struct
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from charlstm import atomic_io
from charlstm.checkpoints.format import load_checkpoint
from charlstm.checkpoints.store import CheckpointStore
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.training.events import Evaluated
from charlstm.training.trainer import Trainer


def tensors(step):
    return {"model.weight": torch.full((5,), float(step)), "random.cpu": torch.arange(9, dtype=torch.uint8)}


def save(checkpoints, step, best=False):
    checkpoints.save(tensors(step), {"counters": {"step": step}}, best)


def valid_steps(folder):
    steps = set()
    for path in folder.glob("*.safetensors"):
        with suppress(UserError):
            steps.add(load_checkpoint(path)[1]["counters"]["step"])
    return steps


# a simulated disk


class Recorder:
    """``os`` for :mod:`charlstm.atomic_io`; records what changes the disk: (operation, file number or name, ...)."""

    def __init__(self, log):
        self.log, self.files, self.names = log, {}, {}

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags, mode=0o777):
        descriptor = os.open(path, flags, mode)
        name = Path(path).name
        if flags & os.O_CREAT:
            self.names[name] = len(self.log)
            self.log.append(("create", name, self.names[name]))
        self.files[descriptor] = None if Path(path).is_dir() else self.names[name]
        return descriptor

    def write(self, descriptor, content):
        self.log.append(("write", self.files[descriptor], bytes(content)))
        return os.write(descriptor, content)

    def fsync(self, descriptor):
        number = self.files[descriptor]
        self.log.append(("flush folder",) if number is None else ("flush", number))

    def replace(self, source, target):
        os.replace(source, target)  # noqa: PTH105
        number = self.names[target.name] = self.names.pop(source.name)
        self.log.append(("rename", source.name, target.name, number))

    def unlink(self, path):
        os.unlink(path)  # noqa: PTH108
        self.log.append(("unlink", path.name, self.names.pop(path.name)))


def apply_operations(names, operations):
    names = dict(names)
    for kind, *arguments in operations:
        if kind == "create":
            names[arguments[0]] = arguments[1]
        elif kind == "rename":
            source, target, number = arguments
            if names.get(source) == number:
                del names[source]
            names[target] = number
        elif names.get(arguments[0]) == arguments[1]:
            del names[arguments[0]]
    return names


def disks(log):
    """(acknowledged step, {name: content}) of every disk state that a crash during this log may leave."""
    flushed, pending, written, safe, acknowledged = {}, [], {}, {}, 0
    for operation in [*log, ("end",)]:
        everything = apply_operations(flushed, pending)
        yield acknowledged, {name: written.get(number, b"") for name, number in everything.items()}  # killed
        for chosen in itertools.product((False, True), repeat=len(pending)):  # a power cut
            names = apply_operations(flushed, itertools.compress(pending, chosen))
            for lost in ("nothing", "half", "all", "zeros"):
                contents = {}
                for name, number in names.items():
                    content, flushed_length = written.get(number, b""), safe.get(number, 0)
                    length = {"nothing": len(content), "half": (flushed_length + len(content)) // 2}.get(
                        lost, flushed_length
                    )
                    contents[name] = content[:length]
                    if lost == "zeros":
                        contents[name] += bytes(len(content) - length)
                yield acknowledged, contents
        kind, *arguments = operation
        if kind == "write":
            number, content = arguments
            before = written.get(number, b"")
            for part in {1, 8, len(content) // 3, len(content) // 2, len(content) - 1}:  # torn
                written[number] = before + content[:part]
                yield acknowledged, {name: written.get(n, b"") for name, n in everything.items()}
            written[number] = before + content
        elif kind == "flush":
            safe[arguments[0]] = len(written[arguments[0]])
        elif kind == "flush folder":
            flushed, pending = everything, []
        elif kind == "acknowledged":
            acknowledged = arguments[0]
        elif kind != "end":
            pending.append(operation)


def test_crash_while_saving_leaves_acknowledged_checkpoint(tmp_path, monkeypatch):
    log = []
    monkeypatch.setattr(atomic_io, "os", Recorder(log))
    checkpoints = CheckpointStore(tmp_path / "recorded")
    checkpoints.folder.mkdir()
    for step, best in enumerate([False, True, False, True, False], 1):
        save(checkpoints, step, best)
        log.append(("acknowledged", step))
    monkeypatch.setattr(atomic_io, "os", type("Quick", (), {"__getattr__": lambda _, n: getattr(os, n)})())
    monkeypatch.setattr(atomic_io, "_flush", lambda *_: None)
    distinct = {(acknowledged, tuple(sorted(files.items()))) for acknowledged, files in disks(log)}
    assert len(distinct) > 120
    for acknowledged, files in distinct:
        crashed = CheckpointStore(tmp_path / "crashed")
        shutil.rmtree(crashed.folder, ignore_errors=True)
        crashed.folder.mkdir()
        for name, content in files:
            (crashed.folder / name).write_bytes(content)
        if not acknowledged:
            continue
        loaded = crashed.newest()
        step = loaded.header["counters"]["step"]
        assert acknowledged <= step <= acknowledged + 1
        assert torch.equal(loaded.tensors["model.weight"], tensors(step)["model.weight"])
        assert len(valid_steps(crashed.folder)) >= min(acknowledged, 2)
        crashed.quarantine(loaded)
        atomic_io.remove_temporaries(crashed.folder)
        save(crashed, step + 1)
        after = valid_steps(crashed.folder)
        assert max(after) == step + 1
        assert len(after) >= 2
        assert {path.name for path in crashed.folder.iterdir()} <= {
            f"{name}.safetensors" for name in ("last", "previous", "best")
        }


# kill -9


class Slow:
    """``os`` for :mod:`charlstm.atomic_io`, with a delay of 0.5 ms per call: a save long enough to be killed."""

    def __getattr__(self, name):
        time.sleep(0.0005)
        return getattr(os, name)


def run_forever(config, corpus, path, pipe, slow):
    """Start or resume the run; send -1 through the pipe when a save starts, and the step when it is complete."""
    directory = RunDirectory(path)
    trainer = Trainer(config, corpus, directory)
    write = CheckpointStore.save

    def save_and_report(self, *arguments):
        os.write(pipe, struct.pack("<q", -1))
        write(self, *arguments)
        os.write(pipe, struct.pack("<q", trainer.counters.step))

    CheckpointStore.save = save_and_report  # in this child only
    atomic_io.os = Slow() if slow else os
    with directory.writing():
        if directory.exists:
            trainer.resume()
        else:
            directory.create(config)
        for _ in trainer.run():
            pass


def run_and_kill(config, corpus, path, rng, inside):
    """Kill a process of the run at a random time. Returns its acknowledged steps, and whether it died in a save."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork and threads; there is one thread here
        child = os.fork()
    if child == 0:
        with suppress(BaseException):
            run_forever(config, corpus, path, writing, inside)
        os._exit(1)
    os.close(writing)
    received = b""
    if inside:
        saves = rng.randint(1, 4)
        while sum(n == -1 for (n,) in struct.iter_unpack("<q", received[: len(received) // 8 * 8])) < saves:
            assert select.select([reading], [], [], 20)[0]
            more = os.read(reading, 8)
            assert more, "the process ended by itself"
            received += more
        time.sleep(rng.uniform(0, 0.012))
    else:
        time.sleep(rng.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    while more := os.read(reading, 4096):
        received += more
    os.close(reading)
    messages = [n for (n,) in struct.iter_unpack("<q", received)]
    return [n for n in messages if n >= 0], bool(messages) and messages[-1] == -1


@pytest.fixture
def quick_folder(tmp_path):
    """A folder in memory, if available: kills do not test fsync, which takes most of the time."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_loses_no_acknowledged_checkpoint(make_config, corpus, quick_folder, kills):
    kills, path = int(os.environ.get("CHARLSTM_KILLS", kills)), quick_folder / "run"
    config = make_config(budget={"steps": 10**6}, evaluate_every=2, schedule="constant")
    warm = RunDirectory(quick_folder / "warm")
    warm.create(config)
    next(
        event for event in Trainer(config, corpus, warm).run() if isinstance(event, Evaluated)
    )  # loads modules before the forks
    rng, acknowledged, in_save = random.Random(7), -1, 0
    for number in range(kills):
        steps, inside = run_and_kill(config, corpus, path, rng, inside=number % 2 == 0)
        in_save += inside
        acknowledged = max([acknowledged, *steps])
        if acknowledged >= 0:
            step = RunDirectory(path).checkpoints.newest().header["counters"]["step"]
            assert acknowledged <= step <= acknowledged + 2
            acknowledged = step  # later processes build on the step that this one resumed from
    print(f"{kills} kills, {in_save} of them in a save, {acknowledged:,} steps")  # noqa: T201
    assert in_save > 0.3 * kills
    directory = RunDirectory(path)
    with directory.writing():
        trainer = Trainer(config, corpus, directory)
        assert trainer.resume() == []
        assert trainer.counters.step >= acknowledged
        next(event for event in trainer.run() if isinstance(event, Evaluated))
    for kind in ("train", "evaluation"):
        steps = [record["step"] for record in directory.metrics() if record["kind"] == kind]
        assert steps == sorted(set(steps))
        assert steps[-1] == trainer.counters.step
    entries = [line for line in directory.samples_file.read_text().splitlines() if line.startswith("===== step ")]
    assert entries == [f"===== step {step}" for step in range(2, trainer.counters.step + 1, 2)]
    left = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    names = {f"checkpoints/{name}.safetensors" for name in ("last", "previous", "best")}
    assert left == names | {".lock", "config.yaml", "metrics.jsonl", "samples.txt"}


# full and failing disks


@pytest.fixture
def three_saves(tmp_path):
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        save(checkpoints, step, best=step == 2)
    return checkpoints


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("best", [False, True])
def test_full_disk_leaves_checkpoints_and_names_bytes_needed(three_saves, best):
    before, old = content_of(three_saves.folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, old[1]))
    try:
        with pytest.raises(UserError) as caught:
            save(three_saves, 4, best)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    name = "best" if best else "last"
    assert str(caught.value).startswith(f"{three_saves.folder / name}.safetensors: cannot write the checkpoint (")
    assert f"({len(before['last.safetensors']):,} bytes needed, " in str(caught.value)
    assert "File too large. The earlier checkpoints remain" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content_of(three_saves.folder) == before
    save(three_saves, 4, best)
    assert three_saves.newest().header["counters"]["step"] == 4


def test_full_disk_at_the_first_checkpoint_names_another_folder(tmp_path):
    checkpoints, old = CheckpointStore(tmp_path / "checkpoints"), resource.getrlimit(resource.RLIMIT_FSIZE)
    assert checkpoints.newest_step() is None
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, old[1]))
    try:
        with pytest.raises(UserError, match=r"Free [\d,]+ bytes, or choose another folder: --runs FOLDER$"):
            save(checkpoints, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not checkpoints.exists()


@pytest.mark.parametrize("missing", [(), ("last",), ("last", "previous")], ids=str)
def test_step_of_the_newest_file_is_that_of_any_that_remains(three_saves, missing):
    for name in missing:
        getattr(three_saves, name).unlink()
    assert three_saves.newest_step() == 3 - bool(missing)
    for path in three_saves.files:
        if path.exists():
            path.write_bytes(b"damaged")
    assert three_saves.newest_step() == -1


def test_deleted_run_directory_is_a_clear_error(tmp_path):
    checkpoints = CheckpointStore(tmp_path / "run" / "checkpoints")
    checkpoints.folder.mkdir(parents=True)
    save(checkpoints, 1)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match=r"cannot write the checkpoint \(.* bytes needed.*No such file or directory"):
        save(checkpoints, 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), KeyboardInterrupt()], ids=["error", "stopped"])
@pytest.mark.parametrize("when", range(4))
def test_failed_save_leaves_newest_and_no_temporary_files(three_saves, monkeypatch, call, error, when):
    count = itertools.count()

    def fails(*arguments):
        if next(count) == when:
            raise error
        return getattr(os, call)(*arguments)

    shim = type("Failing", (), {"__getattr__": lambda _, name: fails if name == call else getattr(os, name)})()
    monkeypatch.setattr(atomic_io, "os", shim)
    with suppress(UserError, KeyboardInterrupt):
        save(three_saves, 4)
    monkeypatch.undo()
    assert three_saves.newest().header["counters"]["step"] >= 3
    assert len(valid_steps(three_saves.folder)) >= 2
    assert not list(three_saves.folder.glob(".*"))
    save(three_saves, 5)
    assert valid_steps(three_saves.folder) >= {5}
    assert len(valid_steps(three_saves.folder) - {2}) >= 2
    assert not three_saves.moving.exists()


# which checkpoint is loaded


def damage(path, offset=-3):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_last_two_and_best_checkpoints_are_stored(three_saves):
    assert {
        name: load_checkpoint(three_saves.folder / f"{name}.safetensors")[1]["counters"]["step"]
        for name in ("last", "previous", "best")
    } == {"last": 3, "previous": 2, "best": 2}


def test_newest_checkpoint_is_chosen_by_content(three_saves):
    three_saves.last.rename(three_saves.folder / "x")
    three_saves.best.rename(three_saves.last)
    (three_saves.folder / "x").rename(three_saves.best)
    os.utime(three_saves.best, (1, 1))
    assert three_saves.newest().path == three_saves.best
    assert three_saves.newest().header["counters"]["step"] == 3


@pytest.mark.parametrize("offset", [-3, 0, 9, 60, None], ids=["tensors", "length", "brace", "header", "empty"])
def test_damaged_checkpoint_is_reported_and_skipped(three_saves, offset):
    if offset is None:
        three_saves.last.write_bytes(b"")
    else:
        damage(three_saves.last, offset)
    loaded = three_saves.newest()
    assert loaded.header["counters"]["step"] == 2
    (line,) = loaded.damaged
    assert line.startswith(f"{three_saves.last}: damaged")
    three_saves.quarantine(loaded)
    save(three_saves, 3)
    assert valid_steps(three_saves.folder) == {2, 3}
    assert load_checkpoint(three_saves.previous)[1]["counters"]["step"] == 2


def test_run_with_damaged_last_resumes_from_previous(make_trainer, make_config):
    first = make_trainer(make_config(budget={"steps": 12}))
    list(first.run())
    for path in (first.directory.last, first.directory.best):
        damage(path)
    again = make_trainer(make_config(budget={"steps": 18}), first.directory.path)
    notes = [note for note in again.resume() if "damaged" in note]
    assert len(notes) == 2
    assert all("resumed from previous.safetensors, step 6" in note for note in notes)
    list(again.run())
    steps = [record["step"] for record in again.directory.metrics() if record["kind"] == "evaluation"]
    assert steps == [6, 12, 18]
    assert valid_steps(again.directory.checkpoints.folder) >= {12, 18}


def test_damaged_best_falls_back_to_newest(three_saves):
    assert three_saves.best_or_newest().path == three_saves.best
    damage(three_saves.best)
    loaded = three_saves.best_or_newest()
    assert loaded.path == three_saves.last
    assert loaded.damaged[0].startswith(f"{three_saves.best}: damaged")


def test_only_own_temporary_files_are_removed(tmp_path):
    for name in (".last.safetensors.12.tmp", ".notes.tmp", "a.12.tmp", ".config.yaml.7.tmp"):
        (tmp_path / name).touch()
    atomic_io.remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", "a.12.tmp"}
