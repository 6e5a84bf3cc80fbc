"""The page that writes text: self-contained, safe for any text, honest about its 8 bits, and alive in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from steps import run_of

from charlstm.api import LoadedRun, load
from charlstm.errors import UserError
from charlstm.evaluation import score
from charlstm.exports import held_out
from charlstm.exports.page import make_page
from charlstm.exports.quantization import quantize, quantized_copy
from charlstm.text.documents import split_documents
from charlstm.text.vocabulary import Vocabulary

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
HOSTILE = (
    "</script><script>alert(1)</script><!-- \t\0\x1b\u2028\u202e \u05e9\u05dc "
    "\u0301 \U0001f469\u200d\U0001f4bb &amp; `\r\n"
)


class Page(HTMLParser):
    """The tags, attributes and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.scripts = list[str](), list[tuple[str, str | None]](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def page_of(run: LoadedRun, **options: Any) -> Page:
    return Page(make_page(run, "a run", "charlstm export RUN --to html", **options).html)


def test_page_refers_to_nothing_outside():
    page = page_of(run_of())
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert [v for k, v in page.attributes if k in ("src", "action")] == []
    assert all(str(v).startswith("#") for k, v in page.attributes if k == "href")
    policies = [v for k, v in page.attributes if k == "content" and v and "-src" in v]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval)\(|localStorage", page.scripts[1])


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_hostile_symbols_and_text_stay_text(kind):
    vocabulary = Vocabulary.from_text(HOSTILE.encode() if kind == "bytes" else HOSTILE)
    plain, hostile = page_of(run_of()), page_of(run_of(vocabulary), prime=HOSTILE)
    assert hostile.tags == plain.tags
    assert hostile.scripts[1] == plain.scripts[1]
    assert "<" not in hostile.scripts[0], "no sequence of characters can end the script"
    data = json.loads(hostile.scripts[0])
    assert data["symbols"] == list(vocabulary.symbols)
    assert data["prime"] == HOSTILE


def test_page_without_the_text_of_the_run_says_so():
    page = make_page(run_of(), "a run", "")
    assert page.cost is None
    assert "a text.txt" in page.unmeasured
    assert "not measured: the text of the run was not there" in page.html
    assert "/somewhere" not in page.html, "the page names no folder of this machine"


def test_bits_are_those_of_both_models_on_the_same_text(tiny_run, monkeypatch):
    monkeypatch.setattr(held_out, "CHARACTERS", 90)
    run = load(tiny_run, device="cpu")
    page = make_page(run, "tiny", "")
    text = run.corpus().split("validation")[:90]
    assert page.cost is not None
    assert page.cost.original == score(run.model, text).bits_per_character
    assert page.cost.quantized == score(quantized_copy(run.model), text).bits_per_character
    assert page.cost.quantized != page.cost.original
    assert abs(page.cost.quantized - page.cost.original) < 0.02
    assert f"{page.cost.quantized:.4f} bits per character with weights of 8 bits" in page.html
    assert "the beginning of the validation split" in page.html


def test_documents_are_measured_whole():
    vocabulary = Vocabulary.from_text("ab\n")
    documents = split_documents(vocabulary.encode("ab\n" * 40_000), vocabulary, "newline")
    part = held_out._beginning(documents)
    assert len(part) == held_out.CHARACTERS // 3
    assert len(held_out._beginning(documents.select(slice(0, 2)))) == 2


def test_page_begins_with_held_out_words(tiny_run):
    run = load(tiny_run, device="cpu")
    data = json.loads(page_of(run).scripts[0])
    assert data["prime"].strip()
    assert data["prime"] in run.vocabulary.decode(run.corpus().split("validation"))
    assert json.loads(page_of(run, prime="the ").scripts[0])["prime"] == "the "


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"direction": "bidirectional"}, {}, "a bidirectional model fills gaps .* --to hub"),
        ({}, {"prime": "xyz"}, "does not know all of its characters"),
    ],
)
def test_what_the_page_cannot_do_is_refused(fields, options, message):
    with pytest.raises(UserError, match=message):
        make_page(run_of(**fields), "a run", "", **options)


