"""Jobs on a Dask cluster: a scheduler and workers on this machine, which are killed, stopped and broken."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

from distributed import Client, KilledWorker, LocalCluster

import charlstm as package
from charlstm.checkpoints.format import load_checkpoint
from charlstm.comparison.arms import ArmComparison
from charlstm.comparison.training_job import TrainingJob
from charlstm.config import CompareConfig
from charlstm.errors import UserError
from charlstm.jobs import cluster as cluster_module
from charlstm.jobs.base import Control, Stopped
from charlstm.jobs.cluster import Cluster
from charlstm.jobs.cluster_worker import LOCK_PATIENCE, versions
from charlstm.jobs.pools import make_pool
from charlstm.jobs.processes import Processes
from charlstm.runs.lock import hold_lock
from charlstm.training.events import Ended, Evaluated

ROOT = Path(package.__file__).parents[1]
STEPS = 120
COMPARE = """\
corpus: {{source: {source}}}
model: {{hidden_size: 16, executor: eager}}
training:
  {{batch_size: 4, sequence_length: 20, evaluate_every: 20, sample_length: 0, precision: float32, device: cpu,
    budget: {{steps: {steps}}}}}
seeds: 1
arms:
  rnn: {{model.cell: rnn}}
  lstm: {{model.cell: lstm}}
