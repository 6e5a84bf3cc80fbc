from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from charlstm import console
from charlstm.comparison.tables import untested_claims, verdict_rows
from charlstm.report.document import Document, Figure, Section, Verdict, render, tally

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
