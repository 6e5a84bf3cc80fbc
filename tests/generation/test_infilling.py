"""Gaps are filled from the distribution computed by enumeration, and nothing else changes."""

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
from charlstm.generation.infilling import cooling, preview_infilling, stationary
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
def conditional(model: LanguageModel, ids: list[int], position: int, sampling: Sampling = PLAIN) -> np.ndarray:
    """p(x | all others) at one position, by encoding the full text in both directions."""
    text, none = torch.tensor(ids)[:, None], torch.tensor([[model.vocabulary_size]])
    logits, _ = model(torch.cat([none, text[:-1]]), following=torch.cat([text[1:], none]))
    p = sampling.probabilities(logits[position])[0].double()
    return (p / p.sum()).numpy()


def enumerate_fillings(model: LanguageModel, text: str, order: list[int], sampling: Sampling) -> np.ndarray:
    """The stationary distribution of drawing the masked positions in this ``order``: p of each filling, by the left
    eigenvector of the transition matrix between fillings."""
    positions = [position for position, sign in enumerate(text) if sign == "_"]
    ids = [0 if sign == "_" else ABC.symbols.index(sign) for sign in text]
    fillings = list(itertools.product(range(ABC.size), repeat=len(positions)))
    chain = np.eye(len(fillings))
    for k in order:
        step = np.zeros_like(chain)
        for row, filling in enumerate(fillings):
            for position, character in zip(positions, filling, strict=True):
                ids[position] = character
            for character, p in enumerate(conditional(model, ids, positions[k], sampling)):
                step[row, fillings.index((*filling[:k], character, *filling[k + 1 :]))] = p
        chain = chain @ step
    values, vectors = np.linalg.eig(chain.T)
    result = np.real(vectors[:, np.argmax(np.real(values))])
    return result / result.sum()


def frequencies(model: LanguageModel, text: str, sampling: Sampling, draws: int = 4000, **options) -> np.ndarray:
    result = infill(model, ABC, text, sampling=sampling, num_samples=draws, seed=5, **options)
    size = text.count("_")
    counts = np.zeros(ABC.size**size)
    for f in result:
        digits = [ABC.symbols.index(s) for gap in f.gaps for s in gap.text]
        counts[int(np.ravel_multi_index(digits, (ABC.size,) * size))] += 1
    return counts


def assert_drawn_from(counts: np.ndarray, p: np.ndarray) -> None:
    """Chi-square test with a false alarm rate of about 1e-5; rare fillings are pooled."""
    expected = p * counts.sum()
    common = expected >= 5
    counts, expected = (np.append(a[common], a[~common].sum()) for a in (counts, expected))
    freedom = len(counts) - 2
    assert ((counts - expected) ** 2 / np.maximum(expected, 1)).sum() < freedom + 6 * np.sqrt(2 * freedom) + 10
    assert len(counts) > 2


SAMPLINGS = [Sampling(), Sampling(0.6), Sampling(1.5), Sampling(top_k=2), Sampling(1.0, top_p=0.8)]


