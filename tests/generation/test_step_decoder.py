"""Step-by-step decoding equals graph replays and the C++ decoder."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from replaying import ReplayedGraph
from test_generation_sampler import CELLS, CONVOLUTION, VOCABULARY, make_model

from charlstm import cells
from charlstm.compiler.torch_printer import forward_code
from charlstm.generation import Sampling, TextRequest, generate, sampler, step_decoder
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
    return generate(model, VOCABULARY, TextRequest("abc", length, **options), sampling, seed=3, num_samples=3)


@pytest.mark.parametrize("name", MODELS)
def test_cpp_eager_and_graph_decoding_agree(name, monkeypatch):
    model = make_model(**MODELS[name])
    with_cpp = texts(model)
    monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    without_graphs = texts(model)
    monkeypatch.setattr(step_decoder, "CudaGraph", ReplayedGraph)
    with_graphs = texts(model)
    assert with_graphs == without_graphs
    for a, b in zip(with_cpp, without_graphs, strict=True):
        assert a.ids == b.ids
        np.testing.assert_allclose(a.log_probabilities, b.log_probabilities, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("by_steps")
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0), Sampling(top_p=0.5)], ids=str)
def test_every_sampling_mode_can_be_captured(sampling, monkeypatch):
    model = make_model()
    without_graphs = texts(model, sampling)
    monkeypatch.setattr(step_decoder, "CudaGraph", ReplayedGraph)
    assert texts(model, sampling) == without_graphs


@pytest.mark.usefixtures("by_steps")
@pytest.mark.parametrize("name", ["gru", "convolution", "three residual layers"])
def test_long_prompt_is_encoded_by_a_graph_in_blocks(name, monkeypatch):
    model, graphs = make_model(**MODELS[name]), []

    class RecordedGraph(ReplayedGraph):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            graphs.append(self)

    def sample(prime):
        graphs.clear()
        result = generate(model, VOCABULARY, TextRequest(prime, 12), CUTS, seed=3, num_samples=2)
        return [(s.ids, s.log_probabilities) for s in result]

    incremental, prime = IncrementalModel(model), "abcdabbac" * 2
    for symbol in (model.vocabulary_size, *VOCABULARY.encode(prime).tolist()):
        logits = incremental(torch.tensor([symbol]))
    without_graphs = sample(prime)
    short = sample(prime[: step_decoder.MIN_GRAPH_PROMPT - 1])
    ids, log_p = without_graphs[0]
    assert log_p[0] == pytest.approx(float(logits.log_softmax(-1)[0, ids[len(prime)]]))
    monkeypatch.setattr(step_decoder, "CudaGraph", RecordedGraph)
    assert sample(prime[: step_decoder.MIN_GRAPH_PROMPT - 1]) == short
    assert len(graphs) == 1
    assert sample(prime) == without_graphs
    assert len(graphs) == 2
    monkeypatch.setattr(step_decoder, "BLOCK", 7)
    assert sample(prime) == without_graphs


@pytest.mark.usefixtures("by_steps")
@pytest.mark.parametrize("name", ["lstm", "gru", "convolution"])
def test_graphs_of_many_characters_sample_the_same_text(name, monkeypatch):
    """Blocks have at most 20 characters, of which the last ones are sampled one by one."""
    model, replays = make_model(**MODELS[name]), []

    class CountedGraph(ReplayedGraph):
        def __call__(self):
            super().__call__()
            replays.append(self)

    expected = texts(model, length=47)
    monkeypatch.setattr(step_decoder, "MANY_IN_A_GRAPH", ("cpu",))
    monkeypatch.setattr(step_decoder, "GRAPH_CHARACTERS", 5)
    monkeypatch.setattr(step_decoder, "BLOCK", 20)
    monkeypatch.setattr(step_decoder, "CudaGraph", CountedGraph)
    assert texts(model, length=47) == expected
    one, many = sorted(set(replays), key=lambda graph: len(graph.operations))
    assert len(many.operations) == 5 * len(one.operations)
    assert replays.count(one) + 5 * replays.count(many) == 47
    assert replays.count(many) >= 3


@pytest.mark.usefixtures("by_steps")
def test_inference_mode_does_not_change_samples(monkeypatch):
    monkeypatch.setattr(step_decoder, "CudaGraph", ReplayedGraph)
    model = make_model()
    expected = generate(model, VOCABULARY, TextRequest("abcd" * 4, 20), CUTS, seed=3)
    with torch.inference_mode():
        assert generate(model, VOCABULARY, TextRequest("abcd" * 4, 20), CUTS, seed=3) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", MODELS)
def test_gpu_samples_the_same_text_with_graphs_of_many_characters(name, monkeypatch):
    model = make_model(**MODELS[name]).cuda()
    monkeypatch.setattr(sampler, "FIRST_BLOCK", 300)
    expected = texts(model, length=300)
    monkeypatch.setattr(step_decoder, "MANY_IN_A_GRAPH", ())
    assert texts(model, length=300) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", MODELS)
def test_gpu_samples_the_text_of_the_cpu(name):
    """With CUDA graphs, in float32."""
    model = make_model(**MODELS[name])

    def sample():
        return generate(model, VOCABULARY, TextRequest("abcdabbac", 60), CUTS, seed=3, num_samples=3)

    expected = sample()
    model.to("cuda")
    for e, f in zip(expected, sample(), strict=True):
        assert f.text == e.text
        np.testing.assert_allclose(f.log_probabilities, e.log_probabilities, rtol=1e-3, atol=1e-4)


@pytest.fixture
def meta(monkeypatch):
    """The meta device, whose tensors have no values, so that nothing can synchronize. It has no autocast, and with
    ``out=`` it does not accept scalar tensors of another device."""
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
def test_sampling_step_does_not_synchronize(name, dtype, meta, monkeypatch):
    monkeypatch.setattr("charlstm.generation.incremental.matmul_dtype", lambda _: dtype)
    incremental = IncrementalModel(make_model(**MODELS[name]).to(meta), 3)
    decoder = step_decoder.StepDecoder(incremental, 3, lambda logits, draws: sampler.sample_ids(logits, CUTS, draws))
    decoder._sample_graph()
    assert {t.device for t in (incremental.logits, *incremental.state)} == {meta}


@pytest.mark.usefixtures("by_steps")
def test_block_sizes_do_not_change_texts(monkeypatch):
    model = make_model()
    expected = texts(model)
    monkeypatch.setattr(step_decoder, "BLOCK", 7)
    assert texts(model) == expected
    monkeypatch.setattr(sampler, "FIRST_BLOCK", 1)
    monkeypatch.setattr(sampler, "BLOCK_SECONDS", 0.0)
    assert texts(model) == expected


@pytest.mark.usefixtures("by_steps")
def test_blocks_do_not_change_where_a_text_ends(monkeypatch):
    model = make_model()
    end = texts(model)[0].text[10:12]
    result = texts(model, until=end)
    monkeypatch.setattr(sampler, "FIRST_BLOCK", 1)
    monkeypatch.setattr(sampler, "BLOCK_SECONDS", 0.0)
    assert texts(model, until=end) == result
    assert any(s.ended for s in result)


@pytest.mark.parametrize("steps", [True, False])
def test_no_more_characters_are_sampled_than_requested(monkeypatch, steps):
    if steps:
        monkeypatch.setattr(sampler, "make_cpp_decoder", lambda *_: None)
    taken, take = [], sampler.UniformDraws.take
    monkeypatch.setattr(sampler.UniformDraws, "take", lambda self, count: (taken.append(count), take(self, count))[1])
    texts(make_model(), length=50)
    assert sum(taken) == 50
    assert taken[0] == sampler.FIRST_BLOCK  # the first characters appear soon


@pytest.mark.parametrize("name", ["lstm", "gru", "gru reset before", "convolution and highway", "embedding"])
@torch.no_grad()
def test_bfloat16_matmuls_are_used_and_close(name):
    model = make_model(**{"num_layers": 2, **MODELS[name]})
    ids = torch.randint(model.vocabulary_size, (10, 3), generator=torch.Generator().manual_seed(1))
    float32 = IncrementalModel(model, 3)
    with torch.autocast("cpu", torch.bfloat16):
        bfloat16 = IncrementalModel(model, 3)
    actual, expected = (torch.stack([s(row).clone() for row in ids]) for s in (bfloat16, float32))
    assert actual.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in bfloat16.state)
    assert 0 < torch.linalg.norm(actual - expected) <= 0.05 * torch.linalg.norm(expected)


@pytest.mark.usefixtures("by_steps")
def test_graph_is_freed_after_sampling(monkeypatch):
    graphs = []

    class RecordedGraph(ReplayedGraph):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            graphs.append(weakref.ref(self))

    monkeypatch.setattr(step_decoder, "CudaGraph", RecordedGraph)
    texts(make_model())
    gc.collect()
    assert [r() for r in graphs] == [None]
