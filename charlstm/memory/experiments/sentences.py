"""Sentences whose last word is decided far before it, with filler from real text."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, fraction_metric, percent, reach_metric, solved_summary
from charlstm.memory.task_measures import TEST_SEED, JsonObject
from charlstm.probes.tasks.sentence_words import clean_filler
from charlstm.probes.tasks.sentences import shortest_distance
from charlstm.report.distance_plots import recall_plot
from charlstm.report.document import Figure, Section, Table, slug
from charlstm.report.gate_plots import gate_map
from charlstm.text.corpus import load_corpus
from charlstm.text.visible import visible

Key = tuple[str, str]

GATE_STRINGS = 50
ROWS = 16
RECENCY = "recency"
PARTS = {"before": "text before", "other cue": "other cue", "cue": "cue", "filler": "filler", "question": "question"}

WHAT = (
    'One word decides the last word of a sentence: "I was born in France ... I speak French" (birthplace), "Anna ran, '
    '... Peter ran, ... yet he" (replaced subject: the new subject decides, the old one must be forgotten). Between '
    "the two is real text without any of the cues and answers. Other cues that decide nothing come before and after "
    '("I saw Spain"), so neither the first nor the last cue gives the answer. Control: the deciding word is directly '
    'before the answer ("the clouds are in the sky"), after as much other text. Only the '
    "answer is scored, in training and in the test: an answer is correct if each of its characters is the "
    "most probable one. Guesses without memory: always the same answer (unigram), and the answer that belongs to the "
    "last cue before the question (recency)."
)


@experiment("sentences")
class SentencesExperiment(ArmsByTask[Key]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.sentences
        assert section is not None
        self._section = section
        self._fillers = {
            language: self._filler(grid, language, corpus) for language, corpus in section.fillers().items()
        }
        keys = [(language, kind) for language in self._fillers for kind in section.kinds]
        self._distances: dict[Key, list[int]] = {key: _possible(key, section.distances) for key in keys}
        groups: dict[Key, dict[str, RunGroup]] = {}
        for language, kind in keys:
            task = {
                "task": "Sentences",
                "language": language,
                "kind": kind,
                "distances": _possible((language, kind), section.train_distances or section.distances),
                "filler": self._fillers[language],
                "other_cues": section.other_cues,
            }
            dataset = grid.texts.task(f"sentences-{language}-{kind.replace('_', '-')}", task, section.strings)
            groups[language, kind] = grid.run_groups("sentences", dataset, section.arms)
        super().__init__(config, grid, groups)

    def _filler(self, grid: Grid, language: str, corpus: CorpusConfig) -> str:
        """The path of the cleaned filler of a language, which is written to the comparison's folder."""
        loaded = load_corpus(corpus.source, corpus.encoding)
        text = loaded.vocabulary.decode(loaded.ids)
        cleaned = clean_filler(text, language, self._section.filler_symbols, self._section.filler_characters)
        return str(grid.texts.write(f"filler-{language}", cleaned))

    def _arguments(self, key: Key) -> JsonObject:
        language, kind = key
        return {"language": language, "kind": kind, "filler": self._fillers[language], "seed": TEST_SEED}

    def measure(self, key: Key) -> tuple[str, JsonObject]:
        arguments = {"distances": self._distances[key], "strings": self._config.test_strings}
        return "sentence_answers", self._arguments(key) | arguments

    def _gate_job(self, key: Key, arm: str) -> MeasurementJob:
        """The gate measurement of an arm's first seed."""
        distances = self._distances[key]
        distance = min(distances, key=lambda n: abs(n - self._section.gate_distance))
        arguments = self._arguments(key) | {"distance": distance, "strings": GATE_STRINGS}
        return self._grid.measurement_jobs(self._groups[key][arm], "sentence_gates", arguments)[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        gate_jobs = [self._gate_job(key, arm) for key in self._groups for arm in self._section.arms]
        return [*super().measurement_jobs(), *gate_jobs]

    def metric_names(self) -> list[str]:
        names = []
        for key, distances in self._distances.items():
            title = _title(*key)
            names.append(f"longest distance ({title})")
            names += [f"accuracy at distance {n} ({title})" for n in distances]
            names += [f"choice at distance {n} ({title})" for n in distances]
        return names

    def result(self) -> ExperimentResult:
        metrics: dict[tuple[str, str], MetricValue] = {}
        plots: list[Figure | None] = []
        tables: list[Table] = []
        data: dict[str, Any] = {}
        for key in self._groups:
            results = {arm: self._results(key, arm) for arm in self._section.arms}
            metrics |= self._metrics(key, results)
            plots.append(self._plot(key, results))
            tables.append(self._table(key, results))
            tables += self._gate_table(key)
            plots += self._gate_plots(key)
            data[_title(*key)] = {"distances": self._distances[key], "results": results}
        section = Section(
            title="Sentences",
            paragraphs=[WHAT, self._training()],
            figures=[plot for plot in plots if plot is not None],
            tables=[*tables, runs_table(self._grid, self.run_groups())],
            data=data,
        )
        return ExperimentResult(section, metrics)

    def _training(self) -> str:
        """Which distances the networks were trained on."""
        distances = sorted(set(self._section.train_distances or self._section.distances))
        several = " together: short distances teach long ones" if len(distances) > 1 else " alone"
        return f"Each network was trained on sentences of distance {', '.join(map(str, distances))}{several}."

    def _metrics(self, key: Key, results: dict[str, list[JsonObject]]) -> dict[tuple[str, str], MetricValue]:
        metrics, distances, title = {}, self._distances[key], _title(*key)
        for arm, runs in results.items():
            solved = [[value >= self._config.solve_threshold for value in run["accuracy"]] for run in runs]
            metrics[f"longest distance ({title})", arm] = reach_metric(
                distances, solved, fraction=self._config.min_seed_fraction
            )
            for index, n in enumerate(distances):
                for name, field in (("accuracy", "accuracy"), ("choice", "candidates")):
                    values = [run[field][index] for run in runs]
                    metric = fraction_metric(values, self._config.test_strings)
                    metrics[f"{name} at distance {n} ({title})", arm] = metric
        return metrics

    def _plot(self, key: Key, results: dict[str, list[JsonObject]]) -> Figure | None:
        language, kind = key
        curves = {arm: [run["accuracy"] for run in runs] for arm, runs in results.items()}
        any_run = next(iter(results.values()))[0]
        return recall_plot(
            self._distances[key],
            {**curves, RECENCY: [any_run["recency"]]},
            {**self._colors, RECENCY: len(self._config.arms)},
            max(any_run["unigram"]),
            self._config.solve_threshold,
            name=f"sentences-{language}-{kind.replace('_', '-')}",
            title=f"Correct answers: {_title(language, kind)}",
            x_label="characters before the sentence" if kind == "control" else "characters between cue and answer",
            note=f"{RECENCY} is a guess: the answer that belongs to the last cue before the question.",
        )

    def _table(self, key: Key, results: dict[str, list[JsonObject]]) -> Table:
        """Accuracy by distance: greedy, and among the possible answers; and that of the guesses."""
        distances, rows = self._distances[key], []
        for arm, runs in results.items():
            row = [visible(arm), self._metrics(key, {arm: runs})[f"longest distance ({_title(*key)})", arm].text]
            for index in range(len(distances)):
                summary = solved_summary([run["accuracy"][index] for run in runs], self._config.solve_threshold)
                choice = percent(statistics.fmean(run["candidates"][index] for run in runs))
                row.append(f"{summary}; {choice}")
            rows.append(row)
        any_run = next(iter(results.values()))[0]
        rows += [[name, "–", *map(percent, any_run[name])] for name in ("unigram", RECENCY)]
        threshold = percent(self._config.solve_threshold)
        caption = (
            f"{_title(*key)}: correct answers, mean over seeds (seeds that reach {threshold}); how often the answer is "
            "the most probable of all possible ones"
        )
        colors = [*self._arm_colors(results), len(self._config.arms), len(self._config.arms)]
        return Table(["arm", "longest distance", *map(str, distances)], rows, caption=caption, colors=colors)

    def _gate_table(self, key: Key) -> list[Table]:
        """The mean of each gate over each part of the sentences."""
        rows = []
        for arm in self._section.arms:
            result = self._gate_job(key, arm).result()
            for gate, means in result["means"].items():
                name = f"{gate} (forget gate)" if gate == result["letter"] else gate
                values = [f"{means[part]:.3f}" if part in means else "–" for part in PARTS]
                rows.append([visible(arm), name, *values])
        if not rows:
            return []
        caption = f"{_title(*key)}: mean of each gate while a part of the sentence is read, first seed"
        return [Table(["arm", "gate", *PARTS.values()], rows, caption=caption, folded=True)]

    def _gate_plots(self, key: Key) -> list[Figure | None]:
        """The forget gate of each arm over one sentence, for the units where it varies most."""
        plots = []
        for arm in self._section.gate_arms:
            result = self._gate_job(key, arm).result()
            if result["letter"] is None:
                continue
            values = np.array(result["series"])
            units = np.sort(np.argsort(-values.std(0))[:ROWS])
            plots.append(
                gate_map(
                    values[:, units],
                    result["text"],
                    f"sentence-gates-{'-'.join(key).replace('_', '-')}-{slug(arm)}",
                    f"Gate {result['letter']} over a sentence ({_title(*key)}): {arm}",
                    units.tolist(),
                )
            )
        return plots


def _possible(key: Key, distances: list[int]) -> list[int]:
    """The distances that sentences of a language and kind can have. Raises ValueError if there are none."""
    shortest = shortest_distance(*key)
    possible = [n for n in sorted(set(distances)) if n >= shortest]
    if not possible:
        raise ValueError(f"distances: {_title(*key)} needs one of {shortest} or more")
    return possible


def _title(language: str, kind: str) -> str:
    """``birthplace, en``."""
    return f"{kind.replace('_', ' ')}, {language}"
