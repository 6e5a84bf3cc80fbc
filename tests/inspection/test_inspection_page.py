"""The page of an inspection, also in a real browser where there is one."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from bracket_counter import COUNTER, VOCABULARY, bracket_counter, brackets
from test_recording import network

from charlstm.api import LoadedRun, load
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.inspection import page_data, unit_sections
from charlstm.inspection.attribution import measure_attribution
from charlstm.inspection.inspect import inspect, inspect_run
from charlstm.inspection.page import write_page
from charlstm.inspection.passages import InspectedText, encode_text, text_of_run
from charlstm.inspection.recording import record
from charlstm.inspection.unit_scores import FIT
from charlstm.model import LanguageModel
from charlstm.probes.dynamics import dynamics
from charlstm.text.vocabulary import Vocabulary
from charlstm.training.initial_state import untrained_model

HOSTILE = (
    "</script><script>document.documentElement.dataset.error='out'</script><!--\n\tif a < b: 'é̂' \U0001f600 "
    "\u05e9\u05dc\u05d5\u05dd \u202e \x00 中文 & \r\n"
) * 6
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture(autouse=True)
def _undrawn(undrawn_plots):
    with undrawn_plots("png", "svg"):
        yield


@pytest.fixture(scope="module")
def make_run(make_config):
    def make(model: LanguageModel, vocabulary: Vocabulary) -> LoadedRun:
        return LoadedRun(model, vocabulary, make_config(), {"corpus_digest": "of another text"}, None)

    return make


@pytest.fixture(scope="module")
def counted(make_run):
    return inspect(make_run(bracket_counter(), VOCABULARY), brackets(700), context=12)


def random_model(vocabulary, **fields):
    torch.manual_seed(4)
    return LanguageModel(ModelConfig(**{"hidden_size": 5, "cell": "lstm", **fields}), vocabulary.size).eval()


def random_run(make_run, text, **fields):
    vocabulary = Vocabulary.from_text(text)
    return make_run(random_model(vocabulary, **fields), vocabulary)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def unpacked(blob):
    return np.frombuffer(zlib.decompress(base64.b64decode(blob["data"])), blob["type"])


def in_browser(page, tmp_path, script="", width=1200):
    """Load the page, run the body of an async function in it, and return its result and the error of the page."""
    after = f"""<script>setTimeout(async () => {{
      const until = async (holds) => {{
        for (let n = 0; n < 200 && !holds(); n++) await new Promise((done) => setTimeout(done, 20));
      }};
      const result = await (async () => {{ {script} }})();
      document.body.replaceChildren(JSON.stringify({{result, error: document.documentElement.dataset.error ?? null}}));
    }}, 500);</script>"""
    path = tmp_path / "in_browser.html"
    frames = "<script>window.requestAnimationFrame = (draw) => setTimeout(draw, 16);</script>"  # no screen, no frames
    path.write_text(page.replace("<body>", f"<body>{frames}").replace("</body>", f"{after}</body>"), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
        "--virtual-time-budget=20000",
    ]
    command = [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r"<body[^>]*>(.*?)</body>", dom, re.DOTALL)[1]))


def test_page_has_the_values_of_every_unit(counted, tmp_path):
    files = write_page([counted], tmp_path, "charlstm inspect RUN")
    data = data_of(files[0].read_text(encoding="utf-8"))
    (run,) = data["runs"]
    T, H = len(data["text"]), 5
    assert [one["name"] for one in run["quantities"]] == ["c", "h", "gate i", "gate f", "gate o"]
    c = run["quantities"][0]
    values = unpacked(c["layers"][0]["values"]).reshape(H, T) / c["levels"]
    scales = np.array(c["layers"][0]["scales"])[:, None]
    np.testing.assert_allclose(values * scales, counted.recording.states["c"][:, 0].T, atol=scales.max() / 60)
    gate = run["quantities"][3]
    gates = unpacked(gate["layers"][0]["values"]).reshape(H, T) / gate["levels"]
    np.testing.assert_allclose(gates, counted.recording.gates["f"][:, 0].T, atol=0.01)
    np.testing.assert_allclose(unpacked(run["surprise"]) / 1000, counted.recording.nats / np.log(2), atol=1e-3)
    assert any(one["unit"] == COUNTER and "depth of brackets" in one["text"] for one in run["found"])
    assert sorted(path.name for path in files)[:2] == ["gradient.png", "half-lives.png"]
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["command"] == "charlstm inspect RUN"
    assert "".join(data["text"]) == record["text"]
    assert record["sections"]["units-of-interest"]["units"][0]["of_interest"]
    (shown,) = record["runs"].values()
    counts = shown["units_of_interest"][f"c of unit {COUNTER} of layer 1"]
    np.testing.assert_allclose(counts, counted.recording.states["c"][:, 0, COUNTER], atol=1e-3)
    at = record["text"].index(")")
    (k, _), *_ = sorted(shown["leans_on"][at], key=lambda one: -one[1])
    assert record["text"][at - k] == "("
    assert shown["mean_bits_if_replaced"][0] == pytest.approx(np.nanmean(counted.attribution.replaced[:, 0]), abs=1e-4)


def test_page_has_the_gradient_over_the_lag_before_and_after_training(tiny_run, tmp_path):
    run = load(tiny_run, device="cpu")
    before = torch.get_rng_state()
    inspection = inspect(run, characters=300, context=8)
    page = inspection.write(tmp_path).read_text(encoding="utf-8")
    assert 'id="how-far-the-gradient-reaches"' in page
    assert "Dashed: the network at initialization" in page
    (shown,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["runs"].values()
    np.testing.assert_allclose(shown["mean_gradient_norm"], np.nanmean(inspection.attribution.gradient, 0), rtol=1e-4)
    start = untrained_model(run.config, run.corpus(), torch.device("cpu"))
    expected = measure_attribution(start, record(start, inspection.recording.ids), 8).gradient
    np.testing.assert_allclose(shown["mean_gradient_norm_untrained"], np.nanmean(expected, 0), rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


def test_fine_tuned_network_was_not_random_before_training(tiny_run):
    run = load(tiny_run, device="cpu")
    training = run.config.training.model_copy(update={"initial_run": "another"})
    run = replace(run, config=run.config.model_copy(update={"training": training}))
    assert inspect(run, characters=100, context=2).untrained_gradient == []


def test_long_stages_report_their_progress(tiny_run):
    run, stages = load(tiny_run, device="cpu"), []
    text = text_of_run(run, 300)
    inspect_run(run, "tiny", text, 2, on_stage=lambda *stage: stages.append(stage))
    fractions = [fraction for fraction, _ in stages]
    assert fractions == sorted(fractions)
    counts = Counter(name for _, name in stages)
    assert counts["comparing with an n-gram model"] > 10
    assert counts["measuring what predictions depend on"] > 3


@pytest.mark.parametrize("with_ngram", [True, False])
def test_ngram_model_is_named_only_if_there_is_one(tiny_run, tmp_path, with_ngram):
    run, stages = load(tiny_run, device="cpu"), []
    show = lambda _, stage: stages.append(stage)  # noqa: E731
    inspection = inspect_run(run, "tiny", text_of_run(run, 300), 0, with_ngram=with_ngram, on_stage=show)
    page = write_page([inspection], tmp_path)[0].read_text(encoding="utf-8")
    assert ("comparing with an n-gram model" in stages) == with_ngram
    assert ("Beside it is that of a 7-gram model" in page) == with_ngram
    (classes,) = re.findall(r"<table>(?:(?!</table>).)*By class of character.*?</table>", page, re.DOTALL)
    assert classes.count('<th scope="col"') == 4 + with_ngram
    assert "–" not in classes


def test_only_units_of_interest_are_stored_beyond_the_limit(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(page_data, "MAX_BYTES", 2500)
    (run,) = data_of(write_page([counted], tmp_path)[0].read_text(encoding="utf-8"))["runs"]
    stored = {one["name"]: one["layers"][0]["units"] for one in run["quantities"]}
    partly = [units for units in stored.values() if units is not None]
    assert 0 < len(partly) < len(stored)
    assert all(COUNTER in units and len(units) < 5 for units in partly)


GATE_TABLES = {
    "rnn": ["spectral radius", "saturated"],
    "leaky": ["spectral radius", "Each unit has a leak a"],
    "gru": ["r, layer 2", "z, layer 1", "half-life"],
    "peephole": ["i, layer 1", "f, layer 2", "o, layer 1", "half-life"],
    "esn": ["spectral radius", "Each unit has a leak a"],
}


@pytest.mark.parametrize("cell", GATE_TABLES)
def test_every_kind_of_cell_has_a_page(make_run, tmp_path, cell):
    text = 'some text, (some) of it "quoted"\n' * 8
    page = inspect(random_run(make_run, text, cell=cell, num_layers=2), text, context=3).write(tmp_path)
    html_text = page.read_text(encoding="utf-8")
    gates = re.search(r'<section id="gates">.*?</section>', html_text, re.DOTALL)[0]
    assert all(words in gates for words in GATE_TABLES[cell])
    assert "One step of" in (tmp_path / "step.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("learn_leak", [True, False])
def test_half_lives_of_a_leak_with_zoneout(make_run, tmp_path, learn_leak):
    text = "abcd" * 20
    run = random_run(make_run, text, cell="leaky", learn_leak=learn_leak, leak_rate=0.25, zoneout_h=0.4)
    with torch.no_grad():  # nothing else carries the state
        run.model.recurrent.get_parameter("weight_hh_l0").zero_()
    page = inspect(run, text, context=0).write(tmp_path).read_text(encoding="utf-8")
    assert "With zoneout d, here 0.4, a unit keeps d of its old state" in page
    gates = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["sections"]["gates"]
    ids = torch.from_numpy(run.vocabulary.encode(text))[:, None]
    kept = dynamics(run.model, ids, exponents=0).self_connection["h"]
    np.testing.assert_allclose(kept, 0.85, rtol=1e-6)
    np.testing.assert_allclose(gates["half_lives"]["layer 1"], np.log(0.5) / np.log(kept[0]), rtol=1e-6)


def test_relu_units_have_no_saturation(make_run, tmp_path):
    run = random_run(make_run, "abcd" * 20, cell="rnn", nonlinearity="relu")
    with torch.no_grad():
        run.model.recurrent.get_parameter("bias_ih_l0").fill_(2.0)
    page = inspect(run, "abcd" * 20, context=0).write(tmp_path).read_text(encoding="utf-8")
    assert "saturated" not in re.search(r'<section id="gates">.*?</section>', page, re.DOTALL)[0]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_documents_are_read_as_in_the_score(make_config, direction):
    text = "anna\nbob\ngreta\n"
    vocabulary = Vocabulary.from_text(text)
    config = make_config({"direction": direction}, {"documents": "newline"})
    run = LoadedRun(random_model(vocabulary, direction=direction), vocabulary, config, {}, None)
    inspected = encode_text(run, text, 100)
    nats = record(run.model, inspected.ids, inspected.bounds).nats
    expected = nats_per_character(run.model, run.read(text))  # of each document in the model's direction
    parts = [nats[0:5], nats[5:9], nats[9:15]]
    in_direction = np.concatenate([part[:: 1 if direction == "forward" else -1] for part in parts])
    np.testing.assert_allclose(in_direction, expected, rtol=1e-4)


def test_short_texts_and_no_context(make_run, tmp_path):
    run = random_run(make_run, "ab")
    for text in ("abab", "a"):
        assert inspect(run, text).write(tmp_path / f"{text} with context").exists()
        inspection = inspect(run, text, context=0)
        assert inspection.attribution is None
        page = inspection.write(tmp_path / text).read_text(encoding="utf-8")
        assert 'id="attribution"' not in page
    with pytest.raises(UserError, match="empty"):
        inspect(run, "")


def test_runs_must_read_the_same_text(make_run, tmp_path):
    runs = [random_run(make_run, "abc"), random_run(make_run, "abcd", cell="gru")]
    texts = [encode_text(runs[0], "abcabc", 100), encode_text(runs[1], "abcabd", 100)]
    inspections = [inspect_run(run, name, text, 2) for run, name, text in zip(runs, "xy", texts, strict=True)]
    with pytest.raises(UserError, match="y does not read the same text as x"):
        write_page(inspections, tmp_path)


def test_hostile_text_stays_data(make_run, tmp_path):
    page = inspect(random_run(make_run, HOSTILE), HOSTILE, context=4).write(tmp_path).read_text(encoding="utf-8")
    assert "".join(data_of(page)["text"]) == HOSTILE
    assert page.count("<script") == 2
    assert not re.search(r'(?:src|href)="(?!#|step.html)', page)


@in_a_browser
def test_hostile_text_is_shown(make_run, tmp_path):
    page = inspect(random_run(make_run, HOSTILE), HOSTILE, context=4).write(tmp_path).read_text(encoding="utf-8")
    script = """
      await until(() => document.documentElement.dataset.drawn);
      return {text: document.getElementById("rows").innerText};
    """
    shown = in_browser(page, tmp_path, script)
    assert shown["error"] is None
    assert "</script><script>document" in shown["result"]["text"]
    assert {"↵", "\U0001f600"} <= set(shown["result"]["text"])


@in_a_browser
def test_keys_and_pointer_walk_units_and_characters(counted, tmp_path):
    page = counted.write(tmp_path).read_text(encoding="utf-8")
    script = """
      const number = () => document.getElementById("unit-number").textContent;
      const character = () => document.getElementById("character").textContent;
      const press = (key, shiftKey = false) => {
        document.dispatchEvent(new KeyboardEvent("keydown", {key, shiftKey, bubbles: true, cancelable: true}));
        return number();
      };
      await until(character);
      const seen = {first: number()};
      seen.right = press("ArrowRight");
      seen.left = press("ArrowLeft");
      for (let n = 0; n < 5; n++) seen.around = press("ArrowRight");
      const box = document.getElementById("text-box").getBoundingClientRect();
      const at = {clientX: box.left + 3, clientY: box.top + 3, bubbles: true};
      document.getElementById("text-box").dispatchEvent(new MouseEvent("click", at));
      await until(() => character().includes("character 1 of"));
      seen.clicked = character();
      press("ArrowRight", true);
      await until(() => character().includes("character 2 of"));
      seen.next = character();
      await until(() => document.querySelectorAll(".window span").length === 2);
      seen.values = document.getElementById("values").innerText;
      seen.top = document.querySelectorAll("#top li").length;
      seen.window = document.querySelectorAll(".window span").length;
      const colors = document.getElementById("colors");
      const pixels = colors.getContext("2d").getImageData(0, 0, colors.width, colors.height).data;
      seen.painted = pixels.some((value) => value > 0);
      document.querySelector("#found button").click();
      seen.found = number();
      return seen;
    """
    seen = in_browser(page, tmp_path, script)
    assert seen["error"] is None
    seen = seen["result"]
    first = int(seen["first"].removeprefix("unit "))
    assert seen["right"] == f"unit {(first + 1) % 5}"
    assert seen["left"] == seen["first"]
    assert seen["around"] == seen["first"], "there are five units"
    assert "character 1 of" in seen["clicked"]
    assert "character 2 of" in seen["next"]
    assert "cell state c" in seen["values"]
    assert "forget gate f" in seen["values"]
    assert seen["top"] == 4
    assert seen["window"] == 2, "one character before the second, and itself"
    assert seen["painted"]
    assert seen["found"] == f"unit {counted.scores[0].units[0].unit}"


@in_a_browser
@pytest.mark.slow
def test_page_fits_a_telephone_and_paper(counted, tmp_path):
    """Chromium's narrowest window is 500 pixels wide, so the page is put into a frame of 360."""
    page = counted.write(tmp_path).read_text(encoding="utf-8")
    script = """
      await until(() => document.documentElement.dataset.drawn);
      document.documentElement.style.width = document.body.style.width = "360px";
      window.dispatchEvent(new Event("resize"));
      const rows = document.getElementById("rows"), box = document.getElementById("text-box");
      const widest = () => Math.max(...[...rows.children].map((row) => {
        const range = document.createRange();
        range.selectNodeContents(row);
        return range.getBoundingClientRect().width;
      }));
      const seen = {rows: widest() <= box.clientWidth + 1, bars: document.getElementById("bars").checked};
      seen.outside = [...document.querySelectorAll("select, button, input, p, figure, pre")]
        .filter((one) => one.getBoundingClientRect().right > 360).map((one) => one.id || one.tagName);
      window.dispatchEvent(new Event("beforeprint"));
      seen.printed = [document.getElementById("bars").checked, document.getElementById("printed").textContent];
      await until(() => document.getElementById("colors").height === 8 * rows.children.length);
      seen.height = document.getElementById("colors").height / rows.children.length;
      window.dispatchEvent(new Event("afterprint"));
      seen.after = document.getElementById("bars").checked;
      return seen;
    """
    shown = in_browser(page, tmp_path, script, 500)
    assert shown["error"] is None
    seen = shown["result"]
    assert (seen["rows"], seen["bars"], seen["after"]) == (True, False, False)
    assert seen["outside"] == []
    assert seen["printed"][0] is True
    assert "of unit" in seen["printed"][1]
    assert seen["height"] == 8, "a bar of eight pixels in each row"


