"""What differs between devices: which is a GPU, how one waits for it, frees it, makes its bits repeat."""

from __future__ import annotations

import gc
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

_GPUS = ("cuda",)
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    # What CUDA's libraries say where their own workspaces find no room.
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cufft_alloc_failed",
)


def is_gpu(device: torch.device) -> bool:
    """Whether a device is a GPU that records and replays: CUDA, and ROCm, which says that it is CUDA."""
    return device.type in _GPUS


def entered(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one of this thread for a while; nothing for any other device."""
    return torch.cuda.device(device) if is_gpu(device) else nullcontext()


def wait(device: torch.device) -> None:
    """Wait until a device has done all that it was given, so that a clock read afterwards is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free(device: torch.device) -> None:
    """Give back the memory that nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far: of the GPU's memory, or of the process."""
    if device.type == "cuda":
        # What the process has taken of the card, whether its tensors fill it or not.
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def name_of(device: torch.device, threads: int | None = None) -> str:
    """Return what a person calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {threads or torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def machine_of(device: torch.device) -> str:
    """Return what of a machine shows in the last bits of what it computes, the number of threads aside.

    A GPU's name; of a CPU its vendor, by which libraries choose their kernels, and its instructions.

    >>> machine_of(torch.device("cpu")).split()[0]
    'cpu'
    """
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    told = [device.type, platform.machine()]
    if device.type != "cpu":
        return " ".join(told)
    told += [_vendor(), torch.backends.cpu.get_cpu_capability()]
    for name in ("avx512_bf16", "amx_tile"):
        has = getattr(torch.cpu, f"_is_{name}_supported", None)
        told += [name.upper()] if has is not None and has() else []
    return " ".join(filter(None, told))


def _vendor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("vendor_id", "CPU implementer"):
                return value.strip()
    return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or the GPU; no other error is swallowed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)


class _Shared:
    """A setting of the whole process, held by any number of threads: the first sets it, the last restores."""

    def __init__(self, settings: Callable[[], list[tuple[object, str, object]]]) -> None:
        """``settings`` gives what is set: of which object, which attribute, to which value."""
        self._settings = settings
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[tuple[object, str, object]] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = [(of, name, getattr(of, name)) for of, name, _ in self._settings()]
                for of, name, value in self._settings():
                    setattr(of, name, value)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    for of, name, value in self._before:
                        setattr(of, name, value)


class _Attention:
    """PyTorch's switches for attention kernels as attributes, of which ``math`` alone sums in one order."""

    def __getattr__(self, name: str) -> bool:
        return bool(getattr(torch.backends.cuda, f"{name}_sdp_enabled")())

    def __setattr__(self, name: str, value: bool) -> None:
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


def _repeatable() -> list[tuple[object, str, object]]:
    cudnn, attention = torch.backends.cudnn, _Attention()
    return [
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
        (attention, "math", True),
        *((attention, kernel, False) for kernel in ("flash", "mem_efficient", "cudnn")),
    ]


def _full() -> list[tuple[object, str, object]]:
    cudnn: Any = torch.backends.cudnn
    return [(operation, "fp32_precision", "ieee") for operation in (cudnn.conv, cudnn.rnn)]


_REPEATABLE, _FULL = _Shared(_repeatable), _Shared(_full)


def repeatable(device: torch.device) -> AbstractContextManager[None]:
    """Have a GPU choose kernels that give the same bits twice; nothing on any other device.

    Convolutions' and attention's: PyTorch's own choice of both adds in any order. These settings are the
    process's, so they are counted: with several devices the last one that ends restores them.
    """
    return _REPEATABLE.held() if is_gpu(device) else nullcontext()


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Have a GPU compute convolutions in whole float32 for a while, not in TensorFloat-32's 10 bits."""
    return _FULL.held() if is_gpu(device) else nullcontext()
