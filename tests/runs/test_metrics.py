"""metrics.jsonl: an invalid record is reported with its line number, and never used."""

from __future__ import annotations

import json
import os
import resource

import pytest

from charlstm.errors import UserError
from charlstm.runs.metrics import (
    LINE_LIMIT,
    best_score,
    count_records,
    end_of_record,
    evaluated_nats,
    read_outline,
    read_records,
    whole_split_nats,
)

START = {"kind": "start", "step": 0, "device": "cpu"}
TRAIN = {"kind": "train", "step": 3, "characters": 240, "seconds": 0.5, "nats": 2.25}
EVALUATION = {**TRAIN, "kind": "evaluation", "split": "validation"}
END = {"kind": "end", "stop_reason": "budget", "step": 3, "seconds": 0.5}
GOOD = [START, TRAIN, EVALUATION, END]

BAD = {
    "number": "5",
    "list": "[]",
    "null": "null",
    "text": '"train"',
    "empty": "{}",
    "blank": "",
    "no JSON": "{'kind': 'end'}",
    "bytes": "\udcff\udcfe",
    "NUL": "\0" * 50,
    "deep": "[" * 5000,
    "long": '{"kind": "start", "step": 0, "x": "' + "x" * LINE_LIMIT + '"}',
    "kind unknown": json.dumps(TRAIN | {"kind": "tea"}),
    "kind list": json.dumps(TRAIN | {"kind": []}),
    "kind missing": json.dumps({"step": 1}),
    "seconds null": json.dumps(TRAIN | {"seconds": None}),
    "seconds text": json.dumps(TRAIN | {"seconds": "1"}),
    "seconds negative": json.dumps(TRAIN | {"seconds": -1.0}),
    "seconds missing": json.dumps({k: v for k, v in EVALUATION.items() if k != "seconds"}),
    "nats NaN": json.dumps(TRAIN | {"nats": float("nan")}),
    "nats infinite": json.dumps(EVALUATION | {"nats": float("inf")}),
    "nats 1e400": json.dumps(TRAIN).replace("2.25", "1e400"),
    "nats 1e300": json.dumps(TRAIN | {"nats": 1e300}),
    "nats null": json.dumps(TRAIN | {"nats": None}),
    "no score": json.dumps(EVALUATION | {"nats": None, "training_split_nats": None}),
    "characters large": json.dumps(TRAIN | {"characters": 10**400}),
    "characters fraction": json.dumps(TRAIN | {"characters": 1.5}),
    "step negative": json.dumps(END | {"step": -1}),
    "step true": json.dumps(START | {"step": True}),
    "stop_reason unknown": json.dumps(END | {"stop_reason": "boredom"}),
    "stop_reason missing": json.dumps({"kind": "end", "why": "budget", "step": 3, "seconds": 0.5}),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in GOOD))
    return path


def test_records_round_trip(file, tmp_path):
    assert list(read_records(file)) == GOOD
    assert list(read_records(tmp_path / "missing")) == []
    assert count_records(file) == 4
    ends = [end_of_record(file, count) for count in range(6)]
    assert ends[0] == 0
    assert ends[2] == file.read_bytes().index(b'{"kind": "evaluation"')
    assert ends[4] == ends[5] == file.stat().st_size
    with file.open("a") as end:
        end.write("[]\n")
    assert end_of_record(file, 4) == ends[4]
    with pytest.raises(UserError, match=":5: not a valid record"):
        end_of_record(file, 5)


@pytest.mark.parametrize("case", BAD)
def test_invalid_record_is_reported_with_its_line(case, file):
    with file.open("a", errors="surrogateescape") as end:
        end.write(BAD[case] + "\n" + json.dumps(END) + "\n")
    records = read_records(file)
    assert [next(records) for _ in GOOD] == GOOD
    with pytest.raises(UserError, match=r"metrics\.jsonl:5: not a valid record of a training run") as refusal:
        next(records)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_invalid_field_is_named(file):
    file.write_text(json.dumps(TRAIN | {"seconds": "1"}) + "\n")
    with pytest.raises(UserError, match=r":1: .*: seconds: Input should be a valid number\. Delete this line"):
        list(read_records(file))


@pytest.mark.parametrize("truncated", ['{"kind": "tra', "\0" * 4000, "5"])
def test_truncated_last_line_is_skipped(truncated, file):
    with file.open("a") as end:
        end.write(truncated)
    assert list(read_records(file)) == GOOD
    assert count_records(file) == 4


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "nowhere", "device"])
@pytest.mark.parametrize(
    "use", [lambda path: list(read_records(path)), count_records, lambda path: end_of_record(path, 1)]
)
def test_other_file_types_are_refused(kind, use, tmp_path):
    path = tmp_path / "metrics.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"loop": path, "nowhere": tmp_path / "x", "device": "/dev/zero"}[kind])
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        use(path)


def test_endless_line_takes_little_memory(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r":1: not a valid record"):
        list(read_records(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10


def test_evaluation_without_held_out_text_has_another_score(tmp_path):
    record = {**EVALUATION, "split": None, "nats": None, "training_split_nats": 2.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    assert list(read_records(tmp_path / "metrics.jsonl")) == [record]
    assert (evaluated_nats(record), evaluated_nats(EVALUATION)) == (2.5, 2.25)


@pytest.mark.parametrize("end", ["", '{"kind": "tra'])
def test_outline_has_the_first_and_the_last_complete_record(end, tmp_path):
    records = [TRAIN | {"step": step} for step in range(5)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + end)
    outline = [record["step"] for record in read_outline(tmp_path / "metrics.jsonl")]
    assert (outline[0], outline[-1]) == (0, 4)
    assert 2 not in outline


def test_best_score_is_that_of_the_best_network():
    first, second = (
        EVALUATION | {"step": step, "nats": nats, "sampled_from": 900} for step, nats in ((3, 2.0), (6, 2.1))
    )
    best, last = ({"kind": "whole_split", "network": name, "step": 3, "nats": 2.2} for name in ("best", "last"))
    assert best_score([START, TRAIN]) is None
    sampled = best_score([first, second])
    assert (sampled.nats, sampled.step, sampled.is_sampled) == (2.0, 3, True)
    whole = best_score([first, second, best, last | {"step": 6, "nats": 2.3}])
    assert (whole.nats, whole.step, whole.is_sampled) == (2.2, 3, False)


def test_scores_on_the_whole_split_are_by_network():
    best, last = ({"kind": "whole_split", "network": name, "step": 3} for name in ("best", "last"))
    assert whole_split_nats([START, EVALUATION, END]) == {}
    assert whole_split_nats([EVALUATION, best | {"nats": 2.2}, last | {"nats": 2.3}]) == {"best": 2.2, "last": 2.3}
    assert whole_split_nats([EVALUATION, best | {"nats": 2.2}]) == {"best": 2.2, "last": 2.2}
