"""``charlstm.load``: a trained run in Python."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import charlstm
from charlstm.cells import CELLS
from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.evaluation import Score, score
from charlstm.executors.cpp import bfloat16_speed
from charlstm.generation import Sampling, infill
from charlstm.hardware import device
from charlstm.hardware.device import resolve_device, resolve_precision
from charlstm.inspection.recording import record
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary


def test_load_returns_a_complete_run(tiny_run, corpus, make_config):
    run = charlstm.load(str(tiny_run))
    assert isinstance(run, charlstm.LoadedRun)
    assert isinstance(run.model, LanguageModel)
    assert not run.model.training
    assert isinstance(run.vocabulary, Vocabulary)
    assert run.vocabulary == corpus.vocabulary
    assert isinstance(run.config, Config)
    assert run.config.model.hidden_size == 16
    assert {r["kind"] for r in run.metrics} == {"start", "train", "evaluation", "end"}
    assert run.corpus().digest == corpus.digest
    (sample,) = run.generate("the ", 30, seed=3)
    assert sample.prime == "the "
    assert len(sample.text) == 30
    assert sample.full_text == "the " + sample.text
    assert len(run.generate(length=5, num_samples=3)) == 3


def test_gaps_are_filled(make_config, make_trainer):
    trainer = make_trainer(make_config({"direction": "bidirectional"}, budget={"steps": 2}, sample_length=0))
    list(trainer.run())
    run = charlstm.load(trainer.directory.path)
    options = {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.1}
    result = run.infill("the ?a? sat", gap="?", seed=3, num_samples=2, sweeps=5, **options)
    assert result == infill(run.model, run.vocabulary, "the ?a? sat", "?", Sampling(**options), 3, 2, 5)
    assert run.infill("t€e c__", unknown="skip") == run.infill("te c__")


def test_temperature_is_one_number_or_two(tiny_run):
    run = charlstm.load(tiny_run)
    as_list, as_tuple = (run.generate("the", 9, temperature=two, seed=2) for two in ([1.2, 0.6], (1.2, 0.6)))
    assert as_list == as_tuple
    with pytest.raises(UserError, match="the first and the last one, found"):
        run.generate("the", 9, temperature=[1.0])


def test_best_of_several_texts(tiny_run):
    run = charlstm.load(tiny_run)
    samples = run.generate(length=20, num_samples=8, seed=5)
    best = run.generate(length=20, num_samples=2, seed=5, best_of=8)
    assert best == sorted(samples, key=lambda s: sum(s.log_probabilities) / 20, reverse=True)[:2]
    with pytest.raises(UserError, match="best-of must be above num-samples, found 2 and 2"):
        run.generate(num_samples=2, best_of=2)


def test_runs_that_differ_cannot_be_averaged(tiny_run):
    run = charlstm.load(tiny_run)
    assert run.predictor() is run.model
    documents = run.config.model_copy(update={"corpus": run.config.corpus.model_copy(update={"documents": "newline"})})
    for change, message in (
        ({"vocabulary": Vocabulary(run.vocabulary.symbols[1:])}, r"it lacks '\\n'"),
        ({"config": documents}, "corpus.documents differ"),
        ({"model": LanguageModel(run.config.model, run.vocabulary.size).to("meta")}, "on the same device"),
    ):
        with pytest.raises(UserError, match=message):
            run.generate(average_with=[replace(run, **change)])


def test_regex_says_where_a_text_ends(tiny_run):
    run = charlstm.load(tiny_run)
    assert run.generate(regex="(?:cat|dog)s?", seed=1)[0].text in ("cat", "cats", "dog", "dogs")
    assert run.beam_search(regex="(?:cat|dog)s?", num_samples=2)[0].ended
    with pytest.raises(UserError, match="until has no effect with a regex"):
        run.generate(regex="a", until="b")


def test_stream_takes_the_options_of_generate(tiny_run):
    run = charlstm.load(tiny_run)
    lowercase = run.config.model_copy(update={"corpus": run.config.corpus.model_copy(update={"lowercase": True})})
    run = replace(run, config=lowercase)
    options = {"temperature": (1.5, 0.5), "top_k": 5, "seed": 3, "no_repeat": 4, "until": "at", "lead_in": False}
    assert "".join(run.stream("THE ", 40, **options)) == str(run.generate("THE ", 40, **options))
    for write in (run.stream, run.beam_search):
        with pytest.raises(UserError, match="until has no effect with a regex"):
            write(regex="a", until="b")


def test_score_of_a_text_and_of_its_bytes(tiny_run):
    run = charlstm.load(tiny_run)
    result = run.score("the cat sat on a mat")
    assert isinstance(result, Score)
    assert result.characters == 20
    assert result == run.score(b"the cat sat on a mat")
    assert result.nats < run.score("tac eht tas no tam a").nats
    with pytest.raises(UserError, match="'€'"):
        run.score("the €")
    assert run.score("the €", unknown="skip") == run.score("the ")
    for empty in ("", b""):
        with pytest.raises(UserError, match="text to score is empty"):
            run.score(empty)


def test_best_checkpoint_reproduces_its_recorded_score(tiny_run):
    run = charlstm.load(tiny_run)
    best = min((r for r in run.metrics if r["kind"] == "evaluation"), key=lambda r: r["nats"])
    assert run.header["counters"]["step"] == best["step"]
    assert score(run.model, run.corpus().split("validation")).nats == best["nats"]
    last = charlstm.load(tiny_run, "last")
    assert last.header["counters"]["step"] == 90


def test_load_a_checkpoint_file(tiny_run, tmp_path):
    file = tiny_run / "checkpoints" / "last.safetensors"
    inside = charlstm.load(file)
    assert inside.directory is not None
    assert inside.directory.path == tiny_run
    alone = shutil.copy(file, tmp_path / "alone.safetensors")
    run = charlstm.load(alone)
    assert run.directory is None
    assert run.metrics == []
    assert run.generate("the ", 20) == inside.generate("the ", 20)


def test_load_does_not_change_the_random_state(tiny_run):
    before = torch.get_rng_state()
    run = charlstm.load(tiny_run)
    run.generate("the", 20)
    run.score("the cat")
    assert torch.equal(before, torch.get_rng_state())


def test_loaded_run_does_not_depend_on_the_working_directory(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "runs" / "tiny")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = charlstm.load("runs/tiny")
    metrics = run.metrics
    assert (run.name, metrics[0]["kind"]) == ("runs/tiny", "start")
    assert charlstm.export(run, "torch").path == Path("runs/tiny/export/tiny-torch")
    monkeypatch.chdir("elsewhere")
    assert run.name == str(tmp_path / "runs" / "tiny")
    assert run.metrics == metrics
    assert len(run.corpus().split("train"))
    assert charlstm.export(run, "torch").path == tmp_path / "runs/tiny/export/tiny-torch"
    assert list(tmp_path.glob("elsewhere/*")) == []


def test_checkpoint_and_device_have_the_types_that_torch_users_give(tiny_run):
    run = charlstm.load(tiny_run, 90, torch.device("cpu"))
    assert run.header["counters"]["step"] == 90
    assert run.model.head.weight.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("generate", {"prime": None}, "prime must be a text, as str or bytes, found None"),
        ("generate", {"until": 5}, "until must be a text"),
        ("generate", {"length": 5.0}, r"length must be a whole number, found 5\.0"),
        ("generate", {"seed": torch.tensor(1.5)}, "seed must be a whole number"),
        ("generate", {"top_k": "3"}, "top_k must be a whole number, found '3'"),
        ("generate", {"best_of": 2.5}, "best_of must be a whole number"),
        ("generate", {"prime": "a€", "unknown": "ignore"}, "unknown must be 'error' or 'skip', found 'ignore'"),
        ("stream", {"top_k": 1.5}, "top_k must be a whole number"),
        ("beam_search", {"width": 1.5}, "width must be a whole number"),
        ("infill", {"text": "a_b", "sweeps": 1.5}, "sweeps must be a whole number"),
        ("infill", {"text": "a_b", "gap": None}, "gap must be a text"),
        ("score", {"text": Path("a.txt")}, r"text must be a text, as str or bytes, found PosixPath\('a.txt'\)"),
        ("states", {"text": 5}, "text must be a text"),
        ("next_characters", {"k": 1.5}, "k must be a whole number"),
    ],
)
def test_arguments_of_wrong_types_are_one_message(tiny_run, method, arguments, message):
    with pytest.raises(UserError, match=message):
        getattr(charlstm.load(tiny_run), method)(**arguments)


def test_integers_of_numpy_are_taken(tiny_run):
    run, n = charlstm.load(tiny_run), np.int64
    options = {"length": 20, "top_k": 3, "seed": 4, "num_samples": 2, "no_repeat": 0}
    assert run.generate("the ", **{name: n(value) for name, value in options.items()}) == run.generate(
        "the ", **options
    )
    assert run.beam_search("the ", n(5), width=n(4)) == run.beam_search("the ", 5, width=4)
    assert run.next_characters("the ", n(2)) == run.next_characters("the ", 2)


def test_load_errors(tiny_run, tmp_path):
    with pytest.raises(UserError, match=rf"no such run.*Runs there: .*{tiny_run.name}"):
        charlstm.load(tiny_run.with_name("tinny"))
    with pytest.raises(UserError, match="charlstm train"):
        charlstm.load(tmp_path / "nothing" / "here")
    with pytest.raises(UserError, match="is not a run directory"):
        charlstm.load(tmp_path)
    with pytest.raises(UserError, match="expected best or last"):
        charlstm.load(tiny_run, "newest")
    with pytest.raises(UserError, match="damaged, or not a checkpoint"):
        charlstm.load(tiny_run / "metrics.jsonl")
    with pytest.raises(UserError, match="is a configuration, not a run"):
        charlstm.load(tiny_run / "config.yaml")
    with pytest.raises(UserError, match="device cuda:99 is not available"):
        charlstm.load(tiny_run, device="cuda:99")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy)
    (copy / "checkpoints" / "best.safetensors").unlink()
    assert charlstm.load(copy).header["counters"]["step"] == 90
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="no such checkpoint"):
        charlstm.load(copy)


def test_changed_corpus_is_refused(make_config, make_trainer, tmp_path, text):
    path = tmp_path / "text.txt"
    path.write_text(text)
    config = make_config(corpus={"source": str(path)}, budget={"steps": 1})
    trainer = make_trainer(config)
    list(trainer.run())
    path.write_text(text[::-1])
    with pytest.raises(UserError, match=r"^the content of the corpus has changed since this model was trained on it$"):
        charlstm.load(trainer.directory.path).corpus()


def test_header_has_config_vocabulary_and_versions(tiny_run):
    _, header = load_checkpoint(tiny_run / "checkpoints" / "best.safetensors")
    assert {"config", "vocabulary", "corpus_digest", "counters", "versions", "threads", "precision"} <= header.keys()
    assert header["versions"] == {"charlstm": charlstm.__version__, "torch": torch.__version__}


def test_loading_skips_initialization(make_config, make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(make_config({"cell": "esn"}, budget={"steps": 2}))
    list(trainer.run())
    monkeypatch.setattr(torch.linalg, "eigvals", None)
    before = torch.get_rng_state()
    model = charlstm.load(tmp_path / "run", "last").model
    assert torch.equal(torch.get_rng_state(), before)
    for (name, p), q in zip(model.named_parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(p, q), name
        assert p.requires_grad == q.requires_grad


def test_unknown_package_attribute_is_an_error():
    with pytest.raises(AttributeError):
        charlstm.nonsense  # noqa: B018


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "peephole", "esn"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3},
        {"front_end": "convolution", "filters": 200},
        {"front_end": "convolution", "filters": 200, "highway": True},
    ],
    ids=str,
)
def test_memory_estimate_is_close_to_saved_tensors(make_config, make_trainer, cell, options):
    if cell == "esn" and "front_end" in options:
        pytest.skip("a reservoir reads one-hot characters")
    config = make_config({"cell": cell, "hidden_size": 32, **options}, batch_size=8, sequence_length=50)
    trainer = make_trainer(config)
    parts = trainer.execution.memory_breakdown()
    list(zip(range(1), (e for e in trainer.run() if hasattr(e, "gradient_norm")), strict=False))
    weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    learn = sum(p.numel() * p.element_size() for p in trainer.model.parameters() if p.requires_grad)
    assert parts["weights and gradients"] == weights + learn
    state = [t for s in trainer.state.optimizer.state.values() for t in s.values() if t.dim()]
    assert parts["optimizer"] == sum(t.numel() * t.element_size() for t in state)
    sizes = {}

    def record(t):
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    parameter_storage = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(record, lambda t: t):
        trainer.step.loss(*trainer.step.inputs([trainer.streams.next_batch()]), trainer.state.carried)
    saved = sum(size for address, size in sizes.items() if address not in parameter_storage)
    assert 0.5 < (parts["saved activations"] + parts["logits"]) / saved < 4


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device cuda is not available"):
            resolve_device("cuda")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpu", "cuda"),
        ("CUDA", "cuda"),
        ("GPU:1", "cuda:1"),
        ("Cpu", "cpu"),
        ("cuda:", "cuda"),
        ("mps:0", "mps"),
        ("metal", "mps"),
        ("", None),
        ("meta", "metal"),
        ("cuda:-1", "cuda"),
    ],
)
def test_unknown_device_is_refused_with_a_suggestion(name, hint):
    with pytest.raises(UserError) as caught:
        resolve_device(name)
    message = str(caught.value)
    assert message.startswith(f'device: expected auto | cpu | cuda | cuda:N | mps, found "{name}"')
    if name != "meta":
        assert message.endswith(f"Did you mean {hint}?" if hint else '""')


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


def test_auto_precision_is_the_faster_one_on_this_cpu(monkeypatch):
    cpu, lstm = torch.device("cpu"), CELLS["lstm"]
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(device, "kernels", lambda *_: object())
    for gain, expected in ((1.2, "float32"), (2.0, "bfloat16")):
        monkeypatch.setattr(device, "bfloat16_speedup", lambda gain=gain: gain)
        assert resolve_precision("float32", cpu, lstm) == "float32"
        assert resolve_precision("bfloat16", cpu, lstm) == "bfloat16"
        assert resolve_precision("auto", cpu, lstm) == expected
        assert resolve_precision("auto", cpu, lstm, "cpp") == expected
        assert resolve_precision("auto", cpu, lstm, "eager") == "float32"
    monkeypatch.setattr(device, "kernels", lambda *_: "there is no compiler")
    assert resolve_precision("auto", cpu, lstm) == "float32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_precision("auto", cpu, lstm, "eager") == "bfloat16"
    assert resolve_precision("auto", torch.device("mps"), lstm) == "float32"


def test_the_precision_is_decided_before_a_kernel_is_compiled(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(device, "bfloat16_speedup", lambda: 0.9)
    monkeypatch.setattr(device, "kernels", lambda *_: pytest.fail("compiled for a type that is not used"))
    assert resolve_precision("auto", torch.device("cpu"), CELLS["lstm"]) == "float32"


def test_bfloat16_gain_is_measured_once_and_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(bfloat16_speed, "_measure", lambda: measured.append(1) or 3.25)
    for _ in range(2):
        bfloat16_speed.bfloat16_speedup.cache_clear()
        assert bfloat16_speed.bfloat16_speedup() == 3.25
    assert len(measured) == 1
    (remembered,) = (tmp_path / "measured").iterdir()
    remembered.write_text("{broken")
    bfloat16_speed.bfloat16_speedup.cache_clear()
    assert bfloat16_speed.bfloat16_speedup() == 3.25
    assert len(measured) == 2
    bfloat16_speed.bfloat16_speedup.cache_clear()


def test_the_gain_is_a_ratio_of_speeds():
    assert 0.01 < bfloat16_speed._measure() < 100


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_states_are_those_that_the_model_computes(make_config, make_trainer, direction):
    trainer = make_trainer(make_config({"direction": direction, "num_layers": 2}, budget={"steps": 2}, sample_length=0))
    list(trainer.run())
    run = charlstm.load(trainer.directory.path, device="cpu")
    states = run.states("the cat")
    assert {letter: part.shape for letter, part in states.items()} == {"h": (7, 2, 8), "c": (7, 2, 8)}
    expected = record(run.model, run.vocabulary.encode("the cat")).states
    for letter, part in states.items():
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, expected[letter], rtol=1e-6)
    with pytest.raises(UserError, match="empty"):
        run.states("")
    np.testing.assert_array_equal(run.states("t€he", unknown="skip")["h"], run.states("the")["h"])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_next_characters_are_the_most_probable_ones(make_config, make_trainer, direction):
    trainer = make_trainer(make_config({"direction": direction}, budget={"steps": 2}, sample_length=0))
    list(trainer.run())
    run = charlstm.load(trainer.directory.path, device="cpu")
    nats = {}
    for symbol in run.vocabulary.symbols:
        text = "the " + symbol if direction == "forward" else symbol + "the "
        nats[symbol] = run.score(text).nats * 5 - run.score("the ").nats * 4
    everything = run.next_characters("the ", k=1000)
    assert sum(p for _, p in everything) == pytest.approx(1)
    assert {symbol: -np.log(p) for symbol, p in everything} == pytest.approx(nats, abs=1e-3)
    assert run.next_characters("the ", k=3) == sorted(everything, key=lambda pair: -pair[1])[:3]
    assert len(run.next_characters()) == 5
    with pytest.raises(UserError, match="k must be 1 or more"):
        run.next_characters("the ", k=0)


def test_bidirectional_models_have_no_states_to_read(make_config, make_trainer):
    trainer = make_trainer(make_config({"direction": "bidirectional"}, budget={"steps": 1}, sample_length=0))
    list(trainer.run())
    run = charlstm.load(trainer.directory.path)
    for read in (run.states, run.next_characters):
        with pytest.raises(UserError, match="take a model trained with direction: forward or backward"):
            read("the cat")