def test_quantization_rounds_to_the_nearest_level():
    torch.manual_seed(0)
    matrix = torch.randn(5, 40) * torch.tensor([1e-20, 1e-3, 1, 50, 0])[:, None]
    integers, scales = quantize(matrix)
    assert integers.dtype == torch.int8
    np.testing.assert_allclose(scales, matrix.abs().amax(1) / 127, rtol=1e-6)
    error = (quantize(matrix).dequantize() - matrix).abs()
    assert (error <= 0.5001 * scales[:, None]).all()
    assert torch.equal(quantize(quantize(matrix).dequantize()).integers, integers)


def test_weights_are_a_quarter_of_the_size():
    run = run_of(hidden_size=64)
    weights = json.loads(page_of(run).scripts[0])["model"]["weights"]
    parameters = sum(p.numel() for p in run.model.parameters())
    assert weights["integers"] + weights["floats"] > parameters
    assert len(weights["data"]) < 4 / 3 * (weights["integers"] + 4 * weights["floats"]) * 1.01


def test_large_vocabulary_is_on_the_page():
    symbols = tuple(map(chr, range(0x4E00, 0x4E00 + 6000)))
    data = json.loads(page_of(run_of(Vocabulary(symbols), hidden_size=4)).scripts[0])
    assert data["symbols"] == list(symbols)
    assert data["model"]["head"]["weight"]["rows"] == 6000


BROWSER_SCRIPT = """<script>setTimeout(async () => {
  const $ = (id) => document.getElementById(id), root = document.documentElement;
  const set = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event("input")); };
  const until = async (holds) => {
    for (let n = 0; n < 500 && !holds(); n++) await new Promise((done) => setTimeout(done, 20));
  };
  const rest = () => until(() => $("write").textContent === "Write");
  const text = () => [$("given").textContent, $("written").textContent];
  const top = () => [...$("top").querySelectorAll("button")].map((one) => one.getAttribute("aria-label"));
  await until(() => "ready" in root.dataset);
  const seen = await (async () => { ACTIONS })();
  document.body.textContent = JSON.stringify({ seen, error: root.dataset.error ?? null });
}, 100);</script>"""
WRITE = """
  if ($("write").textContent === "Stop") $("write").click();
  set("pace", 4); set("temperature", 0.9); set("length", 60); set("seed", 5);
  set("prime", PRIME); $("one").checked = true; $("write").click(); await rest();
"""


