"""Event files for TensorBoard."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from charlstm.run_report.event_files import EventFiles, Point, points, seconds_of_training
from charlstm.runs.directory import RunDirectory

TRAINING = {
    "kind": "train",
    "step": 5,
    "epoch": 0.5,
    "nats": math.log(2),
    "learning_rate": 1e-3,
    "gradient_norm": math.nan,
    "characters_per_second": 100.0,
    "seconds": 2.0,
}
EVALUATION = {
    "kind": "evaluation",
    "step": 6,
    "nats": math.log(4),
    "pseudo_likelihood": False,
    "training_split_nats": None,
    "seconds": 3.0,
}


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_scalars_of_records():
    records = [{"kind": "start", "step": 0}, TRAINING, EVALUATION, {"kind": "end", "step": 6, "seconds": 3.5}]
    assert seconds_of_training(records) == 3.5
    assert list(points(records, "character", 1000.0)) == [
        Point("bits_per_character/training", 1.0, 5, 1002.0),
        Point("nats_per_character/training", math.log(2), 5, 1002.0),
        Point("training/learning_rate", 1e-3, 5, 1002.0),
        Point("training/characters_per_second", 100.0, 5, 1002.0),
        Point("training/epoch", 0.5, 5, 1002.0),
        Point("bits_per_character/held_out", 2.0, 6, 1003.0),
        Point("nats_per_character/held_out", math.log(4), 6, 1003.0),
    ]


def test_pseudo_likelihoods_and_bytes_have_tags_of_their_own():
    records = [{**EVALUATION, "pseudo_likelihood": True, "training_split_nats": 1.0, "raw_nats": 2.0}]
    names = ("pseudo_likelihood", "training_split", "raw_weights")
    assert {point.tag for point in points(records, "byte", 0.0)} == {
        f"{measure}_per_byte/{name}" for measure in ("bits", "nats") for name in names
    }
    assert "training/bytes_per_second" in {point.tag for point in points([TRAINING], "byte", 0.0)}


def test_score_of_training_text_is_under_no_held_out_tag():
    record = {**EVALUATION, "nats": None, "training_split_nats": 1.0}
    assert {point.tag for point in points([record], "byte", 0.0)} == {
        "bits_per_byte/training_split",
        "nats_per_byte/training_split",
    }


def accumulated(folder: Path):
    """What TensorBoard reads."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_reads_every_record(run):
    pytest.importorskip("tensorboard")
    records = RunDirectory(run).metrics()
    files = EventFiles(run)
    assert files.update()
    files.close()
    read = accumulated(files.folder)
    training = [record for record in records if record["kind"] == "train"]
    scalars = read.Scalars("nats_per_character/training")
    assert [scalar.step for scalar in scalars] == [record["step"] for record in training]
    assert [scalar.value for scalar in scalars] == pytest.approx([record["nats"] for record in training])
    assert scalars[-1].wall_time - scalars[0].wall_time == pytest.approx(
        training[-1]["seconds"] - training[0]["seconds"]
    )
    (settings,) = read.Tensors("settings/text_summary")
    assert b"    name: " in settings.tensor_proto.string_val[0]
    assert [each.step for each in read.Tensors("samples/text_summary")] == [30, 60, 90]


def test_resumed_run_has_every_step_once(run):
    pytest.importorskip("tensorboard")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:60]))
    files = EventFiles(run)
    assert files.update()
    assert not files.update()
    repeated = [json.dumps({**json.loads(line), "nats": 1.0}) + "\n" for line in lines[40:50]]
    (run / "metrics.jsonl").write_text("".join(lines[:40] + repeated))
    assert files.update()
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(lines[50:52])
    assert files.update()
    files.close()
    assert len(list(files.folder.iterdir())) == 1
    steps = [scalar.step for scalar in accumulated(files.folder).Scalars("nats_per_character/training")]
    expected = [r["step"] for r in map(json.loads, lines[:52]) if r["kind"] == "train"]
    assert steps == expected


def test_unwritable_folder_is_an_error(run):
    pytest.importorskip("tensorboard")
    (run / "tensorboard").touch()
    with pytest.raises(Exception, match="cannot write event files"):
        EventFiles(run).update()
