"""``charlstm evaluate --map``: a text shaded by its surprise, on the terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charlstm import console
from charlstm.colored_text import shaded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from charlstm.api import LoadedRun
    from charlstm.evaluation.score import Text
    from charlstm.run_report.baselines import Baseline
    from charlstm.run_report.surprise import Surprise

FOLDER = "surprise"
ON_TERMINAL = 2_000
"""Characters of a text that a terminal shows, the first ones; the page shows more."""


class Map(NamedTuple):
    """A text with its surprise, what other predictors give, why they are missing if they are, and the page."""

    surprise: Surprise
    predictors: list[Baseline]
    missing: str
    page: Path

    def record(self) -> dict[str, Any]:
        """The page, and the bits of the other predictors, for JSON."""
        unit = self.surprise.unit
        return {"page": str(self.page), f"bits_per_{unit}_of_others": dict(self.predictors)}

    def print(self) -> None:
        """Print the table, the shaded text if standard output is a terminal, and the path of the page."""
        from charlstm.run_report.surprise import EDGES

        unit = self.surprise.unit
        rows = [[name, f"{bits:.4f}"] for name, bits in self.predictors]
        if rows:
            console.table([["the same text by others", f"bits per {unit}"], *rows])
        if self.missing:
            console.out_wrapped(f"the bits of other predictors are missing: {self.missing}")
        if console.is_colored():
            console.out_styled("colored from so many bits of surprise on:")
            for level, edge in enumerate(EDGES, start=1):
                mark = f"{edge:g}"
                console.out_styled(" " + shaded(mark, [level] * len(mark)))
            symbols, levels = self.surprise.symbols[:ON_TERMINAL], self.surprise.levels[:ON_TERMINAL]
            console.out_styled("\n" + shaded(symbols, levels) + "\n")
            if len(self.surprise.symbols) > ON_TERMINAL:
                console.out(f"(the first {ON_TERMINAL:,} of {len(self.surprise.symbols):,} {unit}s)")
        console.out(f"page: {self.page}")


def write_map(
    loaded: LoadedRun, content: Text, nats: npt.NDArray[np.float32], name: str, output: Path | None, run: Path
) -> Map:
    """Write the page of a text whose characters cost ``nats`` each. Raises UserError if that fails."""
    from charlstm.errors import UserError
    from charlstm.paths import command
    from charlstm.run_report.surprise import other_predictors, surprise, write_page

    scored, predictors, missing = surprise(loaded, content, nats, name), list["Baseline"](), ""
    if loaded.config.corpus.score_after is not None:
        missing = "only the answers count in the score, and those predict all of the text"
    elif not loaded.model.bidirectional:
        try:
            predictors = other_predictors(loaded, content)
        except UserError as error:
            missing = str(error)
    words = ["--split", name.split()[0]] if name.endswith(" split") else ["--text", name]
    folder = run.parent if loaded.folder is None else loaded.folder
    folder = output or folder / FOLDER / Path(words[1]).stem
    page = write_page(scored, predictors, Path(loaded.name).name, folder, command("evaluate", run, *words, "--map"))
    return Map(scored, predictors, missing, page)
