"""No moment at which a run can end loses what was saved: every prefix of the writes, power cuts, kill -9, full disks.

The kills: 40 in the fast suite, 200 in ``pytest -m slow``; others, with their figures printed, by
``CHARLSTM_KILLS=1000 pytest tests/training/test_training_crash.py -k kill -s``.
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


def good_steps(folder):
    found = set()
    for path in folder.glob("*.safetensors"):
        with suppress(UserError):
            found.add(load_checkpoint(path)[1]["counters"]["step"])
    return found


# a simulated disk


class Recorder:
    """``os`` for :mod:`durable`, writing down what changes the disk: (what, file number or name, ...)."""

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


def applied(names, operations):
    names = dict(names)
    for what, *arguments in operations:
        if what == "create":
            names[arguments[0]] = arguments[1]
        elif what == "rename":
            source, target, number = arguments
            if names.get(source) == number:
                del names[source]
            names[target] = number
        elif names.get(arguments[0]) == arguments[1]:
            del names[arguments[0]]
    return names


def disks(log):
    """(acknowledged step, {name: content}) of every disk that a crash after part of this log may leave."""
    flushed, pending, written, safe, acknowledged = {}, [], {}, {}, 0
    for operation in [*log, ("end",)]:
        everything = applied(flushed, pending)
        yield acknowledged, {name: written.get(number, b"") for name, number in everything.items()}  # killed
        for chosen in itertools.product((False, True), repeat=len(pending)):  # a power cut
            names = applied(flushed, itertools.compress(pending, chosen))
            for lost in ("nothing", "half", "all", "zeros"):
                contents = {}
                for name, number in names.items():
                    content, kept_ = written.get(number, b""), safe.get(number, 0)
                    length = {"nothing": len(content), "half": (kept_ + len(content)) // 2}.get(lost, kept_)
                    contents[name] = content[:length]
                    if lost == "zeros":
                        contents[name] += bytes(len(content) - length)
                yield acknowledged, contents
        what, *arguments = operation
        if what == "write":
            number, content = arguments
            before = written.get(number, b"")
            for part in {1, 8, len(content) // 3, len(content) // 2, len(content) - 1}:  # torn
                written[number] = before + content[:part]
                yield acknowledged, {name: written.get(n, b"") for name, n in everything.items()}
            written[number] = before + content
        elif what == "flush":
            safe[arguments[0]] = len(written[arguments[0]])
        elif what == "flush folder":
            flushed, pending = everything, []
        elif what == "acknowledged":
            acknowledged = arguments[0]
        elif what != "end":
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
        found = crashed.newest()
        step = found.header["counters"]["step"]
        assert acknowledged <= step <= acknowledged + 1
        assert torch.equal(found.tensors["model.weight"], tensors(step)["model.weight"])
        assert len(good_steps(crashed.folder)) >= min(acknowledged, 2)
        crashed.quarantine(found)
        atomic_io.remove_temporaries(crashed.folder)
        save(crashed, step + 1)
        after = good_steps(crashed.folder)
        assert max(after) == step + 1
        assert len(after) >= 2
        assert {path.name for path in crashed.folder.iterdir()} <= {
            f"{name}.safetensors" for name in ("last", "previous", "best")
        }


# kill -9


class Slow:
    """``os`` for :mod:`durable`, each call half a millisecond later: a save long enough to be hit."""

    def __getattr__(self, name):
        time.sleep(0.0005)
        return getattr(os, name)


def life(config, corpus, path, pipe, slow):
    """Begin or go on with the run for ever, telling through the pipe when a save begins and what is saved."""
    directory = RunDirectory(path)
    trainer = Trainer(config, corpus, directory)
    write = CheckpointStore.save

    def telling(self, *arguments):
        os.write(pipe, struct.pack("<q", -1))
        write(self, *arguments)
        os.write(pipe, struct.pack("<q", trainer.counters.step))

    CheckpointStore.save = telling  # in this child only
    atomic_io.os = Slow() if slow else os
    with directory.writing():
        if directory.exists:
            trainer.resume()
        else:
            directory.create(config)
        for _ in trainer.run():
            pass


def killed(config, corpus, path, chance, inside):
    """One life, killed at a random moment. The steps that it acknowledged; whether it died in a save."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork and threads; there is one thread here
        child = os.fork()
    if child == 0:
        with suppress(BaseException):
            life(config, corpus, path, writing, inside)
        os._exit(1)
    os.close(writing)
    heard = b""
    if inside:
        saves = chance.randint(1, 4)
        while sum(n == -1 for (n,) in struct.iter_unpack("<q", heard[: len(heard) // 8 * 8])) < saves:
            assert select.select([reading], [], [], 20)[0]
            more = os.read(reading, 8)
            assert more, "the life ended by itself"
            heard += more
        time.sleep(chance.uniform(0, 0.012))
    else:
        time.sleep(chance.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    while more := os.read(reading, 4096):
        heard += more
    os.close(reading)
    told = [n for (n,) in struct.iter_unpack("<q", heard)]
    return [n for n in told if n >= 0], bool(told) and told[-1] == -1


@pytest.fixture
def quick_folder(tmp_path):
    """In memory where there is such a place: a kill says nothing about fsync, which takes most of the time."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_loses_no_acknowledged_checkpoint(make_config, corpus, quick_folder, kills):
    kills, path = int(os.environ.get("CHARLSTM_KILLS", kills)), quick_folder / "run"
    config = make_config(budget={"steps": 10**6}, evaluate_every=2, schedule="constant")
    warm = RunDirectory(quick_folder / "warm")
    warm.create(config)
    next(event for event in Trainer(config, corpus, warm).run() if isinstance(event, Evaluated))  # loads, once
    chance, acknowledged, in_save = random.Random(7), -1, 0
    for number in range(kills):
        told, inside = killed(config, corpus, path, chance, inside=number % 2 == 0)
        in_save += inside
        acknowledged = max([acknowledged, *told])
        if acknowledged >= 0:
            step = RunDirectory(path).checkpoints.newest().header["counters"]["step"]
            assert acknowledged <= step <= acknowledged + 2
            acknowledged = step  # what one life found, the next ones may build on
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


# disks that refuse


@pytest.fixture
def three(tmp_path):
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        save(checkpoints, step, best=step == 2)
    return checkpoints


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("best", [False, True])
def test_full_disk_leaves_checkpoints_and_names_bytes_needed(three, best):
    before, old = content_of(three.folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, old[1]))
    try:
        with pytest.raises(UserError) as caught:
            save(three, 4, best)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    name = "best" if best else "last"
    assert str(caught.value).startswith(f"{three.folder / name}.safetensors: cannot write the checkpoint (")
    assert f"({len(before['last.safetensors']):,} bytes needed, " in str(caught.value)
    assert "File too large. The checkpoints before it are kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content_of(three.folder) == before
    save(three, 4, best)
    assert three.newest().header["counters"]["step"] == 4


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
def test_failed_save_leaves_newest_and_no_temporary_files(three, monkeypatch, call, error, when):
    count = itertools.count()

    def fails(*arguments):
        if next(count) == when:
            raise error
        return getattr(os, call)(*arguments)

    shim = type("Failing", (), {"__getattr__": lambda _, name: fails if name == call else getattr(os, name)})()
    monkeypatch.setattr(atomic_io, "os", shim)
    with suppress(UserError, KeyboardInterrupt):
        save(three, 4)
    monkeypatch.undo()
    assert three.newest().header["counters"]["step"] >= 3
    assert len(good_steps(three.folder)) >= 2
    assert not list(three.folder.glob(".*"))
    save(three, 5)
    assert good_steps(three.folder) >= {5}
    assert len(good_steps(three.folder) - {2}) >= 2
    assert not three.moving.exists()


# which one is taken


def spoil(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_last_two_and_best_checkpoints_are_stored(three):
    assert {
        name: load_checkpoint(three.folder / f"{name}.safetensors")[1]["counters"]["step"]
        for name in ("last", "previous", "best")
    } == {"last": 3, "previous": 2, "best": 2}


def test_newest_checkpoint_is_chosen_by_content(three):
    three.last.rename(three.folder / "x")
    three.best.rename(three.last)
    (three.folder / "x").rename(three.best)
    os.utime(three.best, (1, 1))
    assert three.newest().path == three.best
    assert three.newest().header["counters"]["step"] == 3


@pytest.mark.parametrize("place", [-3, 0, 9, 60, None], ids=["tensors", "length", "brace", "header", "empty"])
def test_damaged_checkpoint_is_reported_and_skipped(three, place):
    if place is None:
        three.last.write_bytes(b"")
    else:
        spoil(three.last, place)
    found = three.newest()
    assert found.header["counters"]["step"] == 2
    (line,) = found.damaged
    assert line.startswith(f"{three.last}: damaged")
    three.quarantine(found)
    save(three, 3)
    assert good_steps(three.folder) == {2, 3}
    assert load_checkpoint(three.previous)[1]["counters"]["step"] == 2


def test_run_with_damaged_last_resumes_from_previous(make_trainer, make_config):
    first = make_trainer(make_config(budget={"steps": 12}))
    list(first.run())
    for path in (first.directory.last, first.directory.best):
        spoil(path)
    again = make_trainer(make_config(budget={"steps": 18}), first.directory.path)
    notes = [note for note in again.resume() if "damaged" in note]
    assert len(notes) == 2
    assert all("went on from previous.safetensors, step 6" in note for note in notes)
    list(again.run())
    steps = [record["step"] for record in again.directory.metrics() if record["kind"] == "evaluation"]
    assert steps == [6, 12, 18]
    assert good_steps(again.directory.checkpoints.folder) >= {12, 18}


def test_damaged_best_falls_back_to_newest(three):
    assert three.best_or_newest().path == three.best
    spoil(three.best)
    found = three.best_or_newest()
    assert found.path == three.last
    assert found.damaged[0].startswith(f"{three.best}: damaged")


def test_only_own_temporary_files_are_removed(tmp_path):
    for name in (".last.safetensors.12.tmp", ".notes.tmp", "a.12.tmp", ".config.yaml.7.tmp"):
        (tmp_path / name).touch()
    atomic_io.remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", "a.12.tmp"}
