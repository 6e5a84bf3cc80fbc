"""Every command refuses options without effect; printed commands can be pasted."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def run(config_file, tiny_run) -> Path:
    """A copy of the run in the working directory."""
    return Path(shutil.copytree(tiny_run, "runs/tiny"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train RUN --resume --name other", "--name has no effect with RUN"),
        ("train RUN --resume --runs there", "--runs has no effect with RUN"),
        ("train RUN --resume --set name=other", "--set name has no effect with RUN"),
        ("train tiny.yaml --name a --set name=b", "--name and --set name both"),
        ("train tiny.yaml --device cpu --set training.device=cpu", "--device and --set training.device both"),
        ("train tiny.yaml --seed 1 --set training.seed=2", "--seed and --set training.seed both"),
        ("train tiny.yaml --dry-run --overwrite", "--overwrite has no effect with --dry-run"),
        ("train tiny.yaml --resume --overwrite", "choose one"),
        ("train tiny.yaml --name new --dry-run --resume", "nothing to resume"),
        ("train RUN", "is a run. To resume it:  charlstm train runs/tiny --resume"),
        ("train RUN --dry-run", "is a run. To resume it:  charlstm train runs/tiny --resume"),
        ("train runs", "runs: this is a folder of runs, not of texts"),
        ("train runs --resume", "runs is not a run directory"),
        ("sample RUN --temperature 0 --top-k 3", "--top-k has no effect with --temperature 0"),
        ("sample RUN --temperature 0 --top-p .5", "--top-p has no effect with --temperature 0"),
        ("sample RUN --temperature 0 --min-p .5", "--min-p has no effect with --temperature 0"),
        ("sample RUN --json --stream", "--stream has no effect with --json"),
        ("sample RUN --num-samples 2 --stream", "--stream has no effect with --num-samples"),
        ("sample RUN --unknown skip", "--unknown has no effect without a --prime"),
        ("sample RUN/checkpoints/last.safetensors --checkpoint last", "--checkpoint has no effect with the file"),
        ("evaluate RUN/checkpoints/last.safetensors --checkpoint last", "--checkpoint has no effect with the file"),
        ("compare RUN --overwrite", "--overwrite has no effect on existing runs"),
        ("compare RUN --runs there", "--runs has no effect with a single run"),
        ("compare RUN --name tiny", "runs/tiny is the folder of a run"),
        ("compare RUN --name up/there", "so it cannot contain"),
        ("compare RUN tiny.yaml", "tiny.yaml: compare takes either one comparison"),
        ("compare RUN --set seeds=2", "--set is only for a comparison in YAML"),
        ("bench --training --texts 3", "--texts has no effect with --training"),
    ],
    ids=lambda value: value if " " in value else None,
)
def test_options_without_effect_are_refused(charlstm, run, command, message):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    result = charlstm(*command.replace("RUN", str(run)).split())
    assert (result.code, result.out) == (2, "")
    assert message.replace("RUN", str(run)) in result.err
    assert len(result.err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


@pytest.mark.parametrize("options", [["--prime", "€"], ["--until", "€"], ["--infill", "a_"]], ids=str)
def test_no_seed_is_printed_before_an_error(charlstm, tiny_run, options):
    result = charlstm("sample", tiny_run, *options)
    assert result.code == 2
    assert result.err.startswith("error: ")


KINDS = {
    "forward": ({}, {}),
    "backward": ({"direction": "backward"}, {}),
    "infilling": ({"direction": "bidirectional"}, {}),
    "documents": ({}, {"documents": "newline"}),
    "backward documents": ({"direction": "backward"}, {"documents": "newline"}),
    "infilling documents": ({"direction": "bidirectional"}, {"documents": "newline"}),
    "answers": ({}, {"documents": "newline", "score_after": "="}),
    "bytes": ({"direction": "backward"}, {"encoding": "bytes"}),
}
EXPECTED = {
    "forward": ["--prime", "--length", "--temperature"],
    "backward": ["--suffix", "--length", "--temperature"],
    "infilling": ["--infill"],
    "documents": ["--num-samples", "--temperature"],
    "backward documents": ["--num-samples", "--temperature"],
    "infilling documents": ["--infill"],
    "answers": ["--prime", "--temperature"],
    "bytes": ["--suffix", "--length", "--temperature"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", ['@it\'s = "a" $HOME `x`,\n-@é = - _b_ c\n', "a=b;\n"], ids=["odd", "short"])
def test_printed_next_commands_work(charlstm, config_file, kind, written):
    model, corpus = KINDS[kind]
    source = Path("a text.txt")
    source.write_text(written * (2000 // len(written)), encoding="utf-8")
    settings = json.dumps({"source": str(source), **corpus}, ensure_ascii=False)
    options = ("--set", f"corpus={settings}", "--set", f"model={json.dumps({'hidden_size': 8, **model})}")
    budget = ("--set", "training.budget={steps: 1}", "--set", "training.sequence_length=40")
    result = charlstm("train", config_file, *options, *budget, "--runs", "my runs", "--name", "it's")
    assert result.code == 0
    lines = re.search(r"^next: +(charlstm sample .*)\n +(charlstm evaluate .*)$", result.out, re.MULTILINE)
    sample, evaluate = map(shlex.split, lines.groups())
    assert sample[2] == evaluate[2] == "my runs/it's"
    assert [word for word in sample if word.startswith("--")] == EXPECTED[kind]
    done = charlstm(*sample[1:], "--json")  # arbitrary bytes cannot be captured as text
    assert done.code == 0, done.err
    if kind == "answers":
        assert sample[4].endswith("=")
    assert charlstm(*evaluate[1:]).code == 0


def test_advice_after_divergence_can_be_pasted(charlstm, config_file):
    diverging = ("--set", "training.learning_rate=1e6", "--set", "training.warmup_steps=0")
    result = charlstm("train", config_file, *diverging, "--runs", "my runs")
    assert result.code == 3
    (line,) = re.findall(r"^resume:  charlstm (.*)$", result.out, re.MULTILINE)
    assert "training.learning_rate=3.3e+05" in line
    assert charlstm(*shlex.split(line)).code in (0, 3)