@in_a_browser
@pytest.mark.slow
def test_hover_shows_a_character_and_click_holds_it(counted, tmp_path):
    page = counted.write(tmp_path).read_text(encoding="utf-8")
    script = """
      const character = () => document.getElementById("character").textContent;
      const act = (kind, column) => {
        const box = document.getElementById("text-box").getBoundingClientRect();
        const cell = document.getElementById("marker").getBoundingClientRect().width;
        const at = {clientX: box.left + (column + 0.5) * cell, clientY: box.top + 3, bubbles: true};
        document.getElementById("text-box").dispatchEvent(new MouseEvent(kind, at));
      };
      await until(character);
      document.getElementById("text").scrollTop = 0;
      act("mousemove", 4);
      await until(() => character().includes("character 5 of"));
      const seen = [character()];
      act("click", 7);
      await until(() => character().includes("character 8 of"));
      act("mousemove", 2);
      await new Promise((done) => setTimeout(done, 200));
      return [...seen, character()];
    """
    shown = in_browser(page, tmp_path, script)
    assert shown["error"] is None
    assert "character 5 of" in shown["result"][0]
    assert "character 8 of" in shown["result"][1]


@in_a_browser
@pytest.mark.slow
def test_runs_are_shown_side_by_side(make_run, tmp_path):
    text = "the cat (sat) on the mat\n" * 12
    inspections = [
        inspect_run(run, name, InspectedText(run.vocabulary.encode(text)), 10)
        for name, run in {"a": random_run(make_run, text), "b": random_run(make_run, text, cell="gru")}.items()
    ]
    page = write_page(inspections, tmp_path)[0].read_text(encoding="utf-8")
    script = """
      const select = document.getElementById("run");
      await until(() => document.querySelectorAll("#windows h3").length === 2);
      const headings = [...document.querySelectorAll("#windows h3")].map((one) => one.textContent);
      select.value = 1;
      select.dispatchEvent(new Event("change"));
      return [document.getElementById("quantity").innerText, headings];
    """
    shown = in_browser(page, tmp_path, script)
    assert shown["error"] is None
    assert "update gate z" in shown["result"][0]
    assert [heading[:3] for heading in shown["result"][1]] == ["a: ", "b: "]


