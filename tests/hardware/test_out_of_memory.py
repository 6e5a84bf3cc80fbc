"""Out-of-memory errors: the message, the suggested settings, and the saved run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from charlstm.checkpoints.format import load_checkpoint
from charlstm.errors import UserError
from charlstm.hardware import out_of_memory
from charlstm.hardware.device import Memory
from charlstm.hardware.out_of_memory import MemoryEstimate, settings_to_lower
from charlstm.training import validation

GB = 10**9


def cuda_error(requested="2.00 GiB"):
    return torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {requested}. GPU 0 has a total capacity of 23.64 GiB of which 1.10 GiB "
        "is free. Including non-PyTorch memory, this process has 22.53 GiB memory in use."
    )


def parse_settings(suggestions):
    matches = (re.match(r"([\w.]+)=(\d+) ", suggestion) for suggestion in suggestions)
    return {name: int(value) for name, value in (match.groups() for match in matches)}


NAMES = ("training.batch_size", "training.sequence_length", "model.hidden_size")


def test_suggested_settings_fit():
    """30 GB needed, 22 GB available, 90 % of it usable: two thirds of the 28 GB that can shrink."""
    estimate = MemoryEstimate(2 * GB, 28 * GB, 64, 128, 2048)
    lowered = parse_settings(settings_to_lower(estimate, Memory(24 * GB, 2 * GB, 20 * GB), 3 * GB))
    assert lowered == dict(zip(NAMES, (32, 64, 1024), strict=True))  # times 0.636
    lowered = parse_settings(settings_to_lower(estimate, Memory(32 * GB, 2 * GB, 28 * GB), 3 * GB))
    assert lowered == dict(zip(NAMES, (48, 96, 1536), strict=True))  # 25 of 29 GB would be too close: times 0.75
    for name, value in lowered.items():
        factor = value / {"batch": 64, "sequence": 128, "hidden": 2048}[name.split(".")[1].split("_")[0]]
        assert 2 * GB + 28 * GB * factor <= 27 * GB


def test_allocated_memory_above_the_estimate_counts():
    estimate = MemoryEstimate(1 * GB, 4 * GB, 64, 128, 2048)
    lowered = parse_settings(settings_to_lower(estimate, Memory(24 * GB, 1 * GB, 21 * GB), 20 * GB))
    assert lowered["training.batch_size"] == 24  # 40 GB of activations, 18.8 available: times 0.47


def test_weights_that_do_not_fit_lower_hidden_size():
    estimate = MemoryEstimate(40 * GB, 0, 64, 128, 8192)
    lowered = parse_settings(settings_to_lower(estimate, Memory(24 * GB, 22 * GB, 0), 8 * GB))
    assert list(lowered) == ["model.hidden_size"]
    assert lowered["model.hidden_size"] == 3072  # 9.9 of 40 GB: hidden_size times 0.4975
    lowered = parse_settings(
        settings_to_lower(MemoryEstimate(40 * GB, 9 * GB, 64, 128, 8192), Memory(24 * GB, 0, 22 * GB), GB)
    )
    assert list(lowered) == ["model.hidden_size"]


def test_batch_size_1_is_not_lowered():
    lowered = parse_settings(
        settings_to_lower(MemoryEstimate(GB, 90 * GB, 1, 256, 512), Memory(24 * GB, 0, 22 * GB), GB)
    )
    assert "training.batch_size" not in lowered
    assert lowered["training.sequence_length"] == 48  # times 0.209


def test_unknown_memory_suggests_half():
    assert parse_settings(settings_to_lower(MemoryEstimate(GB, GB, 64, 100, 512), None, 0)) == dict(
        zip(NAMES, (32, 48, 256), strict=True)
    )


def test_suggested_batch_size_divides_among_processes():
    estimate = MemoryEstimate(2 * GB, 28 * GB, 66, 128, 2048, processes=11)
    lowered = parse_settings(settings_to_lower(estimate, Memory(24 * GB, 2 * GB, 20 * GB), 3 * GB))
    assert lowered["training.batch_size"] == 33  # 11 processes, 3 of 6 each: times 0.636
    assert "training.batch_size" not in parse_settings(settings_to_lower(replace(estimate, batch_size=11), None, 0))


MPS = "MPS backend out of memory (MPS allocated: 17.71 GB). Tried to allocate 1.00 GB on private pool."
CPU = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 2000000000 bytes."
CUDNN = "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize(
    ("error", "requested"),
    [
        (cuda_error(), "2.1 GB"),
        (cuda_error("20.00 MiB"), "21 MB"),
        (RuntimeError(MPS), "1.1 GB"),
        (RuntimeError(CPU), "2.0 GB"),
        (RuntimeError(CUBLAS), None),
        (RuntimeError(CUDNN), None),
    ],
    ids=["cuda", "cuda small", "mps", "cpu", "cublas", "cudnn"],
)
def test_message_has_requested_and_free_memory(monkeypatch, error, requested):
    monkeypatch.setattr(out_of_memory, "memory", lambda _: Memory(24 * GB, 1 * GB, 10 * GB))
    estimate = MemoryEstimate(GB, GB, 64, 128, 512)
    with (
        pytest.raises(UserError) as caught,
        out_of_memory.report_out_of_memory(torch.device("cuda:1"), lambda: ("in step 3", estimate)),
    ):
        raise error
    message = str(caught.value)
    assert message.startswith("out of memory on cuda:1 in step 3: ")
    assert (f"{requested} more were requested" in message) == (requested is not None)
    assert "1.0 GB of 24.0 GB are free, 13.0 GB are used by the driver and other programs" in message
    assert re.search(r"Start a new run with training\.batch_size=(48|32) \(now 64\) or training", message)
    assert "--resume" in message
    assert "\n" not in message


def test_plan_cache_is_cleared_after_reading_memory_status(monkeypatch):
    order = []
    monkeypatch.setattr(out_of_memory, "memory", lambda _: order.append("memory status"))
    monkeypatch.setattr(out_of_memory, "clear_plan_cache", lambda: order.append("cache cleared"))
    estimate = MemoryEstimate(GB, GB, 64, 128, 512)
    with (
        pytest.raises(UserError),
        out_of_memory.report_out_of_memory(torch.device("cuda"), lambda: ("in step 3", estimate)),
    ):
        raise cuda_error()
    assert order == ["memory status", "cache cleared"]


def test_too_large_weights_are_refused_before_allocation(make_trainer, make_config, monkeypatch):
    monkeypatch.setattr(out_of_memory, "free_main_memory", lambda: 4000)
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("the model is being created"))
    expected = r"^not enough memory: weights, .* take 0 MB, 0 MB are free\. Lower model\.hidden_size=\d"
    with pytest.raises(UserError, match=expected):
        make_trainer(make_config())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(CPU)])
def test_message_has_free_main_memory(monkeypatch, error):
    monkeypatch.setattr(out_of_memory, "free_main_memory", lambda: 3 * GB)
    with (
        pytest.raises(UserError, match=r"3\.0 GB are free"),
        out_of_memory.report_out_of_memory(
            torch.device("cpu"), lambda: ("in step 3", MemoryEstimate(GB, GB, 64, 128, 512))
        ),
    ):
        raise error


def test_other_errors_pass_through():
    def never():
        pytest.fail("the estimate is not needed")

    with (
        pytest.raises(RuntimeError, match="sizes differ"),
        out_of_memory.report_out_of_memory(torch.device("cpu"), never),
    ):
        raise RuntimeError("sizes differ")


def run_out_of_memory(trainer, target, monkeypatch):
    method = getattr(*target)

    def failing(*arguments):
        if trainer.counters.step == 8:
            raise cuda_error()
        return method(*arguments)

    monkeypatch.setattr(*target, failing)
    with pytest.raises(UserError) as caught:
        list(trainer.run())
    return str(caught.value)


def test_run_out_of_memory_in_a_step_can_be_resumed(make_trainer, make_config, monkeypatch):
    config = make_config(evaluate_every=4, budget={"steps": 12})
    trainer = make_trainer(config)
    message = run_out_of_memory(trainer, (trainer.step, "gradients"), monkeypatch)
    assert "in step 9: 2.1 GB" in message
    assert "batch_size=2 (now 4)" in message
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 8
    again = make_trainer(config)
    again.resume()
    assert list(again.run())[-1].stop_reason == "budget"


def test_out_of_memory_in_evaluation_lowers_hidden_size_only(make_trainer, make_config, monkeypatch):
    trainer = make_trainer(make_config(evaluate_every=8, budget={"steps": 12}))
    message = run_out_of_memory(trainer, (trainer.validator, "score"), monkeypatch)
    assert "in the evaluation after step 8" in message
    assert "Start a new run with model.hidden_size=4 (now 8)." in message


def test_evaluation_frees_the_plan_cache_when_out_of_memory(make_trainer, make_config, monkeypatch):
    """The plan cache is cleared, and the evaluation runs again."""
    cached, cleared_at, score = [True], [], validation.nats_per_character

    def clear_cache():
        cached.clear()
        cleared_at.append(trainer.counters.step)

    def score_or_fail(*arguments):
        if cached and trainer.counters.step == 8:
            raise cuda_error()
        return score(*arguments)

    monkeypatch.setattr(validation, "clear_plan_cache", clear_cache)
    monkeypatch.setattr(validation, "nats_per_character", score_or_fail)
    trainer = make_trainer(make_config(evaluate_every=4, budget={"steps": 12}))
    assert list(trainer.run())[-1].stop_reason == "budget"
    assert cleared_at == [8]


def test_model_that_does_not_fit_is_refused(make_trainer, make_config, monkeypatch):
    def to(*_):
        raise cuda_error()

    monkeypatch.setattr(torch.nn.Module, "to", to)
    with pytest.raises(UserError, match=r"for the weights: .*model\.hidden_size=4 \(now 8\)"):
        make_trainer(make_config())


@pytest.mark.parametrize("executor", ["eager", "vendor", "cpp"])
def test_estimate_equals_the_sum_of_its_parts(make_trainer, make_config, executor):
    estimates = []
    for batch_size in (2, 4):
        trainer = make_trainer(make_config({"executor": executor}, batch_size=batch_size))
        estimate, parts = trainer.execution.estimate_memory(), trainer.execution.memory_breakdown()
        assert estimate.fixed + estimate.activations == sum(parts.values())
        estimates.append(estimate)
    assert estimates[0].fixed == estimates[1].fixed
    assert 2 * estimates[0].activations == estimates[1].activations
    assert (estimate.batch_size, estimate.sequence_length, estimate.hidden_size) == (4, 20, 8)


def test_estimate_includes_resident_text(make_trainer, make_config):
    trainer = make_trainer(make_config())
    before = trainer.execution.estimate_memory()
    trainer.streams.to_device(torch.device("cpu"))
    assert trainer.execution.estimate_memory().fixed == before.fixed + trainer.streams.required_bytes
    assert trainer.execution.estimate_memory().activations == before.activations
