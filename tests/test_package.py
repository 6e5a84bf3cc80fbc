"""The public interface of ``import charlstm``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import charlstm


def test_dir_lists_public_names_without_importing_torch():
    check = (
        "import sys, charlstm; names = dir(charlstm); assert 'torch' not in sys.modules; "
        "assert names == sorted(charlstm.__all__), names; assert {'load', 'nn', 'UserError'} <= set(names); "
        "[getattr(charlstm, name) for name in names]; charlstm.nn.LSTM(2, 3)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_missing_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'charlstm' has no attribute 'lode'"):
        _ = charlstm.lode


def test_api_module_defines_the_public_interface():
    from charlstm import api

    assert set(api.__all__) == set(charlstm.__all__) - {"__version__", "export", "inspect", "train"}
    for name in api.__all__:
        assert getattr(charlstm, name) is getattr(api, name)
        assert f"``{name}``" in api.__doc__
    assert all(callable(getattr(charlstm.LoadedRun, name)) for name in ("generate", "infill", "score", "corpus"))


def test_package_has_type_information():
    assert Path(charlstm.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize(
    "file",
    [
        "report/report.html.jinja",
        "exports/model.js",
        *(f"{page}.{t}" for page in ("inspection/step", "exports/page") for t in ("html.jinja", "css", "js")),
    ],
)
def test_package_has_the_files_of_its_pages(file):
    name, _, resource = file.partition("/")
    assert resources.files(f"charlstm.{name}").joinpath(resource).is_file()
    ignored = subprocess.run(["git", "check-ignore", "-q", file], cwd=Path(charlstm.__file__).parent, check=False)
    assert ignored.returncode != 0, "the build leaves out what git ignores"


SAMPLE_AND_TRAIN = """
import sys
from pathlib import Path
import charlstm.cli
from charlstm.config import BudgetConfig
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training.trainer import Trainer

charlstm.load(sys.argv[1], device="cpu").generate("t", 3)
directory = RunDirectory(Path(sys.argv[1]))
config = directory.config()
longer = config.training.model_copy(update={"budget": BudgetConfig(steps=92)})
trainer = Trainer(config.model_copy(update={"training": longer}), load_corpus(config.corpus.source), directory)
trainer.resume()
list(trainer.run())
assert trainer.counters.step == 92
compilers = {"triton", "torch._dynamo", "sympy"} & sys.modules.keys()
assert not compilers, compilers
"""


def test_sampling_and_training_import_no_compiler(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "tiny")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-W", "error", "-c", SAMPLE_AND_TRAIN, str(run)], check=True, env=environment)
