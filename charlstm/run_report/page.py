"""The page of a single run: curves, what its bits mean, samples by temperature and over time, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlstm.api import LoadedRun
from charlstm.comparison.collect import corpus_text, read_run
from charlstm.comparison.record import as_record
from charlstm.comparison.results import Arm, Comparison
from charlstm.config import dump_changes, dump_yaml
from charlstm.config.corpus import NO_VALIDATION_SENTENCE
from charlstm.errors import UserError
from charlstm.paths import command
from charlstm.probes.ngram_scores import HELD_OUT_LIMIT, LIMIT
from charlstm.report.document import Document, Sample, Section, Table
from charlstm.report.writer import write_document
from charlstm.run_report.baselines import Baseline, baselines
from charlstm.run_report.curves import Along, ladder, learning_curve, read_curves
from charlstm.run_report.samples import by_temperature, over_time
from charlstm.runs.commands import evaluate_command
from charlstm.runs.directory import RunDirectory
from charlstm.runs.naming import initial_run_name
from charlstm.text.corpus import Corpus
from charlstm.text.visible import listed_symbols

MODEL = "this model"


def write_run_report(path: Path, is_complete: bool = True, corpus: Corpus | None = None) -> list[Path]:
    """Write report/index.html, its plots and report.json into the folder of a run; index.html comes first.

    Args:
        path: the folder of the run.
        is_complete: also sample from the best checkpoint and score the baselines, which takes seconds; without it, the
            page has what the files of the run say, as for a run that was stopped.
        corpus: the text of the run, if it is loaded already.

    Raises:
        UserError: this is not a run, or the files cannot be read or written.
    """
    return RunReport(path, is_complete, corpus).write()


class RunReport:
    """The parts of the page of one run; without its model and its text, those that its files are enough for.

    ``comparison``: the run as the only arm of a comparison, for its table; None if the report is not complete.
    """

    def __init__(self, path: Path, is_complete: bool = True, corpus: Corpus | None = None) -> None:
        """Read the run; arguments and errors as for :func:`write_run_report`."""
        directory = RunDirectory(path)
        self.directory, self._corpus = directory, corpus
        self.run: LoadedRun | None = None
        self.config = directory.config()
        self.name = directory.path.resolve().name
        self.comparison: Comparison | None = None
        self.sample = ""
        if is_complete:
            result, self.run = read_run(path, self.name, corpus)
            self.sample = result.sample
            self.comparison = Comparison(
                title=self.name,
                arms=[Arm(self.name, [result])],
                corpus=corpus_text(self.config),
                unit=self.run.vocabulary.unit,
                compared=[str(path.resolve())],
            )
        self.unit = "byte" if self.config.corpus.encoding == "bytes" else "character"
        records = directory.metrics()
        self.facts: dict[str, Any] = next((record for record in records if record["kind"] == "start"), {})
        self.curves = read_curves(records)
        self.is_finished = directory.finished
        self.baselines: list[Baseline] = []

    def write(self) -> list[Path]:
        """Write the files, as :func:`write_run_report` does."""
        return write_document(self.document(), self.record(), self.directory.report_folder)

    def document(self) -> Document:
        """The page. A remark says why parts are missing."""
        remarks, corpus = list[str](), self._corpus
        if self.run is not None and corpus is None:
            try:
                corpus = self.run.corpus()
            except UserError as error:
                remarks.append(f"Parts that need the text are missing: {error}")
        sections: list[Section | None] = [self._curves()]
        if self.run is not None and not self.run.model.bidirectional:
            sections += [None if corpus is None else self._meaning(corpus), by_temperature(self.run, corpus)]
        elif self.sample:
            origin = self.config.corpus.evaluated_text
            text = f"A piece of the {origin}; the model has filled in the characters in brackets."
            sections.append(Section("A filled gap", [text], samples=[Sample(origin, self.sample)]))
        sections += [over_time(self.directory.samples_file, self.curves), self._settings(), self._method()]
        if not self.is_finished:
            hint = command("train", self.directory.path, "--resume")
            chosen = "best" if self.curves.is_held_out else "last"
            remarks.append(f"This run is not finished: its score is the {chosen} so far. To resume it: {hint}")
        if self.run is None:
            hint = command("compare", self.directory.path)
            remarks.append(f"Samples by temperature, and what the bits mean, are in the whole report: {hint}")
        return Document(self.name, self.headline(), [section for section in sections if section is not None], remarks)

    def record(self) -> dict[str, Any]:
        """The data for report.json."""
        best = self.curves.best()
        return {
            **({} if self.comparison is None else as_record(self.comparison)),
            "name": self.name,
            "unit": self.unit,
            "finished": self.is_finished,
            "parameters": self.facts.get("parameters"),
            "settings": self.config.model_dump(mode="json"),
            f"best_held_out_bits_per_{self.unit}": None if best is None else float(best[3]),
            "best_step": None if best is None else int(best[2]),
            "best_is_of_a_sample": self.curves.is_sampled and not self.curves.whole,
            f"whole_split_bits_per_{self.unit}": dict(self.curves.whole),
            f"baselines_bits_per_{self.unit}": {baseline.name: baseline.bits for baseline in self.baselines},
            "evaluations": self._points(
                self.curves.evaluations, "held_out" if self.curves.is_held_out else "training_split"
            ),
            "training": self._points(self.curves.training, "training"),
        }

    def _points(self, points: Any, kind: str) -> list[dict[str, float]]:
        names = (f"{self.unit}s", "training_seconds", "step", f"{kind}_bits_per_{self.unit}")
        return [dict(zip(names, map(float, row), strict=True)) for row in points]

    def headline(self) -> list[str]:
        """The score and the network, in sentences."""
        best, model = self.curves.best(), self.config.model
        layers = "" if model.num_layers == 1 else f"{model.num_layers} layers of "
        parameters = f" and {self.facts['parameters']:,} parameters" if "parameters" in self.facts else ""
        network = f"The network: {model.cell} with {layers}{model.hidden_size} units{parameters}"
        if (initial := self.config.training.initial_run) is not None:
            network += f", fine-tuned from the weights of {initial_run_name(initial)}"
        if not self.config.corpus.has_validation:
            kind = "a pseudo-likelihood of " if self.curves.is_pseudo_likelihood else ""
            last = self.curves.evaluations[-1:, 3]
            reached = [f"{self.name} reaches {kind}{bits:.3f} bits per {self.unit} of training text." for bits in last]
            return [*reached, NO_VALIDATION_SENTENCE, f"{network}."]
        if best is None:
            return [f"{self.name} has no held-out score yet.", f"{network}."]
        kind = "a pseudo-likelihood of " if self.curves.is_pseudo_likelihood else ""
        after = f"after {int(best[0]):,} {self.unit}s in {float(best[1]):,.0f} s of training"
        return [
            f"{self.name} reaches {kind}{best[3]:.3f} bits per {self.unit} of {self.curves.best_text}.",
            f"{network}. The best score is that at step {int(best[2]):,}, {after}.",
        ]

    def _curves(self) -> Section:
        along: tuple[Along, ...] = ("characters",) if self.run is None else ("characters", "seconds")
        drawn = [learning_curve(self.curves, self.unit, each) for each in along]
        figures = [figure for figure in drawn if figure is not None]
        text = "The training loss is the mean since the point before, with dropout if it is used. " + (
            self._what_is_scored()
            if self.curves.is_held_out
            else f"Evaluations score a part of the training text, without dropout. {NO_VALIDATION_SENTENCE}"
        )
        rows = [
            [f"{int(row[2]):,}", f"{int(row[0]):,}", f"{row[1]:,.1f}", f"{row[3]:.4f}"]
            for row in self.curves.evaluations
        ]
        kind = "held-out bits" if self.curves.is_held_out else "training text, bits"
        kind = "held-out sample, bits" if self.curves.is_sampled else kind
        header = ["step", f"{self.unit}s", "seconds", f"{kind} per {self.unit}"]
        if len(self.curves.raw):
            text += " It is the score of the averaged weights; that of the raw weights is shown, too."
            raw = {row[2]: f"{row[3]:.4f}" for row in self.curves.raw}
            rows = [[*cells, raw.get(row[2], "")] for cells, row in zip(rows, self.curves.evaluations, strict=True)]
            header.append("with raw weights")
        tables = [Table(header, rows, caption="Every evaluation", folded=True)] if rows else []
        return Section("Learning curves", [text if figures else "Nothing is recorded yet."], figures, tables)

    def _what_is_scored(self) -> str:
        if not self.curves.is_sampled:
            return f"The held-out score covers every {self.unit} of the validation split."
        text = "The held-out score of an evaluation is that of an evenly spread sample of the validation split."
        scores = [
            f"that of the {name} network {value:.4f} bits per {self.unit}" for name, value in self.curves.whole.items()
        ]
        whole = f" The score on the whole split: {', '.join(scores)}." if scores else ""
        return text + whole

    def _meaning(self, corpus: Corpus) -> Section | None:
        best = self.curves.best()
        if best is None or self.config.corpus.score_after is not None:
            return None
        self.baselines = baselines(self.config, corpus)
        figure = ladder([*self.baselines, Baseline(MODEL, float(best[3]))], MODEL, self.unit)
        text = (
            f"Bits per {self.unit} of the same held-out text, by predictors that know the training text: the alphabet "
            "alone, n-gram models (interpolated Kneser-Ney), and xz: how much longer a compressed file of the training "
            "text becomes if the held-out text follows."
        )
        if corpus.length("train") > LIMIT or corpus.length("validation") > HELD_OUT_LIMIT:
            text += (
                f" Of long texts, the n-gram models and xz know the last {LIMIT:,} {self.unit}s of the training text, "
                f"and are scored on the first {HELD_OUT_LIMIT:,} of the held-out text."
            )
        verdict = _place([one for one in self.baselines if one.name.endswith("model")], float(best[3]))
        return Section("What the bits mean", [f"{verdict}{text}"], [] if figure is None else [figure])

    def _settings(self) -> Section:
        everything = Section("All settings", samples=[Sample("config.yaml", dump_yaml(self.config))])
        return Section(
            "Settings",
            ["What differs from the defaults, as a configuration that charlstm train reads."],
            samples=[Sample("YAML", dump_changes(self.config))],
            parts=[everything],
        )

    def _method(self) -> Section:
        last = self.curves.training[-1] if len(self.curves.training) else None
        speed = "" if last is None or not last[1] else f"{last[0] / last[1]:,.0f} {self.unit}s per second"
        context = "before it" if self.config.model.direction != "bidirectional" else "on both sides"
        part = " of a sample" if self.curves.is_sampled and not self.curves.whole else ""
        facts = [
            ("Text", corpus_text(self.config)),
            *self._start(),
            *(
                [
                    (
                        "Score",
                        f"Every held-out {self.unit}{part} scored once, with the real text {context} as context.",
                    ),
                    ("Best", "The lowest held-out score, selected on the same text: slightly optimistic."),
                ]
                if self.config.corpus.has_validation
                else [("Score", NO_VALIDATION_SENTENCE)]
            ),
            ("Speed", speed and f"{speed}, without evaluation and sampling"),
            *self._execution(),
        ]
        path = self.directory.path
        commands = [command("sample", path), evaluate_command(path, self.config)]
        remarks = [f"To use it: {line}" for line in commands]
        return Section("How it was trained", facts=[fact for fact in facts if fact[1]], remarks=remarks)

    def _start(self) -> list[tuple[str, str]]:
        """The run whose weights the training started from, as the start of the run recorded it."""
        try:
            start = self.facts["initial_run"]
            step, new = "" if start["step"] is None else f" at step {start['step']:,}", start["new_characters"]
            count = f"{len(new):,} {self.unit}{'s' * (len(new) != 1)}"
            listed = f": {listed_symbols(new, self.unit + 's')}" if new else ""
            return [("Start", f"the weights of {start['name']}{step}; {count} not in its text{listed}")]
        except (KeyError, TypeError, ValueError):  # it started with new weights
            return []

    def _execution(self) -> list[tuple[str, str]]:
        """The executor and the machine, as the start of the run recorded them."""
        facts = self.facts
        try:
            return [
                ("Executor", f"{', '.join(dict.fromkeys(facts['executors']))}, {facts['precision']}"),
                ("Machine", f"{facts['device']}, threads: {facts['threads']}, torch {facts['versions']['torch']}"),
            ]
        except (KeyError, TypeError):  # a record of another version
            return []


def _place(ngrams: list[Baseline], score: float) -> str:
    """A sentence on which n-gram models a score is better and worse than; "" without one."""
    better = [one for one in ngrams if one.bits < score]
    worse = [one for one in ngrams if one.bits > score]
    if ngrams and not better:
        return "The model predicts better than every n-gram model. "
    if not worse:
        return "Every n-gram model predicts better than the model. " if ngrams else ""
    below, above = max(better, key=lambda one: one.bits).name, min(worse, key=lambda one: one.bits).name
    return f"The model predicts better than the {above}, and worse than the {below}. "
