"""A folder for model hubs: complete, without paths of this machine, and loaded again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from steps import logits_of, run_of

import charlstm
from charlstm.errors import UserError
from charlstm.exports.about import about
from charlstm.exports.hub import hub_files
from charlstm.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "a model"
    charlstm.export(charlstm.load(tiny_run, device="cpu"), "hub", path)
    return path


def test_folder_is_loaded_again(folder, tiny_run):
    run, again = charlstm.load(tiny_run, device="cpu"), charlstm.load(folder, device="cpu")
    assert again.generate("the ", 40, seed=3)[0].full_text == run.generate("the ", 40, seed=3)[0].full_text
    assert again.vocabulary == run.vocabulary
    assert again.config.model == run.config.model
    assert again.directory is None
    assert again.score("the cat").nats == run.score("the cat").nats
    assert charlstm.load(folder / "model.safetensors", device="cpu").vocabulary == run.vocabulary


def test_files_are_those_that_hubs_expect(folder, tiny_run, corpus_file):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    run = charlstm.load(tiny_run, device="cpu")
    tensors = load_file(folder / "model.safetensors")
    assert tensors.keys() == {f"model.{name}" for name in run.model.state_dict()}
    assert torch.equal(tensors["model.head.weight"], run.model.head.weight)
    record = json.loads((folder / "config.json").read_text(encoding="ascii"))
    assert record["model_type"] == "charlstm"
    assert tuple(record["vocabulary"]) == run.vocabulary.symbols
    assert record["model"]["hidden_size"] == 16
    assert record["corpus"]["source"] == corpus_file.name
    for path in folder.iterdir():
        assert str(corpus_file.parent).encode() not in path.read_bytes(), path


def test_card_is_written_from_the_run(folder, tiny_run):
    card = (folder / "README.md").read_text(encoding="utf-8")
    best = min(one["nats"] for one in RunDirectory(tiny_run).metrics() if one["kind"] == "evaluation")
    assert card.startswith("---\nlibrary_name: charlstm\n")
    assert f"{best:.3f} nats, on 150 characters, each scored once" in card
    assert "- Text: tiny.txt" in card
    assert "License of the text: not recorded" in card
    assert "Training: 90 steps of 4 x 20 characters" in card
    assert "## A sample" in card


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_every_direction_has_a_folder(direction, tmp_path):
    run = run_of(direction=direction)
    charlstm.export(run, "hub", tmp_path / "m")
    again = charlstm.load(tmp_path / "m", device="cpu")
    assert all(map(torch.equal, again.model.state_dict().values(), run.model.state_dict().values()))
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    example = re.search(r'sample PATH/OF/THIS/FOLDER(?: --(suffix|infill) "(.*)")?$', card, re.MULTILINE)
    assert (example[1] == "infill") == (direction == "bidirectional")
    run.vocabulary.encode((example[2] or "").replace("_", ""))  # the run knows its characters


def test_score_and_steps_are_those_of_the_checkpoint(tiny_run):
    counters = charlstm.load(tiny_run, "last").header["counters"]
    for checkpoint in ("best", "last"):
        run = charlstm.load(tiny_run, checkpoint)
        step = run.header["counters"]["step"]
        (record,) = [one for one in run.metrics if one["kind"] == "evaluation" and one["step"] == step]
        card = hub_files(run, "tiny")["README.md"].decode()
        assert f"{record['nats']:.3f} nats" in card
        assert f"Training: {step} steps" in card
        assert ("bits per" in repr(run)) == (step == counters["best_step"])


def test_license_of_a_catalog_text_is_on_the_card():
    run = run_of(corpus={"source": ["warpeace", "names"]})
    assert about(run).license.startswith("public domain in the USA (Project Gutenberg); makemore is MIT")
    assert b"License of the text: public domain" in hub_files(run, "a run")["README.md"]
    mixed = run_of(corpus={"source": ["warpeace", "mine.txt"]})
    assert about(mixed).license == "", "a license of some of the texts is not that of all"


def test_markup_of_names_and_samples_stays_text(tmp_path):
    run = run_of(corpus={"source": "/x/<b>_a_ [x](y)`.txt"})
    card = hub_files(run, "# a *run*")["README.md"].decode()
    assert r"# \# a \*run\*" in card
    assert r"Text: \<b\>\_a\_ \[x\](y)\`.txt" in card


def test_damaged_or_other_weights_are_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"!" + content[-8:])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        charlstm.load(copy)
    run = run_of()
    other = replace(run, model=run_of(hidden_size=5).model)
    file.write_bytes(hub_files(other, "x")["model.safetensors"])
    with pytest.raises(UserError, match="do not match the vocabulary or model of its configuration"):
        charlstm.load(copy)


def test_training_does_not_resume_from_weights_alone(folder, tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for path in (run / "checkpoints").iterdir():
        shutil.copy(folder / "model.safetensors", path)
    with pytest.raises(UserError, match="the weights of a model alone"):
        charlstm.load(run)


def test_hub_folder_is_exported_again(folder, tmp_path):
    run = charlstm.load(folder, device="cpu")
    charlstm.export(run, "hub", tmp_path / "again")
    assert torch.equal(logits_of(charlstm.load(tmp_path / "again", device="cpu"), [0, 1, 2]), logits_of(run, [0, 1, 2]))
