"""Exchanging states, on a latch that is known to store its key in c."""

from __future__ import annotations

import pytest
import torch
from latch import latch
from small_models import assert_unchanged, every_kind, model, text
from torch import Tensor

from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.surgery import surgery
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(tuple("\n?ABCDabc"))
KEYS = "ABCD"


def strings(lag: int, shift: int) -> Tensor:
    """No character, key, ``lag`` letters, query, key; one string for each key, rolled by ``shift`` keys."""
    generator = torch.Generator().manual_seed(lag + shift)
    keys = torch.from_numpy(VOCABULARY.encode(KEYS)).roll(shift)[None]
    letters = torch.from_numpy(VOCABULARY.encode("abc"))[torch.randint(3, (lag, len(KEYS)), generator=generator)]
    none, query = (torch.full_like(keys, number) for number in (len(VOCABULARY), VOCABULARY.encode("?")[0]))
    return torch.cat([none, keys, letters, query, keys])


@pytest.mark.parametrize("lag", [0, 1, 50, 1000])
def test_the_latch_recalls_at_any_lag(lag):
    ids = strings(lag, 0)
    logits, _ = latch(VOCABULARY, KEYS)(ids[:-1])
    assert torch.equal(logits[-1].argmax(-1), ids[-1])
    assert not torch.isin(logits[:-1].argmax(-1), ids[-1]).any(), "before the query it does not answer"


@pytest.mark.parametrize("executor", ["auto", "eager", "reference"])
@pytest.mark.parametrize(("exchanged", "original", "swapped"), [("", 1, 0), ("h", 1, 0), ("c", 0, 1), ("hc", 0, 1)])
def test_latch_answer_follows_c_and_not_h(exchanged, original, swapped, executor):
    network = latch(VOCABULARY, KEYS)
    network.recurrent.executor = executor
    result = surgery(network, strings(60, 0), strings(60, 1), 30, exchanged)
    assert (result.original, result.swapped, result.neither, result.count) == (original, swapped, 0, 8)
    assert result.exchanged == exchanged


def test_exchange_before_the_key_has_no_effect():
    result = surgery(latch(VOCABULARY, KEYS), strings(9, 0), strings(9, 1), 1, "hc")
    assert (result.original, result.swapped) == (1, 0)


def test_answer_of_neither_string():
    network = latch(VOCABULARY, "AB")
    result = surgery(network, strings(5, 0), strings(5, 1), 3)
    assert (result.original, result.swapped, result.neither) == (0.5, 0, 0.5), "it does not know C and D"


def by_hand(network: LanguageModel, string: Tensor, other: Tensor, at: int, exchanged: str) -> int:
    """The predicted character for one string, encoded alone."""
    states = [network.encode(one[:at, None])[1] for one in (string, other)]
    letters = network.recurrent.cell.state
    mixed = tuple(
        b if number < len(letters) and letters[number] in exchanged else a
        for number, (a, b) in enumerate(zip(*states, strict=True))
    )
    logits, _ = network(string[at:-1, None], mixed)
    return int(logits[-1, 0].argmax())


@every_kind
@pytest.mark.few(6)
def test_each_string_continues_from_the_mixed_state(fields):
    network, first, second = model(**fields), text(9, 10), text(9, 10).flip(1)
    second[-1] = (first[-1] + 1) % 7
    letters = network.recurrent.cell.state
    for exchanged in ("", letters[-1], letters):
        with assert_unchanged(network):
            result = surgery(network, first, second, 4, exchanged)
        network.eval()
        pairs = [*zip(first.t(), second.t(), strict=True), *zip(second.t(), first.t(), strict=True)]
        predicted = [by_hand(network, string, other, 4, exchanged) for string, other in pairs]
        network.train()
        assert result.original == sum(g == string[-1] for g, (string, _) in zip(predicted, pairs, strict=True)) / 20
        assert result.swapped == sum(g == other[-1] for g, (_, other) in zip(predicted, pairs, strict=True)) / 20
        assert result.original + result.swapped + result.neither == pytest.approx(1)


def test_impossible_exchanges_are_refused():
    first, second = strings(5, 0), strings(5, 1)
    network = latch(VOCABULARY, KEYS)
    with pytest.raises(ValueError, match=r"at 1 \.\. 7, with characters before and after, not 8"):
        surgery(network, first, second, 8)
    with pytest.raises(ValueError, match="not 0"):
        surgery(network, first, second, 0)
    with pytest.raises(ValueError, match="different answers"):
        surgery(network, first, first, 3)
    with pytest.raises(ValueError, match="equally long"):
        surgery(network, first, second[1:], 3)
    with pytest.raises(UserError, match="cell gru has no state 'c' to exchange; its parts are h"):
        surgery(model(cell="gru"), text(5), (text(5) + 1) % 7, 2, "hc")


def test_whole_state_swaps_the_answers_at_every_moment():
    network, first, second = latch(VOCABULARY, KEYS), strings(60, 0), strings(60, 1)
    for at in (2, 15, 61):
        results = {part: surgery(network, first, second, at, part) for part in ("", "h", "c", "hc")}
        assert {part: (one.original, one.swapped) for part, one in results.items()} == {
            "": (1, 0),
            "h": (1, 0),
            "c": (0, 1),
            "hc": (0, 1),
        }


@every_kind
@pytest.mark.few(6)
def test_whole_state_is_exchanged_in_every_cell(fields):
    """With equal characters after the exchange, each string continues as the other one would have."""
    network, first, second = model(**fields), text(9, 10), text(9, 10).flip(1)
    if fields.get("front_end") == "convolution":
        first[2:4] = second[2:4]  # the window is not exchanged
    first[4:-1] = second[4:-1]
    second[-1] = (first[-1] + 1) % 7
    letters = network.recurrent.cell.state
    result = {part: surgery(network, first, second, 4, part) for part in ("", *letters, letters)}
    logits = network.eval()(torch.cat([second, first], 1)[:-1])[0]
    partner_answers = torch.cat([first, second], 1)[-1]
    assert result[letters].original == (logits[-1].argmax(-1) == partner_answers).double().mean().item()
