"""The corpus section of a configuration: the text and its splits.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from charlstm.config.sections import Section, TypeText
from charlstm.spelling import lower

NO_VALIDATION = "no text is held out for validation: scores are of training text, which says nothing about other texts"
"""What the reader of a score must know if `CorpusConfig.has_validation` is false."""
NO_VALIDATION_SENTENCE = f"N{NO_VALIDATION[1:]}."


MAX_CHARACTERS = 100_000
"""Of the vocabulary that a configuration names: its file stays below the largest that is read."""


class CorpusConfig(Section):
    """The text and its splits: training, validation and test. Documents are shuffled before they are split."""

    source: Annotated[str | list[str], TypeText("text | list of texts")] = Field(
        description="The text to train on: the name of a corpus in the catalog (`python-stdlib`), the path of a file, "
        "a glob in quotes (`'texts/*.txt'`), a folder, or a list of these, concatenated in this order. Of a folder, "
        "all text files in it and in its folders are read, sorted by path; hidden ones and runs are not. ~ is the home "
        "folder. "
        "Files compressed with gzip, bzip2 or xz are decompressed.",
    )
    encoding: Annotated[str, TypeText("utf-8 | bytes | name of a Python codec")] = Field(
        "utf-8",
        description="Encoding of the files: any text codec of Python (`utf-8`, `latin-1`, `cp1252`), or `bytes` to "
        "model the raw bytes of any file. Texts given to the trained model are decoded in the same way. A byte-order "
        "mark is dropped; line endings are not changed.",
    )
    characters: str | None = Field(
        None,
        max_length=MAX_CHARACTERS,
        description="Characters that the vocabulary has even if the text does not have them, in any order, so that the "
        "model can be given texts with them: `äöüß`. With encoding: bytes, the characters U+0000 to U+00FF stand for "
        "the bytes. null: none, or with training.initial_run all characters of that run.",
    )
    validation_fraction: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Fraction of the text for validation, which measures progress and selects the best checkpoint. "
        "Never trained on. 0: no text is held out, for texts that are too short to give a part away. Evaluations then "
        "score the training text, which says nothing about other texts, and the last checkpoint is used.",
    )
    test_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the text for testing, which training does not use in any way; "
        "`charlstm evaluate --split test` scores it. The sum of test_fraction and validation_fraction must be below 1.",
    )
    validation: Literal["tail", "blocks", "files"] = Field(
        "tail",
        description="Where the validation and the test split are. tail: the end of the text, validation before test. "
        "blocks: blocks that are spread evenly over the text, 10 in 100,000 characters and 100 in 10 million (of which "
        "a tenth is held out), for a text whose end is not like the rest. The characters next to a block, an eighth of "
        "its length but at most 128 on each side, are in no split: they are only the context of the first characters "
        "of the block. Training starts from a zero state after each block. With documents, blocks of consecutive "
        "documents, without gaps. files: whole files, chosen at random but always the same, as near as possible to the "
        "fractions; each is scored from a zero state. Only with validation_fraction or test_fraction above 0.",
    )

    documents: Annotated[str | None, TypeText("newline | blank_line | separating text")] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Separator of independent documents, each read from a zero state; the model also learns to predict "
        "where a document ends. `newline`: each line is a document; `blank_line`: each paragraph; `file`: each file, "
        "with Unicode's file separator (U+001C) added to its end; or any other text that separates documents. null: "
        "one running text; with column: newline.",
    )
    shuffle_documents: bool = Field(
        True,
        description="Whether documents are shuffled, always in the same way, before they are split, so that the "
        "held-out documents of a sorted file are like its training documents. Only with documents and "
        "validation: tail.",
    )

    score_after: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="In each document, only the characters after the first occurrence of this text count in the loss "
        "and in every score, and the end of the document does not: `=` or `?`, for example, for questions and answers. "
        "A document may not be longer than training.sequence_length. null: every character counts. Only with "
        "documents.",
    )
    score_end: bool = Field(
        False,
        description="Whether the end of the document counts, too, so that the model learns where an answer ends, and "
        "sampling stops there. The default is true with column. Only with score_after.",
    )
    deduplicate: bool = Field(
        False, description="Whether documents that are equal to an earlier one are left out. Only with documents."
    )
    column: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Column of a table to train on, by its name: each value is a document. The files are CSV, TSV or "
        "JSON lines, by their suffix (.csv, .tsv, .tab, .jsonl, .ndjson), compressed or not; the first line of CSV and "
        "TSV has the names, and CSV without a comma in that line is read with semicolons or tabs. Rows without text in "
        "the column are left out. With documents: newline (the default), line breaks in a value become spaces; "
        'set another documents, such as `"\\n%\\n"`, to keep them.',
    )
    context_column: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Column whose value comes before that of column in each document, such as a label before a title: "
        '`charlstm sample RUN --prime "poetry|"` then continues with a title. Every character counts, also those of '
        "the context; score_after with the context_separator changes that. Only with column.",
    )
    context_separator: str = Field(
        "|",
        min_length=1,
        max_length=1000,
        description="Text between the context and the value, which the context must not contain. Only with "
        "context_column.",
    )
    skip_header: bool = Field(
        False,
        description="Whether the first line of each file is left out, such as the names of columns above a list. Only "
        "with documents: newline.",
    )
    lowercase: bool = Field(
        False,
        description="Whether capital letters become lowercase, in the text and in texts given to the trained "
        "model: a smaller alphabet for small texts.",
    )
    normalize: Annotated[
        bool | list[Literal["line_ends", "spaces", "unicode"]],
        TypeText("true | false | list of line_ends, spaces, unicode"),
    ] = Field(
        False,
        description="What is made uniform, in the text and in texts given to the trained model. line_ends: CR LF and "
        "CR become LF, since CR is one more character to learn in each line. spaces: spaces and tabs at the end of "
        "lines are removed. unicode: letters with separate marks become single characters (NFC), so that each letter "
        "is one character. true: all three.",
    )

    @property
    def context_end(self) -> str | None:
        """The text that ends the context with which each document begins; None if the documents have none."""
        return self.score_after or (self.context_separator if self.context_column else None)

    @property
    def has_validation(self) -> bool:
        """Whether a part of the text is held out for evaluations. If not, they score the training text."""
        return self.validation_fraction > 0

    @property
    def evaluated_text(self) -> str:
        """What evaluations score, in words."""
        return "held-out text" if self.has_validation else "training text"

    @model_validator(mode="before")
    @classmethod
    def _separators_are_prepared_like_the_text(cls, fields: object) -> object:
        if not isinstance(fields, dict) or fields.get("lowercase") is not True:
            return fields
        names = ("documents", "score_after", "context_separator")
        return fields | {name: lower(fields[name]) for name in names if isinstance(fields.get(name), str)}

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_columns(cls, fields: object) -> object:
        if not isinstance(fields, dict) or fields.get("column") is None:
            return fields
        defaults: dict[str, Any] = {"documents": "newline"} if fields.get("documents") is None else {}
        defaults |= {"score_end": True} if "score_end" not in fields and fields.get("score_after") is not None else {}
        return {**fields, **defaults}

    @field_validator("source", mode="before")
    @classmethod
    def _is_text_or_list(cls, value: object) -> object:
        parts = value if isinstance(value, list) else [value]
        if not parts:
            raise ValueError("the list of texts is empty")
        for number, part in enumerate(parts, start=1):
            which = f"item {number} of the list" if isinstance(value, list) else "the value"
            if not isinstance(part, str):
                raise ValueError(f"expected text or a list of texts; {which} is {part!r:.60}. Put it in quotes?")
            if not part.strip() or "\0" in part:
                raise ValueError(f"{which} is empty or contains a NUL character")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        if value != "bytes":
            try:
                "".encode(value)
            except (LookupError, ValueError):
                raise ValueError(
                    f"{value!r:.60} is not a text encoding of Python. Allowed: utf-8, latin-1, cp1252, "
                    "shift_jis, ... or bytes"
                ) from None
        return value

    @field_validator("characters")
    @classmethod
    def _in_order(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("encoding") == "bytes" and (largest := max(value)) > "\xff":
            raise ValueError(f"with encoding: bytes, expected characters that stand for bytes, found {largest!r}")
        return value and "".join(sorted(set(value)))

    @field_validator("test_fraction")
    @classmethod
    def _leaves_training_text(cls, value: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation_fraction", 0.0)
        if validation + value >= 1:
            raise ValueError(
                f"no text is left to train on: validation_fraction {validation} and test_fraction {value} "
                "must sum to less than 1"
            )
        return value

    @field_validator("validation")
    @classmethod
    def _places_held_out_text(cls, value: str, info: ValidationInfo) -> str:
        if value != "tail" and not any(info.data.get(f"{split}_fraction", 1) for split in ("validation", "test")):
            raise ValueError("has no effect with validation_fraction and test_fraction 0. Remove it")
        return value

    @field_validator("documents")
    @classmethod
    def _files_are_text(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "file" and info.data.get("encoding") == "bytes":
            raise ValueError("file needs a text encoding, not encoding: bytes")
        return value

    @field_validator(
        "shuffle_documents",
        "score_after",
        "score_end",
        "deduplicate",
        "column",
        "context_column",
        "context_separator",
        "skip_header",
        "lowercase",
        "normalize",
    )
    @classmethod
    def _has_effect(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and (reason := _why_no_effect(str(info.field_name), info.data)):
            raise ValueError(f"{reason}. Remove it")
        return value

    @model_serializer(mode="wrap")
    def _omit_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that is an error if set must not be written: the written file could not be read back.
        fields: dict[str, Any] = handler(self)
        return {k: v for k, v in fields.items() if _why_no_effect(k, fields) is None}


def _why_no_effect(name: str, fields: Mapping[str, Any]) -> str | None:
    """Why a field has no effect, or cannot be used, with the fields before it; None if it can. A field that is not
    valid is missing."""
    documents, column = fields.get("documents", "newline"), fields.get("column", "")
    if name in ("shuffle_documents", "score_after", "deduplicate") and documents is None:
        return "has no effect on one running text, only with documents"
    if name == "shuffle_documents" and (how := fields.get("validation", "tail")) != "tail":
        return f"has no effect with validation: {how}, which takes documents in their order"
    if name == "score_end" and fields.get("score_after", "") is None:
        return "has no effect without score_after: the end of a document counts"
    if name == "column" and documents == "file":
        return "documents: file makes each file a document, but column each row of a table"
    if name == "context_column" and column is None:
        return "has no effect without column"
    if name == "context_separator" and fields.get("context_column", "") is None:
        return "has no effect without context_column"
    if name == "skip_header" and column:
        return "has no effect with column, for which the first line has the names of the columns"
    if name == "skip_header" and documents != "newline":
        return "is for lists with a line for each document, documents: newline"
    if name in ("column", "skip_header", "lowercase", "normalize") and fields.get("encoding") == "bytes":
        return "needs a text encoding, not encoding: bytes"
    return None
