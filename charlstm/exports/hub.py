"""A folder as model hubs expect it: config.json, model.safetensors, and README.md, the model card."""

from __future__ import annotations

import json
import re
from typing import Any

from charlstm import __version__
from charlstm.api import LoadedRun
from charlstm.checkpoints.format import WEIGHTS_FILE, WEIGHTS_ONLY, pack
from charlstm.config.corpus import NO_VALIDATION
from charlstm.exports.about import About, about, source_names
from charlstm.runs.metrics import best_score, evaluated_nats
from charlstm.runs.naming import initial_run_name
from charlstm.text.visible import visible
from charlstm.units import bits, finite

SAMPLE_LENGTH, TEMPERATURE, SEED = 400, 0.7, 1


def hub_files(run: LoadedRun, name: str) -> dict[str, bytes]:
    """The files by name. ``charlstm.load`` reads the folder, of which it needs model.safetensors only.

    Nothing in it names a folder of this machine: the corpus is a name of the catalog, or of a file.
    """
    facts, config = about(run), _config(run)
    header = {
        WEIGHTS_ONLY: True,
        "config": config,
        "vocabulary": run.vocabulary.to_json(),
        "corpus_digest": run.header["corpus_digest"],
        "lead_ins": run.header.get("lead_ins", []),
        "versions": run.header["versions"],
        "parameters": run.header["parameters"],
    }
    weights = pack({f"model.{key}": t for key, t in run.model.state_dict().items()}, header)
    record = {
        "model_type": "charlstm",
        "architectures": [type(run.model).__name__],
        "torch_dtype": "float32",
        "charlstm_version": __version__,
        "parameters": facts.parameters,
        "vocab_size": run.vocabulary.size,
        "vocabulary_kind": run.vocabulary.kind,
        "vocabulary": "".join(run.vocabulary.symbols),
        **config,
    }
    return {
        WEIGHTS_FILE: b"".join(bytes(piece) for piece in weights),
        "config.json": (json.dumps(finite(record), indent=2, allow_nan=False) + "\n").encode("ascii"),
        "README.md": model_card(run, name, facts).encode("utf-8", "surrogatepass"),
    }


def _config(run: LoadedRun) -> dict[str, Any]:
    config = run.config.model_dump(mode="json")
    names = source_names(run)
    config["corpus"]["source"] = names[0] if len(names) == 1 else names
    if (recorded := run.config.training.initial_run) is not None:
        config["training"]["initial_run"] = initial_run_name(recorded)
    return config


def model_card(run: LoadedRun, name: str, facts: About) -> str:
    """The card in Markdown: what the model is, its score, how to sample, and the license of the text."""
    title = _markdown(name)
    tags = ["charlstm", "character-level", "recurrent-neural-network", run.config.model.cell]
    lines = [
        "---",
        "library_name: charlstm",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
        "",
        f"# {title}",
        "",
        f"A character-level language model, trained with charlstm {run.header['versions']['charlstm']}.",
        "",
        f"- Text: {_markdown(facts.text)}",
        f"- Network: {_markdown(facts.network)}",
        f"- Parameters: {facts.parameters:,}",
        f"- Vocabulary: {run.vocabulary.size:,} {run.vocabulary.unit}s",
        *_score(run),
        *_training(run),
        *_start(run),
        f"- License of the text: {_markdown(facts.license) or 'not recorded. Check it before you publish the weights'}",
        "",
        "## How to use it",
        "",
        "```",
        f"charlstm {_command(run)}",
        "```",
        "",
        "```python",
        "import charlstm",
        "",
        'run = charlstm.load("PATH/OF/THIS/FOLDER")',
        *_example(run),
        'print(run.score("some text").bits_per_character)',
        "```",
        "",
        "`model.safetensors` has the weights in float32 and, in its header, configuration, vocabulary and a checksum.",
        "`config.json` has configuration and vocabulary for other programs.",
        *_sample(run),
    ]
    return "\n".join(lines) + "\n"


EXAMPLES = {"forward": "Once", "backward": "the end.", "bidirectional": "To be, ___"}
OPTIONS = {"forward": "--prime", "backward": "--suffix", "bidirectional": "--infill"}


def _example_text(run: LoadedRun) -> str:
    """A text to begin with, of characters that the model knows."""
    text, direction = EXAMPLES[run.model.direction], run.model.direction
    if run.vocabulary.kind == "bytes" or {*run.vocabulary.symbols, "_"}.issuperset(run.prepare(text)):
        return text
    return "___" if direction == "bidirectional" else ""


def _command(run: LoadedRun) -> str:
    text = _example_text(run)
    option = f' {OPTIONS[run.model.direction]} "{text}"' if text else ""
    return f"sample PATH/OF/THIS/FOLDER{option}"


def _example(run: LoadedRun) -> list[str]:
    if run.model.bidirectional:
        return [f'print(run.infill("{_example_text(run)}")[0].full_text)']
    return [f"print(run.generate(length=400, temperature={TEMPERATURE}, seed={SEED})[0].full_text)"]


def _score(run: LoadedRun) -> list[str]:
    """The best held-out score, as the run recorded it; without held-out text, the last score of the training text."""
    records, unit = [one for one in run.metrics if one.get("kind") == "evaluation"], run.vocabulary.unit
    kind = " (a pseudo-likelihood, given both sides of each)" if run.model.bidirectional else ""
    if not run.config.corpus.has_validation:
        lines = [f"- Held-out score: none: {NO_VALIDATION}"]
        if records:
            nats = evaluated_nats(records[-1])
            lines.insert(0, f"- Score of the training text: {bits(nats):.3f} bits per {unit}{kind}, {nats:.3f} nats")
        return lines
    step = _step(run)
    scored = run.metrics if step is None else [one for one in run.metrics if one["step"] == step]
    scored = [{**one, "network": "best"} if one["kind"] == "whole_split" else one for one in scored]
    if (best := best_score(scored)) is None:
        return []
    sample = ", a sample of the held-out text" if best.is_sampled else ""
    return [
        f"- Held-out score: {bits(best.nats):.3f} bits per {unit}{kind}, {best.nats:.3f} nats, on "
        f"{best.characters:,} {unit}s, each scored once{sample}"
    ]


def _step(run: LoadedRun) -> int | None:
    """The step of the checkpoint; None if it does not say it."""
    step: int | None = run.header.get("counters", {}).get("step")
    return step


def _training(run: LoadedRun) -> list[str]:
    training, step = run.config.training, _step(run)
    steps = "" if step is None else f"{step:,} steps of "
    return [
        f"- Training: {steps}{training.batch_size} x {training.sequence_length} {run.vocabulary.unit}s, "
        f"learning rate {training.learning_rate:g}, seed {training.seed}"
    ]


def _start(run: LoadedRun) -> list[str]:
    """The run whose weights the training started from, if it started from any."""
    recorded = run.config.training.initial_run
    name = "" if recorded is None else _markdown(initial_run_name(recorded))
    return [f"- Fine-tuned from the weights of {name}: the license of its text applies, too"] if name else []


def _sample(run: LoadedRun) -> list[str]:
    """A text of the model, without a choice among several."""
    if run.model.bidirectional:
        return []
    sampled = run.generate("", SAMPLE_LENGTH, temperature=TEMPERATURE, seed=SEED)[0].full_text
    text = visible(sampled.replace("\r\n", "\n"))
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    return ["", f"## A sample, at temperature {TEMPERATURE} with seed {SEED}", "", f"{fence}text", text, fence]


def _markdown(text: str) -> str:
    """The text on one line, with no markup of its own."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", visible(" ".join(text.split())))
