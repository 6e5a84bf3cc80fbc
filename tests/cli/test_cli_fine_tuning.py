"""``charlstm train --from``: a run that starts from the weights of another one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import charlstm as api
from charlstm.checkpoints.format import load_checkpoint
from charlstm.comparison.arms import Trial
from charlstm.config import load_config
from charlstm.runs.directory import RunDirectory

GERMAN = "das Kätzchen saß auf der Matte,\nund zwei Hunde rannten heim.\n" * 45
QUICK = (
    "--set",
    "training.sample_length=0",
    "--set",
    "training.device=cpu",
    "--set",
    "training.precision=float32",
    "--set",
    "training.budget={steps: 5}",
)


@pytest.fixture
def here(config_file: Path, tiny_run: Path) -> Path:
    """A text and a run in the working directory."""
    Path("german.txt").write_text(GERMAN, encoding="utf-8")
    return Path(shutil.copytree(tiny_run, "runs/tiny"))


FIELDS = ("corpus.documents=newline", "training.sequence_length=40")


def flat(text: str) -> str:
    return " ".join(text.split())


def report_of(result) -> str:
    """The report that a comparison names."""
    (path,) = re.findall(r"^report: (.*)$", result.out, re.M)
    return path


def test_text_gets_network_and_vocabulary_of_the_run(charlstm, here):
    result = charlstm("train", "german.txt", "--from", "tiny", *QUICK)
    assert result.code == 0, result.err
    new = "".join(sorted(set(GERMAN) - set(api.load("tiny").vocabulary.symbols)))
    shown = " ".join(new)
    origin = f"starts from the weights of {Path('runs/tiny').absolute()}, step 90: 16 known characters"
    assert f"{origin}, {len(new)} new: {shown}" in flat(result.out)
    config = load_config(Path("runs/german/config.yaml"))
    assert (config.model.hidden_size, config.model.front_end, config.model.dropout) == (16, "one_hot", 0.5)
    assert config.training.initial_run == str(Path("runs/tiny").absolute())
    assert config.corpus.characters == "".join(api.load("tiny").vocabulary.symbols)
    assert set(api.load("german").vocabulary.symbols) == {*GERMAN, *config.corpus.characters}
    assert RunDirectory(Path("runs/german")).metrics()[0]["initial_run"]["new_characters"] == new


def test_run_without_its_source_is_resumed_sampled_and_listed(charlstm, here):
    assert charlstm("train", "german.txt", "--from", "latest", *QUICK).code == 0
    shutil.rmtree(here)
    resumed = charlstm("train", "german", "--resume", "--set", "training.budget={steps: 9}")
    assert resumed.code == 0, resumed.err
    assert "starts from" not in resumed.out
    assert charlstm("sample", "german", "--prime", "the Kätzchen", "--length", 5).code == 0
    assert charlstm("evaluate", "german").code == 0
    assert "german.txt, from tiny" in charlstm("runs").out
    (listed,) = json.loads(charlstm("runs", "--json").out)
    assert listed["initial_run"] == "tiny"


def test_report_and_model_card_say_where_it_came_from(charlstm, here):
    assert charlstm("train", "german.txt", "--from", "tiny", "--name", "tuned", *QUICK).code == 0
    page = flat(re.sub("<[^>]+>", " ", Path("runs/tuned/report/index.html").read_text(encoding="utf-8")))
    assert "parameters, fine-tuned from the weights of tiny." in page
    assert re.search(r"the weights of tiny at step 90; 10 characters not in its text: , \. H K M f i z ß ä", page)
    assert charlstm("export", "tuned", "--to", "hub", "--out", "hub").code == 0
    card = Path("hub/README.md").read_text(encoding="utf-8")
    assert "- Fine-tuned from the weights of tiny: the license of its text applies, too" in card
    assert api.load("hub").config.training.initial_run == "tiny"
    for path in Path("hub").iterdir():
        assert str(Path.cwd()).encode() not in path.read_bytes(), path
    again = charlstm("train", "german.txt", "--from", "hub", "--name", "again", *QUICK)
    assert again.code == 0, again.err
    assert "hub/model.safetensors: 26 known characters, none new" in flat(again.out)
    assert RunDirectory(Path("runs/again")).metrics()[0]["initial_run"]["name"] == "hub"


def test_configuration_is_completed_by_the_run(charlstm, here, config_file):
    Path("german.yaml").write_text(
        "corpus: {source: german.txt}\nmodel: {dropout: 0.25, front_end: one_hot}\n"
        "training: {initial_run: tiny, budget: {steps: 5}, learning_rate_factors: {head: 0.5}, sample_length: 0}\n"
    )
    result = charlstm("train", "german.yaml")
    assert result.code == 0, result.err
    config = load_config(Path("runs/german/config.yaml"))
    assert (config.model.hidden_size, config.model.dropout) == (16, 0.25)
    assert config.training.learning_rate_factors.model_dump() == {"front_end": 1, "recurrent": 1, "head": 0.5}
    again = charlstm("train", "german.yaml", "--resume", "--set", "training.budget={steps: 8}")
    assert again.code == 0, again.err
    shutil.rmtree(here)
    again = charlstm("train", "german.yaml", "--resume", "--set", "training.budget={steps: 11}")
    assert again.code == 0, again.err
    assert load_checkpoint(Path("runs/german/checkpoints/last.safetensors"))[1]["counters"]["step"] == 11
    other = charlstm("train", "german.yaml", "--resume", "--set", "training.initial_run=other")
    assert re.fullmatch(r"error: training\.initial_run was .*/tiny, is other: it must not change .*\n", other.err)


@pytest.mark.parametrize("options", [(), ("--set", "model.dropout=0.25")], ids=str)
def test_dropout_that_is_chosen_or_given_has_effect(charlstm, here, options):
    old = charlstm(
        "train", "german.txt", "--name", "old", "--set", "model={hidden_size: 8, output_dropout: 0.1}", *QUICK
    )
    assert old.code == 0, old.err
    result = charlstm("train", "german.txt", "--from", "old", *options, *QUICK)
    assert result.code == 0, result.err
    model = load_config(Path("runs/german/config.yaml")).model
    assert (model.dropout, model.output_dropout) == (0.25 if options else 0.5, None)


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("compare", "arms: {slow: {training.learning_rate: 1e-4}, fast: {}}"),
        ("sweep", "space: {training.learning_rate: [1e-4]}"),
    ],
)
def test_runs_of_a_file_start_from_a_run_beside_them(charlstm, config_file, tiny_run, command, changed):
    tiny = Path(shutil.copytree(tiny_run, "others/tiny"))
    network = api.load(tiny).config.model.model_dump_json()
    text = load_config(tiny / "config.yaml").corpus.source
    Path("many.yaml").write_text(
        f"corpus: {{source: {text}}}\nmodel: {network}\n{changed}\n"
        "training: {initial_run: tiny, device: cpu, precision: float32, budget: {steps: 10}}\n"
    )
    result = charlstm(command, "many.yaml", "--runs", "others", "--jobs", 1)
    assert result.code == 0, result.err
    runs = [path for path in Path("others/many").iterdir() if (path / "config.yaml").exists()]
    assert runs
    for run in runs:
        assert load_config(run / "config.yaml").training.initial_run == str(tiny.absolute())
        assert RunDirectory(run).metrics()[0]["initial_run"]["name"] == "tiny"
    shutil.rmtree(tiny)
    again = charlstm(command, "many.yaml", "--runs", "others", "--jobs", 1)
    assert again.code == 0, again.err
    other = charlstm(command, "many.yaml", "--runs", "others", "--set", "training.initial_run=other")
    assert other.code == 2
    assert re.search(r"training\.initial_run was .*tiny, is other", other.err), other.err
    shutil.copytree(tiny_run, "runs/tiny")
    new = charlstm(command, "many.yaml", "--runs", "others", "--name", "new", "--jobs", 1)
    assert (new.code, Path("others/new/report").exists()) == (2, False)
    assert "training.initial_run: tiny: there is no such run" in new.err


def test_resumed_run_of_a_comparison_does_not_need_its_start(charlstm, here):
    assert charlstm("train", "german.txt", "--from", "tiny", *QUICK).code == 0
    run, start = RunDirectory(Path("runs/german")), str(here.absolute())
    named = run.config().model_copy(deep=True, update={"name": None})
    named = named.model_copy(update={"training": named.training.model_copy(update={"initial_run": "tiny"})})
    shutil.rmtree(here)
    trial = Trial("german", named, run, overwrite=False)
    assert trial.trainer().config.training.initial_run == start
    assert run.config().training.initial_run == start


def test_dry_run_shows_the_start(charlstm, here):
    result = charlstm("train", "german.txt", "--from", "tiny", "--dry-run", *QUICK)
    assert "initial_run: " + str(Path("runs/tiny").absolute()) in result.out
    assert "16 known characters, 10 new: , . H K M f i z ß ä" in flat(result.out)
    assert not Path("runs/german").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "tinny"), "tinny: there is no such run or checkpoint. Did you mean tiny?"),
        (("--from", "."), "training.initial_run: "),
        (("--from", ""), 'training.initial_run="": expected run | null'),
        (("--from", "tiny", "--set", "model.cell=gru"), "model.cell is gru, but lstm in"),
        (("--from", "tiny", "--set", "model.hidden_size=8"), "model.hidden_size is 8, but 16 in"),
        (("--from", "tiny", "--set", "model.direction=bidirectional"), "model.direction is bidirectional, but forward"),
        (("--from", "tiny", "--set", "model={hidden_size: 8}"), "model.hidden_size is 8, but 16 in"),
        (("--from", "tiny", "--set", "corpus.encoding=bytes"), "corpus.encoding is bytes, but utf-8 in"),
        (("--from", "tiny", "--set", "training.initial_run=tiny"), "--from and --set training.initial_run both set"),
        (("--from", "tiny", "--set", "model.embedding_size=8"), "embedding_size=8: has no effect with front_end"),
        (("--from", "tiny", "--set", "model.hiden_size=8"), "Did you mean hidden_size?"),
        (("--from", "tiny", "--set", "corpus.characters=3"), "corpus.characters=3: expected text | null, found 3"),
        (("--from", "german.txt"), "german.txt: damaged, or not a checkpoint"),
    ],
)
def test_wrong_uses_are_one_line(charlstm, here, options, message):
    result = charlstm("train", "german.txt", "--dry-run", *options)
    assert result.code == 2
    assert message in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


def test_executor_and_odd_names_of_the_run_do_not_matter(charlstm, here):
    options = ("--set", "model.hidden_size=8", "--set", "model.executor=reference", "--name", "a 'b' \U0001f600")
    assert charlstm("train", "german.txt", *options, *QUICK).code == 0
    result = charlstm("train", "german.txt", "--from", "a 'b' \U0001f600", *QUICK)
    assert result.code == 0, result.err
    assert load_config(Path("runs/german/config.yaml")).model.executor == "auto"


def test_resume_takes_no_other_weights(charlstm, here):
    result = charlstm("train", "tiny", "--resume", "--from", "tiny")
    assert result.code == 2
    assert result.err == "error: --from has no effect with --resume: a resumed run goes on with its own weights\n"
    assert charlstm("train", "tiny", "--resume", "--set", "training.initial_run=tiny").code == 2


def test_run_may_replace_its_own_source(charlstm, here):
    before = load_checkpoint(here / "checkpoints/best.safetensors")[0]["model.recurrent.weight_hh_l0"]
    options = ("--set", "training.learning_rate=1e-30", "--set", "training.weight_decay=0", *QUICK)
    result = charlstm("train", "german.txt", "--from", "tiny", "--name", "tiny", "--overwrite", *options)
    assert result.code == 0, result.err
    after = load_checkpoint(here / "checkpoints/last.safetensors")[0]["model.recurrent.weight_hh_l0"]
    assert torch.equal(before, after)


def test_text_in_another_script_is_noted(charlstm, here):
    Path("poem.txt").write_text("寒随穷律变，春逐鸟声开。\n初风飘带柳，晚雪间花梅。\n" * 40, encoding="utf-8")
    result = charlstm("train", "poem.txt", "--from", "tiny", *QUICK)
    assert result.code == 0, result.err
    assert "16 known characters, 22 new: 。 初 变 声" in flat(result.out)
    assert "note: 22 of the 23 characters of this text are new" in flat(result.err)
    assert charlstm("sample", "poem", "--prime", "the 春", "--length", 5).code == 0


def test_other_reading_of_the_text_is_noted(charlstm, here):
    result = charlstm("train", "german.txt", "--from", "tiny", "--set", "corpus.lowercase=true", *QUICK)
    note = "note: corpus.lowercase is true, but was false in the run that training starts from"
    assert note in flat(result.err)


@pytest.mark.parametrize("extra", [(), ("corpus.score_after==", "corpus.score_end=true")], ids=["plain", "conditional"])
def test_documents_are_fine_tuned(charlstm, here, extra):
    Path("pairs.txt").write_text("".join(f"{word}={word[::-1]}\n" for word in GERMAN.split()), encoding="utf-8")
    options = [word for setting in (*FIELDS, *extra) for word in ("--set", setting)]
    first = charlstm("train", "pairs.txt", "--name", "pairs", "--set", "model.hidden_size=8", *options, *QUICK)
    assert first.code == 0, first.err
    Path("more.txt").write_text("".join(f"{word}={word[::-1]}\n" for word in ["ÖÄ", "xyz", "abc", "def"] * 9))
    result = charlstm("train", "more.txt", "--from", "pairs", *options, *QUICK)
    assert result.code == 0, result.err
    assert load_config(Path("runs/more/config.yaml")).model.hidden_size == 8
    assert charlstm("sample", "more", "--num-samples", 2, "--length", 9).code == 0


def test_run_is_compared_with_one_of_new_weights(charlstm, here):
    for options in (("--from", "tiny", "--name", "tuned"), ("--set", "model.hidden_size=16", "--name", "new")):
        assert charlstm("train", "german.txt", *options, *QUICK).code == 0
    result = charlstm("compare", "tuned", "new")
    assert result.code == 0, result.err
    page = flat(Path(report_of(result)).read_text(encoding="utf-8"))
    assert re.search(
        r"tuned: corpus.characters: .*, training.initial_run: /.* new: .* training.initial_run: null", page
    )


def test_arm_of_a_comparison_is_fine_tuned(charlstm, here):
    Path("compare.yaml").write_text(
        "corpus: {source: german.txt}\nmodel: {hidden_size: 16, front_end: one_hot}\nseeds: 1\n"
        "training: {budget: {steps: 5}, sample_length: 0}\n"
        "arms:\n  new: {}\n  tuned: {training.initial_run: tiny}\n"
    )
    result = charlstm("compare", "compare.yaml")
    assert result.code == 0, result.err
    first = RunDirectory(Path("runs/compare/tuned-seed1")).metrics()[0]
    assert first["initial_run"]["name"] == "tiny"
