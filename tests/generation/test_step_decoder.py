"""Text written step by step: as a graph would do it again, and the same as natively."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from replaying import Replayed
from test_generation_sampler import CELLS, CONVOLUTION, VOCABULARY, make_model

from charlstm import cells
from charlstm.compiler.torch_printer import forward_code
from charlstm.generation import Sampling, generate, sampler, step_decoder
from charlstm.generation.incremental import IncrementalModel

MODELS = {
    **CELLS,
    "three residual layers": {"num_layers": 3, "residual": True},
    "embedding": {"front_end": "embedding", "embedding_size": 4},
    "convolution": CONVOLUTION,
    "convolution and highway": {**CONVOLUTION, "highway": True, "num_layers": 2},
}
CUTS = Sampling(temperature=0.8, top_k=7, top_p=0.9, min_p=0.05)


@pytest.fixture
def by_steps(monkeypatch):
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)


def texts(model, sampling=CUTS, length=40, **options):
    return generate(model, VOCABULARY, "abc", length, sampling, seed=3, num_samples=3, **options)


@pytest.mark.parametrize("name", MODELS)
def test_cpp_plain_and_recorded_steps_write_the_same(name, monkeypatch):
    model = make_model(**MODELS[name])
    cpp = texts(model)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    plain = texts(model)
    monkeypatch.setattr(step_decoder, "CudaGraph", Replayed)
    recorded = texts(model)
    assert recorded == plain
    for a, b in zip(cpp, plain, strict=True):
        assert a.ids == b.ids
        np.testing.assert_allclose(a.log_probabilities, b.log_probabilities, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("by_steps")
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0), Sampling(top_p=0.5)], ids=str)
def test_every_way_to_draw_can_be_recorded(sampling, monkeypatch):
    model = make_model()
    plain = texts(model, sampling)
    monkeypatch.setattr(step_decoder, "CudaGraph", Replayed)
    assert texts(model, sampling) == plain


@pytest.mark.usefixtures("by_steps")
@pytest.mark.parametrize("name", ["gru", "convolution", "three residual layers"])
def test_a_long_beginning_is_read_by_a_recording_in_blocks(name, monkeypatch):
    model, recordings = make_model(**MODELS[name]), []

    class Noted(Replayed):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            recordings.append(self)

    def write(prime):
        recordings.clear()
        found = generate(model, VOCABULARY, prime, 12, CUTS, seed=3, num_samples=2)
        return [(s.ids, s.log_probabilities) for s in found]

    stepper, prime = IncrementalModel(model), "abcdabbac" * 2
    for symbol in (model.vocabulary_size, *VOCABULARY.encode(prime).tolist()):
        logits = stepper(torch.tensor([symbol]))
    plain = write(prime)
    short = write(prime[: step_decoder.LONG - 1])
    ids, chances = plain[0]
    assert chances[0] == pytest.approx(float(logits.log_softmax(-1)[0, ids[len(prime)]]))
    monkeypatch.setattr(step_decoder, "CudaGraph", Noted)
    assert write(prime[: step_decoder.LONG - 1]) == short
    assert len(recordings) == 1
    assert write(prime) == plain
    assert len(recordings) == 2
    monkeypatch.setattr(step_decoder, "ROWS", 7)
    assert write(prime) == plain


@pytest.mark.usefixtures("by_steps")
def test_inference_mode_around_it_changes_nothing(monkeypatch):
    monkeypatch.setattr(step_decoder, "CudaGraph", Replayed)
    model = make_model()
    expected = generate(model, VOCABULARY, "abcd" * 4, 20, CUTS, seed=3)
    with torch.inference_mode():
        assert generate(model, VOCABULARY, "abcd" * 4, 20, CUTS, seed=3) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_writes_the_text_of_the_cpu(name):
    """Read and written by recordings, in float32."""
    model = make_model(**MODELS[name])

    def write():
        return generate(model, VOCABULARY, "abcdabbac", 60, CUTS, seed=3, num_samples=3)

    expected = write()
    model.to("cuda")
    for e, f in zip(expected, write(), strict=True):
        assert f.text == e.text
        np.testing.assert_allclose(f.log_probabilities, e.log_probabilities, rtol=1e-3, atol=1e-4)


@pytest.fixture
def meta(monkeypatch):
    """A device whose tensors have no values, so that nothing can wait for one. It has no autocast, and with ``out=`` it
    forgets that a number may stand beside any tensor."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != "meta" and enabled(kind))
    device = torch.device("meta")
    for cell in cells.CELLS.values():
        constants = forward_code(cell).function.__globals__["constant"]
        for value in constants:
            monkeypatch.setitem(constants, value, torch.tensor(value, device=device))
    return device


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_character_needs_nothing_but_the_device(name, dtype, meta, monkeypatch):
    monkeypatch.setattr("charlstm.generation.incremental.matmul_dtype", lambda _: dtype)
    stepper = IncrementalModel(make_model(**MODELS[name]).to(meta), 3)
    writer = step_decoder.StepDecoder(stepper, 3, lambda logits, chances: sampler.choose(logits, CUTS, chances))
    writer._character()
    assert {t.device for t in (stepper.logits, *stepper.state)} == {meta}


@pytest.mark.usefixtures("by_steps")
def test_blocks_change_nothing(monkeypatch):
    model = make_model()
    whole = texts(model)
    monkeypatch.setattr(step_decoder, "ROWS", 7)
    assert texts(model) == whole
    monkeypatch.setattr(sampler, "FIRST_BLOCK", 1)
    monkeypatch.setattr(sampler, "BLOCK_SECONDS", 0.0)
    assert texts(model) == whole


@pytest.mark.usefixtures("by_steps")
def test_a_text_ends_where_it_would_without_blocks(monkeypatch):
    model = make_model()
    end = texts(model)[0].text[10:12]
    found = texts(model, until=end)
    monkeypatch.setattr(sampler, "FIRST_BLOCK", 1)
    monkeypatch.setattr(sampler, "BLOCK_SECONDS", 0.0)
    assert texts(model, until=end) == found
    assert any(s.ended for s in found)


@pytest.mark.parametrize("steps", [True, False])
def test_no_more_characters_are_written_than_asked_for(monkeypatch, steps):
    if steps:
        monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    taken, take = [], sampler.UniformDraws.take
    monkeypatch.setattr(sampler.UniformDraws, "take", lambda self, count: (taken.append(count), take(self, count))[1])
    texts(make_model(), length=50)
    assert sum(taken) == 50
    assert taken[0] == sampler.FIRST_BLOCK  # a reader who watches sees the first ones soon


@pytest.mark.parametrize("name", ["lstm", "gru", "gru reset before", "convolution and highway", "embedding"])
@torch.no_grad()
def test_products_in_bfloat16_stay_near_and_are_used(name):
    model = make_model(**{"num_layers": 2, **MODELS[name]})
    ids = torch.randint(model.vocabulary_size, (10, 3), generator=torch.Generator().manual_seed(1))
    exact = IncrementalModel(model, 3)
    with torch.autocast("cpu", torch.bfloat16):
        low = IncrementalModel(model, 3)
    found, expected = (torch.stack([s(row).clone() for row in ids]) for s in (low, exact))
    assert found.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in low.state)
    assert 0 < torch.linalg.norm(found - expected) <= 0.05 * torch.linalg.norm(expected)


@pytest.mark.usefixtures("by_steps")
def test_a_recording_goes_when_the_text_is_written(monkeypatch):
    made = []

    class Noted(Replayed):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(step_decoder, "CudaGraph", Noted)
    texts(make_model())
    gc.collect()
    assert [r() for r in made] == [None]
