"""Names that tests replace exist, also those of tests that are skipped here, such as those for a GPU."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path


def patched_names(source: str) -> list[str]:
    """The dotted names given to setattr and delattr, without those that are made from parts."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("setattr", "delattr")
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and str(call.args[0].value).startswith("charlstm.")
    ]


def exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_patched_names_exist():
    files = Path(__file__).parent.rglob("*.py")
    names = {name: path.name for path in files for name in patched_names(path.read_text(encoding="utf-8"))}
    assert len(names) > 50
    assert not {name: path for name, path in names.items() if not exists(name)}


def test_missing_name_is_found():
    names = patched_names('m.setattr("charlstm.training.trainer.gone", 1); m.delattr("charlstm.files.MissingError")')
    assert [exists(name) for name in names] == [False, True]
