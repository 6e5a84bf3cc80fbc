"""Read trained runs and combine them into a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from charlstm.api import LoadedRun, load
from charlstm.comparison.results import Arm, Comparison, Evaluation, RunResult
from charlstm.config import Config, as_yaml
from charlstm.errors import UserError
from charlstm.evaluation import score
from charlstm.files import open_regular
from charlstm.generation import preview
from charlstm.paths import path_exists
from charlstm.report.writer import REPORT
from charlstm.runs.contents import why_no_run
from charlstm.runs.metrics import whole_split_nats
from charlstm.runs.names import distinct_names
from charlstm.text.corpus import Corpus
from charlstm.training.gap_advice import gap_advice

SAMPLE_LENGTH = 400
MAX_VALUE = 100
"""Characters of a setting that a list of differences shows."""


def read_run(
    path: Path, name: str, corpus: Corpus | None = None, is_compared: bool = False
) -> tuple[RunResult, LoadedRun]:
    """Read the run in this folder, and generate a sample from its best checkpoint.

    Args:
        corpus: the text that the run was trained on, if it is loaded already.
        is_compared: score the best network on the whole validation split if evaluations scored a sample of it and the
            run has not ended yet, unless the text cannot be found.

    Raises UserError if the folder is not a run.
    """
    run = load(path)
    if run.directory is None:
        raise UserError(why_no_run(path))
    records = run.metrics
    training, evaluations = ([r for r in records if r["kind"] == kind] for kind in ("train", "evaluation"))
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
    seconds = training[-1]["seconds"] if training else 0.0
    result = RunResult(
        name=name,
        seed=run.config.training.seed,
        parameters=run.header["parameters"],
        settings=settings,
        evaluations=[
            Evaluation(r["step"], r["characters"], r["seconds"], r["nats"], r.get("training_split_nats"))
            for r in evaluations
            if r["nats"] is not None
        ],
        train=[(r["characters"], r["seconds"], r["nats"]) for r in training],
        characters_per_second=training[-1]["characters"] / seconds if seconds else 0.0,
        seconds=seconds,
        sample=_sample(run, corpus),
        finished=run.directory.finished,
        causal=causal,
        remark="; ".join(gap_advice(records, run.config)),
        training_split_nats=evaluations[-1].get("training_split_nats") if evaluations else None,
        has_validation=run.config.corpus.has_validation,
        samples=any(r.get("sampled_from") is not None for r in evaluations),
        whole_split_nats=whole_split_nats(records),
        diverged=run.directory.ended == "diverged",
    )
    if is_compared and result.has_sampled_score:
        with suppress(UserError):
            text = (corpus or run.corpus()).split("validation")
            result = replace(result, whole_split_nats={"best": score(run.model, text).nats})
    return result, run


def _sample(run: LoadedRun, corpus: Corpus | None) -> str:
    """Generate text; with a bidirectional model, an excerpt of its held-out text, or without one of its training text,
    with a gap filled."""
    text = None
    if run.model.bidirectional:
        try:
            corpus = corpus or run.corpus()
        except UserError:  # the sample is optional, and the text file may have been deleted
            return ""
        text = corpus.split(corpus.excerpt_split)
    return preview(run.model, run.vocabulary, SAMPLE_LENGTH, 1, run.document_end, text, lead_ins=run.lead_ins)


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare existing runs, each as a separate arm; a single run is allowed.

    Raises UserError if a run is given twice, or if two were not trained on the same text with the same split: their
    scores are not comparable.
    """
    labels = distinct_names(paths)
    results = [read_run(path, path.resolve().name, is_compared=len(paths) > 1) for path in paths]
    first = results[0][1]
    for path, (_, run) in zip(paths, results, strict=True):
        if _text_identity(run) != _text_identity(first):
            raise UserError(
                f"{paths[0]} and {path} were not trained on the same text with the same split: "
                "their held-out scores are not comparable"
            )
    return Comparison(
        title=" against ".join(labels),
        arms=[Arm(label, [result]) for label, (result, _) in zip(labels, results, strict=True)],
        corpus=corpus_text(first.config),
        difference=differing([(label, run.config) for label, (_, run) in zip(labels, results, strict=True)]),
        match="" if len(results) == 1 else "nothing: these are existing runs, whose budgets and sizes may differ",
        unit=first.vocabulary.unit,
        compared=_absolute_paths(paths),
    )


def report_folder(runs: Path, paths: Sequence[Path]) -> Path:
    """The folder under ``runs`` for the report on these runs; it holds no run, and no report on other runs."""
    names = "-".join(path.resolve().name for path in paths)
    name = "compare-" + names.encode("utf-8", "ignore")[:80].decode("utf-8", "ignore")
    folders = (runs / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if _is_available(folder, _absolute_paths(paths)))


def _is_available(folder: Path, paths: list[str]) -> bool:
    report = folder / "report" / REPORT
    is_run = path_exists(folder / "config.yaml")
    return not is_run and (not path_exists(report) or _compared_paths(report) == paths)


def _absolute_paths(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]


def _compared_paths(report: Path) -> list[str] | None:
    try:
        with open_regular(report) as file:
            paths: list[str] | None = json.loads(file.readall()).get("compared")
            return paths
    except (OSError, UserError, ValueError, AttributeError, RecursionError):
        return None  # not a report of this program: must not be overwritten


def _text_identity(run: LoadedRun) -> tuple[object, ...]:
    return (run.header["corpus_digest"], run.config.corpus.model_dump(exclude={"source", "characters"}))


def corpus_text(config: Config) -> str:
    """Describe the corpus and its split."""
    c = config.corpus
    source = ", ".join(Path(part).name for part in ([c.source] if isinstance(c.source, str) else c.source))
    where = {"tail": ", after the training part", "blocks": " in blocks that are spread over it", "files": " by files"}
    last = "the last " if c.validation == "tail" else ""
    test = f", test on {last}{c.test_fraction:.0%}" if c.test_fraction else ""
    held_out = f"held out: {c.validation_fraction:.0%} of the text{where[c.validation]}{test}"
    if not c.has_validation:
        held_out = f"no text is held out for validation{test}"
    if c.documents is None:
        return f"{source}; {held_out}"
    order = "in shuffled order" if c.shuffle_documents and c.validation == "tail" else "in their order"
    return f"{source}, cut at {as_yaml(c.documents)} into documents {order}; {held_out}" + (
        f"; only characters after {as_yaml(c.score_after)} are scored" if c.score_after else ""
    )


def differing(configs: Sequence[tuple[str, Config]]) -> list[str]:
    """One line per configuration with the fields that are not the same in all; empty for a single configuration."""
    if len(configs) == 1:
        return []
    flat = [_dotted(config.model_dump(mode="json", exclude={"name"})) for _, config in configs]
    fields = list(dict.fromkeys(field for values in flat for field in values))
    varying = [f for f in fields if any(values.get(f) != flat[0].get(f) for values in flat) and f != "training.seed"]
    return [
        f"{label}: " + (", ".join(f"{f}: {_value(values[f])}" for f in varying if f in values) or "no difference")
        for (label, _), values in zip(configs, flat, strict=True)
    ]


def _value(value: object) -> str:
    """A value in YAML, and only its beginning if it is long, such as the characters of a vocabulary."""
    text = as_yaml(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


def _dotted(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a section and its subsections, by their dotted names."""
    fields: dict[str, Any] = {}
    for name, value in section.items():
        fields |= _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return fields
