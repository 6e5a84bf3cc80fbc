"""Where only answers count in the loss, an inspection is of the answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from latch import latch
from test_inspection_page import in_a_browser, in_browser

from charlstm.api import LoadedRun
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.inspection.attribution import mean_by_distance
from charlstm.inspection.errors import _hardest
from charlstm.inspection.inspect import inspect
from charlstm.inspection.page import write_page
from charlstm.inspection.passages import encode_text
from charlstm.inspection.recording import record
from charlstm.inspection.step_values import step_values
from charlstm.inspection.text_features import answer_features
from charlstm.model import LanguageModel
from charlstm.probes.tasks import Recall
from charlstm.text.vocabulary import Vocabulary

TEXT = "".join(f"{key}xyx?{key}{key.lower()}\n" for key in "ABBABAABBA" * 3)
LINE = 8


@pytest.fixture(autouse=True)
def _undrawn(undrawn_plots):
    with undrawn_plots("png", "svg"):
        yield


@pytest.fixture
def make_run(make_config):
    def make(direction="forward", **corpus):
        torch.manual_seed(3)
        vocabulary = Vocabulary.from_text(TEXT)
        model = LanguageModel(ModelConfig(hidden_size=5, direction=direction), vocabulary.size)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)
        settings = {"documents": "newline", "score_after": "?", **corpus}
        return LoadedRun(model.eval(), vocabulary, make_config({"direction": direction}, settings), {}, None)

    return make


@pytest.mark.parametrize("score_end", [False, True])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_scored_characters_are_those_of_the_score(make_run, direction, score_end):
    run = make_run(direction, score_end=score_end)
    text = encode_text(run, TEXT, 1000)
    recording = record(run.model, text.ids, text.bounds, text.scored)
    in_order = recording.nats[recording.in_reading_order()][recording.scored[recording.in_reading_order()]]
    expected = nats_per_character(run.model, run.read(TEXT))
    if direction == "backward":  # which reads the documents from the last to the first here
        expected = expected.reshape(30, -1)[::-1].ravel()
    np.testing.assert_allclose(in_order, expected, rtol=1e-4)
    assert recording.bits_per_character == pytest.approx(expected.mean() / np.log(2), rel=1e-4)


def test_means_are_over_the_answers(make_run, tmp_path):
    inspection = inspect(make_run(), TEXT, context=6)
    nats = inspection.recording.nats.reshape(30, LINE)[:, 5:7]
    files = write_page([inspection], tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    errors = report["sections"]["where-it-errs"]
    assert errors["bits_per_character"] == pytest.approx(nats.mean() / np.log(2))
    letters = {one["kind"]: one for one in errors["by_class"]}
    assert set(letters) == {"letter", "capital letter", "vowel"}, "nothing is said of the question mark and line ends"
    assert letters["letter"]["count"] == 60
    assert letters["letter"]["fraction"] == pytest.approx(1)
    assert letters["capital letter"]["bits"] == pytest.approx(nats[:, 0].mean() / np.log(2))
    for passage in errors["hardest"]:
        begin, end = passage["from"], passage["to"]
        counted = inspection.recording.nats[begin:end][inspection.recording.scored[begin:end]]
        assert passage["bits"] == pytest.approx(counted.mean() / np.log(2))
    (run,) = report["runs"].values()
    assert [bits is None for bits in run["bits"][:LINE]] == [True] * 5 + [False, False, True]
    replaced = inspection.attribution.replaced.reshape(30, LINE, 6)[:, 5:7]
    np.testing.assert_allclose(run["mean_bits_if_replaced"], np.nanmean(replaced, (0, 1)), atol=1e-5)
    page = files[0].read_text(encoding="utf-8")
    assert "Of the 240 characters, 60 count in the loss" in page
    assert "bits per character over the 60 characters that count in the loss" in page
    assert "largest mean surprise over those that count in the loss" in page
    assert "The mean over the characters that count in the loss of the bits by which" in page
    assert "Mean over the characters that count in the loss." in page
    assert "over the text" not in page.partition('id="how-far-predictions-look-back"')[2].partition("</section>")[0]


def test_hardest_passages_have_the_largest_means_over_enough_scored_characters():
    nats = np.repeat([9.0, 3.0, 2.0], [80, 80, 240])
    scored = np.arange(400) >= 160
    scored[[40, *range(80, 160, 2)]] = True
    first, *others = _hardest(nats, scored)
    assert first == (79, 159, pytest.approx(3 / np.log(2))), "not that with one character, nor those with larger sums"
    assert others
    assert all(value <= first[2] for _, _, value in others)
    assert _hardest(nats, np.arange(400) == 7)[0][2] == pytest.approx(9 / np.log(2))


def test_step_shows_no_surprise_of_what_does_not_count(make_run, tmp_path):
    inspect(make_run(), TEXT, context=0).write(tmp_path)
    page = (tmp_path / "step.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["scored"] == [False] * 4 + [True] * 2 + [False] + [True]


def test_backward_step_has_the_scored_characters_in_reading_order(make_run):
    run = make_run("backward")
    text = encode_text(run, TEXT[:LINE], 100)
    values = step_values(run.model, text.ids, scored=text.scored)
    assert values.scored.tolist() == [True] + [False] * 6, "of the answer aA, A comes after the first character"


def test_influence_ends_with_the_longest_document(make_run):
    inspection = inspect(make_run(), TEXT, context=20)
    assert np.isnan(inspection.attribution.replaced[:, LINE:]).all()
    assert len(mean_by_distance(inspection.attribution.replaced, inspection.recording.scored)) == 6


def test_text_without_an_answer_is_refused(make_run):
    with pytest.raises(UserError, match="none of the 4 characters of the text counts in the loss"):
        inspect(make_run(), TEXT, characters=4)
    with pytest.raises(UserError, match=r"corpus.score_after: '\?': nothing follows it"):
        inspect(make_run(), "Axyx\n")


RECALL = "".join(f"{string}\n" for string in Recall(lag=8, keys=2, letters=2).strings(80, 1))


def test_units_that_hold_the_answer_are_found(make_run):
    run = replace(make_run(), vocabulary=Vocabulary(tuple("\n?ABab")))
    run = replace(run, model=latch(run.vocabulary, "AB"))
    inspection = inspect(run, RECALL, context=2)
    of_answers = {score.feature: score for score in inspection.scores if "answer" in score.feature}
    assert set(of_answers) == {"the answer is A", "the answer is B"}
    for score in of_answers.values():
        assert score.is_represented
        assert score.units[0].part == "c"
        assert score.scores[0] > 0.9
    (held, *_) = inspection.clamped
    question = RECALL[: RECALL.index("?") + 1]
    assert all(text.startswith(question) and len(text) <= len(question) + 1 for text in held.texts)
    assert held.texts[0] == question + RECALL[0]


def test_features_of_answers_begin_where_the_answer_is_known():
    vocabulary = Vocabulary(tuple("\n=?ABab"))
    ids = vocabulary.encode("abAab?A\nBaa?B\nab?A\n")
    scored = np.zeros(len(ids), bool)
    scored[[6, 12, 17]] = True
    a, b = answer_features(ids, vocabulary, [8, 14], scored)
    assert (a.name, b.name) == ("the answer is A", "the answer is B")
    assert "".join("01"[int(value)] for value in a.values) == "00111100" + "000000" + "11100"
    assert "".join("01"[int(value)] for value in b.values) == "00000000" + "111100" + "00000"
    scored[7] = True
    a, _ = answer_features(ids, vocabulary, [8, 14], scored)
    assert a.name == "the answer begins with A"


def test_everything_counts_without_score_after(make_run):
    text = encode_text(make_run(score_after=None), TEXT, 1000)
    assert text.scored is None


@in_a_browser
def test_page_shows_no_surprise_of_what_does_not_count(make_run, tmp_path):
    page = inspect(make_run(), TEXT, context=6).write(tmp_path).read_text(encoding="utf-8")
    script = """
      const shown = async (steps) => {
        for (let n = 0; n < steps; n++)
          document.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", shiftKey: true, bubbles: true}));
        await new Promise((done) => setTimeout(done, 300));
        const heading = document.querySelector("#windows h3").textContent;
        return [document.getElementById("surprise").textContent, document.querySelectorAll("#top li").length, heading];
      };
      await until(() => document.documentElement.dataset.drawn);
      document.getElementById("text").scrollTop = 0;
      const box = document.getElementById("text-box").getBoundingClientRect();
      const at = {clientX: box.left + 3, clientY: box.top + 3, bubbles: true};
      document.getElementById("text-box").dispatchEvent(new MouseEvent("click", at));
      return [await shown(0), await shown(5)];
    """
    shown = in_browser(page, tmp_path, script)
    assert shown["error"] is None
    unscored, scored = shown["result"]
    assert unscored[:2] == ["it does not count in the loss: no surprise", 0]
    assert unscored[2].endswith("it does not count in the loss: no surprise")
    assert scored[0].endswith("bits of surprise")
    assert scored[1] == 5
