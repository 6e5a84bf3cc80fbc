"""The report of a single run."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from charlstm.api import LoadedRun
from charlstm.config import dump_changes, load_config, parse_config
from charlstm.errors import UserError
from charlstm.run_report import page as module
from charlstm.run_report.baselines import Baseline
from charlstm.run_report.page import write_run_report
from charlstm.run_report.samples import read_samples, spread_indices
from charlstm.text.corpus import load_corpus


@pytest.fixture(autouse=True)
def quick(undrawn_plots, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    with undrawn_plots("png", "svg"):
        yield


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the run."""
    return shutil.copytree(tiny_run, tmp_path / "tiny")


def sections(files) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", files[0].read_text(encoding="utf-8"))


WHOLE = ["Learning curves", "What the bits mean", "Samples by temperature", "Samples over time", "Settings"]


def test_whole_report(run, corpus):
    files = write_run_report(run)
    assert sections(files) == [*WHOLE, "How it was trained"]
    page = files[0].read_text(encoding="utf-8")
    assert re.search(r"tiny reaches \d\.\d{3} bits per character of held-out text\.", page)
    for temperature in ("0.2", "0.5", "0.8", "1", "1.3"):
        assert f"<h3>temperature {temperature}</h3>" in page
    primes = re.findall(r'<pre class="sampled"[^>]*>(.*?)</pre>', page, re.DOTALL)[:5]
    assert len({text[:8] for text in primes}) == 1
    assert "<h3>step 30<small>" in page
    assert "hidden_size: 16" in page
    assert not re.search(
        r"None|True|False|\{&#39;|\[&#39;", re.sub(r"<(style|svg|pre).*?</\1>", "", page, flags=re.DOTALL)
    )
    record = json.loads((run / "report" / "report.json").read_text())
    assert record["baselines_bits_per_character"]["xz"] > 0
    assert record["best_held_out_bits_per_character"] == pytest.approx(
        min(point["held_out_bits_per_character"] for point in record["evaluations"])
    )


def test_report_of_a_stopped_run_needs_no_model(run, monkeypatch):
    monkeypatch.setattr(module, "read_run", lambda *_, **__: pytest.fail("the model was loaded"))
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    lines[-2] = json.dumps({**json.loads(lines[-2]), "raw_nats": 1.5}) + "\n"
    (run / "metrics.jsonl").write_text("".join(lines[:-1]))
    files = write_run_report(run, is_complete=False)
    assert sections(files) == ["Learning curves", "Samples over time", "Settings", "How it was trained"]
    page = files[0].read_text(encoding="utf-8")
    assert f"To resume it: charlstm train {run} --resume" in page
    assert f"are in the whole report: charlstm compare {run}" in page
    assert re.search(r"with raw weights</th>.*2\.1640</td>", page, re.DOTALL)


def test_run_without_any_record(run):
    (run / "metrics.jsonl").unlink()
    (run / "samples.txt").unlink()
    page = write_run_report(run, is_complete=False)[0].read_text(encoding="utf-8")
    assert "tiny has no held-out score yet." in page
    assert "Nothing is recorded yet." in page


def test_network_that_runs_away_has_a_report_without_samples(run, monkeypatch):
    generate = LoadedRun.generate

    def run_away(self, prime, length, **options):
        if length > 7:
            raise UserError("the model's probabilities are NaN")
        return generate(self, prime, length, **options)

    monkeypatch.setattr(LoadedRun, "generate", run_away)
    page = write_run_report(run)[0].read_text(encoding="utf-8")
    assert "There are none: the model&#39;s probabilities are NaN." in page


def test_missing_text_is_a_remark(run, corpus_file, tmp_path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(corpus_file), str(tmp_path / "gone.txt")))
    files = write_run_report(run)
    assert "What the bits mean" not in sections(files)
    assert "Samples by temperature" in sections(files)
    assert "Parts that need the text are missing: " in files[0].read_text(encoding="utf-8")


KINDS = {
    "backward": ({"direction": "backward"}, {}, WHOLE, "What precedes "),
    "bidirectional": (
        {"direction": "bidirectional"},
        {},
        [WHOLE[0], "A filled gap", *WHOLE[3:]],
        "a pseudo-likelihood of ",
    ),
    "documents": ({}, {"documents": "newline"}, WHOLE, "Texts that start from nothing."),
    "answers": ({}, {"documents": "newline", "score_after": " "}, [WHOLE[0], *WHOLE[2:]], "What follows "),
    "bytes": ({}, {"encoding": "bytes"}, WHOLE, "bits per byte"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_runs(make_config, make_trainer, tmp_path, kind):
    model, settings, expected, text = KINDS[kind]
    source = tmp_path / "t.txt"
    source.write_text("the cat sat\non the mat\nand saw dogs\n" * 40)
    config = make_config(model, {**settings, "source": str(source)}, budget={"steps": 6}, sequence_length=40)
    corpus = load_corpus(**config.corpus.model_dump())
    list(make_trainer(config, tmp_path / "run", corpus).run())
    files = write_run_report(tmp_path / "run", corpus=corpus)
    assert sections(files)[:-1] == expected
    assert text in files[0].read_text(encoding="utf-8")


def test_hostile_samples_are_escaped(run):
    (run / "samples.txt").write_text("===== step 5\n<script>\x1b[31m\n===== step x\n\n\n===== step 7\n\n\n")
    assert read_samples(run / "samples.txt") == [(5, "<script>\x1b[31m\n===== step x\n"), (7, "")]
    page = write_run_report(run, is_complete=False)[0].read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        write_run_report(tmp_path, is_complete=False)


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (0.5, "The model predicts better than every n-gram model. "),
        (1.5, "The model predicts better than the 1-gram model, and worse than the 2-gram model. "),
        (9.0, "Every n-gram model predicts better than the model. "),
    ],
)
def test_place_among_the_ngram_models(score, sentence):
    ngrams = [Baseline("1-gram model", 2.0), Baseline("2-gram model", 1.0), Baseline("3-gram model", 0.9)]
    assert module._place(ngrams, score) == sentence
    assert module._place([], score) == ""


@pytest.mark.parametrize(("count", "most", "indices"), [(0, 3, []), (2, 6, [0, 1]), (11, 3, [0, 5, 10])])
def test_spread_indices(count, most, indices):
    assert list(spread_indices(count, most)) == indices


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": {"cell": "esn", "hidden_size": 300}},
        {"model": {"cell": "gru", "num_layers": 2, "residual": True}, "training": {"budget": {"minutes": 2}}},
        {"corpus": {"documents": "newline", "shuffle_documents": False}, "training": {"clip_grad_norm": None}},
    ],
)
def test_changed_settings_are_an_equal_configuration(settings, tmp_path):
    corpus = {"source": ["a: b.txt", "c"], **settings.get("corpus", {})}
    config = parse_config({**settings, "corpus": corpus}, "test")
    text = dump_changes(config)
    (tmp_path / "c.yaml").write_text(text)
    assert load_config(tmp_path / "c.yaml") == config
    assert len(text.splitlines()) < 16
