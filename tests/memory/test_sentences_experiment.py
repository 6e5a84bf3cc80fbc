"""The experiment with sentences, tiny, in both languages, from its configuration to its report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from charlstm.config import MemoryConfig, load_comparison
from charlstm.errors import UserError
from charlstm.jobs.this_process import ThisProcess
from charlstm.memory.comparison import MemoryComparison
from charlstm.memory.experiments.sentences import GATE_STRINGS
from charlstm.memory.measures import MEASURES
from charlstm.memory.schemas import read_measurement
from charlstm.memory.task_measures import TEST_SEED
from charlstm.probes.tasks import Sentences
from charlstm.probes.tasks.sentence_words import forbidden_words

TINY = """\
seeds: 1
search_seeds: 1
learning_rates: [1.0e-2]
test_strings: 20
shared:
  model: {{hidden_size: 6, embedding_size: 4}}
  training:
    batch_size: 8
    sequence_length: 128
    schedule: constant
    warmup_steps: 0
    precision: float32
    device: cpu
    evaluate_every: 2
    sample_length: 0
    budget: {{steps: 2}}
arms:
  lstm: {{model.cell: lstm}}
  rnn: {{model.cell: rnn}}
experiments:
  recall: {{arms: [lstm], lags: [2], strings: 40}}
  sentences:
    arms: [lstm, rnn]
    gate_arms: [lstm, rnn]
    filler_en: {{source: {en}}}
    filler_zh: {{source: {zh}}}
    distances: [5, 12, 20]
    gate_distance: 20
    strings: 80
    claims:
      - {{statement: It speaks, metric: "longest distance (birthplace, en)", arm: lstm, at_least: 20}}
      - {{statement: It guesses, metric: "accuracy at distance 5 (birthplace, zh)", arm: rnn, at_most: 0.999}}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sentences")
    (folder / "en.txt").write_text(
        "It was a long way, he said. Far off, a bell rang, and the wind rose; rain fell. " * 9
    )
    (folder / "zh.txt").write_text("春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。法国多山，" * 9, encoding="utf-8")
    (folder / "memory.yaml").write_text(TINY.format(en=folder / "en.txt", zh=folder / "zh.txt"))
    return folder / "memory.yaml"


def make_comparison(file: Path, folder: Path, *overrides: str) -> MemoryComparison:
    config = load_comparison(file, overrides)
    assert isinstance(config, MemoryConfig)
    return MemoryComparison(config, folder, "memory", ["compare", "memory.yaml"], ["sentences"])


@pytest.fixture(scope="module")
def done(file, tmp_path_factory, undrawn_plots) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "memory"
    comparison = make_comparison(file, folder)
    with undrawn_plots("png", "svg"), ThisProcess() as pool:
        list(comparison.run(pool))
        comparison.write(folder / "report")
    return folder


def test_report_has_a_table_and_a_plot_per_kind_and_language(done):
    record = json.loads((done / "report" / "report.json").read_text())
    results = record["sections"]["sentences"]
    kinds = ("birthplace", "replaced subject", "control")
    assert results.keys() == {f"{kind}, {language}" for kind in kinds for language in ("en", "zh")}
    assert results["birthplace, en"]["distances"] == [12, 20]
    assert results["birthplace, zh"]["distances"] == [5, 12, 20]
    names = {path.stem for path in (done / "report").glob("*.png")}
    assert {"sentences-en-birthplace", "sentences-zh-replaced-subject", "sentence-gates-zh-control-lstm"} <= names
    assert "sentence-gates-zh-control-rnn" not in names
    claims = {verdict["claim"]: verdict for verdict in record["verdicts"]}
    assert claims["It speaks"]["measured"] == "less than 12"
    assert claims["It guesses"]["measured"].endswith("%")


def test_control_is_solved_by_recency_alone(done):
    results = json.loads((done / "report" / "report.json").read_text())["sections"]["sentences"]
    for run in results["control, en"]["results"]["lstm"]:
        assert run["recency"] == [1.0, 1.0, 1.0]
        assert len(run["accuracy"]) == len(run["candidates"]) == len(run["probability"]) == 3
    assert max(results["birthplace, zh"]["results"]["lstm"][0]["recency"][1:]) < 0.6


@pytest.mark.parametrize("language", ["en", "zh"])
def test_filler_is_written_once_without_forbidden_words(done, language):
    filler = (done / "texts" / f"filler-{language}.txt").read_text(encoding="utf-8")
    assert len(filler) > 100
    assert not forbidden_words(language).search(filler)


@pytest.mark.parametrize(("language", "misleads"), [("en", False), ("zh", True)])
def test_gates_are_shown_over_a_sentence_with_misleading_cues(done, language, misleads):
    """At this distance, only a Chinese sentence has room for a cue after the one that decides."""
    path = next(done.glob(f"cells/sentences-{language}-birthplace-lstm-*seed1/measured/sentence_gates-*.json"))
    task = Sentences(language, "birthplace", [20], str(done / "texts" / f"filler-{language}.txt"))
    shown = read_measurement(path, "sentence_gates")["text"]
    text = next(text for text in task.strings(GATE_STRINGS, TEST_SEED) if text.startswith(shown))
    assert (task.recency_answer(text) != task.answer(text)) == misleads
    assert sum(any(cue in text for cue in cues) for cues in task.grammar.cues.values()) > 1


def test_gates_are_measured_at_each_part_of_the_sentence(done):
    path = next(done.glob("cells/sentences-en-birthplace-lstm-*seed1/measured/sentence_gates-*.json"))
    result = read_measurement(path, "sentence_gates")
    assert "sentence_gates" in MEASURES
    assert result["letter"] == "f"
    assert result["means"].keys() == {"i", "f", "o"}
    assert result["means"]["f"].keys() == {"before", "other cue", "cause", "cue", "filler", "question"}
    assert len(result["series"]) == len(result["text"])
    rnn = next(done.glob("cells/sentences-en-birthplace-rnn-*seed1/measured/sentence_gates-*.json"))
    assert read_measurement(rnn, "sentence_gates")["letter"] is None


@pytest.mark.parametrize(("change", "tested"), [("null", {2, 18}), ("[12]", {2})])
def test_training_sentences_have_the_train_distances(file, tmp_path, change, tested):
    comparison = make_comparison(
        file,
        tmp_path,
        f"experiments.sentences.train_distances={change}",
        "experiments.sentences.distances=[12, 28]",
        "experiments.sentences.kinds=[birthplace]",
        "experiments.sentences.other_cues=0",
    )
    comparison.run_groups()[0].dataset.write(1)
    text = (tmp_path / "texts" / "sentences-en-birthplace-seed1.txt").read_text()
    gaps = {len(re.search(r"born in [A-Z][a-z]+, (.*)I speak ", line)[1]) for line in text.splitlines()}
    assert gaps == tested


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("experiments.sentences.gate_arms=[gru]", "there is no arm gru"),
        (
            "experiments.sentences.gate_arms=[lstm];experiments.sentences.arms=[rnn]",
            "lstm is not one of sentences.arms",
        ),
        (
            "experiments.sentences.filler_en=null;experiments.sentences.filler_zh=null",
            "set filler_en, filler_zh or both",
        ),
        ("experiments.sentences.distances=[2]", "distances: birthplace, en needs one of 10 or more"),
    ],
)
def test_impossible_settings_raise(file, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        make_comparison(file, tmp_path, *change.split(";"))
