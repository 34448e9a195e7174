"""A photograph, in whatever form it comes, as the images that networks take.

Every function that takes a photograph or a start image reads it here. No torch until one is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featvis.errors import CanvasError
from featvis.models.image_file import read_image
from featvis.read import reason_of

if TYPE_CHECKING:
    from torch import Tensor

Photograph: TypeAlias = "str | Path | Image.Image | NDArray[Any] | Tensor"
"""A file, a PIL image, or a tensor or array ``(C, H, W)``: floats in [0, 1], or 8-bit levels.

NumPy's 8-bit levels may be ``(H, W, C)`` or ``(H, W)``, too, as PIL and matplotlib give them.
"""
Photographs: TypeAlias = "Photograph | Iterable[Photograph]"
"""A folder, one photograph that is no file, or several in any form, one after another."""

_ROUNDING = 1e-5
"""So far beyond [0, 1] a value may lie by rounding, as after ``x * std + mean``."""


def is_picture(photo: object) -> TypeGuard[str | Path | Image.Image]:
    """Whether a photograph is a file or a PIL image: those are brought to any channels and canvas."""
    return isinstance(photo, str | Path | Image.Image)


def read_photograph(
    photo: Photograph,
    channels: int | tuple[int, ...] = (),
    *,
    size: tuple[int, int] | None = None,
    what: str = "a photograph",
) -> Tensor:
    """Return a photograph as ``(C, H, W)`` in [0, 1], float on the CPU.

    Args:
        photo: in any form; see :data:`Photograph`. Files and PIL images are read upright, as RGB or grey.
        channels: how many it has; several numbers where each will do, files then get the first; ``()`` for
            any, files then get 3.
        size: (height, width) that a file or PIL image is resized to, bicubic and antialiased.
        what: what errors call it.

    Raises:
        CanvasError: another form, number of channels or range.
        OutputError: a file that is not there, or no readable image.

    >>> read_photograph(np.full((2, 4, 3), 255, dtype=np.uint8), 3).shape
    torch.Size([3, 2, 4])
    >>> read_photograph(np.zeros((2, 4, 3)), 3)
    Traceback (most recent call last):
    featvis.errors.CanvasError: a photograph is (3, H, W), got shape (2, 4, 3); x.transpose(2, 0, 1) turns it
    """
    import torch

    counts = (channels,) if isinstance(channels, int) else channels
    if is_picture(photo):
        shown = read_picture(photo, (*counts, 3)[0], what=what)
        if size is not None and size != (shown.height, shown.width):
            shown = shown.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return torch.from_numpy(_levels_of(shown))
    if isinstance(photo, torch.Tensor):
        if photo.dtype != torch.uint8 and not torch.is_floating_point(photo):
            raise CanvasError(f"{what} is uint8, 0 to 255, or floats in [0, 1], got {photo.dtype}")
        plain = photo.detach() if photo.dtype == torch.uint8 else photo.detach().float()
        try:
            values, turned = plain.cpu().numpy(), "permute"
        except (TypeError, RuntimeError) as error:  # a sparse one, or one without numbers
            raise CanvasError(f"{what} is a plain tensor (C, H, W): {reason_of(error)}") from None
    elif hasattr(photo, "__array__"):  # a featvis picture, too
        values, turned = np.asarray(photo), "transpose"
        if values.dtype != np.uint8 and values.dtype.kind != "f":
            raise CanvasError(f"{what} is uint8, 0 to 255, or floats in [0, 1], got {values.dtype}")
        if values.dtype == np.uint8:
            values = _channels_first(values, counts)
    else:
        raise CanvasError(
            f"{what} is a file, a PIL image, or a tensor or array (C, H, W) in [0, 1], "
            f"got {type(photo).__name__}"
        )
    _check_shape(values.shape, counts, what, turned)
    if values.dtype == np.uint8:
        return torch.from_numpy(np.divide(values, np.float32(255), dtype=np.float32))
    # What is read-only or runs backwards is copied, for torch takes neither.
    return torch.from_numpy(np.require(_checked(values, what), np.float32, ["C", "W"]))


def read_photographs(
    photographs: Photographs, channels: int | tuple[int, ...] = (), *, what: str = "a photograph"
) -> list[Tensor]:
    """Return one photograph or several, each as :func:`read_photograph` does.

    >>> import torch
    >>> len(read_photographs(torch.zeros(3, 4, 4))), len(read_photographs(torch.zeros(2, 3, 4, 4)))
    (1, 2)
    """
    return [read_photograph(one, channels, what=what) for one in each(photographs, what=what)]


def each(photographs: Any, *, what: str = "a photograph") -> Iterator[Any]:
    """Give photographs one after another; one by itself is a list of one.

    Raises:
        CanvasError: it is neither a photograph nor several.
    """
    if isinstance(photographs, Mapping):
        photographs = photographs.values()
    axes = getattr(photographs, "ndim", None)
    if is_picture(photographs) or (hasattr(photographs, "__array__") and axes != 4):
        photographs = [photographs]
    if not isinstance(photographs, Iterable):
        raise CanvasError(f"a list of photographs is expected, got {type(photographs).__name__}")
    yield from photographs


def settle(photographs: Photographs) -> Photographs:
    """Return photographs such that they can be gone through more than once: a folder, or a list."""
    return photographs if isinstance(photographs, str | Path) else list(each(photographs))


def read_picture(
    photo: str | Path | Image.Image, channels: int, *, what: str = "a photograph", say: bool = True
) -> Image.Image:
    """Read a file or a PIL image upright, as RGB or grey.

    Raises:
        CanvasError: another number of channels than 1 or 3.
        OutputError: a file that is not there, or no readable image.
    """
    if channels not in (1, 3):
        raise CanvasError(f"{what} from an image file has 1 or 3 channels, the network takes {channels}")
    return read_image(photo, channels, say=say)


def with_channels(photograph: Tensor, channels: int | None, what: str) -> Tensor:
    """Return a photograph ``(…, C, H, W)`` with the channels that a network takes.

    Where that is one, a grey picture that was read as RGB, three equal channels, is one of them.

    Raises:
        CanvasError: it has others.
    """
    shape = tuple(photograph.shape[-3:])
    if channels is None or shape[0] == channels:
        return photograph
    if (shape[0], channels) == (3, 1):
        grey = photograph[..., :1, :, :]
        if bool((photograph == grey).all()):
            return grey
        raise CanvasError(f"{what} in colour, but the network takes 1 channel: fv.load_image(…, channels=1)")
    _check_shape(shape, (channels,), what, "permute")
    return photograph


def _levels_of(image: Image.Image) -> NDArray[np.float32]:
    levels = np.asarray(image).reshape(image.height, image.width, -1)
    values = np.empty((levels.shape[2], image.height, image.width), dtype=np.float32)
    for channel in range(len(values)):  # one at a time, for a large photograph takes gigabytes
        np.divide(levels[..., channel], np.float32(255), out=values[channel])
    return values


def _channels_first(levels: NDArray[np.uint8], counts: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return NumPy's 8-bit levels as ``(C, H, W)``, where they are as PIL gives them."""
    taken = counts or (1, 3)
    if levels.ndim == 2 and 1 in taken:
        return levels[None]
    if levels.ndim != 3 or levels.shape[0] in taken or 0 in levels.shape:
        return levels
    if levels.shape[2] == 4 and taken[0] in (1, 3):  # RGBA
        shown = np.asarray(read_image(Image.fromarray(np.ascontiguousarray(levels)), taken[0]))
        return shown[None] if shown.ndim == 2 else shown.transpose(2, 0, 1)
    return levels.transpose(2, 0, 1) if levels.shape[2] in taken else levels


