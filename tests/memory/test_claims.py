"""The file of claims, what it says of later changes, and which claims the quick form judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charlstm
from charlstm.config import MemoryConfig, load_comparison
from charlstm.memory.claims import CLAIMS, changes, sha256, write_claims
from charlstm.memory.quick import has_evidence

FILE = """\
seeds: 10
search_seeds: 1
learning_rates: [1.0e-3, 1.0e-2]
arms:
  lstm: {model.cell: lstm}
  rnn: {model.cell: rnn}
  gru: {model.cell: gru}
experiments:
  recall:
    arms: [lstm, rnn, gru]
    lags: [5, 10, 100]
    settings: {training.budget.steps: 100}
    claims:
      - {statement: It recalls, metric: accuracy at lag 100, arm: rnn, at_least: 0.5}
      - {statement: It reaches, metric: longest lag, arm: rnn, at_least: 10}
  gradient:
    arms: [lstm, rnn]
    lag: 100
    claims:
      - {statement: It reaches back, metric: depth on recall, arm: rnn, at_least: 10}
  copying:
    arms: [lstm]
    claims:
      - {statement: It copies, metric: gain at lag 50, arm: lstm, at_least: 0.1}
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "memory.yaml"
    path.write_text(FILE)

    def load(*overrides: str) -> MemoryConfig:
        config = load_comparison(path, overrides)
        assert isinstance(config, MemoryConfig)
        return config

    return load


def test_file_has_claims_configuration_hash_and_seeds(load, tmp_path):
    write_claims(load(), tmp_path, overwrite=False)
    record = json.loads((tmp_path / CLAIMS).read_text())
    assert record["configuration_sha256"] == sha256(record["configuration"])
    assert record["seeds"] == list(range(1, 11))
    assert [claim["statement"] for claim in record["claims"]["recall"]] == ["It recalls", "It reaches"]
    assert changes(load(), tmp_path) == []


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("experiments.copying.claims=[]", "Claim removed after the first run, copying: It copies."),
        (
            "experiments.copying.claims=[{statement: It copies, metric: gain at lag 50, arm: lstm, at_least: 0.2}]",
            "Claim changed after the first run, copying: It copies: at_least was 0.1, now 0.2.",
        ),
        ("solve_threshold=0.5", "Changed after the first run: solve_threshold was 0.95, now 0.5."),
        (
            "experiments.recall.strings=100",
            "Changed after the first run: experiments.recall.strings was 10000, now 100.",
        ),
        ("seeds=3", "The seeds were changed after the first run: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], now [1, 2, 3]."),
    ],
)
def test_each_change_is_reported(load, tmp_path, override, sentence):
    write_claims(load(), tmp_path, overwrite=False)
    sentences = changes(load(override), tmp_path)
    assert sentence in sentences
    assert sum("its SHA-256 was" in one for one in sentences) == 1


def test_edited_file_is_reported(load, tmp_path):
    write_claims(load(), tmp_path, overwrite=False)
    file = tmp_path / CLAIMS
    file.write_text(file.read_text().replace('"search_seeds": 1', '"search_seeds": 2'))
    assert any("was edited" in sentence for sentence in changes(load(), tmp_path))


def test_other_seeds_of_the_same_configuration_are_reported_alone(load, tmp_path):
    write_claims(load(), tmp_path, overwrite=False)
    record = json.loads((tmp_path / CLAIMS).read_text())
    (tmp_path / CLAIMS).write_text(json.dumps(record | {"seeds": [1, 2]}))
    (sentence,) = changes(load(), tmp_path)
    assert sentence.startswith("The seeds were changed after the first run: [1, 2], now [1, 2, 3,")


def test_file_of_an_earlier_version_is_reported(load, tmp_path):
    (tmp_path / CLAIMS).write_text('{"solve_threshold": 0.95, "claims": {}}')
    (sentence,) = changes(load(), tmp_path)
    assert "it was written by an earlier version" in sentence


def test_overwrite_renames_earlier_files(load, tmp_path):
    for number, override in enumerate(["seeds=8", "seeds=9", "seeds=7"]):
        write_claims(load(override), tmp_path, overwrite=number > 0)
    seeds = [
        len(json.loads((tmp_path / name).read_text())["seeds"]) for name in ("claims-1.json", "claims-2.json", CLAIMS)
    ]
    assert seeds == [8, 9, 7]
    write_claims(load("seeds=6"), tmp_path, overwrite=False)
    assert len(list(Path(tmp_path).glob("claims*.json"))) == 3
    assert len(json.loads((tmp_path / CLAIMS).read_text())["seeds"]) == 7


@pytest.mark.parametrize(
    ("overrides", "judged"),
    [
        ([], ["It recalls", "It reaches", "It reaches back", "It copies"]),
        (["seeds=5"], ["It recalls", "It reaches", "It reaches back", "It copies"]),
        (["seeds=4"], []),
        (["test_strings=100"], []),
        (["shared={training.batch_size: 16}"], []),
        (["search_seeds=2"], []),
        (["learning_rates=[1.0e-2]"], []),
        (["experiments.recall.learning_rates=[1.0e-2]"], ["It copies"]),
        (["experiments.recall.settings={training.budget.steps: 50}"], ["It copies"]),
        (["experiments.recall.arms=[lstm, rnn]"], ["It recalls", "It reaches", "It reaches back", "It copies"]),
        (["experiments.recall.arms=[rnn, lstm]"], ["It copies"]),
        (["experiments.recall.lags=[10, 100]"], ["It recalls", "It reaches back", "It copies"]),
        (["experiments.recall.lags=[10]", "experiments.gradient=null"], ["It copies"]),
        (["experiments.copying=null"], ["It recalls", "It reaches", "It reaches back"]),
        (["arms.rnn={model.cell: rnn, model.hidden_size: 9}"], ["It copies"]),
    ],
)
def test_quick_form_judges_what_it_tests_alike(load, overrides, judged):
    full, quick = load(), load(*overrides)
    assert [
        claim.statement
        for name, section in full.experiments.present().items()
        for claim in section.claims
        if has_evidence(quick, full, name, claim)
    ] == judged


def test_quick_form_of_the_shipped_file_judges_initializations_and_short_lags():
    path = Path(charlstm.__file__).parents[1] / "configs" / "compare" / "long-term-memory.yaml"
    full, quick = (load_comparison(path, quick=is_quick) for is_quick in (False, True))
    assert isinstance(full, MemoryConfig)
    assert isinstance(quick, MemoryConfig)
    claims = [(name, claim) for name, section in full.experiments.present().items() for claim in section.claims]
    judged = {(claim.metric, claim.arm) for name, claim in claims if has_evidence(quick, full, name, claim)}
    assert judged == {("solved at lag 50", "rnn, uniform"), ("solved at lag 50", "rnn, irnn")}
