"""The page of a step: self-contained, safe for any text, and alive in a real browser."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from small_models import KINDS, model

from charlstm.api import LoadedRun
from charlstm.compiler.graph import trace
from charlstm.config import Config, ModelConfig
from charlstm.inspection.step_page import glyph, step_page, subscripts
from charlstm.inspection.step_values import step_values
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Kind, Vocabulary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><!--<b>&amp;\"'\t\0\x1b\u2028\u202e שלום مر e\u0301 👩\u200d💻\U0001f1eb\U0001f1f7 \\u003c `"


def run_of(network: LanguageModel, vocabulary: Vocabulary) -> LoadedRun:
    return LoadedRun(network, vocabulary, cast(Config, None), {}, None)


def page_of(text: str, kind: Kind = "characters", **fields: Any) -> str:
    """The page of a small random model with the vocabulary of the text."""
    vocabulary = Vocabulary.from_text(text.encode() if kind == "bytes" else text)
    network = LanguageModel(ModelConfig(**{"hidden_size": 5, "num_layers": 2, **fields}), vocabulary.size)
    return step_page(run_of(network, vocabulary), vocabulary.encode(text))


@pytest.mark.parametrize(
    ("nonlinearity", "source"), [("tanh", "Elman 1990, &#34;Finding structure in time&#34;"), ("relu", "Le, Jaitly")]
)
def test_page_cites_the_source_of_the_cell(nonlinearity: str, source: str) -> None:
    assert source in page_of("abc", cell="rnn", nonlinearity=nonlinearity)


class Page(HTMLParser):
    """The scripts, tags, attributes and characters of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.words.append(data.strip())

    @property
    def data(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.scripts[0]))


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_hostile_text_stays_text(kind):
    plain, hostile = Page(page_of("plain", kind)), Page(page_of(HOSTILE, kind))
    assert len(hostile.scripts) == 2
    assert hostile.scripts[1] == plain.scripts[1]
    assert "<" not in hostile.scripts[0], "no sequence of characters can end the script"
    length = min(60, len(HOSTILE.encode()) if kind == "bytes" else len(HOSTILE))
    assert len(hostile.data["glyphs"]) == length
    assert hostile.tags.count("button") - length == plain.tags.count("button") - len("plain")
    assert set(hostile.tags) == set(plain.tags), "no markup of the text is read as an element"
    controls = [c for g in hostile.data["glyphs"] for c in g if not c.isprintable()]
    assert controls == [], "control and direction characters are written as escapes"


def test_page_refers_to_nothing_outside():
    page = Page(page_of(HOSTILE))
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    references = [v for k, v in page.attributes if k in ("src", "href", "action", "xlink:href")]
    assert references == []
    policies = [v for k, v in page.attributes if k == "content" and v and "-src" in v]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_page_has_the_values_of_the_step(fields):
    vocabulary = Vocabulary(tuple("abcdefg"))
    network = model(**fields)
    ids = [0, 5, 3, 2, 2, 6]
    data = Page(step_page(run_of(network, vocabulary), ids)).data
    values = step_values(network, ids)
    actual = np.frombuffer(base64.b64decode(data["values"]), "<f4").reshape(data["shape"])
    new_state = dict(zip((f"{s}_t" for s in values.cell.state), trace(values.cell).new_state, strict=True))
    for state in data["states"]:
        np.testing.assert_allclose(actual[state["node"]], values.nodes[new_state[state["name"]]], rtol=1e-6)
    assert {s["name"] for s in data["states"]} == set(new_state)
    assert {g["name"] for g in data["gates"]} >= set(values.cell.gates) - set("gnh")
    for gate in data["gates"]:
        assert (actual[gate["node"]] >= 0).all()
        assert (actual[gate["node"]] <= 1).all()
    assert data["bits"][:-1] == pytest.approx(values.bits.tolist())
    first = values.nodes[new_state[data["states"][0]["name"]]]
    assert data["units"] == [int(np.argmax(first[:, layer].var(0))) for layer in range(first.shape[1])]
    read = [vocabulary.symbols[i] for i in values.ids]
    assert data["glyphs"] == read
    for t, top in enumerate(data["top"]):
        expected = sorted(range(7), key=lambda i: -values.probabilities[t, i])[:5]
        assert [g for g, _, _ in top] == [vocabulary.symbols[i] for i in expected]
        assert [g for g, _, actual in top if actual] == [
            g for g in read[t + 1 : t + 2] if vocabulary.symbols.index(g) in expected
        ]