def _check_shape(shape: tuple[int, ...], counts: tuple[int, ...], what: str, turned: str) -> None:
    expected = f"({' or '.join(map(str, sorted(counts))) or 'C'}, H, W)"
    if len(shape) == 3 and 0 not in shape and (not counts or shape[0] in counts):
        return
    hint = ""
    if len(shape) == 4:
        hint = "; of a batch one is taken: x[0]"
    elif len(shape) == 2 and 1 in (counts or (1,)):
        hint = "; x[None] gives it its channel"
    elif len(shape) == 3 and shape[2] in counts:
        hint = f"; x.{turned}(2, 0, 1) turns it"
    elif counts == (3,) and len(shape) == 3 and shape[0] == 1:
        hint = f"; {'x.expand(3, -1, -1)' if turned == 'permute' else 'x.repeat(3, 0)'} makes grey RGB"
    elif counts == (3,) and len(shape) == 3 and shape[0] == 4:
        hint = "; x[:3] leaves out its alpha"
    raise CanvasError(f"{what} is {expected}, got shape {shape}{hint}")


def _checked(values: NDArray[Any], what: str) -> NDArray[Any]:
    low, high = float(values.min()), float(values.max())  # NaN if any is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise CanvasError(f"{what}'s values lie in [0, 1]; these go beyond: NaN or infinity is among them")
    if low >= 0 and high <= 1:
        return values
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return values.clip(0, 1)
    if 2 < high <= 255 and low >= 0:
        hint = "x / 255 brings levels there"
    elif low >= 0:
        hint = "x.clip(0, 1) cuts them off"
    else:
        hint = "of a normalized photograph x * std + mean brings them back"
    raise CanvasError(f"{what}'s values lie in [0, 1]; these go beyond: {low:.4g} to {high:.4g}; {hint}")