def in_browser(page: str, tmp_path: Path, actions: str) -> Any:
    """Load the page, run the body of an async function in it, and return its result."""
    file = tmp_path / "page.html"
    script = BROWSER_SCRIPT.replace("ACTIONS", actions)
    file.write_text(page.replace("</body>", f"{script}</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [str(CHROMIUM), *options, "--virtual-time-budget=60000", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True).stdout
    found = re.search(r"<body[^>]*>(.*?)</body>", dom, re.DOTALL)
    assert found is not None
    result = json.loads(html.unescape(found[1]))
    assert result["error"] is None
    return result["seen"]


def write_actions(prime: str) -> str:
    return WRITE.replace("PRIME", json.dumps(prime))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_reader_writes_chooses_and_returns(tmp_path):
    run = run_of()
    quantized = replace(run, model=quantized_copy(run.model))
    expected = quantized.generate("ab", 60, temperature=0.9, seed=5)[0].text
    actions = f"""
      {write_actions("abΩ")}
      const seen = {{ first: text(), unknown: $("unknown").textContent, state: $("state").textContent, top: top() }};
      $("write").click(); await rest(); seen.again = text();
      $("continue").click(); await rest(); seen.continued = text()[1].length;
      $("top").querySelector("button").click(); seen.chosen = text()[1].length;
      $("text").dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowRight" }}));
      for (let n = 0; n < 11; n++) $("text").dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowRight" }}));
      seen.place = $("place").textContent; seen.surprise = $("surprise").textContent; seen.before = text().join("");
      const other = $("top").querySelector("button:not(.actual)"); seen.other = other.getAttribute("aria-label");
      other.click(); await rest(); seen.replaced = text().join("");
      const range = document.createRange(), node = $("written").firstChild, n = node.data.search(/[a-d]/);
      range.setStart(node, n); range.setEnd(node, n + 1);
      const {{ x, y }} = range.getBoundingClientRect();
      $("page").dispatchEvent(new MouseEvent("click", {{ bubbles: true, clientX: x + 1, clientY: y + 5 }}));
      seen.clicked = [node.data[n], $("place").textContent, $("marker").hidden];
      $("keep").checked = false; $("write").click(); await rest(); seen.fresh = text(); seen.seed = $("seed").value;
      set("temperature", 0); seen.greedy = top();
      set("length", ""); $("write").click(); await rest(); seen.length = $("state").textContent;
      return seen;"""
    seen = in_browser(make_page(run, "a run", "").html, tmp_path, actions)
    assert seen["length"] == "600 characters", "an empty length is the one that the page began with, not 1"
    assert seen["first"] == ["ab", expected]
    assert seen["again"] == seen["first"], "a kept seed gives the same text"
    assert seen["unknown"] == "Left out, since the model has never seen it: Ω"
    assert seen["state"] == "60 characters"
    assert [seen["continued"], seen["chosen"]] == [120, 121]
    assert len(seen["top"]) == 7
    text = seen["before"]
    assert text[11].strip() == "" or text[11] in seen["place"]
    assert re.search(r"was a surprise of \d+\.\d bits", seen["surprise"])
    assert seen["replaced"][:11] == text[:11]
    assert seen["replaced"][11] != text[11]
    letter, place, is_hidden = seen["clicked"]
    assert place == f"In place of “{letter}”"
    assert not is_hidden
    assert seen["fresh"] != seen["first"]
    assert seen["seed"] != "5"
    assert sorted(label.split(", ")[-1].split(":")[0] for label in seen["greedy"])[::-1][0] == "100.0 percent"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(
    ("content", "fields", "corpus", "prime"),
    [
        pytest.param("ab中é\n".encode(), {}, {"encoding": "bytes"}, "a中", marks=pytest.mark.slow),
        pytest.param("abcdef\n", {"direction": "backward"}, {}, "fed", marks=pytest.mark.slow),
        pytest.param("ab\n", {"cell": "gru"}, {"documents": "newline"}, "a", marks=pytest.mark.slow),
        ("aé σ\n", {}, {"lowercase": True, "normalize": True}, "AE\u0301 Σ"),
    ],
    ids=["bytes", "backward", "documents", "prepared"],
)
def test_other_kinds_of_text_are_written_alike(content, fields, corpus, prime, tmp_path):
    run = run_of(Vocabulary.from_text(content), corpus, **fields)
    quantized = replace(run, model=quantized_copy(run.model))
    (expected,) = quantized.generate(prime, 60, temperature=0.9, seed=5)
    actions = f"{write_actions(prime)} return $('page').textContent;"
    assert in_browser(make_page(run, "a run", "").html, tmp_path, actions) == expected.full_text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_independent_texts_follow_each_other(tmp_path):
    run = run_of(Vocabulary.from_text("ab\n"), {"documents": "newline"})
    actions = (
        f"{write_actions('a')} $('one').checked = false; $('write').click(); await rest(); return text().join('');"
    )
    text = in_browser(make_page(run, "a run", "").html, tmp_path, actions)
    texts = text.split("\n")
    assert texts.pop() == "", "the last text is complete"
    assert len(texts) > 3
    assert all(one.startswith("a") for one in texts)
    assert len(text) >= 61
