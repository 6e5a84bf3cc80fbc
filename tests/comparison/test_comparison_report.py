from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from charlstm.comparison.headline import headline
from charlstm.comparison.record import as_record
from charlstm.comparison.report import write_report
from charlstm.comparison.results import Arm, Comparison, Evaluation
from charlstm.comparison.tables import summary_table
from charlstm.report.document import Section, Table
from charlstm.report.drawing import PALETTE
from charlstm.text.visible import visible

HOSTILE = "</pre><script>alert('x')</script>\x1b[31mred\x9b2J\r\x00\u202egpj&amp;\ud800\n\tend"


class Page(HTMLParser):
    """The parsed page: tags with their attributes, and the text of every <pre>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.samples: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "pre":
            self.inside = True
            self.samples.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data):
        if self.inside:
            self.samples[-1] += data


@pytest.fixture(autouse=True)
def _no_png(undrawn_plots, request):
    with undrawn_plots(*(() if "drawn_plots" in request.fixturenames else ("png",))):
        yield


def page(comparison, folder, further=()) -> tuple[str, Page]:
    text = write_report(comparison, folder, further)[0].read_text(encoding="utf-8")
    return text, Page(text)


def test_report_files_are_written(drawn_plots, comparison, tmp_path):
    written = write_report(comparison, tmp_path / "new" / "report")
    assert [path.name for path in written] == [
        "index.html",
        "report.json",
        "final-bits-per-character.png",
        "learning-curves-characters.png",
        "learning-curves-seconds.png",
    ]
    assert all(path.stat().st_size > 1000 for path in written)
    assert {path.name for path in (tmp_path / "new" / "report").iterdir()} == {path.name for path in written}


def test_hostile_text_is_escaped(comparison, tmp_path):
    lstm, rnn = comparison.arms
    runs = [replace(run, sample=HOSTILE, name="<img src=x>") for run in rnn.runs]
    hostile = replace(
        comparison,
        title="<script>t",
        arms=[lstm, Arm("<b>&\x1b", runs)],
        notes=["<script>n"],
        match="\x1b]0;m\x07",
    )
    text, parsed = page(hostile, tmp_path)
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "img", "b"}
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    shown = "</pre><script>alert('x')</script>\\x1b[31mred\\x9b2J\\r\\x00\\u202egpj&amp;\\ud800\n\tend"
    assert parsed.samples == ["to be or", shown]
    assert not set(text) & {"\x1b", "\x9b", "\x00", "\x07", "\u202e"}


def test_page_is_self_contained(comparison, tmp_path):
    text, parsed = page(comparison, tmp_path)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "img", "object"}
    for _, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "url(" not in text.replace("url(#", "")
    policy = [a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_page_is_accessible(comparison, tmp_path):
    text, parsed = page(comparison, tmp_path)
    images = [attributes for _, attributes in parsed.tags if attributes.get("role") == "img"]
    assert len(images) == 3
    assert all("lstm" in (image["aria-label"] or "") for image in images)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(a["href"] or "")[1:] for tag, a in parsed.tags if tag == "a"}
    assert links == {"results", "learning-curves", "samples", "how-it-was-measured"}
    assert links <= set(ids)


def test_headline_has_scores_and_difference(comparison):
    assert headline(comparison) == [
        "At 1,000 parameters, lstm reaches 2.100 bits per character of held-out text "
        "(3 seeds, 2.000 to 2.200), rnn 2.400 (3 seeds, 2.300 to 2.600).",
        "Difference rnn minus lstm: +0.300 bits [95% interval +0.052 to +0.548, 3 seeds].",
    ]


def test_headline_and_table_round_alike(comparison, make_run):
    """-0.3546 must not be -0.355 in the table and -0.35 in the sentence."""
    lower = Arm("gru", [make_run(2.1 - 0.3546, 2)])
    changed = replace(comparison, arms=[comparison.arms[0], lower])
    assert "-0.355 bits" in headline(changed)[1]
    assert summary_table(changed)[2][3].startswith("-0.355")


def test_headline_states_interval_that_includes_zero(comparison, make_run):
    close = Arm("rnn", [make_run(b, s) for s, b in ((1, 2.01), (2, 2.08), (3, 2.22))])
    text = headline(replace(comparison, arms=[comparison.arms[0], close]))[1]
    assert "includes zero" in text
    assert "+0.003 bits" in text


def test_headline_states_unequal_parameters(comparison):
    lstm, rnn = comparison.arms
    bigger = replace(rnn, runs=[replace(run, parameters=2000) for run in rnn.runs])
    text = headline(replace(comparison, arms=[lstm, bigger]))[0]
    assert text.startswith("lstm reaches")
    assert "1,000 parameters" in text
    assert "2,000 parameters" in text


def test_headline_of_many_arms_lists_means_best_first(comparison, make_run):
    more = [Arm(f"a{k}", [make_run(1.0 + k)]) for k in range(3)]
    (text,) = headline(replace(comparison, arms=[*comparison.arms, *more]))
    assert text.index("a0 reaches 1.0") < text.index("a1 2.0") < text.index("lstm 2.1") < text.index("a2 3.0")


def test_summary_table(comparison):
    header, lstm, rnn = summary_table(comparison)
    assert header == [
        "arm",
        "held-out bits/character",
        "over seeds",
        "minus lstm [95%]",
        "parameters",
        "characters/s",
        "seconds",
        "seeds",
    ]
    assert lstm == ["lstm", "2.100", "2.000 to 2.200, sd 0.100", "–", "1,000", "1,000", "3", "3"]
    assert rnn[3] == "+0.300 [+0.052, +0.548]"


def test_one_seed_has_no_interval(comparison, tmp_path):
    one = replace(comparison, arms=[replace(arm, runs=arm.runs[:1]) for arm in comparison.arms])
    _, lstm, rnn = summary_table(one)
    assert lstm[2] == "one seed"
    assert rnn[3] == "+0.300 (no interval)"
    assert headline(one)[1].endswith("(no interval: 1 shared seed, 3 are needed).")
    page(one, tmp_path)


def test_two_seeds_are_a_range(comparison):
    two = replace(comparison, arms=[replace(arm, runs=arm.runs[:2]) for arm in comparison.arms])
    assert "(2 seeds, 2.000 to 2.100)" in headline(two)[0]


def test_arm_without_a_score_has_no_difference(comparison, make_run):
    arms = [*comparison.arms, Arm("gru", [make_run(None)])]
    sentences = headline(replace(comparison, arms=arms))
    assert [text for text in sentences if text.startswith("Difference")] == headline(comparison)[1:]


def test_headline_rounds_parameters_that_differ_slightly(comparison):
    lstm, rnn = comparison.arms
    runs = [replace(run, parameters=123_456) for run in lstm.runs]
    more = [replace(run, parameters=123_999) for run in rnn.runs]
    assert headline(replace(comparison, arms=[replace(lstm, runs=runs), replace(rnn, runs=more)]))[0].startswith(
        "At about 124,000 parameters, "
    )


def test_one_arm_has_no_difference_column(comparison, tmp_path):
    single = replace(comparison, arms=comparison.arms[:1])
    assert "minus" not in " ".join(summary_table(single)[0])
    text, _ = page(single, tmp_path)
    assert "paired t interval" not in text


def test_unfinished_and_unscored_runs_are_marked(comparison, make_run, tmp_path):
    lstm, rnn = comparison.arms
    arms = [lstm, replace(rnn, runs=[rnn.runs[0], make_run(None, 2, finished=False, sample="")])]
    partly = replace(comparison, arms=arms)
    assert summary_table(partly)[2][-1] == "2 (1 unfinished, 1 without score)"
    text, _ = page(partly, tmp_path)
    assert "1 of 5 runs are unfinished" in text
    assert "1 of 5 runs have no held-out score" in text


def test_report_without_scores_is_written(make_run, tmp_path):
    bare = make_run(None, train=[], settings={}, characters_per_second=math.nan, seconds=0.0, finished=False)
    empty = Comparison("t", [Arm("a", [bare])], "c")
    assert headline(empty) == ["No held-out score yet: a."]
    assert len(write_report(empty, tmp_path)) == 2
    assert summary_table(empty)[1][1] == "–"


def test_pseudo_likelihoods_are_separate(comparison, make_run, tmp_path):
    both = Arm("both-ways", [make_run(0.777, s, "both-ways", causal=False) for s in (1, 2, 3)])
    mixed = replace(comparison, arms=[*comparison.arms, both])
    assert [row[0] for row in summary_table(mixed)] == ["arm", "lstm", "rnn"]
    table = summary_table(mixed, causal=False)
    assert [row[0] for row in table] == ["arm", "both-ways"]
    assert table[0][1] == "pseudo-likelihood, held-out bits/character"
    assert summary_table(comparison, causal=False) == []
    text, _ = page(mixed, tmp_path)
    results, pseudo = text.split('<section id="pseudo-likelihood">')
    assert "both-ways" not in results.split('<section id="results">')[1]
    assert "0.777" in pseudo
    assert "not comparable with a likelihood" in headline(mixed)[-1]
    differences = json.loads((tmp_path / "report.json").read_text())["statistics"]
    assert [d["arm"] for d in differences["likelihood"]["differences"]] == ["rnn"]
    assert differences["pseudo_likelihood"]["differences"] == []


def test_report_json_has_all_measurements(comparison, tmp_path):
    write_report(comparison, tmp_path)
    record = json.loads((tmp_path / "report.json").read_text())
    for name in ("title", "corpus", "match", "difference", "notes", "unit", "compared"):
        assert record[name] == getattr(comparison, name)
    assert [arm["name"] for arm in record["arms"]] == [arm.name for arm in comparison.arms]
    for run, arm_run in zip((r for arm in record["arms"] for r in arm["runs"]), comparison.runs, strict=True):
        for name in ("name", "seed", "parameters", "settings", "sample", "finished", "causal"):
            assert run[name] == getattr(arm_run, name)
        evaluations = [
            (e["step"], e["characters"], e["training_seconds"], e["held_out_nats_per_character"])
            for e in run["evaluations"]
        ]
        assert evaluations == [(e.step, e.characters, e.seconds, e.nats) for e in arm_run.evaluations]
        training = [(t["characters"], t["training_seconds"], t["training_nats_per_character"]) for t in run["training"]]
        assert training == [tuple(point) for point in arm_run.train]
        assert run["characters_per_second"] == arm_run.characters_per_second
        assert run["training_seconds"] == arm_run.seconds
    arm = record["statistics"]["likelihood"]["arms"][1]
    assert arm["mean_held_out_bits_per_character"] == pytest.approx(2.4)
    run = record["arms"][0]["runs"][0]
    assert run["best_held_out_nats_per_character"] == pytest.approx(2.0 * math.log(2))
    assert run["best_after_characters"] == 2000
    assert record["headline"] == headline(comparison)


def test_report_json_is_strict_after_divergence(comparison, make_run, tmp_path):
    diverged = [Evaluation(1, 10, 1.0, math.inf), Evaluation(2, 20, 2.0, math.nan)]
    run = make_run(None, evaluations=diverged, sample=HOSTILE, settings={"learning_rate": math.inf, "path": tmp_path})
    write_report(replace(comparison, arms=[Arm("a", [run])]), tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=refuse)
    assert record["arms"][0]["runs"][0]["evaluations"][0]["held_out_nats_per_character"] is None
    assert record["arms"][0]["runs"][0]["sample"] == HOSTILE


def test_unit_is_byte_for_byte_models(comparison, tmp_path):
    as_bytes = replace(comparison, unit="byte")
    assert "bits per byte" in headline(as_bytes)[0]
    assert summary_table(as_bytes)[0][1] == "held-out bits/byte"
    write_report(as_bytes, tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert "per_character" not in text
    run, measured = json.loads(text)["arms"][0]["runs"][0], as_bytes.runs[0]
    nats = [evaluation["held_out_nats_per_byte"] for evaluation in run["evaluations"]]
    assert nats == [evaluation.nats for evaluation in measured.evaluations]


def test_further_sections_come_before_method(comparison, tmp_path):
    further = Section(
        title="Recall over a lag",
        paragraphs=["How far back a key is <found>."],
        tables=[Table(["cell", "L*"], [["lstm", "100"]])],
        command="charlstm probe recall",
        data={"longest_lag_characters": 100},
    )
    text, _ = page(comparison, tmp_path, [further])
    assert text.index('id="samples"') < text.index('id="recall-over-a-lag"') < text.index('id="how-it-was-measured"')
    assert "&lt;found&gt;" in text
    assert "<code>charlstm probe recall</code>" in text
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["sections"] == {"recall-over-a-lag": {"longest_lag_characters": 100}}
    with pytest.raises(ValueError, match="samples"):
        write_report(comparison, tmp_path, [Section(title="Samples")])


def test_arms_with_same_name_raise(comparison, tmp_path):
    with pytest.raises(ValueError, match="more than one arm named lstm"):
        write_report(replace(comparison, arms=[comparison.arms[0]] * 2), tmp_path)


def test_page_and_plots_use_the_same_palette(comparison, tmp_path):
    text, _ = page(comparison, tmp_path)
    for number, color in enumerate(PALETTE):
        assert f"--arm-{number}: {color};" in text


def test_visible_escapes_control_characters():
    assert visible("naïve 漢字 🙂\n\t") == "naïve 漢字 🙂\n\t"
    assert visible("\x1b[0m\x7f\u200b\u2028") == "\\x1b[0m\\x7f\\u200b\\u2028"


def test_runs_that_diverged_are_named_and_decide_nothing(comparison, make_run, tmp_path):
    lstm, rnn = comparison.arms
    runs = [*rnn.runs[:2], make_run(2.4, 3, "rnn", finished=False, diverged=True)]
    text, _ = page(replace(comparison, arms=[lstm, Arm("rnn", runs)]), tmp_path)
    assert "1 of 3 runs of rnn diverged (seed 3)" in text
    assert "unfinished" not in text
    assert "and no run of the two arms diverged" in text
    (_, difference) = headline(replace(comparison, arms=[lstm, Arm("rnn", runs)]))
    assert "no interval: runs of rnn diverged" in difference


def test_the_headline_and_the_record_name_runs_that_diverged(comparison, make_run):
    lstm, rnn = comparison.arms
    arms = [lstm, Arm("rnn", [*rnn.runs[:2], make_run(2.6, 3, "rnn", finished=False, diverged=True)])]
    assert "rnn 2.400 (3 seeds, 2.300 to 2.600; 1 diverged)" in headline(replace(comparison, arms=arms))[0]
    many = replace(comparison, arms=[*arms, Arm("gru", lstm.runs), Arm("esn", lstm.runs)])
    assert "rnn 2.400 (1 diverged)" in headline(many)[0]
    record = as_record(replace(comparison, arms=arms))
    assert [run["diverged"] for run in record["arms"][1]["runs"]] == [False, False, True]
    assert [arm["runs_diverged"] for arm in record["statistics"]["likelihood"]["arms"]] == [0, 1]