def test_backward_model_has_a_page(tmp_path, make_run):
    run = make_run(network(cell="lstm", direction="backward"), Vocabulary(tuple("abcde")))
    inspection = inspect(run, "abcde" * 30, context=5)
    (shown,) = data_of(inspection.write(tmp_path).read_text(encoding="utf-8"))["runs"]
    assert (shown["isBackward"], shown["starts"]) == (True, [149])
    assert inspection.errors.by_distance == []
    replaced = unpacked(shown["attribution"]["replaced"]).reshape(150, 5)
    assert not replaced[149].any(), "it reads the last character first"
    assert replaced[:140].any()


@pytest.mark.parametrize("fields", [{"cell": "rnn", "nonlinearity": "relu"}, {"cell": "leaky"}], ids=str)
def test_saturation_is_that_of_a_tanh_alone_even_if_the_state_is_small(make_run, tmp_path, fields):
    run = random_run(make_run, "abcd" * 20, **fields)
    with torch.no_grad():
        for parameter in run.model.recurrent.parameters():
            parameter.mul_(0.01)
    page = inspect(run, "abcd" * 20, context=0).write(tmp_path).read_text(encoding="utf-8")
    assert "saturated" not in re.search(r'<section id="gates">.*?</section>', page, re.DOTALL)[0]


