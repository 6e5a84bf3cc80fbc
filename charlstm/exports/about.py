"""What a person wants to know about a model: its text, its network, its size, and its score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from charlstm.api import LoadedRun
from charlstm.text.catalog import catalog, catalog_names

ACRONYM = 4
"""A cell with a name of at most so many letters, such as lstm, is an acronym."""
SPOKEN_WITH_A_VOWEL = "AEFHILMNORSX"


@dataclass(frozen=True)
class About:
    """Facts of a run, as text: the corpus, the network, ``subject``: the network as the subject of a sentence, and the
    number of its parameters, and the license of the text if the catalog has it."""

    text: str
    network: str
    subject: str
    parameters: int
    license: str


def about(run: LoadedRun) -> About:
    """The facts of a run; they have no paths of this machine, only names of files."""
    model, config = run.model, run.config.model
    cell = config.cell
    size = f"{config.num_layers} x {config.hidden_size}" if config.num_layers > 1 else f"{config.hidden_size} units"
    counts = model.parameter_counts()
    options = [
        f"{option}: {value}".lower() for option, value in model.recurrent.cell.options.items() if value is not None
    ]
    details = [config.front_end.replace("_", "-"), f"direction: {model.direction}", *options]
    if config.residual:
        details.append("residual")
    if config.output == "sum":
        details.append("sum of all layers")
    if config.tie_weights:
        details.append("tied embedding and output layer")
    noun = cell.upper() if len(cell) <= ACRONYM else f"{cell} network"
    article = "An" if noun[0] in (SPOKEN_WITH_A_VOWEL if noun.isupper() else "aeiou") else "A"
    sources = source_names(run)
    entries = catalog()
    licenses = [entries[one].license for one in sources if one in entries]
    return About(
        " and ".join(sources) if len(sources) < 3 else f"{sources[0]} and {len(sources) - 1} more files",
        f"{cell}, {size} ({', '.join(details)})",
        f"{article} {noun} of {size}",
        sum(counts.values()) + model.frozen_count(),
        "; ".join(licenses) if len(licenses) == len(sources) else "",
    )


def source_names(run: LoadedRun) -> list[str]:
    """The names of the corpus: of the catalog, or of files without their folders."""
    source = run.config.corpus.source
    names = [source] if isinstance(source, str) else source
    return [one if one in catalog_names() else PurePath(one.replace("\\", "/")).name for one in names]
