"""The page of an inspection, also in a real browser where there is one."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import zlib

import numpy as np
import pytest
import torch
from bracket_counter import COUNTER, VOCABULARY, bracket_counter, brackets
from test_recording import network

from charlstm.api import LoadedRun
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.inspection import page_data
from charlstm.inspection.inspect import InspectedText, encode_text, inspect, inspect_run
from charlstm.inspection.page import write_page
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

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


@pytest.fixture
def make_run(make_config):
    def make(model: LanguageModel, vocabulary: Vocabulary) -> LoadedRun:
        return LoadedRun(model, vocabulary, make_config(), {"corpus_digest": "of another text"}, None)

    return make


@pytest.fixture
def counted(make_run):
    return inspect(make_run(bracket_counter(), VOCABULARY), brackets(700), context=12)


def random_run(make_run, text, **fields):
    torch.manual_seed(4)
    vocabulary = Vocabulary.from_text(text)
    model = LanguageModel(ModelConfig(**{"hidden_size": 5, "cell": "lstm", **fields}), vocabulary.size)
    return make_run(model.eval(), vocabulary)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def unpacked(blob):
    return np.frombuffer(zlib.decompress(base64.b64decode(blob["data"])), blob["type"])


def in_browser(page, tmp_path, script=""):
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
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--virtual-time-budget=20000"]
    command = [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r"<body>(.*?)</body>", dom, re.DOTALL)[1]))


def test_page_has_the_values_of_every_unit(counted, tmp_path):
    files = write_page([counted], tmp_path, "charlstm inspect RUN")
    data = data_of(files[0].read_text(encoding="utf-8"))
    (run,) = data["runs"]
    T, H = len(data["text"]), 5
    assert [one["name"] for one in run["quantities"]] == ["c", "h", "i", "f", "o"]
    c = run["quantities"][0]
    values = unpacked(c["layers"][0]["values"]).reshape(H, T) / c["levels"]
    scales = np.array(c["layers"][0]["scales"])[:, None]
    np.testing.assert_allclose(values * scales, counted.recording.states["c"][:, 0].T, atol=scales.max() / 60)
    gate = run["quantities"][3]
    gates = unpacked(gate["layers"][0]["values"]).reshape(H, T) / gate["levels"]
    np.testing.assert_allclose(gates, counted.recording.gates["f"][:, 0].T, atol=0.01)
    np.testing.assert_allclose(unpacked(run["surprise"]) / 1000, counted.recording.nats / np.log(2), atol=1e-3)
    assert any(one["unit"] == COUNTER and "depth of brackets" in one["text"] for one in run["found"])
    assert sorted(path.name for path in files)[:2] == ["half-lives.png", "index.html"]
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["command"] == "charlstm inspect RUN"
    assert "".join(data["text"]) == record["text"]
    assert record["sections"]["units-of-interest"]["units"][0]["of_interest"]


def test_only_units_of_interest_are_stored_beyond_the_limit(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(page_data, "MAX_BYTES", 2500)
    (run,) = data_of(write_page([counted], tmp_path)[0].read_text(encoding="utf-8"))["runs"]
    stored = {one["name"]: one["layers"][0]["units"] for one in run["quantities"]}
    partly = [units for units in stored.values() if units is not None]
    assert 0 < len(partly) < len(stored)
    assert all(COUNTER in units and len(units) < 5 for units in partly)


@pytest.mark.parametrize("cell", ["rnn", "leaky", "gru", "peephole", "esn"])
def test_every_kind_of_cell_has_a_page(make_run, tmp_path, cell):
    run = random_run(make_run, 'some text, (some) of it "quoted"\n' * 8, cell=cell, num_layers=2)
    page = write_page([inspect(run, 'some text, (some) of it "quoted"\n' * 8, context=3)], tmp_path)[0]
    assert 'id="gates"' in page.read_text(encoding="utf-8")


def test_short_texts_and_no_context(make_run, tmp_path):
    run = random_run(make_run, "ab")
    for text in ("a", "abab"):
        inspection = inspect(run, text, context=0)
        assert inspection.leaning is None
        page = inspection.write(tmp_path / text).read_text(encoding="utf-8")
        assert 'id="leaning"' not in page
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
    assert "state c" in seen["values"]
    assert "forget gate f" in seen["values"]
    assert seen["top"] == 4
    assert seen["window"] == 2, "one character before the second, and itself"
    assert seen["painted"]
    assert seen["found"] == f"unit {counted.scores[0].units[0].unit}"


@in_a_browser
def test_runs_are_shown_side_by_side(make_run, tmp_path):
    text = "the cat (sat) on the mat\n" * 12
    inspections = [
        inspect_run(run, name, InspectedText(run.vocabulary.encode(text)), 10)
        for name, run in {"a": random_run(make_run, text), "b": random_run(make_run, text, cell="gru")}.items()
    ]
    page = write_page(inspections, tmp_path)[0].read_text(encoding="utf-8")
    script = """
      const select = document.getElementById("run");
      select.value = 1;
      select.dispatchEvent(new Event("change"));
      await until(() => document.querySelectorAll("#windows h3").length === 2);
      return [document.getElementById("quantity").innerText, document.querySelectorAll("#windows h3").length];
    """
    shown = in_browser(page, tmp_path, script)
    assert shown["error"] is None
    assert "forget gate z" in shown["result"][0]
    assert shown["result"][1] == 2


def test_backward_model_has_a_page(tmp_path, make_run):
    run = make_run(network(cell="lstm", direction="backward"), Vocabulary(tuple("abcde")))
    page = inspect(run, "abcde" * 30, context=5).write(tmp_path).read_text(encoding="utf-8")
    assert data_of(page)["runs"][0]["isBackward"]
