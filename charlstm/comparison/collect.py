"""Runs as the report wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from charlstm.api import LoadedRun, load
from charlstm.comparison.results import Arm, Comparison, Evaluation, RunResult
from charlstm.config import Config, as_yaml
from charlstm.errors import UserError
from charlstm.files import open_regular
from charlstm.generation import preview
from charlstm.paths import is_there
from charlstm.report.writer import REPORT
from charlstm.text.corpus import Corpus

SAMPLE_LENGTH = 400


def read_run(path: Path, name: str, corpus: Corpus | None = None) -> tuple[RunResult, LoadedRun]:
    """The run in this folder, with a sample that its best checkpoint writes. Raises UserError if it is no run.

    corpus: the text that it was trained on, if that is at hand.
    """
    run = load(path)
    if run.directory is None:
        raise UserError(f"{path} is no run's folder")
    records = run.metrics
    trained = [r for r in records if r["kind"] == "train"]
    model = run.config.model
    settings: dict[str, object] = {
        **model.model_dump(),
        "executor": ", ".join(dict.fromkeys(run.header["executors"])),
        "precision": run.header["precision"],
        "device": run.header["device"],
        "threads": run.header["threads"],
        "torch": run.header["versions"]["torch"],
    }
    causal = model.direction != "bidirectional"
    seconds = trained[-1]["seconds"] if trained else 0.0
    result = RunResult(
        name=name,
        seed=run.config.training.seed,
        parameters=run.header["parameters"],
        settings=settings,
        evaluations=[
            Evaluation(r["step"], r["characters"], r["seconds"], r["nats"])
            for r in records
            if r["kind"] == "evaluation"
        ],
        train=[(r["characters"], r["seconds"], r["nats"]) for r in trained],
        characters_per_second=trained[-1]["characters"] / seconds if seconds else 0.0,
        seconds=seconds,
        sample=_sample(run, corpus),
        finished=run.directory.finished,
        causal=causal,
    )
    return result, run


def _sample(run: LoadedRun, corpus: Corpus | None) -> str:
    """Text that the model writes; of a bidirectional one, a piece of its held-out text with a gap filled."""
    held_out = None
    if run.model.bidirectional:
        try:
            held_out = (corpus or run.corpus()).split("validation")
        except UserError:  # a report can do without, and its text may be gone
            return ""
    return preview(run.model, run.vocabulary, SAMPLE_LENGTH, 1, run.document_end, held_out)


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Runs that exist, each an arm of its own; also a single one.

    Raises UserError if two were not trained on the same text with the same split: their scores would not compare.
    """
    found = [read_run(path, path.resolve().name) for path in paths]
    first = found[0][1]
    for path, (_, run) in zip(paths, found, strict=True):
        if _text_of(run) != _text_of(first):
            raise UserError(
                f"{paths[0]} and {path} were not trained on the same text with the same split: "
                "their held-out scores do not compare"
            )
    names = [result.name for result, _ in found]
    labels = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    if len(set(labels)) < len(labels):
        raise UserError("a run is named twice")
    return Comparison(
        title=" against ".join(labels),
        arms=[Arm(label, [result]) for label, (result, _) in zip(labels, found, strict=True)],
        corpus=corpus_text(first.config),
        difference=differing([(label, run.config) for label, (_, run) in zip(labels, found, strict=True)]),
        match="" if len(found) == 1 else "runs as they were trained: budgets and sizes may differ",
        unit=first.vocabulary.unit,
        compared=_places(paths),
    )


def own_folder(runs: Path, paths: Sequence[Path]) -> Path:
    """The folder under ``runs`` for the report on these runs: not one that is about others of the same names."""
    names = "-".join(path.resolve().name for path in paths)
    name = "compare-" + names.encode("utf-8", "ignore")[:80].decode("utf-8", "ignore")
    folders = (runs / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if _may_hold(folder, _places(paths)))


def _may_hold(folder: Path, places: list[str]) -> bool:
    report = folder / "report" / REPORT
    a_run = is_there(folder / "config.yaml")
    return not a_run and (not is_there(report) or _compared(report) == places)


def _places(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]


def _compared(report: Path) -> list[str] | None:
    try:
        with open_regular(report) as file:
            found: list[str] | None = json.loads(file.readall()).get("compared")
            return found
    except (OSError, UserError, ValueError, AttributeError, RecursionError):
        return None  # no report of this program: not to be overwritten


def _text_of(run: LoadedRun) -> tuple[object, ...]:
    return (run.header["corpus_digest"], run.config.corpus.model_dump(exclude={"source"}))


def corpus_text(config: Config) -> str:
    """The corpus and its split in words."""
    c = config.corpus
    source = ", ".join(Path(part).name for part in ([c.source] if isinstance(c.source, str) else c.source))
    test = f", test on the last {c.test_fraction:.0%}" if c.test_fraction else ""
    if c.documents is None:
        return f"{source}; held out: {c.validation_fraction:.0%} of the text, after the training part{test}"
    order = "in an order shuffled once" if c.shuffle_documents else "in their order"
    return (
        f"{source}, cut at {as_yaml(c.documents)} into documents {order}; "
        f"held out: {c.validation_fraction:.0%} of the text, after the training part{test}"
        + (f"; only what follows {as_yaml(c.score_after)} counts" if c.score_after else "")
    )


def differing(configs: Sequence[tuple[str, Config]]) -> list[str]:
    """For each configuration one line with the fields in which not all agree; nothing for a single one."""
    if len(configs) == 1:
        return []
    flat = [_dotted(config.model_dump(mode="json", exclude={"name"})) for _, config in configs]
    fields = list(dict.fromkeys(field for values in flat for field in values))
    telling = [f for f in fields if any(values.get(f) != flat[0].get(f) for values in flat) and f != "training.seed"]
    return [
        f"{label}: " + (", ".join(f"{f}: {as_yaml(values[f])}" for f in telling if f in values) or "as the others")
        for (label, _), values in zip(configs, flat, strict=True)
    ]


def _dotted(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a section, and of those within it, by their whole names."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
