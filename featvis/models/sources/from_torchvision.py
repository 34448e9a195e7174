"""``torchvision:NAME``: torchvision's networks for classification, segmentation, detection and video."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featvis.errors import ModelError, unknown
from featvis.models.sources.base import Loaded, ModelSource, refusal
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source

FRAMES = 16
"""How many frames a video is, of which torchvision's networks were trained on clips."""


@source("torchvision", example="torchvision:NAME", about="torchvision (download)")
class Torchvision(ModelSource):
    """The networks that torchvision registers, but those of two images or of whole numbers."""

    def names(self) -> list[str]:
        """Return the names that torchvision registers."""
        from torchvision import models

        kinds = (models, models.segmentation, models.detection, models.video)
        return [name for kind in kinds for name in models.list_models(module=kind)]

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build a network; all that is known of it comes from its weights' metadata."""
        return self._build(name, pretrained)

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build it for so many classes; its first convolution takes three channels always."""
        if channels is not None or classes is None:
            return None
        return self._build(name, False, classes)

    def has_weights(self, name: str) -> bool:
        """Whether torch's folder of downloads has the file."""
        from torchvision import models

        if name not in self.names():
            return False
        url = str(models.get_model_weights(name).DEFAULT.url)
        return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2]).is_file()

    def _build(self, name: str, pretrained: bool, classes: int | None = None) -> Loaded:
        from torchvision import models

        known = self.names()
        if name not in known:
            raise ModelError(
                unknown("torchvision network", name, known, "`featvis models --search TEXT` lists them")
            )
        weights = models.get_model_weights(name).DEFAULT
        extra: dict[str, Any] = {}
        if not pretrained:
            # Without weights the Inception family would spend minutes on SciPy's initialization.
            extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
                extra["weights_backbone"] = None  # else it is downloaded
        if classes is not None:
            extra["num_classes"] = classes
        try:
            module = models.get_model(name, weights=weights if pretrained else None, **extra)
        except Exception as error:
            raise refusal(f"torchvision:{name}", pretrained, error) from None
        labels = tuple(weights.meta.get("categories") or ())
        if len(labels) == 1000 and labels[0] == "tench":
            labels = imagenet_labels()  # the same classes with their synonyms
        transforms = weights.transforms()
        is_video = name in models.list_models(module=models.video)
        resizing = getattr(transforms, "interpolation", None)
        return Loaded(
            module,
            # Networks for detection normalize by themselves.
            mean=tuple(getattr(transforms, "mean", (0.0,) * 3)),
            std=tuple(getattr(transforms, "std", (1.0,) * 3)),
            input_size=_size(module, transforms),
            interpolation="bilinear" if resizing is None else str(resizing.value),
            labels=labels if classes is None else (),
            classes=len(labels),
            frames=FRAMES if is_video else None,
        )


def _size(module: nn.Module, transforms: Any) -> tuple[int, int]:
    own = getattr(module, "transform", None)
    fixed, least = getattr(own, "fixed_size", None), getattr(own, "min_size", None)
    if fixed:
        return int(fixed[1]), int(fixed[0])
    if least:
        side = int(least[-1])
    else:
        size = transforms.crop_size if hasattr(transforms, "crop_size") else transforms.resize_size
        side = size[0] if isinstance(size, list | tuple) else size
    return side, side
