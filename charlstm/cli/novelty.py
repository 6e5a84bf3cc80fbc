"""The command ``charlstm novelty``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.options import CheckpointOption, RunArgument, RunsOption, load_run, refuse
from charlstm.cli.text_arguments import file_argument
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.novelty.hashes import Ids


def novelty(
    context: typer.Context,
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="Text file to compare with the training text; - reads standard input. Without it, texts are sampled.",
        ),
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="Number of characters of each text that is sampled.")] = 2000,
    num_samples: Annotated[int, typer.Option(min=1, help="Number of texts that are sampled.")] = 10,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 0: always the most probable character.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random numbers.")] = 1,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    json_: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure how much of a text is new, and how much of it occurs in the training text of a run.

    charlstm novelty runs/quickstart samples ten texts; charlstm novelty runs/quickstart poem.txt reads one. It prints
    the fractions of n-grams that are not in the training text, beside those of the held-out text, which show what is
    normal, and the longest copied passages with their lines in the training text.
    """
    import numpy as np

    from charlstm import console
    from charlstm.cli import novelty_output
    from charlstm.cli.novelty_output import print_report, symbols_of
    from charlstm.novelty.novelty import measure
    from charlstm.progress_line import ProgressLine

    if file is not None:
        refuse(context, "with a FILE, which is not sampled", "length", "num_samples", "temperature", "seed")
        content = file_argument("FILE", file, lambda content, _: content)
    loaded = load_run(context, run, checkpoint, runs)
    if file is not None:
        texts = _texts(loaded, content, file)
    else:
        samples = loaded.generate("", length, temperature=temperature, seed=seed, num_samples=num_samples)
        texts = [np.array(sample.ids, np.int64) for sample in samples]
    with ProgressLine(on_stderr=True) as line:
        report = measure(
            loaded.corpus(), texts, lambda done: line.update(done, lambda: "comparing with the training text")
        )
    unit = loaded.vocabulary.unit
    characters = [symbols_of(loaded.vocabulary, text) for text in texts]
    name = f"{len(texts)} sampled texts" if file is None else file
    if json_:
        record = {
            "texts": [novelty_output.novelty_record(*pair) for pair in zip(report.texts, characters, strict=True)],
            "new_ngrams": {str(n): fraction for n, fraction in report.together.new.items()},
            "held_out": novelty_output.held_out_record(report.held_out),
        }
        console.out_json(record)
        return
    print_report(report, characters, name, unit)


def _texts(loaded: LoadedRun, content: bytes, name: str) -> list[Ids]:
    """The ids of a file's text, or of each of its documents, read as the training text was; -1 for unknown characters.
    Raises UserError."""
    import numpy as np

    from charlstm.text.documents import split_documents
    from charlstm.text.unpacking import unpack
    from charlstm.text.vocabulary import codes_of_text

    vocabulary, separator = loaded.vocabulary, loaded.config.corpus.documents
    if vocabulary.kind == "bytes":
        ids = vocabulary.ids_of_codes(np.frombuffer(unpack(content, name), np.uint8))
    else:
        ids = vocabulary.ids_of_codes(codes_of_text(loaded.prepare_text(str(loaded.decode(content, name)))))
    if separator is None:
        return [ids]
    documents = split_documents(ids, vocabulary, separator)
    return [ids[start:end] for start, end in zip(documents.starts, documents.ends, strict=True)]
