"""Sections of samples: the same prime at several temperatures, and what training recorded over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.files import read_regular
from charlstm.report.document import Sample, Section
from charlstm.run_report.curves import Curves
from charlstm.text.corpus import Corpus
from charlstm.text.excerpts import prompt

TEMPERATURES = (0.2, 0.5, 0.8, 1.0, 1.3)
LENGTH = 300
DOCUMENTS = 12
SHOWN = 6
SIZE_LIMIT = 1 << 26
"""Bytes of samples.txt that are read."""


def by_temperature(run: LoadedRun, corpus: Corpus | None) -> Section:
    """The same beginning, or for a backward model the same end, at several temperatures; without the text, texts that
    start from nothing, as do documents and the lines of a list, which all begin differently."""
    direction = run.config.model.direction
    prime = "" if corpus is None else prompt(corpus, run.config.corpus.context_end, direction)
    start = "Texts that start from nothing."
    if prime:
        text = run.config.corpus.evaluated_text
        start = f"What {'precedes' if direction == 'backward' else 'follows'} {prime!r}, a piece of the {text}."
    checkpoint = "best" if run.config.corpus.has_validation else "last"
    text = (
        f"{start} A low temperature prefers probable characters. The checkpoint is the {checkpoint} one, the seed is 1."
    )
    try:
        samples = [Sample(f"temperature {t:g}", _sample(run, prime, t)) for t in TEMPERATURES]
    except UserError as error:  # a network that answers questions may run away beyond the answer
        run.generate(prime, 1)  # raises if the weights are broken
        return Section("Samples by temperature", [f"There are none: {error}."])
    return Section("Samples by temperature", [text], samples=samples)


def _sample(run: LoadedRun, prime: str, temperature: float) -> str:
    """A text, or as many documents as fit into its length."""
    count = DOCUMENTS if run.document_end and not prime else 1
    texts = run.generate(prime, LENGTH, temperature=temperature, seed=1, num_samples=count)
    return run.document_end.join(sample.full_text for sample in texts)[: LENGTH + len(prime)]


def over_time(path: Path, curves: Curves) -> Section | None:
    """Some of the samples that training recorded in samples.txt, evenly spaced; None without one."""
    samples = read_samples(path)
    if not samples:
        return None
    scores = {int(row[2]): row[3] for row in curves.evaluations}
    origin = "" if curves.is_held_out else " of training text"
    chosen = [samples[index] for index in spread_indices(len(samples), SHOWN)]
    return Section(
        "Samples over time",
        [f"{len(chosen)} of {len(samples)} samples that training recorded."],
        samples=[
            Sample(f"step {step:,}", content, note=f"{scores[step]:.2f} bits{origin}" if step in scores else "")
            for step, content in chosen
        ],
    )


def read_samples(path: Path) -> list[tuple[int, str]]:
    """The steps and texts of samples.txt, oldest first; none if it does not exist or cannot be read."""
    try:
        content = read_regular(path, SIZE_LIMIT).decode("utf-8", "replace")
    except UserError:
        return []
    parts = re.split(r"^===== step (\d{1,18})\n", content, flags=re.MULTILINE)
    return [(int(step), text.removesuffix("\n\n")) for step, text in zip(parts[1::2], parts[2::2], strict=True)]


def spread_indices(count: int, most: int) -> Sequence[int]:
    """At most ``most`` indices from 0 to ``count - 1``, evenly spaced, the first and the last included."""
    if count <= most:
        return range(count)
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]
