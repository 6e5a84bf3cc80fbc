"""Change one operator, number, condition or statement of a module at a time, and see whether its tests notice.

    python tests/mutate.py charlstm/text/vocabulary.py -- tests/text/test_vocabulary.py
    python tests/mutate.py --number 20 --seed 2 charlstm/executors/cpp/*.h -- tests/executors/test_cpp.py -k lstm

draws ``--number`` of the mutants of each of the files before the ``--`` (Python or C++), and for each runs pytest with
what follows, which has to pass without one; in a copy of the project, and on systems with fork. Prints the mutants that
no test notices, and how many were noticed. One that ends the process, or works three times as long as the tests do, is
noticed. One that survives shows a gap in the tests or code that nothing depends on, or it changes nothing: read it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pydantic  # noqa: F401 (loaded once for all mutants)
import pytest
import safetensors.torch  # noqa: F401

PAIRS = [
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.And, ast.Or), (ast.LShift, ast.RShift), (ast.BitOr, ast.BitAnd)),
]
OTHER = dict(PAIRS) | {b: a for a, b in PAIRS}
OTHER |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "zeros": "ones", "argmax": "argmin"}
CPP = [
    *(("<=", "<"), ("<", "<="), (">", ">="), (">=", ">"), ("==", "!="), ("&&", "||"), ("||", "&&"), ("+", "-")),
    *(("-", "+"), ("*", "+"), ("/", "*"), ("+=", "="), ("&", "|"), ("%", "*"), ("0", "1"), ("1", "2"), ("1", "0")),
    *(("true", "false"), ("false", "true"), ("std::min", "std::max"), ("std::max", "std::min"), ("?", "&& false ?")),
]


def edits(node: ast.AST) -> Iterator[Callable[[], None]]:
    """What can be changed about a node, in place."""

    def put(**fields) -> Callable[[], None]:
        return lambda: [setattr(node, name, value) for name, value in fields.items()]

    match node:
        case ast.Compare(ops=[op, *rest]):
            yield put(ops=[OTHER[type(op)](), *rest])
            if rest:
                yield put(ops=[op, *rest[:-1], OTHER[type(rest[-1])]()])
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OTHER:
            yield put(op=OTHER[type(op)]())
        case ast.BoolOp(op=op, values=[first, *rest]):
            yield put(op=OTHER[type(op)]())
            yield put(values=rest)
            yield put(values=[first, *rest[:-1]])
        case ast.UnaryOp(op=ast.USub()):
            yield put(op=ast.UAdd())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield put(operand=ast.UnaryOp(ast.Not(), operand))
        case ast.Constant(value=bool(value)):
            yield put(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield put(value=value + 1)
            yield put(value=value - 1)
        case ast.If() | ast.IfExp():
            yield put(test=ast.Constant(True))
            yield put(test=ast.Constant(False))
        case ast.comprehension(ifs=[_, *rest]):
            yield put(ifs=rest)
        case ast.Return(value=value) if value is not None:
            yield put(value=ast.Constant(None))
        case ast.Slice(lower=lower, upper=upper):
            for name, edge, op in (("lower", lower, ast.Add()), ("upper", upper, ast.Sub())):
                if edge:
                    yield put(**{name: None})
                    yield put(**{name: ast.BinOp(edge, op, ast.Constant(1))})
        case ast.Call(args=args, keywords=keywords):
            if len(args) > 1 and not isinstance(args[1], ast.Starred):
                yield put(args=[args[1], args[0], *args[2:]])
            if keywords and keywords[-1].arg != "strict":
                yield put(keywords=keywords[:-1])
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMES:
            yield put(**{"id" if isinstance(node, ast.Name) else "attr": NAMES[name]})
        case ast.FunctionDef(decorator_list=[_, *rest]):
            yield put(decorator_list=rest)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        for index, statement in enumerate(block) if isinstance(block, list) else ():
            match statement:
                case ast.Assign(targets=[ast.Name()]) | ast.Expr(value=ast.Constant()):
                    continue
                case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.Raise() | ast.Continue() | ast.Break():
                    yield lambda block=block, index=index: block.__setitem__(index, ast.Pass())


def of_python(source: str) -> list[str]:
    tree, mutants = ast.parse(source), []
    unused = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    unused += [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "strict"]
    spared = {node for part in unused if part for node in ast.walk(part)}
    for index, node in enumerate(ast.walk(tree)):
        for number, _ in enumerate(edits(node) if node not in spared else ()):
            mutant = copy.deepcopy(tree)
            list(edits(list(ast.walk(mutant))[index]))[number]()
            mutants.append(ast.unparse(mutant))
    return mutants


def of_cpp(source: str) -> list[str]:
    mutants = []
    for line in re.finditer(r"^(?!#|template|.*operator|//).+?(?=//|$)", source, re.MULTILINE):
        for old, new in CPP:
            word = rf"\b{old}\b" if old[-1].isalnum() else rf"(?<= ){re.escape(old)}(?= )"
            for match in re.finditer(word, line[0]):
                start = line.start() + match.start()
                mutants.append(source[:start] + new + source[start + len(old) :])
        if re.fullmatch(r" +(if \(.*\) )?[\w.>\[\]-]+(\(.*\)| [-+*|]?= .*);\s*", line[0]):
            mutants.append(source[: line.start()] + ";" + source[line.end() :])
    return mutants


@pytest.fixture(scope="session", autouse=True)
def one_cache(_surroundings) -> None:
    """Kernels that are the same for all mutants are compiled once; those in the cache that is set are taken."""
    os.environ["CHARLSTM_CACHE"] = os.environ["KERNELS"]


def passes(tests: list[str], scratch: Path, seconds: int) -> bool:
    """Whether the tests pass, in a separate process, within a number of CPU seconds."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            output = os.open(scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30,) * 2)
            options = ["-n", "0", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=1", *tests]
            options += ["-Wignore:Module already imported", f"--basetemp={scratch / 'base'}"]
            code = pytest.main(options, plugins=[sys.modules[__name__]])
        finally:
            os._exit(code)
    for _ in range(1000 * seconds):  # twenty times as long, for one that only waits
        if (status := os.waitpid(child, os.WNOHANG))[0]:
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return (status if status[0] else os.waitpid(child, 0))[1] == 0


def unneeded(folder: str, names: list[str]) -> set[str]:
    """What a copy of the project does without: caches, and folders of trained runs, but not the package ``runs``."""
    return {
        name
        for name in names
        if name in (".git", "__pycache__")
        or (name.startswith(".") and name.endswith("_cache"))
        or (name == "runs" and not Path(folder, name, "__init__.py").exists())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    cut = sys.argv.index("--")
    options, tests = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        scratch, tree = Path(folder), Path(folder, "tree")
        shutil.copytree(Path.cwd(), tree, ignore=unneeded)
        os.environ["KERNELS"] = os.environ.get("CHARLSTM_CACHE", str(scratch / "kernels"))
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = False
        if not passes(tests, scratch, 600):
            sys.exit((scratch / "output.txt").read_text()[-2000:] + "\nthe tests fail without a mutant")
        sys.dont_write_bytecode, seconds = True, round(3 * sum(os.times()[2:4])) + 20
        for file in options.files:
            source, noticed = file.read_text(encoding="utf-8"), 0
            python = file.suffix == ".py"
            before, mutants = (
                (ast.unparse(ast.parse(source)), of_python(source)) if python else (source, of_cpp(source))
            )
            mutants = [mutant for mutant in dict.fromkeys(mutants) if mutant != before]
            chosen = random.Random(options.seed).sample(mutants, min(options.number, len(mutants)))
            for mutant in chosen:
                file.write_text(mutant, encoding="utf-8")
                if passes(tests, scratch, seconds):
                    lines = difflib.unified_diff(before.splitlines(), mutant.splitlines(), n=0, lineterm="")
                    print(*list(lines)[2:], sep="\n", flush=True)  # noqa: T201
                else:
                    noticed += 1
            file.write_text(source, encoding="utf-8")
            print(f"{file}: noticed {noticed} of {len(chosen)} mutants, drawn from {len(mutants)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
