from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest

from charlstm import console
from charlstm.comparison.tables import untested_claims, verdict_rows
from charlstm.report.document import REPORT_TEMPLATE, Document, Figure, Section, Table, Verdict, render, tally
from charlstm.report.solved_plot import FAINTEST, STRONGEST

HELD = Verdict("An LSTM recalls", "4 of 5 seeds", "5 of 5 seeds", "95%: 0.57 to 1", "held", "recall-over-a-lag")
NOT_HELD = Verdict("An RNN does not", "at most 20", "30", "", "not held", "recall-over-a-lag")
UNDECIDED = Verdict("A GRU does", "at least 20", "20", "10 to 50", "undecided", "recall-over-a-lag")
NEEDS_FULL_RUN = Verdict("An LSTM copies", "lag 100", word="needs the full run")
NOT_RUN = Verdict("An LSTM counts", "n = 1,000")


class Items(HTMLParser):
    """The page's list items: the class, the text, and the links of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.items: list[tuple[str | None, list[str], list[str | None]]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "li":
            self.inside = True
            self.items.append((dict(attrs).get("class"), [], []))
        if tag == "a" and self.inside:
            self.items[-1][2].append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "li"

    def handle_data(self, data):
        if self.inside and data.strip():
            self.items[-1][1].append(data.strip())


def document(*verdicts: Verdict, figures: list[Figure] | None = None) -> Document:
    return Document(
        "t", ["A headline."], [Section("Recall over a lag", figures=figures or [])], verdicts=list(verdicts)
    )


def test_each_verdict_is_named_and_marked():
    text = render(document(HELD, NOT_HELD, UNDECIDED, NEEDS_FULL_RUN, NOT_RUN))
    items = Items(text).items
    assert items == [
        (
            "held",
            ["held", "An LSTM recalls", "criterion", "4 of 5 seeds", "measured", "5 of 5 seeds", "(95%: 0.57 to 1)"],
            ["#recall-over-a-lag"],
        ),
        (
            "not-held",
            ["not held", "An RNN does not", "criterion", "at most 20", "measured", "30"],
            ["#recall-over-a-lag"],
        ),
        (
            "undecided",
            ["undecided", "A GRU does", "criterion", "at least 20", "measured", "20", "(10 to 50)"],
            ["#recall-over-a-lag"],
        ),
        ("needs-the-full-run", ["needs the full run", "An LSTM copies", "criterion", "lag 100", "measured", "–"], []),
        ("not-run", ["not run", "An LSTM counts", "criterion", "n = 1,000", "measured", "–"], []),
    ]
    judged, _, others = text.partition("<details><summary>Claims without a verdict here</summary>")
    assert "An RNN does not" in judged
    assert "An LSTM counts" in others
    # Each kind of verdict has a different mark.
    marks = re.findall(r'<p class="word"><svg [^>]*aria-hidden="true"><path d="([^"]+)"', text)
    assert len(set(marks)) == 5
    tally_text = "Of 5 claims, 1 held, 1 not held, 1 undecided, 1 needs the full run and 1 not run."
    assert text.count(tally_text) == 2  # at the top, with a link, and above the claims
    assert text.index('href="#claims"') < text.index("<h2>Recall over a lag") < text.index('class="verdicts"')


def test_page_without_verdicts_does_not_mention_claims():
    body = render(document()).split("</head>")[1]
    assert "verdict" not in body
    assert "claim" not in body


def test_verdicts_are_escaped():
    text = render(document(Verdict("<script>a", "<b>\x1b", "<i>", "<u>", "not held")))
    assert not re.search(r"<(script|b|i|u)>|\x1b", text)
    assert "&lt;script&gt;a" in text


def test_verdict_with_unknown_section_raises():
    with pytest.raises(ValueError, match="sections that do not exist: gates"):
        render(document(Verdict("a", "b", section="gates")))


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([HELD], "Of 1 claim, 1 held."),
        ([HELD, HELD, NOT_RUN], "Of 3 claims, 2 held and 1 not run."),
        ([NOT_HELD, NOT_RUN, HELD, NOT_HELD], "Of 4 claims, 1 held, 2 not held and 1 not run."),
    ],
)
def test_tally(verdicts, text):
    assert tally(verdicts) == text


def test_verdict_rows():
    assert verdict_rows([]) == verdict_rows([NOT_RUN]) == []
    assert verdict_rows([HELD, NOT_HELD, NOT_RUN]) == [
        ["claim", "criterion", "measured", "one-sided 95% bounds", "verdict"],
        ["An LSTM recalls", "4 of 5 seeds", "5 of 5 seeds", "95%: 0.57 to 1", "held"],
        ["An RNN does not", "at most 20", "30", "–", "not held"],
    ]
    without = replace(UNDECIDED, interval="", reason="2 seeds: too few for bounds")
    assert verdict_rows([without])[1][3] == without.reason
    assert "In brackets: one-sided 95% bounds (together a 90% interval)." in render(document(without))
    assert f"<small>({without.reason})</small>" in render(document(without))


def test_claims_without_a_verdict_are_counted():
    assert untested_claims([HELD]) == []
    assert untested_claims([HELD, NEEDS_FULL_RUN, NEEDS_FULL_RUN, NOT_RUN]) == [
        "2 more claims need the full run",
        "1 more claim was not run",
    ]
    assert untested_claims([NEEDS_FULL_RUN]) == ["1 claim needs the full run"]


def test_verdict_columns_are_aligned_in_terminal(capsys):
    console.table(verdict_rows([HELD, NOT_HELD]), prose=True)
    header, _, held, not_held = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert header.index("criterion") == held.index("4 of 5") == not_held.index("at most 20")


def test_wide_figure_has_full_width_and_scrolls():
    def figures(wide: bool) -> str:
        return render(document(figures=[Figure("f", "<svg></svg>", b"", "alt", wide=wide)])).split("</head>")[1]

    assert '<figure class="wide-figure">' in figures(True)
    assert 'aria-label="alt" tabindex="0"' in figures(True)
    assert '<figure>\n<div role="img" aria-label="alt"><svg>' in figures(False)


def test_only_columns_of_sentences_are_broken_into_lines():
    sentence = "held: ten characters, which is less than was claimed"
    table = Table(["claim", "result", "seeds"], [["It recalls", sentence, "5"], ["It counts", "held", "3"]])
    text = render(Document("t", ["A headline."], [Section("Claims", tables=[table])]))
    assert '<th scope="col">claim</th><th scope="col" class="prose">result</th><th scope="col">seeds</th>' in text
    assert f'It recalls</th><td class="prose">{sentence}</td><td>5</td>' in text
    assert 'It counts</th><td class="prose">held</td><td>3</td>' in text


def luminance(color: tuple[float, ...]) -> float:
    """The relative luminance of WCAG 2.2, of red, green and blue from 0 to 1."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_on_what_is_behind_them(scheme):
    style = resources.files("charlstm").joinpath(REPORT_TEMPLATE).read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    found = re.findall(r"--([\w-]+): #(\w{6})", light if scheme == "light" else dark)
    colors = {name: tuple(int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)) for name, digits in found}

    def contrast(text: str, behind: str, opacity: float = 1.0) -> float:
        mixed = tuple(opacity * a + (1 - opacity) * b for a, b in zip(colors[behind], colors["paper"], strict=True))
        dark_one, bright_one = sorted((luminance(colors[text]), luminance(mixed)))
        return (bright_one + 0.05) / (dark_one + 0.05)

    arms = [name for name in colors if name.startswith("arm-")]
    assert len(arms) == 7
    assert all(contrast("ink", arm, opacity) >= 4.5 for arm in arms for opacity in (FAINTEST, STRONGEST))
    assert all(contrast(name, "paper") >= 4.5 for name in ("ink", "muted", "warn", "link", "held"))
    assert all(contrast(arm, "paper") >= 3 for arm in arms)
