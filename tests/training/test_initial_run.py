"""Weights of another run, copied by symbol."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from small_models import KINDS

from charlstm.checkpoints.format import load_checkpoint, strip_prefix
from charlstm.config import Config, ModelConfig, parse_config
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.text.corpus import load_corpus
from charlstm.text.vocabulary import Vocabulary
from charlstm.training.events import Progress
from charlstm.training.initial_run import InitialRun, symbol_dimensions

OLD = Vocabulary.from_text("bdegz")
BIDIRECTIONAL = [
    {"direction": "bidirectional"},
    {"direction": "bidirectional", "front_end": "convolution", "kernel_sizes": [1, 2], "filters": 3, "highway": True},
    {"direction": "bidirectional", "front_end": "one_hot", "cell": "gru"},
]


def network(fields: dict, vocabulary: Vocabulary) -> LanguageModel:
    settings = {"hidden_size": 6, "executor": "eager", "unigram_bias": False, **fields}
    return LanguageModel(ModelConfig(**settings), vocabulary.size).eval()


def run_of(model: LanguageModel, vocabulary: Vocabulary = OLD) -> InitialRun:
    config = Config.model_validate({"corpus": {"source": "a"}, "model": model.config.model_dump()})
    return InitialRun(Path("runs/old"), config, vocabulary, 5, [])


def test_new_symbols_are_as_probable_beside_the_old_ones_as_in_the_text():
    """Biases are logarithms of frequencies up to a constant, which the run has its own of."""
    new = Vocabulary.from_text("abdegz")
    before, after = network({"unigram_bias": True}, OLD), network({"unigram_bias": True}, new)
    frequencies = torch.tensor([0.3, 0.1, 0.1, 0.2, 0.1, 0.2])
    a = new.symbols.index("a")
    with torch.no_grad():
        after.head.bias.copy_(frequencies.log())
        known = [index for index in range(6) if index != a]
        before.head.bias.copy_(frequencies[known].log() + 7)
    run_of(before).copy_weights(before.state_dict(), after, new)
    torch.testing.assert_close(after.head.bias.softmax(0), frequencies)


@pytest.mark.parametrize("fields", [*KINDS, *BIDIRECTIONAL, {"front_end": "one_hot"}], ids=str)
@pytest.mark.parametrize("symbols", ["abcdefgz", "dez", "xyz", "bdegz"])
def test_known_symbols_are_predicted_as_before(fields, symbols):
    new = Vocabulary.from_text(symbols)
    known = [symbol for symbol in symbols if symbol in OLD.symbols]
    torch.manual_seed(1)
    before, after = network(fields, OLD), network(fields, new)
    scratch = copy.deepcopy(after.state_dict())
    run_of(before).copy_weights(before.state_dict(), after, new)
    text = (known * 9)[:9]
    outputs = []
    for model, vocabulary in ((before, OLD), (after, new)):
        ids = torch.tensor(vocabulary.encode("".join(text)))[:, None]
        with torch.no_grad():
            logits = model(ids, following=ids.flip(0) if model.bidirectional else None)[0]
        outputs.append(logits[..., torch.tensor(vocabulary.encode("".join(known)))])
    torch.testing.assert_close(*outputs)
    fresh = torch.tensor([index for index, symbol in enumerate(symbols) if symbol not in OLD.symbols], dtype=torch.long)
    dimensions = symbol_dimensions(after.config)
    assert dimensions.keys() >= {"head.weight", "head.bias"}
    for name, dimension in dimensions.items():
        assert torch.equal(*(t[name].index_select(dimension, fresh) for t in (scratch, after.state_dict()))), name


def test_all_tensors_without_symbols_are_copied():
    torch.manual_seed(1)
    before, after = (network({"num_layers": 2, "cell": "peephole"}, v) for v in (OLD, Vocabulary.from_text("ab")))
    run_of(before).copy_weights(before.state_dict(), after, Vocabulary.from_text("ab"))
    dimensions = symbol_dimensions(after.config)
    assert dimensions == {"front_end.weight": 0, "head.weight": 0, "head.bias": 0}
    for name, tensor in before.state_dict().items():
        assert name in dimensions or torch.equal(tensor, after.state_dict()[name]), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "gru"}, r"^model\.cell is gru, but lstm in runs/old, whose weights"),
        ({"hidden_size": 9}, r"^model\.hidden_size is 9, but 6 in runs/old"),
        ({"direction": "bidirectional"}, r"^model\.direction is bidirectional, but forward in runs/old"),
        ({"direction": "backward"}, r"^model\.direction is backward, but forward in runs/old"),
        ({"embedding_size": 3}, r"^model\.embedding_size is 3, but 64 in runs/old"),
        ({"num_layers": 2}, r"^model\.num_layers is 2, but 1 in runs/old"),
        ({"forget_bias": 2.0}, r"^model\.forget_bias is 2\.0, but null in runs/old"),
    ],
)
def test_another_network_is_refused_with_both_values(fields, message):
    run = run_of(network({}, OLD))
    settings = {"corpus": {"source": "a"}, "model": {"hidden_size": 6, **fields}}
    with pytest.raises(UserError, match=message):
        run.check(Config.model_validate(settings), OLD)


def test_regularization_and_executor_may_differ():
    run = run_of(network({}, OLD))
    fields = {"hidden_size": 6, "dropout": 0.4, "weight_drop": 0.2, "zoneout_c": 0.1, "executor": "reference"}
    run.check(Config.model_validate({"corpus": {"source": "a"}, "model": fields}), OLD)


@pytest.mark.parametrize("old", [{}, {"zoneout_h": 0.5}, {"zoneout_h": 0.5, "zoneout_c": 0.2}], ids=str)
@pytest.mark.parametrize("new", [{}, {"zoneout_h": 0.1}, {"zoneout_c": 0.1}], ids=str)
def test_zoneout_is_that_of_the_new_configuration(old, new):
    torch.manual_seed(1)
    before, after = network(old, OLD), network(new, OLD)
    rates = {name: tensor.clone() for name, tensor in after.state_dict().items() if "zoneout" in name}
    assert bool(rates) == bool(new)
    run_of(before).copy_weights(before.state_dict(), after, OLD)
    weights = after.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in rates.items())
    assert all(torch.equal(weights[n], t) for n, t in before.state_dict().items() if "zoneout" not in n)


def test_bytes_do_not_become_characters():
    run, settings = run_of(network({}, OLD)), {"corpus": {"source": "a", "encoding": "bytes"}}
    with pytest.raises(UserError, match=r"^corpus\.encoding is bytes, but utf-8 in runs/old"):
        run.check(parse_config({**settings, "model": {"hidden_size": 6}}, "test"), Vocabulary.from_text(b"abc"))


@pytest.fixture
def other_text(tmp_path: Path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("das Kätzchen saß auf der Matte.\n" * 40, encoding="utf-8")
    return path


@pytest.fixture
def fine_tuned(tiny_run, other_text, make_config, make_trainer):
    """A trainer that starts from a copy of the tiny run, its configuration, the copy, and the new vocabulary."""

    def make(model=None, path=None, **training):
        source = other_text.parent / "tiny"
        if not source.exists() and path is None:
            shutil.copytree(tiny_run, source)
        known = Vocabulary.from_json(load_checkpoint(tiny_run / "checkpoints/best.safetensors")[1]["vocabulary"])
        config = make_config(
            {"hidden_size": 16, **(model or {})},
            {"source": str(other_text), "characters": "".join(known.symbols)},
            initial_run=str(source),
            **training,
        )
        text = load_corpus(**config.corpus.model_dump())
        return make_trainer(config, path or other_text.parent / "new", text), config, source, text.vocabulary

    return make


def weights_of(path: Path, checkpoint: str = "last", prefix: str = "model") -> dict[str, torch.Tensor]:
    return strip_prefix(prefix, load_checkpoint(path / "checkpoints" / f"{checkpoint}.safetensors")[0])


def test_training_starts_with_the_best_weights(fine_tuned):
    trainer, _, source, vocabulary = fine_tuned()
    trainer.start(overwrite=True)
    best = weights_of(source, "best")
    assert torch.equal(trainer.model.recurrent.weight_hh_l0, best["recurrent.weight_hh_l0"])
    old = Vocabulary.from_json(load_checkpoint(source / "checkpoints/best.safetensors")[1]["vocabulary"])
    assert set(old.symbols) < set(vocabulary.symbols)
    rows = torch.tensor(vocabulary.encode("".join(old.symbols)))
    assert torch.equal(trainer.model.head.weight[rows], best["head.weight"])
    assert torch.equal(trainer.model.recurrent.weight_ih_l0[:, rows], best["recurrent.weight_ih_l0"])
    list(trainer.run())
    start = trainer.directory.metrics()[0]["initial_run"]
    assert (start["name"], start["step"]) == (
        "tiny",
        load_checkpoint(source / "checkpoints/best.safetensors")[1]["counters"]["step"],
    )
    assert start["new_characters"] == "".join(sorted(set(vocabulary.symbols) - set(old.symbols)))


def test_averages_start_with_the_same_weights(fine_tuned):
    trainer, *_ = fine_tuned(averaging_decay=0.9)
    trainer.start(overwrite=True)
    for name, tensor in trainer.state.model.state_dict().items():
        assert torch.equal(tensor, trainer.state.evaluated_model.state_dict()[name]), name


def test_averaged_weights_are_what_training_starts_from(fine_tuned, make_config, make_trainer, tmp_path):
    config = make_config({"hidden_size": 16}, averaging_decay=0.9, budget={"steps": 12})
    list(make_trainer(config, tmp_path / "tiny").run())
    trainer, _, source, _ = fine_tuned()
    trainer.start(overwrite=True)
    matrix = trainer.model.recurrent.weight_hh_l0
    averaged, raw = (weights_of(source, "best", prefix)["recurrent.weight_hh_l0"] for prefix in ("model", "raw"))
    assert torch.equal(matrix, averaged)
    assert not torch.equal(matrix, raw)


@pytest.mark.parametrize("stop", [1, 7])
def test_stopped_and_resumed_run_needs_no_source(fine_tuned, stop):
    trainer, *_ = fine_tuned({"dropout": 0.2}, budget={"steps": 14})
    list(trainer.run())
    whole = weights_of(trainer.directory.path)
    path = trainer.directory.path.parent / "stopped"
    first, _, source, _ = fine_tuned({"dropout": 0.2}, path, budget={"steps": 14})
    for event in first.run():
        if isinstance(event, Progress) and event.step == stop:
            first.request_stop()
    shutil.rmtree(source)
    again, *_ = fine_tuned({"dropout": 0.2}, path, budget={"steps": 14})
    assert again.resume() == []
    list(again.run())
    resumed = weights_of(path)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_run_without_a_checkpoint_starts_again_from_the_source(fine_tuned):
    trainer, *_ = fine_tuned()
    list(trainer.run())
    path = trainer.directory.path.parent / "killed"
    killed, _, source, _ = fine_tuned(None, path)
    killed.start(overwrite=True)  # and killed before its first checkpoint
    again, *_ = fine_tuned(None, path)
    assert again.resume() == ["this run has no checkpoint yet: it starts again from step 0"]
    list(again.run())
    expected, resumed = weights_of(trainer.directory.path), weights_of(path)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in expected.items())
    path = path.with_name("lost")
    lost, *_ = fine_tuned(None, path)
    lost.start(overwrite=True)
    shutil.rmtree(source)
    again, *_ = fine_tuned(None, path)
    with pytest.raises(UserError, match=r"lost has saved no checkpoint, .*tiny: there is no such run"):
        again.resume()


def test_lost_source_is_noticed_before_anything_is_deleted(fine_tuned):
    trainer, _, source, _ = fine_tuned()
    list(trainer.run())
    shutil.rmtree(source)
    again, *_ = fine_tuned(None, trainer.directory.path)
    with pytest.raises(UserError, match="there is no such run"):
        again.start(overwrite=True)
    assert trainer.directory.last.exists()