"""


@dataclass(frozen=True)
class Write:
    """A job that writes a file. It fails ``failures`` times before, or by a fault of its own."""

    key: Path
    failures: int = 0
    is_wrong: bool = False

    @property
    def label(self) -> str:
        return self.key.name

    def done(self) -> bool:
        return self.key.exists()

    def work(self, control: Control) -> bool:
        with hold_lock(self.key.with_suffix(".lock")):
            tries = self.key.with_suffix(".tries")
            tries.write_text((tries.read_text() if tries.exists() else "") + "x")
            if self.is_wrong:
                raise UserError("wrong")
            if len(tries.read_text()) <= self.failures:
                try:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError as error:
                    raise UserError(f"{self.key}: {error.strerror}") from error
            control.report(self.label)
            self.key.write_text("done")
            return True


@dataclass(frozen=True)
class Wait(Write):
    """A job that waits for a request to save."""

    def work(self, control: Control) -> bool:
        control.report("waiting")
        while not control.should_save():
            if control.should_stop():
                return False
            time.sleep(0.01)
        return super().work(control)


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    """The address of a scheduler in this process, with two workers in threads of it."""
    with LocalCluster(
        n_workers=2, processes=False, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


def test_jobs_are_done_and_report(local, tmp_path):
    jobs, events = [Write(tmp_path / name) for name in "abc"], []
    jobs[1].key.write_text("done before")
    with make_pool(1, local, tmp_path) as pool:
        done = list(pool.do(jobs, lambda job, event: events.append((job.key, event))))
    assert sorted(job.label for job in done) == ["a", "b", "c"]
    assert sorted(events) == [(jobs[0].key, "a"), (jobs[2].key, "c")]
    assert jobs[1].key.read_text() == "done before"


def test_job_waits_for_the_lock_of_its_run(local, tmp_path):
    job, order = Write(tmp_path / "a"), []
    with Cluster(local, tmp_path) as pool, ExitStack() as lock:
        lock.enter_context(hold_lock(job.key.with_suffix(".lock")))
        lock.callback(lambda: order.append("released"))
        threading.Timer(0.5, lock.close).start()
        order += [done.label for done in pool.do([job])]
    assert order == ["released", "a"]
    assert LOCK_PATIENCE > 90


def test_stop_request_reaches_the_worker(local, tmp_path):
    with Cluster(local, tmp_path) as pool:
        pool.request_stop()
        with pytest.raises(Stopped):
            list(pool.do([Write(tmp_path / "a")]))
    assert not (tmp_path / "a").exists()


def test_job_goes_on_at_another_worker_when_a_disk_is_full(local, tmp_path, caplog):
    jobs = [Write(tmp_path / "a", failures=1), Write(tmp_path / "b")]
    with caplog.at_level("INFO", "charlstm"), Cluster(local, tmp_path) as pool:
        assert sorted(job.label for job in pool.do(jobs)) == ["a", "b"]
    (line,) = caplog.messages
    assert re.fullmatch(r"a: at the worker inproc://\S+: .*/a: No space left on device; another worker goes on", line)
    assert (tmp_path / "a.tries").read_text() == "xx"


@pytest.mark.parametrize(("failures", "is_wrong", "tries"), [(9, False, 2), (0, True, 1)])
def test_failing_job_ends_the_others_with_its_reason(local, tmp_path, failures, is_wrong, tries):
    refused = pytest.raises(UserError, match="a: at the worker .*: wrong" if is_wrong else "a: .*No space left")
    with refused, Cluster(local, tmp_path) as pool:
        list(pool.do([Write(tmp_path / "a", failures, is_wrong)]))
    assert (tmp_path / "a.tries").read_text() == tries * "x"


@pytest.mark.parametrize(
    ("future", "message"),
    [
        (SimpleNamespace(status="cancelled"), "the connection to the Dask scheduler at .* is lost"),
        (
            SimpleNamespace(status="error", error=KilledWorker("a", SimpleNamespace(address="tcp://w"), 3)),
            "a: 4 workers that ran it were killed, the last one tcp://w, perhaps for lack of memory",
        ),
    ],
)
def test_lost_machines_are_one_message(local, tmp_path, future, message):
    def result() -> None:
        raise future.error

    future.result = result
    with Cluster(local, tmp_path) as pool, pytest.raises(UserError, match=message):
        pool._outcome(future, Write(tmp_path / "a"))


def test_save_request_reaches_a_running_job(local, tmp_path):
    with Cluster(local, tmp_path) as pool:
        done = [job.label for job in pool.do([Wait(tmp_path / "a")], lambda *_: pool.request_save())]
    assert done == ["a"]


def test_error_stops_the_jobs_that_run(local, tmp_path):
    jobs = [Wait(tmp_path / "a"), Write(tmp_path / "b", is_wrong=True)]
    with pytest.raises(UserError, match="b: at the worker"), Cluster(local, tmp_path) as pool:
        list(pool.do(jobs))
    assert {future.status for future in pool._futures} <= {"finished", "cancelled"}
    assert not jobs[0].done()


@pytest.mark.parametrize("name", ["charlstm", "torch", "Python"])
def test_other_versions_are_refused(local, tmp_path, monkeypatch, name):
    monkeypatch.setattr(cluster_module, "versions", lambda: {**versions(), name: "0"})
    with pytest.raises(UserError, match=rf"the worker inproc://\S+ has {name} [\d.]+\S*, this machine 0: install"):
        Cluster(local, tmp_path).__enter__()


def test_other_folders_are_refused(local, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_marker_content", lambda _: b"that of another folder of this name")
    with pytest.raises(UserError, match=f"does not see {tmp_path} as this machine does"):
        Cluster(local, tmp_path).__enter__()


def test_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"--cluster tcp://127\.0\.0\.1:9: no Dask scheduler answers"):
        Cluster("tcp://127.0.0.1:9", tmp_path)


def test_missing_package_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.jobs.pools.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'charlstm\[cluster\]'"):
        make_pool(1, "tcp://127.0.0.1:9", tmp_path)


class Machines:
    """A scheduler and its workers, each a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-show")

    def _start(self, *words: str, limit: int | None = None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

        def limited() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        log = (self.folder / f"{words[0]}.log").open("ab")
        dask = [sys.executable, "-m", "dask", words[0], "--no-dashboard", "--scheduler-file", str(self.file)]
        process = subprocess.Popen([*dask, *words[1:]], stdout=log, stderr=log, env=environment, preexec_fn=limited)
        log.close()
        self._processes.append(process)
        return process

    def worker(self, *words: str, limit: int | None = None) -> None:
        """Start a worker; limit: the size of its largest file, in bytes."""
        scratch = ("--local-directory", str(self.folder / "scratch"), "--memory-limit", "0")
        self._start("worker", "--nthreads", "1", *scratch, *words, limit=limit)

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def machines(tmp_path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    yield machines
    machines.end()


@contextmanager
def pool_of(machines: Machines, workers: int) -> Iterator[Cluster]:
    until(machines.file.exists)
    with Client(scheduler_file=str(machines.file), set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=100)
    with Cluster(str(machines.file), machines.folder / "runs") as pool:
        yield pool


def until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def make_jobs(corpus_file, tmp_path) -> Callable[..., list[TrainingJob]]:
    def make(name: str, steps: int = STEPS) -> list[TrainingJob]:
        import yaml

        settings = yaml.safe_load(COMPARE.format(source=corpus_file, steps=steps))
        config = CompareConfig.model_validate(settings)
        return [TrainingJob(trial) for trial in ArmComparison(config, tmp_path / "runs" / name, name).trials()]

    return make


def writer(job: TrainingJob) -> int:
    """The process that writes a run."""
    return int(json.loads(job.trial.directory.lock_file.read_text().strip("\0 "))["pid"])


def assert_equal_runs(ours: list[TrainingJob], theirs: list[TrainingJob]) -> None:
    """Whether weights, optimizer, random states and scores are the same, bit for bit, and no step is recorded twice."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.trial.directory.ended == "budget"
        tensors, expected = (load_checkpoint(job.trial.directory.last)[0] for job in (one, other))
        assert tensors.keys() == expected.keys()
        assert all((tensors[name] == expected[name]).all() for name in expected)
        records, others = (
            [
                (record["step"], record["nats"])
                for record in job.trial.directory.metrics()
                if record["kind"] == "evaluation"
            ]
            for job in (one, other)
        )
        assert records == others


@pytest.fixture
def alone(make_jobs) -> list[TrainingJob]:
    """The same runs, trained by two processes of this machine."""
    jobs = make_jobs("alone")
    with Processes(2) as pool:
        assert len(list(pool.do(jobs))) == len(jobs)
    return jobs


@pytest.mark.slow
def test_two_workers_equal_two_processes_also_when_one_is_killed(machines, make_jobs, alone):
    machines.worker("--nworkers", "2")
    jobs, events, killed = make_jobs("there"), [], []

    def kill_first(job: TrainingJob, event: object) -> None:
        events.append((job.label, event))
        if isinstance(event, Evaluated) and event.step >= STEPS // 3 and not killed:
            killed.append((job.label, writer(job)))
            os.kill(writer(job), signal.SIGKILL)

    with pool_of(machines, 2) as pool:
        done = list(pool.do(jobs, kill_first))
    assert len(done) == len(jobs)
    assert len(killed) == 1
    assert_equal_runs(jobs, alone)
    assert len([event for _, event in events if isinstance(event, Ended)]) == len(jobs)


@pytest.mark.slow
def test_runs_are_saved_when_the_scheduler_is_killed_and_go_on(machines, make_jobs, alone):
    machines.worker("--nworkers", "2")
    jobs, steps = make_jobs("there"), {}

    def kill_scheduler(job: TrainingJob, event: object) -> None:
        if isinstance(event, Evaluated):
            steps[job.label] = event.step
            if len(steps) == len(jobs):
                machines.scheduler.kill()

    with (
        pytest.raises(UserError, match=r"the connection to the Dask scheduler .* is lost"),
        pool_of(machines, 2) as pool,
    ):
        list(pool.do(jobs, kill_scheduler))
    until(lambda: all(job.trial.directory.ended in ("stopped", "budget") for job in jobs))
    assert "stopped" in {job.trial.directory.ended for job in jobs}
    again = Machines(machines.folder)
    try:
        again.file.unlink(missing_ok=True)
        again.worker("--nworkers", "2")
        with pool_of(again, 2) as pool:
            assert len(list(pool.do(make_jobs("there")))) == len(jobs)
    finally:
        again.end()
    assert_equal_runs(jobs, alone)


@pytest.mark.slow
def test_job_goes_on_elsewhere_when_a_worker_cannot_write(machines, make_jobs, alone, caplog):
    machines.worker("--nworkers", "1", limit=20_000)
    jobs = make_jobs("there")
    until(machines.file.exists)
    with Client(scheduler_file=str(machines.file), set_as_default=False) as client:
        client.wait_for_workers(1, timeout=100)
    with pytest.raises(UserError, match=r"at the worker tcp://\S+: .*File too large"), pool_of(machines, 1) as pool:
        list(pool.do(jobs))
    machines.worker("--nworkers", "1")
    with caplog.at_level("INFO", "charlstm"), pool_of(machines, 2) as pool:
        assert len(list(pool.do(jobs))) == len(jobs)
    assert "another worker goes on" in caplog.text
    assert_equal_runs(jobs, alone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_runs_on_when_the_command_ends(machines, corpus_file, tmp_path, number):
    machines.worker("--nworkers", "2")
    (tmp_path / "versus.yaml").write_text(COMPARE.format(source=corpus_file, steps=1_000_000))
    until(machines.file.exists)
    command = ["compare", "versus.yaml", "--cluster", str(machines.file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "charlstm", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until(lambda: len(list(tmp_path.glob("runs/versus/*/checkpoints/best*"))) == 2)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "to resume, run the same command again" in out
    assert "Traceback" not in out

    def ends() -> list[object]:
        files = tmp_path.glob("runs/versus/*/metrics.jsonl")
        return [json.loads(file.read_text().splitlines()[-1]).get("stop_reason") for file in files]

    if number == signal.SIGKILL:
        until(lambda: ends() == ["stopped", "stopped"], 20)
    assert ends() == ["stopped", "stopped"]
    with Client(scheduler_file=str(machines.file), set_as_default=False) as client:
        assert not any(client.processing().values())


@pytest.mark.slow
def test_workers_with_several_threads_are_refused(machines):
    machines.worker("--nworkers", "1", "--nthreads", "2")
    refused = pytest.raises(UserError, match="runs 2 jobs at a time in one process: start it with --nthreads 1")
    with refused, pool_of(machines, 1):
        pass
