from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from charlstm.config import load_config
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory

TRAIN = {"kind": "train", "step": 1, "characters": 80, "seconds": 1.5, "nats": 2.5, "other": [None, "x"]}


@pytest.fixture
def run(tmp_path: Path, make_config) -> RunDirectory:
    directory = RunDirectory(tmp_path / "runs" / "x")
    directory.create(make_config())
    return directory


def test_create_writes_the_resolved_configuration(run, make_config):
    assert run.exists
    assert load_config(run.config_file) == make_config() == run.config()


def test_existing_run_is_not_overwritten(run, make_config):
    run.append_sample(1, "text")
    with pytest.raises(UserError, match=r"--resume.*--name NAME.*--overwrite"):
        run.create(make_config())
    assert run.samples_file.exists()
    run.create(make_config(seed=2), overwrite=True)
    assert not run.samples_file.exists()
    assert run.config().training.seed == 2


def test_deleted_run_leaves_nothing(run):
    run.append_sample(1, "text")
    run.checkpoints.folder.mkdir()
    run.delete()
    assert not run.path.exists()


@pytest.mark.parametrize("keep_best", [False, True])
def test_pruned_run_has_at_most_its_best_checkpoint(run, keep_best):
    run.checkpoints.folder.mkdir()
    for path in (*run.checkpoints.files, run.checkpoints.folder / "step-00000003.safetensors"):
        path.touch()
    run.prune(keep_best)
    assert [path.name for path in run.checkpoints.folder.iterdir()] == (["best.safetensors"] if keep_best else [])
    assert run.pruned is not keep_best


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_without_a_run_is_never_changed(tmp_path, make_config, overwrite):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("photos", "file"):
        with pytest.raises(UserError, match="is not a run directory"):
            RunDirectory(tmp_path / name).create(make_config(), overwrite)
    assert (tmp_path / "photos" / "cat.jpg").exists()
    (tmp_path / "empty").mkdir()
    RunDirectory(tmp_path / "empty").create(make_config())


def test_directory_without_a_run(tmp_path):
    assert not RunDirectory(tmp_path).exists
    assert RunDirectory(tmp_path).metrics() == []
    with pytest.raises(UserError, match=r"no config\.yaml"):
        RunDirectory(tmp_path).config()


def test_metrics_skip_a_truncated_last_line(run):
    records = [TRAIN | {"step": k, "nats": 1 / 3} for k in range(1, 4)]
    for record in records:
        run.append_metrics(record)
    assert run.metrics() == records
    with run.metrics_file.open("a") as file:
        file.write('{"kind": "train", "st')
    assert run.metrics() == records
    run.truncate_logs({"metrics": 2, "samples": 0})
    assert run.metrics() == records[:2]
    run.append_metrics(records[2])
    assert run.metrics() == records


def test_truncate_logs_restores_metrics_and_samples(run):
    run.truncate_logs(run.flush())
    assert run.metrics() == []
    run.append_metrics(TRAIN)
    run.append_sample(1, "naïve\n===== step 1\n")
    before, lengths = (run.metrics_file.read_bytes(), run.samples_file.read_bytes()), run.flush()
    run.append_metrics({"kind": "end", "step": 1})
    run.append_sample(1, "again")
    run.samples_file.write_bytes(run.samples_file.read_bytes()[:-3])
    for _ in range(2):
        run.truncate_logs(lengths)
        assert (run.metrics_file.read_bytes(), run.samples_file.read_bytes()) == before
    run.samples_file.write_text("short")  # edited by hand: never extended
    run.truncate_logs(lengths)
    assert run.samples_file.read_text() == "short"


def test_logs_are_flushed_before_the_checkpoint(make_trainer, make_config, monkeypatch):
    trainer = make_trainer(make_config({"executor": "eager"}))  # compiles nothing, so it writes no cache files
    directory, order, fsync, replace = trainer.directory, [], os.fsync, os.replace
    directory.append_metrics({"kind": "train", "step": 0})
    directory.append_sample(0, "x")
    names = {path.stat().st_ino: path.name for path in (directory.metrics_file, directory.samples_file)}
    monkeypatch.setattr(os, "fsync", lambda file: (order.append(names.get(os.fstat(file).st_ino)), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda source, target: (order.append(target.name), replace(source, target)))
    trainer.save(best=False)
    assert [name for name in order if name] == ["metrics.jsonl", "samples.txt", "last.safetensors"]


def test_runs_from_before_the_unigram_bias_started_at_zero(run):
    assert run.config().model.unigram_bias is True
    text = run.config_file.read_text()
    run.config_file.write_text("".join(line for line in text.splitlines(True) if "unigram_bias" not in line))
    assert run.config().model.unigram_bias is False


def test_finished_follows_the_last_end_record(run):
    assert not run.finished
    for stop_reason, expected in (("stopped", False), ("budget", True), ("diverged", False), ("early_stopping", True)):
        run.append_metrics({"kind": "end", "stop_reason": stop_reason, "step": 1, "seconds": 1.5})
        assert run.finished is expected
    run.truncate_logs({"metrics": 0, "samples": 0})
    assert not run.finished


def test_samples_preserve_every_character(run):
    run.append_sample(3, "a\r\nb\x1b\u2028\udc80")
    content = run.samples_file.read_bytes().decode("utf-8", "surrogatepass")
    assert content == "===== step 3\na\r\nb\x1b\u2028\udc80\n\n"


def test_full_disk_is_a_clear_error(run, monkeypatch, make_config):
    def refuse(*_args, **_keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", refuse)
    for write in (lambda: run.append_metrics({}), lambda: run.append_sample(1, "x")):
        with pytest.raises(UserError, match="No space left"):
            write()
    monkeypatch.undo()
    before = run.config()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"config\.yaml: cannot write the run: No space left"):
        run.write_config(make_config(seed=9))
    assert run.config() == before
    with pytest.raises(UserError, match="No space left"):
        RunDirectory(run.path.with_name("y")).create(make_config())
