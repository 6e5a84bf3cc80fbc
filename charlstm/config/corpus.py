"""The section of a configuration about the text.

Every ``description`` is the field's documentation; ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, field_validator, model_serializer

from charlstm.config.sections import Reads, Section


class CorpusConfig(Section):
    """The text, and how it is split. The splits are cut by position: training, then validation, then test; those of
    documents after they are shuffled."""

    source: Annotated[str | list[str], Reads("text | list of texts")] = Field(
        description="The text to learn: the name of a corpus in the catalogue (`python-stdlib`), the path "
        "of a file, a glob in quotes (`'texts/*.txt'`), or a list of these, read in the order "
        "given. ~ is the home folder. What gzip, bzip2 or xz has compressed is read unpacked.",
    )
    encoding: Annotated[str, Reads("utf-8 | bytes | name of a Python codec")] = Field(
        "utf-8",
        description="How the files are decoded: the name of any text codec that Python has (`utf-8`, "
        "`latin-1`, `cp1252`), or `bytes` to learn raw bytes, 256 symbols, from any file. Texts that are "
        "given to the model later are read in the same way. A byte-order mark is left out; line ends stay as they are.",
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the text, cut after the training part, that measures progress and picks the "
        "best checkpoint. Never trained on.",
    )
    test_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the text, its very end, that nothing in training looks at: for a final "
        "figure with `charlstm evaluate --split test`. Together with validation_fraction "
        "below 1.",
    )

    documents: Annotated[str | None, Reads("newline | blank_line | separating text")] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Where the text is cut into independent documents, each read from a zero state, with its end to "
        "be learnt too: at each `newline`, where every line is a name, say; at each `blank_line`; or at any other text "
        "that stands between documents. null: one running text.",
    )
    shuffle_documents: bool = Field(
        True,
        description="Whether documents are put into a random order, always the same, before they are split, so that a "
        "file sorted by author or frequency is not held out at its end. Only with documents.",
    )

    score_after: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Of each document, only what follows this text counts, in training and in every score, and its end "
        "does not: for questions and answers, `=` or `?`, say. Each document has to fit training.sequence_length. "
        "null: every character counts. Only with documents.",
    )

    @field_validator("source", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        parts = value if isinstance(value, list) else [value]
        if not parts:
            raise ValueError("the list of texts is empty")
        for number, part in enumerate(parts, start=1):
            which = f"item {number} of the list" if isinstance(value, list) else "the value"
            if not isinstance(part, str):
                raise ValueError(f"expected text or a list of texts; {which} is {part!r:.60}. Put it in quotes?")
            if not part.strip() or "\0" in part:
                raise ValueError(f"{which} is empty or holds a NUL character")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        if value != "bytes":
            try:
                "".encode(value)
            except (LookupError, ValueError):
                raise ValueError(
                    f"{value!r:.60} is no text encoding that Python knows. Allowed: utf-8, latin-1, cp1252, "
                    "shift_jis, ... or bytes"
                ) from None
        return value

    @field_validator("test_fraction")
    @classmethod
    def _leaves_training_text(cls, value: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation_fraction", 0.0)
        if validation + value >= 1:
            raise ValueError(
                f"nothing is left to train on: validation_fraction {validation} and test_fraction {value} "
                "must sum to less than 1"
            )
        return value

    @field_validator("shuffle_documents", "score_after")
    @classmethod
    def _only_with_documents(cls, value: bool | str | None, info: ValidationInfo) -> bool | str | None:
        if value is not None and "documents" in info.data and info.data["documents"] is None:
            raise ValueError("has no effect on one running text, only with documents. Take it out")
        return value

    @model_serializer(mode="wrap")
    def _without_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that would be refused when set must not be written, or nothing written could be read back.
        fields: dict[str, Any] = handler(self)
        idle = () if self.documents is not None else ("shuffle_documents", "score_after")
        return {k: v for k, v in fields.items() if k not in idle}
