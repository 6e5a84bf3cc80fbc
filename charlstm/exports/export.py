"""Export a run: the public function, and how an export is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charlstm import atomic_io
from charlstm.api import LoadedRun, load
from charlstm.errors import UserError
from charlstm.exports.formats import DEFAULT, FORMATS, target
from charlstm.exports.held_out import QuantizationCost
from charlstm.paths import command as command_line
from charlstm.paths import expand_home


@dataclass(frozen=True)
class Exported:
    """What was written: the file or folder, and its files; for a page also what 8 bits cost, or why that was not
    measured; for other formats what to do with it."""

    path: Path
    files: list[Path] = field(default_factory=list)
    cost: QuantizationCost | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files)


def export(
    run: LoadedRun | str | Path,
    to: str = DEFAULT,
    out: str | Path | None = None,
    *,
    prime: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export a run as ``html``, ``onnx``, ``torch`` or ``hub``.

        exported = charlstm.export(charlstm.load("runs/quickstart"))
        print(exported.path, exported.cost)

    Args:
        run: the run, as returned by ``charlstm.load``, or what that function takes: its folder, its name in ``runs``,
            or ``latest``.
        to: ``html``, a page that writes text in a browser; ``onnx``, a step of the model; ``torch``, weights for
            torch.nn and a script; ``hub``, a folder for model hubs, which ``charlstm.load`` also reads.
        out: the file, or for ``torch`` and ``hub`` the folder; by default in the folder ``export`` of the run.
        prime: the text that the page begins with; by default a few words of the validation split.
        overwrite: replace ``out`` if it exists.

    Raises:
        UserError: the model or the cell does not exist in this format, a weight is not finite, ``out`` exists or cannot
            be written, or the package ``onnx`` is missing.
    """
    run = run if isinstance(run, LoadedRun) else load(run, device="cpu")
    if run.directory is None and out is None:
        raise UserError("this model is not in the folder of a run: give the path of the export, out")
    path = None if out is None else expand_home(out)
    home = run.folder or Path()
    name = path.stem if run.directory is None and path is not None else home.absolute().name
    return write_export(run, to, target(to, path, home, name, overwrite), name, home, prime)


def write_export(run: LoadedRun, to: str, path: Path, name: str, source: Path, prime: str | None = None) -> Exported:
    """Write the export of a run to ``path``; ``source`` is the path of the run, for the command that repeats it.

    Raises as :func:`export` does.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in run.model.state_dict().values()):
        raise UserError(
            "some weights of this model are infinite or NaN: use an earlier checkpoint, or train again with a lower "
            "learning_rate"
        )
    if prime is not None and to != "html":
        raise UserError(f"a text to begin with has no effect in the format {to}, only in html")
    if to == "html":
        from charlstm.exports.page import make_page

        options = () if prime is None else ("--prime", f"@{prime}" if prime.startswith("@") else prime)
        page = make_page(run, name, command_line("export", source.name or source, "--to", to, *options), prime)
        notes = [] if page.cost else [f"bits per {run.vocabulary.unit} not measured: {page.unmeasured}"]
        return Exported(path, _write(path, {"": page.html.encode("utf-8")}), page.cost, notes)
    if to == "onnx":
        from charlstm.exports.onnx_model import onnx_bytes

        note = "its inputs, outputs and vocabulary are described in its metadata"
        return Exported(path, _write(path, {"": onnx_bytes(run, name)}), notes=[note])
    if to == "torch":
        from charlstm.exports.torch_script import SCRIPT, torch_files

        written = _write(path, torch_files(run, name))
        return Exported(path, written, notes=[f"sample:  {command_line(path / SCRIPT, start='python')}"])
    assert to in FORMATS
    from charlstm.exports.hub import hub_files

    written = _write(path, hub_files(run, name))
    return Exported(path, written, notes=[f"sample:  {command_line('sample', path)}"])


def _write(path: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files, by name in the folder ``path``, or "" for ``path`` itself. Raises UserError."""
    try:
        atomic_io.make_directory(path.parent if "" in files else path)
        for name, content in files.items():
            atomic_io.write_atomic(path / name if name else path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot write the export: {error.strerror or error}") from error
    return [path / name if name else path for name in files]
