"""Recording a step on a GPU: what may be recorded, on which stream, and what a recording needs to stay."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featvis.devices import entered, is_gpu

_WAITS = (
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave.Tensor",
    "unique",
    "_unique2",
)
"""Operations whose result, or its shape, the host must know before it goes on."""
_OURS = ("/torch/", "featvis/engine/record.py")

_CAPTURE = threading.Lock()
"""PyTorch allows one capture at a time in a process."""


class Recorded(Protocol):
    """A step that has been recorded."""

    def replay(self) -> None:
        """Have the device take the step once more."""

    def reset(self) -> None:
        """Give back what the recording holds."""


class Recorder(Protocol):
    """Where the steps of a run are taken, and how one of them is recorded."""

    def aside(self) -> AbstractContextManager[None]:
        """Enter the device and the stream of the run for one step."""

    def watch(self) -> Watched:
        """Look at a step on its way to the device."""

    def record(self, take: Callable[[], None]) -> Recorded:
        """Record a step without taking it; a RuntimeError where it cannot be recorded."""


class CudaRecorder:
    """Records by CUDA graphs, on one stream of its own: warm-up, capture and replays share it.

    The allocator and the libraries keep memory by stream, so that one for each step would strand as many
    steps' worth of it; and a capture is of the stream of one device, whichever is current.
    """

    check_input_liveness = False
    """Whether PyTorch raises as soon as something that a recording reads is freed; for tests."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with entered(device):
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Enter the device and the stream; before and after, it and the caller's wait for each other."""
        with entered(self._device):
            outer = torch.cuda.current_stream()
            self._stream.wait_stream(outer)
            try:
                with torch.cuda.stream(self._stream):
                    yield
            finally:
                outer.wait_stream(self._stream)

    def watch(self) -> Watched:
        """Look at a step on its way to the GPU."""
        return Watched(self._device.type)

    def record(self, take: Callable[[], None]) -> Recorded:
        """Capture a step; on failure nothing of it is left."""
        graph = torch.cuda.CUDAGraph()
        options: dict[str, Any] = {"check_input_liveness": True} if self.check_input_liveness else {}
        with _CAPTURE, _no_collection():
            try:
                # Only this thread may disturb its capture: other devices' workers go on meanwhile.
                with torch.cuda.graph(
                    graph, stream=self._stream, capture_error_mode="thread_local", **options
                ):
                    take()
            except BaseException:
                graph.reset()
                raise
        return graph


def recorder_for(device: torch.device) -> Recorder | None:
    """Return what records on a device; None where nothing does."""
    return CudaRecorder(device) if is_gpu(device) else None


@contextmanager
def _no_collection() -> Iterator[None]:
    # The collector might free another run's recording, which a capture does not survive.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operation of a step, backward pass included, on its way to the device.

    >>> with Watched("cpu") as seen:
    ...     found = float(torch.ones(3).sum())
    >>> seen.found[0].partition(" (")[0]
    'waits for the device: aten._local_scalar_dense.default'
    """

    def __init__(self, device_type: str) -> None:
        """Watch operations on devices of a type, such as ``cuda``."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._type = device_type
        self._made: set[int] = set()
        self.found: list[str] = []
        """What a recording would not take, each with its place: waits and copies from the host."""
        self.read: dict[int, Tensor] = {}
        """What the operations read and did not make: a recording reads it at the same place ever after."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        problem = self._problem(func, tensors, kwargs)
        if problem:
            self.found.append(f"{problem}: {func} ({_place()})")
        for tensor in tensors:
            if tensor.device.type == self._type and _storage(tensor) not in self._made:
                self.read.setdefault(_storage(tensor), tensor)
        made = func(*args, **kwargs)
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and _storage(leaf) not in self.read:
                self._made.add(_storage(leaf))
        return made

    def _problem(self, func: Any, tensors: list[Tensor], kwargs: dict[str, Any]) -> str | None:
        there = [tensor for tensor in tensors if tensor.device.type == self._type]
        name = str(func).removeprefix("aten.")
        if there and any(name == waiting or name.startswith(f"{waiting}.") for waiting in _WAITS):
            return "waits for the device"
        if there and name.startswith(("index.", "index_put")) and any(_is_mask(one) for one in tensors[1:]):
            return "waits for the device"
        target = kwargs.get("device")
        devices = {tensor.device.type for tensor in tensors}
        if name.startswith(("_to_copy", "to.")) and target is not None:
            devices.add(torch.device(target).type)
        elif not name.startswith("copy_"):
            # A single number of the host's goes along with the kernel.
            devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if self._type in devices and len(devices) > 1:
            return "copies between host and device"
        return None


def _is_mask(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.bool, torch.uint8)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _place() -> str:
    """The line of Python that an operation comes from; the backward pass has none of its own."""
    for frame in reversed(traceback.extract_stack()):
        if not any(part in frame.filename for part in _OURS):
            return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return "backward pass"
