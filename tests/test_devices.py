"""What differs between devices, as far as it can be seen without one."""

from __future__ import annotations

import threading

import pytest
import torch

from featvis import devices

CUDA, CPU = torch.device("cuda", 1), torch.device("cpu")


def settings():
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    attention = ("math", "flash", "mem_efficient", "cudnn")
    return (
        cudnn.deterministic,
        cudnn.benchmark,
        *(getattr(cuda, f"{kernel}_sdp_enabled")() for kernel in attention),
    )


REPEATABLE = (True, False, True, False, False, False)


@pytest.fixture(autouse=True)
def untouched():
    before = settings()
    yield
    assert settings() == before


def test_kernels_whose_bits_repeat_are_chosen_for_a_gpu_only():
    with devices.repeatable(CUDA):
        assert settings() == REPEATABLE
    with devices.repeatable(CPU):
        assert settings() != REPEATABLE


def test_whichever_of_two_users_leaves_first_the_other_keeps_them():
    before = settings()
    first, second = devices.repeatable(CUDA), devices.repeatable(CUDA)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert settings() == REPEATABLE
    second.__exit__(None, None, None)
    assert settings() == before


def test_a_users_own_settings_come_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with devices.repeatable(CUDA):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark
    monkeypatch.undo()


def test_workers_that_come_and_go_leave_nothing():
    before = settings()

    def work():
        for _ in range(200):
            with devices.repeatable(CUDA):
                assert settings() == REPEATABLE

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert settings() == before


@pytest.mark.parametrize("chosen", ["tf32", "ieee"])
def test_users_of_torchs_newer_switches_are_not_refused(chosen):
    """`torch.backends.cudnn.flags` reads the older switch, which raises once the newer ones differ."""
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    try:
        cudnn.conv.fp32_precision = chosen
        with devices.repeatable(CUDA), devices.full_precision(CUDA):
            assert cudnn.conv.fp32_precision == "ieee"
        assert cudnn.conv.fp32_precision == chosen
    finally:
        cudnn.conv.fp32_precision = before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_no_memory_is_known_by_every_librarys_words(error):
    assert devices.is_out_of_memory(error)


def test_other_errors_are_not_taken_for_it():
    assert not devices.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not devices.is_out_of_memory(ValueError("size mismatch"))


def test_a_device_is_entered_for_as_long_as_is_asked(monkeypatch):
    asked = []

    class Entered:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            asked.append(self.device)

        def __exit__(self, *_):
            asked.append(None)

    monkeypatch.setattr(torch.cuda, "device", Entered)
    with devices.entered(CUDA):
        assert asked == [CUDA]
    assert asked == [CUDA, None]
    with devices.entered(CPU):
        pass
    assert asked == [CUDA, None]
