"""Videos as files' bytes, and the check that they can be made. No torch in here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from featvis.errors import OutputError, RecipeError

# A mistake in a request is told before anything heavy is imported.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("gif", "mp4")


def check_video(kind: str, fps: float = 12.0) -> None:
    """Find before anything is rendered that such a video cannot be written."""
    if kind not in KINDS:
        raise OutputError(f"a video is .gif or .mp4, got {kind!r}")
    if not 0 < fps <= 50:
        raise RecipeError(f"fps is a number above 0, up to 50; got {fps}")
    if kind == "mp4":
        _encoder()


def encode(arrays: Sequence[NDArray[np.uint8]], kind: str, fps: float) -> bytes:
    """Return the file of frames ``(H, W, 3)`` of one size."""
    if kind == "mp4":
        return _mp4(arrays, fps)
    from PIL import Image

    images = [Image.fromarray(array) for array in arrays]
    buffer = io.BytesIO()
    duration = max(2, round(100 / fps)) * 10
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return buffer.getvalue()


def _mp4(arrays: Sequence[NDArray[np.uint8]], fps: float) -> bytes:
    import numpy as np

    av = _encoder()
    height, width = arrays[0].shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
        for array in arrays:
            even = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def _encoder() -> Any:
    try:
        import av
    except ImportError:
        raise OutputError("mp4 needs PyAV: pip install 'featvis[video]'; gif needs nothing more") from None
    return av