def fast_for_each(first: list, second: list) -> list:
    """All pairs; those in which a value occurs for the first time are fast."""
    return [
        pytest.param(a, b, marks=() if i == j or i >= len(second) > j == 0 else pytest.mark.slow)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


@pytest.mark.parametrize(("sampling", "text"), fast_for_each(SAMPLINGS, ["ab_ca", "_bca", "abc_"]), ids=str)
def test_one_position_follows_its_conditional(text, sampling):
    model = make_model()
    position = text.index("_")
    ids = [0 if s == "_" else ABC.symbols.index(s) for s in text]
    p = conditional(model, ids, position, sampling)
    assert_drawn_from(frequencies(model, text, sampling, sweeps=1), p) if (p > 0).sum() > 1 else None


@pytest.mark.parametrize(("sampling", "text"), fast_for_each(SAMPLINGS[:3], ["ab__ca", "a_bca_b", "__"]), ids=str)
@pytest.mark.few(1)
def test_two_positions_have_the_exact_distribution(monkeypatch, text, sampling):
    model = make_model()
    assert_drawn_from(frequencies(model, text, sampling, sweeps=1), enumerate_fillings(model, text, [0, 1], sampling))
    monkeypatch.setattr(infilling, "MAX_PAIR_SYMBOLS", 0)
    assert_drawn_from(frequencies(model, text, sampling, sweeps=41), enumerate_fillings(model, text, [0, 1], sampling))


@pytest.mark.parametrize("text", ["ab___c", "_a_bb_"])
@pytest.mark.few(1)
def test_more_positions_follow_the_stationary_distribution(text):
    model, sampling = make_model(), Sampling(0.8)
    assert_drawn_from(frequencies(model, text, sampling), enumerate_fillings(model, text, [0, 1, 2, 2, 1, 0], sampling))


def test_the_enumeration_can_fail():
    model, text = make_model(), "ab__ca"
    with pytest.raises(AssertionError):
        assert_drawn_from(frequencies(model, text, Sampling()), enumerate_fillings(model, text, [0, 1], Sampling(0.8)))


def test_stationary_recovers_a_consistent_joint_distribution():
    joint = torch.rand(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4
    joint /= joint.sum()
    torch.testing.assert_close(stationary(3 * joint.T, joint), joint)


# temperature 0


def test_greedy_selects_the_most_probable_character_and_pair():
    model = make_model()
    (one,) = infill(model, ABC, "ab_ca", sampling=Sampling(0))
    assert one.gaps[0].text == "abc"[conditional(model, [0, 1, 0, 2, 0], 2).argmax()]
    (pair,) = infill(model, ABC, "ab__ca", sampling=Sampling(0))
    best = enumerate_fillings(model, "ab__ca", [0, 1], Sampling()).argmax()
    assert pair.gaps[0].text == "abc"[best // 3] + "abc"[best % 3]


def test_greedy_ends_at_the_mode_of_each_conditional():
    model = make_model()
    for result in infill(model, ABC, "ab____ca_b", sampling=Sampling(0), num_samples=3):
        ids = ABC.encode(result.full_text).tolist()
        assert all(conditional(model, ids, position).argmax() == ids[position] for position in (2, 3, 4, 5, 8))


def test_greedy_returns_the_best_of_sixteen_chains(monkeypatch):
    model, arguments = make_model(LETTERS), {"sampling": Sampling(0), "sweeps": 2, "seed": 1}
    best = infill(model, LETTERS, "ab______ca_b", num_samples=2, **arguments)
    monkeypatch.setattr(infilling, "GREEDY_CHAINS", 1)
    chains = infill(model, LETTERS, "ab______ca_b", num_samples=32, **arguments)
    for result, tries in zip(best, (chains[:16], chains[16:]), strict=True):
        assert len({chain.pseudo_nats for chain in tries}) > 1
        assert result == min(tries, key=lambda chain: chain.pseudo_nats)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_cooling(temperature):
    result = cooling(temperature, 10)
    assert result[0] == max(1.0, temperature)
    assert result[5:] == [temperature] * 5
    assert result == sorted(result, reverse=True)
    assert cooling(temperature, 1) == [temperature]


# results


@pytest.mark.parametrize("text", ["_a__b c___\n_", "_", "ab__gh", "a_", "a_" * 30])
@pytest.mark.few(2)
def test_only_gaps_change_and_log_p_equals_the_score(text):
    model = make_model(LETTERS, num_layers=2)
    for actual in infill(model, LETTERS, text, num_samples=2):
        assert len(actual.full_text) == len(text)
        assert all(a == b for a, b in zip(actual.full_text, text, strict=True) if b != "_")
        covered = [gap.position + n for gap in actual.gaps for n in range(len(gap.text))]
        assert covered == [position for position, sign in enumerate(text) if sign == "_"]
        assert all(actual.full_text[gap.position :].startswith(gap.text) for gap in actual.gaps)
        assert all(a.position + len(a.text) < b.position for a, b in itertools.pairwise(actual.gaps))
        expected = -nats_per_character(model, LETTERS.encode(actual.full_text))[covered]
        log_p = [p for gap in actual.gaps for p in gap.log_probabilities]
        np.testing.assert_allclose(log_p, expected, rtol=1e-3, atol=1e-4)
        assert actual.pseudo_nats == pytest.approx(-expected.mean(), rel=1e-3)
        assert actual.pseudo_bits == pytest.approx(-expected.mean() / np.log(2), rel=1e-3)


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
    assert len({f.full_text for f in a}) > 1


def test_gap_character_can_be_chosen():
    model = make_model(LETTERS)
    (result,) = infill(model, LETTERS, "a_b?c", gap="?")
    assert result.full_text.startswith("a_b")
    assert [gap.position for gap in result.gaps] == [3]
    (result,) = infill(model, LETTERS, "abbc", gap="b")
    assert [gap.position for gap in result.gaps] == [1]


def test_vocabulary_of_bytes():
    vocabulary = Vocabulary.from_text("na\u00efve!".encode())
    model = make_model(vocabulary)
    (result,) = infill(model, vocabulary, "\u00ef__!")
    assert result.gaps[0].position == 2
    assert len(result.gaps[0].log_probabilities) == 2
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
        ("a_c", {"num_samples": 0}, "num-samples and sweeps must be 1 or more"),
        ("a_c", {"sweeps": 0}, "num-samples and sweeps must be 1 or more"),
    ],
    ids=str,
)
def test_invalid_arguments_are_refused(text, options, message):
    with pytest.raises(UserError, match=message):
        infill(make_model(), ABC, text, **options)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_unidirectional_model_is_refused(direction):
    with pytest.raises(UserError, match=f"a {direction} model .* direction: bidirectional"):
        infill(make_model(direction=direction), ABC, "a_c")


def test_callback_can_stop_it():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infill(make_model(), ABC, "a___c", on_chunk=stop)


@pytest.mark.parametrize("size", [1, 5, 8, 9, 40])
def test_preview_infilling_fills_the_middle(size):
    model = make_model(LETTERS)
    ids = np.arange(size).astype(np.uint8) % LETTERS.size
    preview = preview_infilling(model, LETTERS, ids, seed=1)
    before, rest = preview.split("[")
    filled, behind = rest.split("]")
    assert len(filled) == min(8, math.ceil(size / 3))
    assert abs(len(before) - len(behind)) <= 1
    text = LETTERS.decode(ids)
    assert (before, behind) == (text[: len(before)], text[len(before) + len(filled) :])


def test_too_many_fillings_for_memory_are_refused(monkeypatch):
    monkeypatch.setattr("charlstm.hardware.main_memory.free_main_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"^not enough memory: 20,000,000 texts take \d\.\d GB, 1\.0 GB are free"):
        infill(make_model(), ABC, "a_b", num_samples=20_000_000)