def test_state_beyond_float32_is_an_error(make_run):
    run = random_run(make_run, "abcd" * 40, cell="rnn", nonlinearity="relu")
    with torch.no_grad():
        run.model.recurrent.get_parameter("weight_hh_l0").copy_(4 * torch.eye(5))
        run.model.recurrent.get_parameter("bias_ih_l0").fill_(2.0)
    with pytest.raises(UserError, match="state exceeds the range of float32"):
        inspect(run, "abcd" * 40, context=0)


def test_scores_of_bytes_are_per_byte(make_run, tmp_path):
    vocabulary = random_run(make_run, "abcd").vocabulary
    run = make_run(random_model(replace(vocabulary, kind="bytes")), replace(vocabulary, kind="bytes"))
    page = inspect(run, b"abcd" * 30, context=0).write(tmp_path).read_text(encoding="utf-8")
    assert "bits per byte" in page
    assert "bits per character" not in page


def test_maps_are_of_text_that_has_not_selected_the_units(make_run, monkeypatch):
    text, shown = brackets(1700), []
    monkeypatch.setattr(unit_sections, "text_map", lambda _, symbols, *__: shown.append("".join(symbols)))
    unit_sections.units_section(inspect(make_run(bracket_counter(), VOCABULARY), text, context=1))
    assert shown
    assert all(text.index(passage) >= FIT * len(text) for passage in shown)
