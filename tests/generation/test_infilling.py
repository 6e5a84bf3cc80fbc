"""Gaps are filled from the distribution that can be computed by enumeration, and nothing else is touched."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.generation import Sampling, infill, infilling
from charlstm.generation.infilling import cooling, shown_infilling, stationary
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

ABC = Vocabulary.from_text("abc")
PLAIN = Sampling()
LETTERS = Vocabulary.from_text("abcdefgh_ \n")


def make_model(vocabulary: Vocabulary = ABC, scale: float = 4.0, **options) -> LanguageModel:
    torch.manual_seed(11)
    model = LanguageModel(ModelConfig(**{"hidden_size": 8, "direction": "bidirectional", **options}), vocabulary.size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.eval()


@torch.no_grad()
def conditional(model: LanguageModel, ids: list[int], place: int, sampling: Sampling = PLAIN) -> np.ndarray:
    """p(x | all others) at one place, by reading the whole text both ways."""
    text, none = torch.tensor(ids)[:, None], torch.tensor([[model.vocabulary_size]])
    logits, _ = model(torch.cat([none, text[:-1]]), following=torch.cat([text[1:], none]))
    p = sampling.probabilities(logits[place])[0].double()
    return (p / p.sum()).numpy()


def enumerated(model: LanguageModel, text: str, order: list[int], sampling: Sampling) -> np.ndarray:
    """What drawing the open places over and over in this ``order`` ends in: p of each filling, by the left eigenvector
    of the matrix between all fillings."""
    places = [place for place, sign in enumerate(text) if sign == "_"]
    ids = [0 if sign == "_" else ABC.symbols.index(sign) for sign in text]
    fillings = list(itertools.product(range(ABC.size), repeat=len(places)))
    chain = np.eye(len(fillings))
    for k in order:
        step = np.zeros_like(chain)
        for row, filling in enumerate(fillings):
            for place, character in zip(places, filling, strict=True):
                ids[place] = character
            for character, p in enumerate(conditional(model, ids, places[k], sampling)):
                step[row, fillings.index((*filling[:k], character, *filling[k + 1 :]))] = p
        chain = chain @ step
    values, vectors = np.linalg.eig(chain.T)
    found = np.real(vectors[:, np.argmax(np.real(values))])
    return found / found.sum()


def frequencies(model: LanguageModel, text: str, sampling: Sampling, draws: int = 4000, **options) -> np.ndarray:
    found = infill(model, ABC, text, sampling=sampling, num_samples=draws, seed=5, **options)
    size = text.count("_")
    counts = np.zeros(ABC.size**size)
    for f in found:
        digits = [ABC.symbols.index(s) for gap in f.gaps for s in gap.text]
        counts[int(np.ravel_multi_index(digits, (ABC.size,) * size))] += 1
    return counts


def assert_from(counts: np.ndarray, p: np.ndarray) -> None:
    """Chi-square, within what chance exceeds once in about 100,000 times; rare fillings together."""
    expected = p * counts.sum()
    common = expected >= 5
    counts, expected = (np.append(a[common], a[~common].sum()) for a in (counts, expected))
    freedom = len(counts) - 2
    assert ((counts - expected) ** 2 / np.maximum(expected, 1)).sum() < freedom + 6 * np.sqrt(2 * freedom) + 10
    assert len(counts) > 2


SAMPLINGS = [Sampling(), Sampling(0.6), Sampling(1.5), Sampling(top_k=2), Sampling(1.0, top_p=0.8)]


def fast_for_each(first: list, second: list) -> list:
    """All pairs, of which those are fast in which each value is met for the first time."""
    return [
        pytest.param(a, b, marks=() if i == j or i >= len(second) > j == 0 else pytest.mark.slow)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


@pytest.mark.parametrize(("sampling", "text"), fast_for_each(SAMPLINGS, ["ab_ca", "_bca", "abc_"]), ids=str)
def test_one_place_is_drawn_from_its_conditional(text, sampling):
    model = make_model()
    place = text.index("_")
    ids = [0 if s == "_" else ABC.symbols.index(s) for s in text]
    p = conditional(model, ids, place, sampling)
    assert_from(frequencies(model, text, sampling, sweeps=1), p) if (p > 0).sum() > 1 else None


@pytest.mark.parametrize(("sampling", "text"), fast_for_each(SAMPLINGS[:3], ["ab__ca", "a_bca_b", "__"]), ids=str)
def test_two_places_are_drawn_exactly_and_by_long_chains_alike(monkeypatch, text, sampling):
    model = make_model()
    assert_from(frequencies(model, text, sampling, sweeps=1), enumerated(model, text, [0, 1], sampling))
    monkeypatch.setattr(infilling, "PAIR", 0)
    assert_from(frequencies(model, text, sampling, sweeps=41), enumerated(model, text, [0, 1], sampling))


@pytest.mark.parametrize("text", ["ab___c", "_a_bb_"])
def test_more_places_are_drawn_from_the_chains_own_distribution(text):
    model, sampling = make_model(), Sampling(0.8)
    assert_from(frequencies(model, text, sampling), enumerated(model, text, [0, 1, 2, 2, 1, 0], sampling))


def test_the_enumeration_can_fail():
    model, text = make_model(), "ab__ca"
    with pytest.raises(AssertionError):
        assert_from(frequencies(model, text, Sampling()), enumerated(model, text, [0, 1], Sampling(0.8)))


def test_stationary_of_conditionals_that_have_a_joint_distribution_is_that():
    joint = torch.rand(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4
    joint /= joint.sum()
    torch.testing.assert_close(stationary(3 * joint.T, joint), joint)


# temperature 0


def test_greedy_takes_the_most_probable_character_and_pair():
    model = make_model()
    (one,) = infill(model, ABC, "ab_ca", sampling=Sampling(0))
    assert one.gaps[0].text == "abc"[conditional(model, [0, 1, 0, 2, 0], 2).argmax()]
    (pair,) = infill(model, ABC, "ab__ca", sampling=Sampling(0))
    best = enumerated(model, "ab__ca", [0, 1], Sampling()).argmax()
    assert pair.gaps[0].text == "abc"[best // 3] + "abc"[best % 3]


def test_greedy_ends_where_every_character_is_the_most_probable_given_the_others():
    model = make_model()
    for found in infill(model, ABC, "ab____ca_b", sampling=Sampling(0), num_samples=3):
        ids = ABC.encode(found.whole).tolist()
        assert all(conditional(model, ids, place).argmax() == ids[place] for place in (2, 3, 4, 5, 8))


def test_greedy_takes_the_best_of_sixteen_chains(monkeypatch):
    model, arguments = make_model(LETTERS), {"sampling": Sampling(0), "sweeps": 2, "seed": 1}
    best = infill(model, LETTERS, "ab______ca_b", num_samples=2, **arguments)
    monkeypatch.setattr(infilling, "TRIES", 1)
    chains = infill(model, LETTERS, "ab______ca_b", num_samples=32, **arguments)
    for found, tries in zip(best, (chains[:16], chains[16:]), strict=True):
        assert len({chain.pseudo_nats for chain in tries}) > 1
        assert found == min(tries, key=lambda chain: chain.pseudo_nats)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_cooling(temperature):
    found = cooling(temperature, 10)
    assert found[0] == max(1.0, temperature)
    assert found[5:] == [temperature] * 5
    assert found == sorted(found, reverse=True)
    assert cooling(temperature, 1) == [temperature]


# what is told


@pytest.mark.parametrize("text", ["a_", "_", "ab__gh", "_a__b c___\n_", "a_" * 30])
def test_only_gaps_change_and_their_figures_are_the_score_of_the_text(text):
    model = make_model(LETTERS, num_layers=2)
    for found in infill(model, LETTERS, text, num_samples=2):
        assert len(found.whole) == len(text)
        assert all(a == b for a, b in zip(found.whole, text, strict=True) if b != "_")
        covered = [gap.place + n for gap in found.gaps for n in range(len(gap.text))]
        assert covered == [place for place, sign in enumerate(text) if sign == "_"]
        assert all(found.whole[gap.place :].startswith(gap.text) for gap in found.gaps)
        assert all(a.place + len(a.text) < b.place for a, b in itertools.pairwise(found.gaps))
        expected = -nats_per_character(model, LETTERS.encode(found.whole))[covered]
        told = [p for gap in found.gaps for p in gap.log_probabilities]
        np.testing.assert_allclose(told, expected, rtol=1e-3, atol=1e-4)
        assert found.pseudo_nats == pytest.approx(-expected.mean(), rel=1e-3)
        assert found.pseudo_bits == pytest.approx(-expected.mean() / np.log(2), rel=1e-3)


def test_same_seed_same_text_whatever_the_random_state_and_mode():
    model = make_model(LETTERS, dropout=0.5, num_layers=2)
    before = torch.get_rng_state()
    a = infill(model, LETTERS, "ab___cd", seed=3, num_samples=4)
    model.train()
    b = infill(model, LETTERS, "ab___cd", seed=3, num_samples=4)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    assert a == b
    assert a != infill(model, LETTERS, "ab___cd", seed=4, num_samples=4)
    assert len({f.whole for f in a}) > 1


def test_another_sign_for_gaps():
    model = make_model(LETTERS)
    (found,) = infill(model, LETTERS, "a_b?c", gap="?")
    assert found.whole.startswith("a_b")
    assert [gap.place for gap in found.gaps] == [3]
    (found,) = infill(model, LETTERS, "abbc", gap="b")
    assert [gap.place for gap in found.gaps] == [1]


def test_bytes():
    vocabulary = Vocabulary.from_text("na\u00efve!".encode())
    model = make_model(vocabulary)
    (found,) = infill(model, vocabulary, "\u00ef__!")
    assert found.gaps[0].place == 2
    assert len(found.gaps[0].log_probabilities) == 2
    with pytest.raises(UserError, match="single byte"):
        infill(model, vocabulary, "na\u00ef", gap="\u00ef")


def test_unknown_characters():
    model = make_model()
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\) at 1:4"):
        infill(model, ABC, "a_bé_")
    skipped, without = (infill(model, ABC, text, unknown=u) for text, u in (("a_bé_", "skip"), ("a_b_", "error")))
    assert skipped == without


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("abc", {}, "no gap"),
        ("", {}, "no gap"),
        ("a_c", {"gap": "__"}, "single character"),
        ("a_c", {"gap": ""}, "single character, found ''"),
        ("a_c", {"num_samples": 0}, "at least one"),
        ("a_c", {"sweeps": 0}, "at least one"),
    ],
    ids=str,
)
def test_mistakes(text, options, message):
    with pytest.raises(UserError, match=message):
        infill(make_model(), ABC, text, **options)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_model_that_reads_one_way_is_refused(direction):
    with pytest.raises(UserError, match=f"a {direction} model .* direction: bidirectional"):
        infill(make_model(direction=direction), ABC, "a_c")


def test_it_can_be_broken_off():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infill(make_model(), ABC, "a___c", between=stop)


@pytest.mark.parametrize("size", [1, 5, 8, 9, 40])
def test_an_infilling_to_look_at(size):
    model = make_model(LETTERS)
    ids = np.arange(size).astype(np.uint8) % LETTERS.size
    shown = shown_infilling(model, LETTERS, ids, seed=1)
    before, rest = shown.split("[")
    filled, behind = rest.split("]")
    assert len(filled) == min(8, math.ceil(size / 3))
    assert abs(len(before) - len(behind)) <= 1
    text = LETTERS.decode(ids)
    assert (before, behind) == (text[: len(before)], text[len(before) + len(filled) :])


def test_more_fillings_than_there_is_memory_for(monkeypatch):
    monkeypatch.setattr("charlstm.hardware.main_memory.free_main_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"^not enough memory: 20,000,000 texts take \d\.\d GB, 1\.0 GB are free"):
        infill(make_model(), ABC, "a_b", num_samples=20_000_000)
