"""Pictures by Horama 0.3: `maco` and `fourier`, as it renders them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featvis.models.handle import ModelHandle
from tests.peers.clock import SKIPPED, Clock
from tests.peers.normalized import Normalized

CANVAS, STEPS, CROPS = 1280, 1000, 6
SPECTRUM = "spectrum_decorrelated.npy"
"""As Horama names the file; put its own there to use that."""


class _Reached(Exception):
    def __init__(self, activations: Tensor) -> None:
        super().__init__()
        self.activations = activations


def render(
    model: ModelHandle,
    layer: str,
    unit: int,
    *,
    method: str,
    spectrum: Path,
    steps: int = STEPS,
    canvas: int = CANVAS,
    seed: int = 0,
    clock: Clock | None = None,
) -> NDArray[np.uint8]:
    """Render one unit and return the picture ``(H, W, C)``.

    Args:
        model: the network.
        layer: a layer's dotted name.
        unit: its channel.
        method: ``maco`` or ``fourier``.
        spectrum: the file of magnitudes for ``maco``.
        steps: Horama's ``total_steps``.
        canvas: the image's side.
        seed: of torch's global generator.
        clock: stamped once in each step.
    """
    import horama
    from horama import maco_fv

    maco_fv.MACO_SPECTRUM_FILENAME = str(spectrum)  # else it is fetched from the net
    torch.manual_seed(seed)
    read = _reader(model, layer)
    # Its images are in the network's own units, black and white at -2.5 and 2.5; for this network they are:
    mean, std = sum(model.mean) / model.channels, sum(model.std) / model.channels
    black, white = (0 - mean) / std, (1 - mean) / std

    def objective(images: Tensor) -> Tensor:
        if clock is not None:
            clock.stamp()
        return read((images - black) / (white - black))[:, unit].mean()

    image, _ = getattr(horama, method)(
        objective,
        total_steps=steps,
        image_size=canvas,
        values_range=(black, white),
        device=str(model.device),
    )
    model.module.zero_grad(set_to_none=True)
    levels = (image.detach() - black) / (white - black) * 255
    return np.ascontiguousarray(levels.round().to(torch.uint8).cpu().permute(1, 2, 0).numpy())


def _reader(model: ModelHandle, layer: str) -> Callable[[Tensor], Tensor]:
    """What a user of Horama would write: the network up to the layer, nothing after it."""
    network = Normalized(model).eval()
    module = model.module.get_submodule(layer)

    def stop(_module, _inputs, output):
        raise _Reached(output)

    def read(images: Tensor) -> Tensor:
        handle = module.register_forward_hook(stop)
        try:
            network(images)
        except _Reached as reached:
            return reached.activations
        finally:
            handle.remove()
        raise RuntimeError(f"{layer} did not run")

    return read


def time_steps(
    model: ModelHandle,
    layer: str,
    unit: int,
    *,
    method: str,
    spectrum: Path,
    counted: int,
    canvas: int = CANVAS,
) -> list[float]:
    """Return the seconds of each of ``counted`` steps of one picture."""
    clock = Clock(model.device)
    steps = counted + SKIPPED
    render(model, layer, unit, method=method, spectrum=spectrum, steps=steps, canvas=canvas, clock=clock)
    return clock.steps()


def make_spectrum(path: Path, side: int = 512) -> Path:
    """Write the mean magnitudes of photographs, unless the file is there.

    Horama fetches a table made of ImageNet; where that cannot be had, the photographs that come with
    scikit-image stand in, in the same decorrelated colours.
    """
    if path.is_file():
        return path
    from horama.common import get_color_correlation_svd_sqrt
    from skimage import data

    mixing = torch.linalg.inv(get_color_correlation_svd_sqrt("cpu"))
    total = torch.zeros(3, side, side // 2 + 1)
    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    for photo in photos:
        image = torch.from_numpy(photo).float().permute(2, 0, 1)[None] / 255
        least = min(image.shape[2:])
        square = functional.interpolate(
            image[:, :, :least, :least], (side, side), mode="bicubic", antialias=True
        )[0]
        centred = square - square.mean((1, 2), keepdim=True)
        total += torch.fft.rfft2(torch.einsum("chw,cd->dhw", centred, mixing)).abs()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, (total / len(photos)).numpy())
    return path
