"""What another network sees in a saved 8-bit PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from featvis.models.handle import ModelHandle

BATCH = 16


@dataclass(frozen=True)
class Verdict:
    """Of one judge on one method's pictures, a value for each class."""

    probability: NDArray[np.float64]
    first: NDArray[np.bool_]
    """Whether the judge names the class first."""


def ask(judge: ModelHandle, files: Sequence[Path], classes: Sequence[int]) -> Verdict:
    """Show a judge the pictures of ``classes`` and return what it thinks of them."""
    targets = torch.tensor(classes)
    found = []
    for place in range(0, len(files), BATCH):
        images = torch.stack([_shown(path, judge) for path in files[place : place + BATCH]])
        with torch.no_grad(), judge.tap([judge.output_layer]) as activations:
            found.append(activations(images.to(judge.device))[judge.output_layer].float().softmax(1).cpu())
    probabilities = torch.cat(found)
    own = probabilities[torch.arange(len(targets)), targets]
    return Verdict(own.double().numpy(), (probabilities.argmax(1) == targets).numpy())


def _shown(path: Path, judge: ModelHandle) -> Tensor:
    """The file, resized to what the judge was trained for: bicubic, antialiased, in [0, 1]."""
    with Image.open(path) as opened:
        levels = np.array(opened.convert("RGB"))
    image = torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255
    resized = functional.interpolate(
        image, judge.input_size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)
