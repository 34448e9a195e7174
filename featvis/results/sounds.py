"""Signals as WAV files. No torch in here."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float]


def make_wav(levels: NDArray[np.uint8], rate: float, mean: Numbers, std: Numbers) -> bytes:
    """Return a 16-bit WAV file of 8-bit signals ``(C, T)``, one track for each channel.

    It holds the numbers that the network takes, (x - mean) / std with x in [0, 1], where the largest
    that any signal could give it is at most 1; else all of them divided by that.
    """
    offset, scale = (np.array(numbers, np.float64)[:, None] for numbers in (mean, std))
    largest = float(max(np.abs(-offset / scale).max(), np.abs((1 - offset) / scale).max(), 1.0))
    values = (levels / 255 - offset) / scale / largest
    tracks = np.round(values * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(tracks))
        file.setsampwidth(2)
        file.setframerate(round(rate))
        file.writeframes(np.ascontiguousarray(tracks.T).tobytes())
    return buffer.getvalue()
