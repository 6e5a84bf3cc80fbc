"""The corpus section of a configuration: the text and its splits.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, field_validator, model_serializer

from charlstm.config.sections import Section, TypeText


class CorpusConfig(Section):
    """The text and its splits: training, validation and test. Documents are shuffled before they are split."""

    source: Annotated[str | list[str], TypeText("text | list of texts")] = Field(
        description="The text to train on: the name of a corpus in the catalog (`python-stdlib`), the path of a file, "
        "a glob in quotes (`'texts/*.txt'`), or a list of these, concatenated in this order. ~ is the home folder. "
        "Files compressed with gzip, bzip2 or xz are decompressed.",
    )
    encoding: Annotated[str, TypeText("utf-8 | bytes | name of a Python codec")] = Field(
        "utf-8",
        description="Encoding of the files: any text codec of Python (`utf-8`, `latin-1`, `cp1252`), or `bytes` to "
        "model the raw bytes of any file. Texts given to the trained model are decoded in the same way. A byte-order "
        "mark is dropped; line endings are not changed.",
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Fraction of the text for validation, which measures progress and selects the best checkpoint. "
        "Never trained on.",
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
        "fractions; each is scored from a zero state.",
    )

    documents: Annotated[str | None, TypeText("newline | blank_line | separating text")] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Separator of independent documents, each read from a zero state; the model also learns to predict "
        "where a document ends. `newline`: each line is a document; `blank_line`: each paragraph; or any other text "
        "that separates documents. null: one running text.",
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

    @field_validator("shuffle_documents", "score_after")
    @classmethod
    def _only_with_documents(cls, value: bool | str | None, info: ValidationInfo) -> bool | str | None:
        if value is not None and "documents" in info.data and info.data["documents"] is None:
            raise ValueError("has no effect on one running text, only with documents. Remove it")
        if info.field_name == "shuffle_documents" and (how := info.data.get("validation", "tail")) != "tail":
            raise ValueError(f"has no effect with validation: {how}, which takes documents in their order. Remove it")
        return value

    @model_serializer(mode="wrap")
    def _omit_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that is an error if set must not be written: the written file could not be read back.
        fields: dict[str, Any] = handler(self)
        idle = set[str]() if self.documents is not None else {"shuffle_documents", "score_after"}
        idle |= set() if self.validation == "tail" else {"shuffle_documents"}
        return {k: v for k, v in fields.items() if k not in idle}
