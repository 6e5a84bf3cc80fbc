"""The cpp executor: compiled kernels, thread partitions, and sampling in one call."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from test_laws import make, outputs_and_gradients

from charlstm.cells import CELLS, Cell
from charlstm.config import ModelConfig
from charlstm.executors import choose, executors
from charlstm.executors.cpp import build, partition
from charlstm.executors.cpp.memory import pack, sum_by_id
from charlstm.executors.cpp.partition import Partition, candidate_partitions
from charlstm.generation.incremental import IncrementalModel, make_cpp_decoder
from charlstm.model import LanguageModel

CPP = executors()["cpp"]


@pytest.fixture(scope="module", autouse=True)
def _kernels_can_be_built():
    refusal = build.kernels(CELLS["lstm"], torch.float32)
    if isinstance(refusal, str):
        pytest.skip(refusal)


cells = pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
# batch and hidden sizes of one tile, of several, and of partial tiles
SHAPES = [(4, 70, 64, 5), (3, 5, 100, 4), (2, 1, 33, 3), (5, 129, 32, 2)]


def force_partition(monkeypatch, partition: Partition) -> None:
    @contextmanager
    def forced(key, rows, panels, steps=1):
        yield partition

    monkeypatch.setattr("charlstm.executors.cpp.executor.autotuned_partition", forced)
    monkeypatch.setattr("charlstm.generation.cpp_decoder.autotuned_partition", forced)


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@cells
@pytest.mark.few(60)
def test_all_partitions_give_bit_identical_results(monkeypatch, cell, shape, bfloat16):
    weights, x, state = make(cell, shape, dtype=torch.float32)
    results = []
    for candidate in (
        Partition(1, True),
        Partition(1, False),
        Partition(2, True),
        Partition(2, False),
        Partition(5, True),
        Partition(5, False),
    ):
        force_partition(monkeypatch, candidate)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            results.append(outputs_and_gradients(CPP, cell, weights, x, state))
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@cells
def test_partial_tiles_agree_with_reference(cell, shape):
    weights, x, state = make(cell, shape, dtype=torch.float32)
    with torch.no_grad():
        weights.weight_hh.mul_(0.3)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    for e, f in zip(expected, outputs_and_gradients(CPP, cell, weights, x, state), strict=True):
        assert torch.linalg.norm(f - e) <= 3e-6 * torch.linalg.norm(e) + 1e-6


@cells
def test_no_grad_gives_same_outputs_and_saves_nothing(cell):
    weights, x, state = make(cell, (50, 4, 32, 3), dtype=torch.float32)
    expected, last = CPP.run(cell, weights, x, state)
    sizes: list[int] = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    with torch.no_grad(), Sizes():
        actual, end = CPP.run(cell, weights, x, state)
    assert torch.equal(actual, expected)
    assert all(map(torch.equal, end, last))
    assert sum(size >= 50 * 4 * 32 for size in sizes) <= 5  # the output, input sides and their views


@cells
def test_nan_propagates_as_in_reference(cell):
    weights, x, state = make(cell, (3, 2, 32, 4), dtype=torch.float32)
    state[0].data[0, 0] = math.nan
    expected, _ = executors()["reference"].run(cell, weights, x, state)
    actual, _ = CPP.run(cell, weights, x, state)
    assert expected.isnan().any()
    assert torch.equal(actual.isnan(), expected.isnan())


@pytest.mark.parametrize("values", [(-1000.0, 1000.0), (-88.0, 88.0), (-1e-6, 1e-6)])
@cells
def test_extreme_inputs_agree_with_reference(cell, values):
    weights, x, state = make(cell, (2, 2, 32, 4), dtype=torch.float32)
    with torch.no_grad():
        weights.bias_ih.copy_(torch.linspace(*values, len(weights.bias_ih)))
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    for e, f in zip(expected, outputs_and_gradients(CPP, cell, weights, x, state), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)


# thread partitions


def test_candidate_partitions():
    assert candidate_partitions(1, 1, 8) == [Partition(1, True)]
    assert candidate_partitions(64, 8, 1) == [Partition(1, True)]
    assert candidate_partitions(1, 8, 2) == [Partition(1, True), Partition(2, False)]
    assert candidate_partitions(64, 8, 2) == [Partition(1, True), Partition(2, True), Partition(2, False)]


def test_autotuning_finds_the_fastest_and_follows_load_changes(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    clock, cost = [0.0], {Partition(1, True): 3.0, Partition(2, True): 2.0, Partition(2, False): 1.0}
    monkeypatch.setattr(partition.time, "perf_counter", lambda: clock[0])

    def choices(calls: int) -> list[Partition]:
        chosen = []
        for _ in range(calls):
            with partition.autotuned_partition("test", 64, 8, 10) as choice:
                clock[0] += 10 * cost[choice]
            chosen.append(choice)
        return chosen

    first = choices(1 + 3 * partition.TRIALS)
    assert {first.count(candidate) for candidate in cost} <= {partition.TRIALS, partition.TRIALS + 1}
    assert set(choices(80)) == {Partition(2, False)}
    cost[Partition(2, False)] = 9.0
    later = choices(30 * partition.RETRY_EVERY)
    assert later[-1] == Partition(2, True)
    assert later.count(Partition(2, False)) < 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_packing_and_sums_do_not_depend_on_thread_count(monkeypatch, dtype):
    cell, generator = CELLS["lstm"], torch.Generator().manual_seed(1)
    if isinstance(refusal := build.kernels(cell, dtype), str):
        pytest.skip(refusal)
    weight, rows = torch.randn(4 * 70, 90, generator=generator), torch.randn(50, 4 * 96, generator=generator).to(dtype)
    ids = torch.randint(5, (50,), generator=generator)

    def packed_and_summed(threads):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        packed = [pack(cell, weight, 4, dtype, back) for back in (False, True)]
        return [*packed, sum_by_id(cell, rows, ids, 5), sum_by_id(cell, rows, None, 1)]

    expected = packed_and_summed(1)
    torch.testing.assert_close(expected[2], torch.zeros(5, 4 * 96).index_add(0, ids, rows.float()))
    for threads in (2, 3, 40):
        assert all(map(torch.equal, packed_and_summed(threads), expected))


# building kernels


def use_empty_cache(monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("CHARLSTM_CACHE", str(folder))
    monkeypatch.setenv("CXX", "c++ -O0")  # these tests cover only the build
    build.kernels.cache_clear()


@pytest.fixture
def _clear_kernels():
    yield
    build.kernels.cache_clear()


def refusal(name: str = "rnn") -> str | None:
    weights, x, _ = make(CELLS[name], (2, 2, 3, 4), dtype=torch.float32)
    choice = choose("auto", CELLS[name], weights, x)
    assert (choice.executor.name == "cpp") == ("cpp" not in choice.others)
    if choice.executor.name != "cpp":
        assert choice.executor.name == "eager"
    return choice.others.get("cpp")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@cells
def test_generated_code_of_every_cell_compiles(cell, dtype):
    """If it does not, test_laws skips the cell as on a machine without a compiler."""
    result = build.kernels(cell, dtype)
    assert not (isinstance(result, str) and "compiler failed" in result), result


@pytest.mark.usefixtures("_clear_kernels")
def test_kernels_are_built_once_and_logged(monkeypatch, tmp_path, caplog):
    use_empty_cache(monkeypatch, tmp_path)
    with caplog.at_level("INFO", "charlstm"):
        assert refusal() is None
        use_empty_cache(monkeypatch, tmp_path)
        assert refusal() is None
    assert [r.getMessage() for r in caplog.records] == [
        "compiling C++ kernels for rnn (float32), once for this machine"
    ]
    assert [p.suffix for p in (tmp_path / "kernels").iterdir()] == [".so"]


@pytest.mark.usefixtures("_clear_kernels")
def test_eager_runs_without_a_compiler(monkeypatch, tmp_path):
    use_empty_cache(monkeypatch, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in (refusal() or "")


@pytest.mark.usefixtures("_clear_kernels")
def test_compiler_error_is_quoted(monkeypatch, tmp_path):
    use_empty_cache(monkeypatch, tmp_path)
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'kernels.cpp:1: error: out of ideas' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    assert refusal() == "the C++ compiler failed: kernels.cpp:1: error: out of ideas"
    assert list((tmp_path / "kernels").iterdir()) == []


@pytest.mark.usefixtures("_clear_kernels")
def test_cxx_with_open_quote_is_an_error(monkeypatch, tmp_path):
    use_empty_cache(monkeypatch, tmp_path)
    monkeypatch.setenv("CXX", "'x")
    assert refusal() == "$CXX is not a valid command: No closing quotation: 'x"


@pytest.mark.usefixtures("_clear_kernels")
def test_cxx_that_cannot_be_run_is_named(monkeypatch, tmp_path):
    """Another compiler would have other bugs and other results than the one that was asked for."""
    for value in ("/no/such -O2", str(tmp_path)):
        use_empty_cache(monkeypatch, tmp_path)
        monkeypatch.setenv("CXX", value)
        assert refusal() == f"$CXX is not a program that can be run: {value}"


@pytest.mark.usefixtures("_clear_kernels")
def test_silent_compiler_is_named(monkeypatch, tmp_path):
    for code, problem in ((3, "exited with code 3 and no message"), (0, "wrote no file")):
        use_empty_cache(monkeypatch, tmp_path)
        program = tmp_path / f"silent{code}"
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("CXX", str(program))
        assert refusal() == f"the C++ compiler failed: {program} {problem}"


@pytest.mark.usefixtures("_clear_kernels")
def test_unwritable_cache_is_named(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    use_empty_cache(monkeypatch, blocked)
    assert str(blocked) in (refusal() or "")


@pytest.mark.usefixtures("_clear_kernels")
def test_damaged_library_is_built_again(monkeypatch, tmp_path):
    use_empty_cache(monkeypatch, tmp_path / "one")
    assert refusal() is None
    (built,) = (tmp_path / "one" / "kernels").iterdir()
    damaged = tmp_path / "two" / "kernels" / built.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(built.read_bytes()[:1000])
    use_empty_cache(monkeypatch, tmp_path / "two")
    assert refusal() is None
    assert damaged.stat().st_size == built.stat().st_size


TWO = ("lstm", "gru_reset_before")
COMPILED = [(name, "c++ -O1 -march=haswell") for name in TWO]  # without AVX-512, vectors.h uses other code
COMPILED += [
    pytest.param(name, "c++", marks=() if name in TWO else pytest.mark.slow) for name in CELLS
]  # optimized, as for users; the other tests use kernels that compile faster


@pytest.mark.usefixtures("_clear_kernels")
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "compiler"), COMPILED)
@pytest.mark.few(2)
def test_older_cpu_and_optimized_kernels_agree_with_reference(monkeypatch, tmp_path, name, compiler, bfloat16):
    use_empty_cache(monkeypatch, tmp_path)
    monkeypatch.setenv("CXX", compiler)
    cell = CELLS[name]
    weights, x, state = make(cell, (6, 5, 64, 4), dtype=torch.float32)
    with torch.no_grad():
        weights.weight_hh.mul_(0.3)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        if reason := CPP.refuses(cell, weights, x):
            pytest.skip(reason)
        actual = outputs_and_gradients(CPP, cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        assert torch.linalg.norm(f.float() - e) <= (0.02 if bfloat16 else 3e-6) * torch.linalg.norm(e) + 1e-6


def test_other_systems_and_processors_are_refused(monkeypatch, tmp_path):
    weights, x, _ = make(CELLS["rnn"], (2, 2, 3, 4), dtype=torch.float32)
    for name, value, reason in (("machine", "aarch64", "x86-64"), ("system", "Windows", "Linux")):
        with monkeypatch.context() as patch:
            use_empty_cache(patch, tmp_path)
            patch.setattr(build.platform, name, lambda value=value: value)
            assert reason in (CPP.refuses(CELLS["rnn"], weights, x) or "")
    build.kernels.cache_clear()


def test_unsupported_dtypes_are_refused():
    weights, x, _ = make(CELLS["rnn"], (2, 2, 3, 4))
    assert CPP.refuses(CELLS["rnn"], weights, x) == "it does not support float64"
    weights, x, _ = make(CELLS["rnn"], (2, 2, 3, 4), dtype=torch.float32)
    with torch.autocast("cpu", torch.float16):
        assert CPP.refuses(CELLS["rnn"], weights, x) == "it does not support float16"


@pytest.mark.slow
def test_two_processes_can_build_at_the_same_time(tmp_path):
    code = (
        "import torch; from charlstm.cells import CELLS; from charlstm.executors.cpp.build import kernels;"
        "result = kernels(CELLS['coupled'], torch.float32); assert not isinstance(result, str), result"
    )
    environment = {**os.environ, "CHARLSTM_CACHE": str(tmp_path), "CXX": "c++ -O0"}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [p.wait() for p in running] == [0, 0]
    assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_rounding_without_intrinsics_equals_torch(tmp_path):
    """The bfloat16 rounding in integer arithmetic, for processors without the instruction."""
    program = tmp_path / "rounding.cpp"
    folder = Path(build.__file__).parent
    program.write_text(
        "#include <cstdint>\nusing P = uint16_t;\n"
        f'#include "{folder / "vectors.h"}"\n#include "{folder / "runtime.h"}"\n'
        'extern "C" void round_all(const float* from, bf16* to, long n) {\n'
        "  for (long i = 0; i < n; i += LANES) store(to + i, load(from + i)); }\n"
        'extern "C" void round_each(const float* from, bf16* to, long n) {\n'
        "  for (long i = 0; i < n; ++i) to[i] = narrow(from[i], to); }\n"
    )
    compiler = shutil.which("c++")
    output = tmp_path / "rounding.so"
    subprocess.run([compiler, "-std=c++17", "-O1", "-mavx2", "-shared", "-fPIC", program, "-o", output], check=True)
    library = ctypes.CDLL(str(output), mode=os.RTLD_LAZY)
    bits = torch.randint(-(2**31), 2**31, (1 << 16,), generator=torch.Generator().manual_seed(1)).to(torch.int32)
    special = torch.tensor([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 1.00390625, 1.01171875] * 2)
    values = torch.cat([bits.view(torch.float32), special])
    for function in (library.round_all, library.round_each):
        out = torch.empty(len(values), dtype=torch.bfloat16)
        function(ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(out.data_ptr()), ctypes.c_long(len(values)))
        expected = values.to(torch.bfloat16)
        finite = ~expected.isnan()
        assert torch.equal(out[finite], expected[finite])
        assert out[~finite].isnan().all()


@pytest.mark.parametrize(
    ("operand_type", "tolerance"), [("float", 1e-6), ("uint16_t", 2e-5)], ids=["float32", "bfloat16"]
)
def test_activations_are_accurate_for_all_arguments(tmp_path, operand_type, tolerance):
    """For both compute dtypes, also on a processor without bfloat16 matmuls."""
    functions = {"exponential": torch.exp, "sigmoid": torch.sigmoid, "hyperbolic_tangent": torch.tanh}
    program, output = tmp_path / "activations.cpp", tmp_path / "activations.so"
    program.write_text(
        f'#include <cstdint>\nusing P = {operand_type};\n#include "{Path(build.__file__).parent / "vectors.h"}"\n'
        + "".join(
            f'extern "C" void all_{name}(const float* from, float* to, long n) {{\n'
            f"  for (long i = 0; i < n; i += LANES) store(to + i, {name}(load(from + i))); }}\n"
            for name in functions
        )
    )
    compiler = shutil.which("c++")
    if compiler is None or "avx2" not in build.processor():
        pytest.skip("needs a C++ compiler and AVX2")
    subprocess.run([compiler, "-std=c++17", "-O1", "-mavx2", "-shared", "-fPIC", program, "-o", output], check=True)
    library = ctypes.CDLL(str(output), mode=os.RTLD_LAZY)
    ends = torch.tensor([0.0, 1e-30, 1e-6, 0.0999, 0.1001, 79.9, 500.0, 1e30, math.inf] * 8)[:64]
    values = torch.cat([torch.linspace(-79, 79, 4096), ends, -ends, torch.full((16,), math.nan)])
    for name, expected in functions.items():
        out = torch.empty(len(values))
        arguments = (ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(out.data_ptr()), ctypes.c_long(len(values)))
        library[f"all_{name}"](*arguments)
        clamped = values.double().clamp(-80, 80) if name == "exponential" else values.double()
        relative = name == "exponential" or (name == "hyperbolic_tangent" and operand_type == "float")
        absolute = 0 if relative else tolerance
        torch.testing.assert_close(out.double(), expected(clamped), rtol=tolerance, atol=absolute, equal_nan=True)


# sampling


def model_of(cell: Cell, layers: int, hidden: int, vocabulary: int = 11, **options) -> LanguageModel:
    torch.manual_seed(3)
    form = {"cell": cell.base, **cell.options, "hidden_size": hidden, "num_layers": layers, **options}
    model = LanguageModel(ModelConfig.model_validate(form), vocabulary)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:  # a reservoir of a larger radius is chaotic: rounding grows along the text
                p.mul_(1.5)
    return model.eval()


CONVOLUTION = {"front_end": "convolution", "kernel_sizes": [1, 4], "filters": 35}


@pytest.mark.parametrize(
    ("layers", "hidden", "batch", "options"),
    [
        (1, 40, 1, {}),
        (2, 7, 3, {}),
        (3, 64, 70, {}),
        (2, 70, 1, {"residual": True}),
        (4, 33, 5, {"residual": True}),
        (3, 33, 5, {"output": "sum"}),
        (1, 40, 1, CONVOLUTION),
        (1, 33, 70, {**CONVOLUTION, "highway": True}),
    ],
    ids=str,
)
@cells
@torch.no_grad()
@pytest.mark.few(30)
def test_decoder_agrees_with_the_model(monkeypatch, cell, layers, hidden, batch, options):
    if cell.is_reservoir and "front_end" in options:
        pytest.skip("a reservoir reads one-hot characters")
    embedded = {} if cell.is_reservoir else {"embedding_size": 5}
    model = model_of(cell, layers, hidden, **embedded, **options)
    generator = torch.Generator().manual_seed(1)
    read = torch.randint(12, (4, batch), generator=generator)
    draws = torch.rand(15, batch, dtype=torch.float64, generator=generator)
    texts = []
    for candidate in (Partition(1, True), Partition(2, True), Partition(2, False)):
        force_partition(monkeypatch, candidate)
        decoder = make_cpp_decoder(model, batch)
        first, p = decoder.sample(draws[:10], read)
        more, q = decoder.sample(draws[10:])
        texts.append((torch.cat([first, more]), torch.cat([p, q])))
    assert all(torch.equal(a, b) for t in texts[1:] for a, b in zip(t, texts[0], strict=True))
    written, log_p = texts[0]
    logits, state = model(torch.cat([read, written])[:-1])
    expected = logits[3:].log_softmax(-1)
    torch.testing.assert_close(log_p, expected.gather(-1, written[..., None])[..., 0], rtol=1e-4, atol=1e-5)
    # States of a relu grow: the rounding error scales with the largest terms of a sum, even if the sum is near zero.
    torch.testing.assert_close(
        decoder.logits, logits[-1], rtol=1e-4, atol=1e-5 * max(1.0, float(logits[-1].abs().max()) / 10)
    )
    for actual, part in zip(decoder.state, state, strict=True):
        torch.testing.assert_close(actual, part, rtol=1e-4, atol=1e-5)
    sums = expected.double().exp().cumsum(-1)
    draw = draws[..., None]
    first_above = (sums > draw).int().argmax(-1)
    near = (sums - draw).abs().amin(-1) < 1e-5
    assert torch.equal(written[~near], first_above[~near])


@pytest.mark.parametrize("vocabulary", [1, 15, 16, 17, 32, 33, 70])
@torch.no_grad()
def test_decoder_supports_any_vocabulary_size(vocabulary):
    """Less than one vector, whole vectors, and a remainder."""
    model = model_of(CELLS["lstm"], 1, 20, vocabulary)
    read, generator = torch.full((1, 3), vocabulary), torch.Generator().manual_seed(2)
    draws = torch.rand(20, 3, dtype=torch.float64, generator=generator)
    written, log_p = make_cpp_decoder(model, 3).sample(draws, read)
    expected = model(torch.cat([read, written])[:-1])[0].log_softmax(-1)
    torch.testing.assert_close(log_p, expected.gather(-1, written[..., None])[..., 0], rtol=1e-4, atol=1e-5)
    sums = expected.double().exp().cumsum(-1)
    sure = (sums - draws[..., None]).abs().amin(-1) > 1e-5
    assert torch.equal(written[sure], (sums > draws[..., None]).int().argmax(-1)[sure])


@pytest.mark.parametrize("options", [{}, CONVOLUTION], ids=["embedding", "convolution"])
@torch.no_grad()
def test_decoder_continues_from_a_given_state(options):
    model = model_of(CELLS["lstm"], 2, 20, **options)
    draws = torch.rand(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    complete = make_cpp_decoder(model, 2)
    start = torch.tensor([[1, 2], [3, 4]])
    expected, _ = complete.sample(draws, start)
    _, state = model(start[:1])
    continuation = make_cpp_decoder(model, 2)
    continuation.state = state
    actual, _ = continuation.sample(draws, start[1:])
    assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    "more",
    [{}, {"residual": True}, {"output": "sum"}, CONVOLUTION, {**CONVOLUTION, "kernel_sizes": [1], "highway": True}],
    ids=["plain", "residual", "sum", "convolution", "highway"],
)
def test_cpp_decoder_samples_the_same_text_as_single_steps(more):
    from charlstm.generation.sampler import Sampling, draw

    for options in ({}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"temperature": 0.0}):
        texts = []
        for executor in ("cpp", "eager"):
            model = model_of(CELLS["gru"], 2, 33, 40, executor=executor, **more)
            assert (make_cpp_decoder(model) is None) == (executor == "eager")
            drawn = draw(model, [5, 6], Sampling(**options), 1, 3)
            texts.append([next(drawn) for _ in range(60)])
        assert [ids for ids, _ in texts[0]] == [ids for ids, _ in texts[1]]
        for (_, a), (_, b) in zip(*texts, strict=True):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options", [(1, 64, 11, {}), (3, 64, 11, {"residual": True}), (1, 64, 11, CONVOLUTION)], ids=str
)
def test_autocast_rounds_matmuls_of_the_decoder(options):
    *sizes, more = options
    model = model_of(CELLS["lstm"], *sizes, **more)
    draws = torch.rand(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    read = torch.zeros(1, 4, dtype=torch.int64)
    float32 = make_cpp_decoder(model, 4)
    float32.sample(draws[:1], read)
    with torch.autocast("cpu", torch.bfloat16):
        bfloat16 = make_cpp_decoder(model, 4)
    if bfloat16 is None:
        pytest.skip(build.NO_BFLOAT16)
    bfloat16.sample(draws[:1], read)
    assert not torch.equal(float32.logits, bfloat16.logits)
    torch.testing.assert_close(float32.logits, bfloat16.logits, rtol=0.05, atol=0.05)


def test_decoders_in_several_threads_are_independent():
    model = model_of(CELLS["lstm"], 1, 64)
    draws = torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    read = torch.zeros(1, 2, dtype=torch.int64)
    expected, _ = make_cpp_decoder(model, 2).sample(draws, read)
    results: list[torch.Tensor] = []
    running = [
        threading.Thread(target=lambda: results.append(make_cpp_decoder(model, 2).sample(draws, read)[0]))
        for _ in range(3)
    ]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert all(torch.equal(result, expected) for result in results)


def test_unsupported_models_get_no_cpp_decoder():
    assert make_cpp_decoder(model_of(CELLS["lstm"], 1, 8, executor="vendor")) is None
    assert make_cpp_decoder(model_of(CELLS["lstm"], 1, 8).double()) is None
    assert IncrementalModel(model_of(CELLS["lstm"], 1, 8).double()).device.type == "cpu"


def test_ids_outside_of_the_vocabulary_are_an_error():
    weights, _, state = make(CELLS["lstm"], (3, 2, 4, 5), dtype=torch.float32)
    for invalid in (-1, 6):
        with pytest.raises(IndexError, match=r"ids must be from 0 to 5"):
            CPP.run(CELLS["lstm"], weights, torch.tensor([[0, invalid]]), state)
    decoder = make_cpp_decoder(model_of(CELLS["lstm"], 1, 8))
    with pytest.raises(IndexError, match=r"ids must be from 0 to 11"):
        decoder.sample(torch.rand(3, 1, dtype=torch.float64), torch.tensor([[12]]))


def test_weights_with_wrong_shapes_are_an_error():
    weights, x, state = make(CELLS["gru"], (3, 2, 4, 5), dtype=torch.float32)
    with pytest.raises(ValueError, match="cell lstm with hidden_size 4 needs weights with 16 rows"):
        CPP.run(CELLS["lstm"], weights, x, (*state, *state))
