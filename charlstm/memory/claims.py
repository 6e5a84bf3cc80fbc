"""The file with the claims, the configuration and the seeds, as they were before the first run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from charlstm import atomic_io
from charlstm.config import MemoryConfig
from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular

CLAIMS = "claims.json"
"""The name of the file, in the comparison's folder."""

CLAIMS_LIMIT = 1 << 24
SHOWN_LENGTH = 60


def claims_record(config: MemoryConfig) -> dict[str, Any]:
    """The claims of each experiment, the resolved configuration with its SHA-256, and the seeds of the judged runs."""
    configuration = config.model_dump(mode="json")
    claims = {name: section["claims"] for name, section in configuration["experiments"].items() if section is not None}
    return {
        "claims": claims,
        "configuration_sha256": sha256(configuration),
        "seeds": list(config.judged_seeds()),
        "configuration": configuration,
    }


def sha256(configuration: Mapping[str, Any]) -> str:
    """The SHA-256 of a configuration as JSON with sorted keys and without spaces."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_claims(config: MemoryConfig, folder: Path, overwrite: bool = False) -> None:
    """Write the file if there is none. With `overwrite`, an existing file is first renamed to claims-1.json, or -2, ...

    Raises UserError if the file cannot be written.
    """
    file = folder / CLAIMS
    try:
        atomic_io.make_directory(folder)
        if overwrite and os.path.lexists(file):
            file.rename(folder / f"claims-{len(earlier_files(folder)) + 1}.json")
        if not os.path.lexists(file):
            atomic_io.write_atomic(file, json.dumps(claims_record(config), indent=1).encode())
    except OSError as error:
        raise UserError(f"{file}: cannot write the claims: {error.strerror or error}") from error


def earlier_files(folder: Path) -> list[str]:
    """The names of the files that `overwrite` renamed, oldest first."""
    names: list[str] = []
    while os.path.lexists(folder / (name := f"claims-{len(names) + 1}.json")):
        names.append(name)
    return names


def changes(config: MemoryConfig, folder: Path) -> list[str]:
    """What differs from the file, one sentence per claim, setting or seed; empty if nothing does or there is no file.

    Raises UserError if the file cannot be read.
    """
    file, record = folder / CLAIMS, claims_record(config)
    try:
        first = from_json(read_regular(file, CLAIMS_LIMIT))
    except MissingError:
        return []
    except ValueError:
        raise UserError(
            f"{file}: not valid JSON: restore the claims from before the first run, or delete the file"
        ) from None
    if first == record:
        return []
    if not isinstance(first, dict) or not all(isinstance(first.get(key), type(record[key])) for key in record):
        return [
            f"{file} has no configuration: it was written by an earlier version, or edited. "
            "What was changed since the first run is unknown."
        ]
    sentences = list(_claim_changes(first["claims"], record["claims"]))
    if first["configuration_sha256"] != sha256(first["configuration"]):
        sentences.append(f"{file} was edited: its configuration does not have the SHA-256 that the file states.")
    if first["configuration_sha256"] != record["configuration_sha256"]:
        sentences.append(
            f"The configuration was changed after the first run: its SHA-256 was {first['configuration_sha256'][:16]}, "
            f"now {record['configuration_sha256'][:16]}."
        )
    before, now = (_without_claims(one["configuration"]) for one in (first, record))
    sentences += [
        f"Changed after the first run: {name} was {was}, now {value}." for name, was, value in _differences(before, now)
    ]
    if first["seeds"] != record["seeds"]:
        sentences.append(f"The seeds were changed after the first run: {first['seeds']}, now {record['seeds']}.")
    return sentences


def _without_claims(configuration: Mapping[str, Any]) -> dict[str, Any]:
    experiments = configuration.get("experiments")
    if not isinstance(experiments, dict):
        return dict(configuration)
    sections = {name: {**section, "claims": None} for name, section in experiments.items() if isinstance(section, dict)}
    return {**configuration, "experiments": experiments | sections}


def _claim_changes(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    def by_statement(claims: object) -> dict[str, dict[str, Any]]:
        listed = claims if isinstance(claims, list) else []
        return {str(claim.get("statement")): claim for claim in listed if isinstance(claim, dict)}

    for name in dict.fromkeys([*first, *now]):
        before, after = by_statement(first.get(name)), by_statement(now.get(name))
        for statement in dict.fromkeys([*before, *after]):
            if statement not in after:
                yield f"Claim removed after the first run, {name}: {statement}."
            elif statement not in before:
                yield f"Claim added after the first run, {name}: {statement}."
            else:
                for field, was, value in _differences(before[statement], after[statement]):
                    yield f"Claim changed after the first run, {name}: {statement}: {field} was {was}, now {value}."


def _differences(first: object, now: object, name: str = "") -> Iterator[tuple[str, str, str]]:
    """The dotted name, earlier value and present value of every setting that differs."""
    if isinstance(first, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*first, *now]):
            yield from _differences(first.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif first != now:
        yield name, _short(first), _short(now)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."
