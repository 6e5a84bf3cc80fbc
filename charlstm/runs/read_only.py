"""The run directory of processes other than rank 0, which only read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlstm.checkpoints.store import CheckpointStore, LoadedCheckpoint
from charlstm.config import Config
from charlstm.runs.directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor


class ReadOnlyRunDirectory(RunDirectory):
    """The run directory of ranks other than 0: they read the files of rank 0 and write none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.checkpoints = _ReadOnlyStore(path / "checkpoints")

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def create(self, config: Config, overwrite: bool = False) -> None: ...

    def write_config(self, config: Config) -> None: ...

    def flush(self) -> dict[str, int]:
        return {}

    def truncate_logs(self, lengths: Mapping[str, int]) -> None: ...

    def _append(self, path: Path, text: str) -> None: ...


class _ReadOnlyStore(CheckpointStore):
    def save(
        self, tensors: Mapping[str, Tensor], header: Mapping[str, Any], best: bool, keep: bool = False
    ) -> None: ...

    def discard_after(self, step: int) -> None: ...

    def quarantine(self, loaded: LoadedCheckpoint) -> None: ...
