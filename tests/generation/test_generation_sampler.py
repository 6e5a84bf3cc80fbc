"""Sampling: reproducibility, distribution, and cost."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.generation import Sampling, TextRequest, generate, sampler
from charlstm.generation.incremental import IncrementalModel, make_cpp_decoder
from charlstm.generation.sampling import first_above, sample_ids
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abcdefgh \n")
CELLS = {
    "rnn": {"cell": "rnn"},
    "irnn": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru reset before": {"cell": "gru", "reset_after": False},
    "peephole": {"cell": "peephole"},
    "coupled": {"cell": "coupled"},
}


def make_model(vocabulary_size: int = VOCABULARY.size, **options) -> LanguageModel:
    torch.manual_seed(7)
    model = LanguageModel(ModelConfig(**{"hidden_size": 9, **options}), vocabulary_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0 if options.get("nonlinearity") else 2.5)
    return model.eval()


# the incremental model equals the model


CONVOLUTION = {"front_end": "convolution", "kernel_sizes": [2, 5], "filters": 6}


@pytest.mark.parametrize(
    "front_end", [{}, {"front_end": "embedding", "embedding_size": 4}, CONVOLUTION], ids=["one-hot", "embed", "conv"]
)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_incremental_model_equals_the_model(cell, layers, front_end):
    model = make_model(num_layers=layers, **CELLS[cell], **front_end)
    ids = torch.randint(model.vocabulary_size + 1, (12, 3), generator=torch.Generator().manual_seed(1))
    expected, state = model(ids)
    incremental = IncrementalModel(model, 3)
    actual = torch.stack([incremental(row).clone() for row in ids])
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(incremental.state, state, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("front_end", [{}, CONVOLUTION], ids=["embedding", "convolution"])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_incremental_model_continues_from_a_given_state(cell, front_end):
    model = make_model(num_layers=2, **CELLS[cell], **front_end)
    ids = torch.randint(model.vocabulary_size, (8, 2), generator=torch.Generator().manual_seed(2))
    incremental = IncrementalModel(model, 2)
    expected = [incremental(row).clone() for row in ids]
    _, state = model(ids[:5])
    copied_state = tuple(part.clone() for part in state)
    incremental = IncrementalModel(model, 2)
    incremental.state = state
    for row, logits in zip(ids[5:], expected[5:], strict=True):
        torch.testing.assert_close(incremental(row), logits, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(copied_state, state, strict=True))


def test_incremental_model_handles_a_large_vocabulary():
    model = make_model(5000, front_end="embedding", embedding_size=4)
    logits = IncrementalModel(model, 2)(torch.tensor([4999, 5000]))
    assert logits.shape == (2, 5000)
    assert not logits.requires_grad


# the same seed


def test_same_seed_same_text_whatever_the_random_state():
    model = make_model()
    torch.manual_seed(1)
    a = generate(model, VOCABULARY, TextRequest("abc", 80), seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    b = generate(model, VOCABULARY, TextRequest("abc", 80), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert a == b
    assert a != generate(model, VOCABULARY, TextRequest("abc", 80), seed=4)


def test_longer_text_starts_with_the_shorter():
    model = make_model()
    (long,), (short,) = (generate(model, VOCABULARY, TextRequest("", n), seed=3) for n in (300, 40))
    assert long.text.startswith(short.text)
    assert long.log_probabilities[:40] == short.log_probabilities


@pytest.mark.parametrize("options", [{}, CONVOLUTION, {"num_layers": 3, "residual": True}], ids=str)
def test_batched_texts_differ_and_have_the_scores_of_the_model(options):
    model = make_model(**options)
    samples = generate(model, VOCABULARY, TextRequest("ab", 30), seed=1, num_samples=5)
    assert len({s.text for s in samples}) == 5
    for s in samples:
        expected = -nats_per_character(model, VOCABULARY.encode(s.full_text))[2:]
        np.testing.assert_allclose(s.log_probabilities, expected, rtol=1e-3, atol=1e-4)


def test_draws_continue_after_the_first_block(monkeypatch):
    model = make_model()
    monkeypatch.setattr(sampler, "DRAWS_BLOCK", 3)
    (s,) = generate(model, VOCABULARY, TextRequest("", 100), Sampling(temperature=10.0), seed=1)
    assert len({s.text[k : k + 3] for k in range(0, 99, 3)}) > 20


# greedy


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_greedy_is_the_argmax_of_the_whole_text(cell):
    model = make_model(num_layers=2, **CELLS[cell])
    (s,) = generate(model, VOCABULARY, TextRequest("abc", 40), Sampling(temperature=0))
    ids = torch.from_numpy(VOCABULARY.encode(s.full_text))
    logits, _ = model(torch.cat([torch.tensor([VOCABULARY.size]), ids[:-1]])[:, None])
    assert logits[3:, 0].argmax(-1).tolist() == ids[3:].tolist()


def test_more_texts_than_a_block_of_draws_has_numbers():
    count = sampler.DRAWS_BLOCK + 1
    draws = sampler.UniformDraws(1, count)
    assert len(torch.cat([draws.take(1), draws.take(2)]).unique()) == 3 * count


def test_greedy_ignores_the_seed():
    model = make_model()
    a, b = (generate(model, VOCABULARY, TextRequest("", 20), Sampling(temperature=0), seed=s) for s in (1, 2))
    assert a == b


# probabilities of sampled characters


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.5, 3), Sampling(0)], ids=str)
def test_log_probabilities_are_the_score_of_the_text(direction, sampling):
    model = make_model(direction=direction)
    (s,) = generate(model, VOCABULARY, TextRequest("abc", 60), sampling, seed=2)
    nats = nats_per_character(model, VOCABULARY.encode(s.full_text))
    written = nats[::-1][3:] if direction == "backward" else nats[3:]
    np.testing.assert_allclose(s.log_probabilities, -written, rtol=1e-3, atol=1e-4)


def test_backward_model_samples_before_the_prompt():
    model = make_model(direction="backward")
    (s,) = generate(model, VOCABULARY, TextRequest("abc", 30), seed=1)
    assert s.backward
    assert s.full_text == s.text + "abc"
    assert len(s.text) == 30
    forward = make_model()
    forward.load_state_dict(model.state_dict())
    (reversed_text,) = generate(forward, VOCABULARY, TextRequest("cba", 30), seed=1)
    assert s.full_text == reversed_text.full_text[::-1]


def test_bidirectional_model_cannot_continue_a_text():
    with pytest.raises(UserError, match="direction: forward"):
        generate(make_model(direction="bidirectional"), VOCABULARY)


# cost


@pytest.mark.parametrize(("prime", "length"), [("", 0), ("", 50), ("abcd", 50), ("abcd" * 10, 1)])
def test_every_character_is_encoded_once(monkeypatch, prime, length):
    calls, step = [], IncrementalModel.__call__
    monkeypatch.setattr(IncrementalModel, "__call__", lambda self, ids: (calls.append(len(ids)), step(self, ids))[1])
    (s,) = generate(make_model(executor="eager"), VOCABULARY, TextRequest(prime, length))
    assert len(s.text) == length
    assert len(calls) <= len(prime) + length + 1


# the distribution


class FixedLogits:
    """A stand-in for IncrementalModel with the same logits for every input."""

    device = torch.device("cpu")
    logits = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0])

    state = ()

    def __init__(self, model, batch_size=1):  # noqa: ARG002
        self.logits = FixedLogits.logits.expand(batch_size, -1)

    def __call__(self, ids):  # noqa: ARG002
        return self.logits


def frequencies(monkeypatch, sampling, draws=400, width=100, seed=1):
    monkeypatch.setattr(sampler, "IncrementalModel", FixedLogits)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    counts = torch.zeros(len(FixedLogits.logits))
    texts = sampler.draw(make_model(), [], sampling, seed, width)
    for _ in range(draws):
        ids, _ = next(texts)
        counts += torch.bincount(torch.tensor(ids), minlength=len(counts))
    return counts


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(0.6), Sampling(1.7), Sampling(1.0, top_k=4), Sampling(0.8, top_p=0.7), Sampling(min_p=0.2)],
    ids=str,
)
def test_frequencies_match_the_distribution(monkeypatch, sampling):
    counts = frequencies(monkeypatch, sampling)
    p = sampling.probabilities(FixedLogits.logits[None])[0].double()
    expected = p / p.sum() * counts.sum()
    inside = expected > 0
    assert counts[~inside].sum() == 0
    chi_square = float(((counts - expected)[inside].square() / expected[inside]).sum())
    assert chi_square < 40  # exceeded with probability 1e-5 at nine degrees of freedom


def test_adjacent_characters_are_independent(monkeypatch):
    """Of neighboring texts and of consecutive characters."""
    monkeypatch.setattr(sampler, "IncrementalModel", FixedLogits)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    texts = sampler.draw(make_model(), [], Sampling(), 1, 50)
    ids = torch.tensor([next(texts)[0] for _ in range(400)], dtype=torch.float64)
    for a, b in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(float(correlation)) < 0.03


def probabilities(**options):
    p = Sampling(**options).probabilities(FixedLogits.logits[None])[0]
    return (p / p.sum()).double()


def test_temperature_by_hand():
    torch.testing.assert_close(
        probabilities(temperature=0.5), (FixedLogits.logits.double() * 2).softmax(-1), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("k", [1, 2, 5, 10, 11, 1000])
def test_top_k_keeps_the_k_most_probable_characters(k):
    result, unfiltered = probabilities(top_k=k), FixedLogits.logits.double().softmax(-1)
    count = min(k, 10)
    assert (result > 0).tolist() == [True] * count + [False] * (10 - count)
    torch.testing.assert_close(result[:count], unfiltered[:count] / unfiltered[:count].sum(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("p", [1e-9, 0.3, 0.5, 0.7, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_that_reach_it(p):
    result, unfiltered = probabilities(top_p=p), FixedLogits.logits.double().softmax(-1)
    count = int((result > 0).sum())
    assert (result[:count] > 0).all()
    if p == 1.0:
        assert count == 10
    else:
        assert unfiltered[:count].sum() >= p - 1e-6
        assert unfiltered[: count - 1].sum() < p
    torch.testing.assert_close(result[:count], unfiltered[:count] / unfiltered[:count].sum(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 1.0])
def test_min_p_keeps_characters_close_to_the_best(fraction):
    result, unfiltered = probabilities(min_p=fraction), FixedLogits.logits.double().softmax(-1)
    assert (result > 0).tolist() == (unfiltered >= fraction * unfiltered.max()).tolist()


def test_top_p_counts_after_top_k():
    """Of the two characters selected by top_k, the first has more than 0.6 of their total probability."""
    assert (probabilities(top_k=2, top_p=0.6) > 0).sum() == 1
    assert (probabilities(top_p=0.6) > 0).sum() > 1


def test_filters_act_row_by_row():
    logits = torch.stack([FixedLogits.logits, FixedLogits.logits.flip(0)])
    for options in ({"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}):
        p = Sampling(**options).probabilities(logits)
        torch.testing.assert_close(p[0], p[1].flip(0))


# ties and edges

DRAWS = torch.tensor([0, 0.25, 0.5, 0.75, 1 - 2**-53], dtype=torch.float64)  # the last one is the largest below 1
EVEN = [0.0] * 4


def sample_with_torch(logits, sampling):
    return sample_ids(torch.tensor(logits).expand(len(DRAWS), -1), sampling, DRAWS)


def sample_with_cpp(logits, sampling):
    model = make_model(len(logits))
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor(logits)
    decoder = make_cpp_decoder(model, 1)
    if decoder is None:
        pytest.skip("no C++ kernels here")
    return decoder.sample(DRAWS[:, None], torch.tensor([[len(logits)]]), **asdict(sampling))[0][:, 0]


@pytest.mark.parametrize("sample", [sample_with_torch, sample_with_cpp], ids=["plain", "cpp"])
@pytest.mark.parametrize(
    ("logits", "options", "expected"),
    [
        (EVEN, {}, [0, 1, 2, 3, 3]),
        (EVEN, {"temperature": 0.0}, [0, 0, 0, 0, 0]),
        ([0.0, 1.0, 1.0, 0.0], {"temperature": 0.0}, [1, 1, 1, 1, 1]),
        ([1.0, 0.0, 0.0, 0.0], {"temperature": 1e-3}, [0, 0, 0, 0, 0]),
        ([0.0, 9.0, -9.0, 5.0], {"temperature": 1e30}, [0, 1, 2, 3, 3]),
        (EVEN, {"top_k": 1}, [0, 1, 2, 3, 3]),
        ([1.0, 0.0, 1.0, 1.0], {"top_k": 2}, [0, 0, 2, 3, 3]),
        ([0.0, 3.0, 3.0, 1.0], {"top_k": 2}, [1, 1, 2, 2, 2]),
        (EVEN, {"top_p": 0.25}, [0, 0, 0, 0, 0]),
        (EVEN, {"top_p": 0.26}, [0, 0, 1, 1, 1]),
        (EVEN, {"top_p": 0.5}, [0, 0, 1, 1, 1]),
        (EVEN, {"min_p": 1.0}, [0, 1, 2, 3, 3]),
        ([1.0, 0.0, 1.0, 1.0], {"min_p": 1.0}, [0, 0, 2, 3, 3]),
        ([0.0, 3.0, 2.0, 1.0], {"top_k": 2, "temperature": 1e8}, [1, 1, 2, 2, 2]),
        ([0.0, 3.0, 2.0, 1.0], {"top_p": 0.26, "temperature": 1e8}, [1, 1, 2, 2, 2]),
        ([0.0, 3.0, 2.0, 1.0], {"top_k": 3, "top_p": 0.5, "temperature": 1e8}, [1, 1, 2, 2, 2]),
    ],
    ids=str,
)
def test_ties_and_the_ends_of_the_distribution(sample, logits, options, expected):
    """Of equal logits, top_k and min_p select all, top_p and temperature 0 the first ones, at any temperature. A
    filtered character is never sampled."""
    assert sample(logits, Sampling(**options)).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draw_just_below_1_never_gives_a_filtered_character(dtype):
    """On MPS, which has no float64, it is rounded to 1."""
    p = torch.tensor([0, 0.3, 0.1, 0], dtype=dtype) * torch.linspace(0.1, 9, 50, dtype=dtype)[:, None]
    assert first_above(p, DRAWS[-1:].expand(50)).tolist() == [2] * 50
    assert first_above(p, DRAWS[-1:].to(dtype).expand(50)).tolist() == [2] * 50


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_k": 2}, {"top_k": 30}, {"top_k": 69}, {"top_p": 0.1}, {"top_p": 0.9}, {"min_p": 0.3}],
)
def test_cpp_filters_match_torch_for_many_symbols(options):
    for seed in range(4):
        logits = (torch.randperm(70, generator=torch.Generator().manual_seed(seed)) / 20).tolist()
        sampling = Sampling(**options)
        assert sample_with_cpp(logits, sampling).tolist() == sample_with_torch(logits, sampling).tolist()


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"top_k": 0}, {"top_p": 1}, {"top_p": 1e-300}, {"min_p": 0}, {"min_p": 1}], ids=str
)
def test_range_limits_are_valid(options):
    (value,) = options.values()
    assert asdict(Sampling(**options))[next(iter(options))] == value


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
    ],
    ids=str,
)
def test_values_out_of_range(options):
    with pytest.raises(UserError, match=next(iter(options)).replace("_", "-")):
        Sampling(**options)


@pytest.mark.parametrize(("length", "num_samples"), [(9, 0), (-1, 1)])
def test_numbers_out_of_range(length, num_samples):
    with pytest.raises(UserError, match="num-samples must be 1 or more and length 0 or more"):
        generate(make_model(), VOCABULARY, TextRequest(length=length), num_samples=num_samples)


# until, prompt


class CyclingAlphabet(FixedLogits):
    """Cycles through the alphabet, each text of a batch one character ahead of the previous."""

    def __init__(self, model, batch_size=1):
        super().__init__(model, batch_size)
        self.position = torch.arange(batch_size)

    def __call__(self, ids):  # noqa: ARG002
        self.logits = 50.0 * torch.nn.functional.one_hot(self.position % VOCABULARY.size, VOCABULARY.size).float()
        self.position = self.position + 1
        return self.logits


def test_until_ends_each_text(monkeypatch):
    monkeypatch.setattr(sampler, "IncrementalModel", CyclingAlphabet)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    order = "".join(VOCABULARY.symbols)
    assert order == "\n abcdefgh"
    samples = generate(make_model(), VOCABULARY, TextRequest("", 100, until="cd"), num_samples=3)
    assert [s.text for s in samples] == ["\n abcd", " abcd", "abcd"]
    assert [len(s.log_probabilities) for s in samples] == [6, 5, 4]


def test_missing_until_ends_at_the_length(monkeypatch):
    monkeypatch.setattr(sampler, "IncrementalModel", CyclingAlphabet)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    (s,) = generate(make_model(), VOCABULARY, TextRequest("", 25, until="dc"))
    assert len(s.text) == 25


def test_until_does_not_count_the_prime(monkeypatch):
    monkeypatch.setattr(sampler, "IncrementalModel", CyclingAlphabet)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    (s,) = generate(make_model(), VOCABULARY, TextRequest("\n a", 100, until="ab"))
    assert s.text == "bcdefgh\n ab"


def test_until_of_a_backward_model_starts_the_text(monkeypatch):
    monkeypatch.setattr(sampler, "IncrementalModel", CyclingAlphabet)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    (s,) = generate(make_model(direction="backward"), VOCABULARY, TextRequest("", 100, until="dc"))
    assert s.text == "dcba \n"


def test_prompt_is_encoded_in_order_after_no_character(monkeypatch):
    encoded = []

    class RecordingLogits(FixedLogits):
        def __call__(self, ids):
            encoded.append(ids.tolist())
            return super().__call__(ids)

    monkeypatch.setattr(sampler, "IncrementalModel", RecordingLogits)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    generate(make_model(), VOCABULARY, TextRequest("bad", 1), num_samples=2)
    expected = [VOCABULARY.size, *VOCABULARY.encode("bad").tolist()]
    assert encoded[:4] == [[i, i] for i in expected]


def test_unknown_character_in_the_prompt():
    model = make_model()
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\) at 1:2"):
        generate(model, VOCABULARY, TextRequest("aéb"))
    (skipped,), (without,) = (
        generate(model, VOCABULARY, TextRequest(prime, 20, unknown=unknown))
        for prime, unknown in (("aéb", "skip"), ("ab", "error"))
    )
    assert skipped == without
    with pytest.raises(UserError, match="U\\+0021"):
        generate(model, VOCABULARY, TextRequest("ab", until="!"))


def test_vocabulary_of_bytes():
    vocabulary = Vocabulary.from_text("na\u00efve \u2603!".encode())
    model = make_model(vocabulary.size)
    (s,) = generate(model, vocabulary, TextRequest("\u00ef", 40), Sampling(temperature=3.0), seed=1)
    assert s.prime == "\u00ef"
    assert len(s.log_probabilities) == 40  # one per byte
    assert len(s.text) <= 40
    with pytest.raises(UserError, match="0x7A"):
        generate(model, vocabulary, TextRequest("z"))


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-31])
@pytest.mark.parametrize("cpp", [True, False])
def test_temperature_close_to_zero_is_greedy(monkeypatch, temperature, cpp):
    if not cpp:
        monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    model = make_model()
    greedy, cold = (
        generate(model, VOCABULARY, TextRequest("ab", 30), Sampling(t), num_samples=2) for t in (0.0, temperature)
    )
    assert [sample.text for sample in cold] == [sample.text for sample in greedy]


@pytest.mark.parametrize("temperature", [1e-30, 1e-20, 1e30, 1e300])
def test_extreme_temperatures_give_valid_probabilities(temperature):
    logits = torch.tensor([[-3e4, 2.0, 3.0, 3.0]])
    p = Sampling(temperature).probabilities(logits)
    assert p.sum().item() == pytest.approx(1)
    expected = [0, 0, 0.5, 0.5] if temperature < 1 else [0.25] * 4
    assert p[0].tolist() == pytest.approx(expected)


def test_too_many_texts_for_memory_are_refused(monkeypatch):
    monkeypatch.setattr("charlstm.hardware.main_memory.free_main_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"^not enough memory: 20,000,000 texts take 80\d\.\d GB, 1\.0 GB are free"):
        generate(make_model(), VOCABULARY, TextRequest("", 400), num_samples=20_000_000)


def test_prompt_counts_for_each_text(monkeypatch):
    monkeypatch.setattr("charlstm.hardware.main_memory.free_main_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"^not enough memory: 1,000 texts take \d\.\d GB, 1\.0 GB are free"):
        generate(make_model(), VOCABULARY, TextRequest("abc" * 100_000, 4), num_samples=1_000)