@pytest.mark.parametrize(
    ("symbol", "sign"),
    [
        ("a", "a"),
        ("\n", "↵"),
        ("\t", "⇥"),
        (" ", "␣"),
        ("\xa0", "\\xa0"),
        ("\u0301", "◌\u0301"),
        ("\u200d", "\\u200d"),
        ("ש", "ש"),
    ],
)
def test_every_symbol_has_a_visible_sign(symbol, sign):
    assert glyph(Vocabulary((symbol,)), 0) == sign


def test_bytes_that_are_not_ascii_are_hexadecimal():
    vocabulary = Vocabulary.from_text(b"a\xe9\n")
    assert [glyph(vocabulary, i) for i in range(3)] == ["↵", "a", "E9"]


def test_names_have_subscripts_and_are_escaped():
    assert subscripts("c_t−1 < W_f x_t") == "c<sub>t−1</sub> &lt; W<sub>f</sub> x<sub>t</sub>"


def test_page_of_a_diverged_model_is_written():
    vocabulary = Vocabulary(tuple("abc"))
    network = LanguageModel(ModelConfig(cell="rnn", nonlinearity="relu", hidden_size=3, identity_scale=1), 3)
    network.recurrent.get_parameter("weight_hh_l0").data.fill_(1e38)
    network.recurrent.get_parameter("bias_hh_l0").data.fill_(1e38)
    data = Page(step_page(run_of(network, vocabulary), [0, 1, 2] * 20)).data
    assert None in data["bits"]


PRESS = """<script>
const seen = [];
const press = (...keys) => {
  for (const key of keys) dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
  const { step, unit, layer } = document.documentElement.dataset;
  seen.push([Number(step), Number(unit), Number(layer), document.querySelector("[aria-current]").textContent]);
};
press("ArrowRight", "ArrowRight"); press("ArrowLeft"); press("End"); press("ArrowRight"); press("Home");
press("ArrowDown"); press("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp");
press(" "); seen.push(document.getElementById("play").getAttribute("aria-label")); press(" ");
document.getElementById("layer").value = "1"; document.getElementById("layer").dispatchEvent(new Event("change"));
document.querySelector('[data-character="2"]').click(); press();
document.documentElement.dataset.seen = JSON.stringify(seen);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("cell", ["lstm", *(pytest.param(c, marks=pytest.mark.slow) for c in ("gru", "rnn", "leaky"))])
def test_page_runs_in_a_browser(cell, tmp_path):
    page = page_of(HOSTILE, cell=cell)
    file = tmp_path / "step.html"
    file.write_text(page.replace("</body>", f"{PRESS}</body>"), encoding="utf-8")
    dom = _dom(file, tmp_path)
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    assert "data-ready" in root[0]
    assert "data-error" not in root[0]
    last, units = len(HOSTILE), Page(page).data["units"]
    first = units[0]
    seen = json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', root[0])[1]))  # type: ignore[index]
    playing = seen.pop(-3)
    assert [step for step, *_ in seen] == [3, 2, last, last, 1, 1, 1, 1, 1, 3]
    assert [unit for _, unit, *_ in seen[:7]] == [first] * 5 + [min(first + 1, 4), 0]
    assert playing == "Pause"
    assert [layer for *_, layer, _ in seen] == [1] * 9 + [2]
    assert [current for *_, current in seen[:3]] == ["s", "/", "`"]
    assert f"Character 3 of {last}: s. Unit {units[1]}: " in dom, "what a screen reader says"
    empty = re.findall(r"<(?:text|span|b)[^>]*data-value=[^>]*></", dom)
    assert empty == [], "every value has its number"


def _dom(file: Path, profile: Path) -> str:
    """The document after its scripts have run, in headless Chromium."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile / 'profile'}"]
    command = [str(CHROMIUM), *options, "--virtual-time-budget=1000", "--dump-dom", file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True).stdout
