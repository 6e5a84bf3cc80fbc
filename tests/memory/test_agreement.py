"""Whether repetitions of a comparison agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.memory.agreement import agreement, agreement_rows, is_memory_comparison, summary


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["held", "held"], "agree"),
        (["undecided", "undecided"], "all undecided"),
        (["held", "undecided"], "some undecided"),
        (["held", "not held"], "contradict"),
        (["held", "undecided", "not held"], "contradict"),
        (["held", "not run"], "not judged in all"),
        (["needs the full run", "held"], "not judged in all"),
    ],
)
def test_agreement_of_verdicts(words, expected):
    assert agreement(words) == expected


def write(folder: Path, *words: str, **config) -> Path:
    verdicts = [
        {"claim": f"claim {number}", "criterion": "c", "measured": "5 seeds", "interval": "55%", "verdict": word}
        for number, word in enumerate(words)
    ]
    for verdict in verdicts:
        if verdict["verdict"] == "undecided":
            verdict |= {"interval": "", "reason": "too few"}
    (folder / "report").mkdir(parents=True)
    (folder / "report" / "report.json").write_text(json.dumps({"format": 1, "verdicts": verdicts, "config": config}))
    (folder / "claims.json").write_text("{}")
    return folder


def test_rows_and_summary(tmp_path):
    first = write(tmp_path / "a", "held", "held", "held", "held", seeds=5, search_seeds=2, name="a")
    second = write(tmp_path / "b", "held", "not held", "undecided", seeds=5, first_seed=101, search_seeds=2)
    assert is_memory_comparison(first)
    assert not is_memory_comparison(tmp_path)
    rows = agreement_rows([second, first])
    assert rows[0] == ["claim", str(second), str(first), "verdicts"]
    assert rows[1] == ["claim 0 (c)", "held: 5 seeds (55%)", "held: 5 seeds (55%)", "agree"]
    assert rows[3][1] == "undecided: 5 seeds (too few)"
    assert [row[-1] for row in rows[1:]] == ["agree", "contradict", "some undecided", "not judged in all"]
    assert summary(rows) == (
        "Of 4 claims: 1 agree, 0 all undecided, 1 some undecided, 1 contradict, 1 not judged in all. In "
        "brackets: one-sided 95% bounds."
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seeds": 5}, "were judged with the same seeds"),
        ({"seeds": 5, "first_seed": 5}, "were judged with the same seeds"),
        ({"seeds": 5, "first_seed": 1001, "search_seeds": 2}, "selected the learning rates of the other"),
        ({"seeds": 5, "first_seed": 1002, "search_seeds": 2}, "selected the learning rates of the other"),
        ({"seeds": 5, "first_seed": 6, "search_seeds": 2, "test_strings": 10}, "not repetitions: they differ in test_"),
        ({}, "not the report of"),
        ({"seeds": "5"}, "not the report of"),
    ],
)
def test_other_comparisons_are_no_repetitions(tmp_path, config, message):
    first, second = write(tmp_path / "a", "held", seeds=5, search_seeds=2), write(tmp_path / "b", "held", **config)
    for folders in ([first, second], [second, first]):
        with pytest.raises(UserError, match=message):
            agreement_rows(folders)


@pytest.mark.parametrize(("content", "message"), [(None, "has no report yet"), ("{}", "not the report of")])
def test_missing_or_broken_report(tmp_path, content, message):
    first, second = write(tmp_path / "a", "held", seeds=1), write(tmp_path / "b", "held", seeds=1)
    file = second / "report" / "report.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UserError, match=message):
        agreement_rows([first, second])
