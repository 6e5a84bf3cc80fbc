"""Runs as the report wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charlstm.comparison.results import Arm, Comparison, Evaluation, RunResult
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.generation import specimen
from charlstm.training.loaded import LoadedRun, load

SAMPLE_LENGTH = 400


def read_run(path: Path, name: str) -> tuple[RunResult, LoadedRun]:
    """The run in this folder, with a sample that its best checkpoint writes. Raises UserError if it is no run."""
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
        sample=_sample(run),
        finished=run.directory.finished,
        causal=causal,
    )
    return result, run


def _sample(run: LoadedRun) -> str:
    """Text that the model writes; of a bidirectional one, a piece of its held-out text with a gap filled."""
    held_out = None
    if run.model.bidirectional:
        try:
            held_out = run.corpus().split("validation")
        except UserError:  # a report can do without, and its text may be gone
            return ""
    return specimen(run.model, run.vocabulary, SAMPLE_LENGTH, 1, run.document_end, held_out)


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
    )


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
        f"{source}, cut at {c.documents!r} into documents {order}; held out: {c.validation_fraction:.0%} of the text, "
        f"after the training part{test}" + (f"; only what follows {c.scored_after!r} counts" if c.scored_after else "")
    )


def differing(configs: Sequence[tuple[str, Config]]) -> list[str]:
    """For each configuration one line with the fields in which not all agree; nothing for a single one."""
    if len(configs) == 1:
        return []
    flat = [
        {
            f"{section}.{field}": value
            for section in ("corpus", "model", "training")
            for field, value in part[section].items()
        }
        for part in (config.model_dump() for _, config in configs)
    ]
    fields = list(dict.fromkeys(field for values in flat for field in values))
    telling = [f for f in fields if any(values.get(f) != flat[0].get(f) for values in flat) and f != "training.seed"]
    return [
        f"{label}: " + (", ".join(f"{f} {values[f]}" for f in telling if f in values) or "as the others")
        for (label, _), values in zip(configs, flat, strict=True)
    ]
