"""The options of ``charlstm sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import expand_home
from charlstm.cli.text_arguments import TEXT_HELP

# The given text

Prime = Annotated[str, typer.Option(help=f"Text to continue; {TEXT_HELP}.")]
Suffix = Annotated[str, typer.Option(help="Text before which a backward model writes; @FILE, - and @@ as for --prime.")]
Infill = Annotated[
    str | None,
    typer.Option(
        help="Text with gaps that a bidirectional model fills, such as 'To be, ___ not to be'; @FILE, - and @@ as "
        "for --prime."
    ),
]
InfillFile = Annotated[
    Path | None, typer.Option(callback=expand_home, help="File with the text to fill; the same as --infill @FILE.")
]
Gap = Annotated[str, typer.Option(help="Character that marks one character to fill, even if it is in the vocabulary.")]
Sweeps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Gibbs sweeps: how often each gap character is resampled. More are slower and better.",
        show_default="40",
    ),
]
Unknown = Annotated[
    str,
    typer.Option(
        autocompletion=completion.words("error", "skip"),
        help="What to do about characters of the given text that the model does not know: error or skip.",
    ),
]
LeadIn = Annotated[
    bool,
    typer.Option(
        "--lead-in/--no-lead-in",
        help="Let the model first read a passage of its training text, which is not printed. With --no-lead-in it "
        "starts from the zero state, from which a briefly trained model writes noise. Models of documents need no "
        "passage.",
    ),
]

# How each character is chosen

Temperature = Annotated[
    str,
    typer.Option(
        metavar="T[:T][,...]",
        help="Divides the logits: below 1 safer, above 1 more varied; 0: always the most probable character. 1.2:0.6 "
        "begins with 1.2 and changes linearly to 0.6 at the end of --length. 0.2,0.5,1 writes with each, from the same "
        "seed.",
    ),
]
TopK = Annotated[
    int,
    typer.Option(
        help="Sample from the k most probable characters; 0: from all. After the temperature, --top-k, --top-p and "
        "--min-p act in this order."
    ),
]
TopP = Annotated[
    float,
    typer.Option(help="Sample from the most probable characters whose probabilities add up to this; 1: from all."),
]
MinP = Annotated[
    float,
    typer.Option(help="Sample from characters at least this fraction as probable as the best one; 0: from all."),
]
NoRepeat = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Make it unlikely that a text repeats a passage of more than N characters of itself: with each further "
        "character the penalty grows by 15%.",
    ),
]
AverageWith = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN",
        callback=expand_home,
        autocompletion=completion.runs,
        help="Another run with the same characters; its predictions are averaged with those of RUN. Its checkpoint "
        "is --checkpoint, too, or the best if that is a step. May be repeated.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**63 - 1, help="Seed of the random numbers; by default another one each time."),
]
Precision = Annotated[
    str,
    typer.Option(
        autocompletion=completion.words("float32", "bfloat16"),
        help="Precision of the matrix products: float32, or bfloat16, which is faster and nearly equal.",
    ),
]

# The texts

Length = Annotated[int, typer.Option(min=0, help="Number of characters to write.")]
NumSamples = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of texts, sampled in parallel; with several temperatures, for each of them. Another number gives "
        "other texts from the same seed.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="End a text once it has written this; @FILE reads it from a file, and @@ is as for --prime. By "
        "default a model of documents stops at the end of a document; with '' it writes on.",
    ),
]
Regex = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Write only texts, without the prompt, that match this regular expression completely, within "
        "--length. Where a matching text could continue, it ends with the probability that the model gives to "
        "characters that do not fit the pattern.",
    ),
]
BestOf = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Sample N texts and print the --num-samples best, best first: those with the highest mean "
        "log-probability per character.",
    ),
]
Beam = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="WIDTH",
        help="Search for the most probable texts instead of sampling, with WIDTH candidates at each character.",
    ),
]

# The output

Interactive = Annotated[
    bool,
    typer.Option(
        "--interactive",
        help="Write together with a forward model on a terminal: it suggests how the text continues, and keys "
        "accept all of the suggestion or its next word, ask for another, or delete text. --length is that of a "
        "suggestion, by default 80.",
    ),
]
Stream = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Print the text while it is sampled; by default to a terminal or pipe."),
]
Separator = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Print a line with this text between several texts, for a program that takes them apart; by default "
        "their numbers are notes on standard error.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the texts and the log-probability of each character as JSON.")
]
Novelty = Annotated[
    bool,
    typer.Option(
        "--novelty",
        help="Show the passages that are copied from the training text: marked on a terminal, and in a table.",
    ),
]
