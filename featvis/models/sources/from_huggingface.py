"""``hf:NAME``: vision networks of HuggingFace's transformers, from the hub or from a folder."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featvis.errors import ModelError, WeightsError
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.register import source

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as the image processors write them."""


def transformers() -> Any:
    """Return the package, or say in a ModelError how it is installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ModelError(
            f"hf: takes networks of transformers, which is not installed ({error}); pip install 'featvis[hf]'"
        ) from None


@source("hf", example="hf:OWNER/NAME", about="transformers (download, or a folder)", typed=True)
class HuggingFace(ModelSource):
    """Vision networks of transformers."""

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build a network; mean, std and size come from its image processor, class names from its config.

        ``name`` is ``OWNER/NAME`` on the hub, or a folder that ``save_pretrained`` wrote. Its output is the
        first of logits, embedding, pooled output and last hidden state that it has. Code that lies beside the
        weights is never run.
        """
        package = transformers()
        with _quiet(package):
            config, kind, named = _config(package, name, local=not pretrained)
            try:
                module, notes = _build(kind, name, config, pretrained)
            except (OSError, ValueError, RuntimeError) as error:
                raise (WeightsError if pretrained else ModelError)(
                    f"hf:{name} could not be {'read' if pretrained else 'built'}: {_line(error)}"
                ) from None
            if getattr(module, "main_input_name", "") != "pixel_values":
                raise ModelError(
                    f"hf:{name} is a {type(module).__name__}, which takes "
                    f"{getattr(module, 'main_input_name', 'something else')}, not images alone"
                )
            told = _preprocessing(package, name, local=not pretrained)
        labels, classes = _labels(config, kind)
        told.setdefault("input_size", _image_size(config))
        return Loaded(_unwrap(module), labels=labels, classes=classes, notes=(*named, *notes), **told)

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build it for so many classes and channels, as its config would say."""
        package = transformers()
        with _quiet(package):
            config, kind, named = _config(package, name, local=True)
            if classes is not None:
                config.num_labels = classes
            if channels is not None:
                config.num_channels = channels
            try:
                module, _ = _build(kind, name, config, False)
            except (OSError, ValueError, RuntimeError, TypeError):
                return None
            told = _preprocessing(package, name, local=True)
        told.setdefault("input_size", _image_size(config))
        return Loaded(_unwrap(module), classes=classes, notes=named, **told)

    def has_weights(self, name: str) -> bool:
        """Whether it is a folder, or the folder of downloads has the files."""
        if Path(name).is_dir():
            return True
        from huggingface_hub import try_to_load_from_cache

        files = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _config(package: Any, name: str, *, local: bool) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the config, the class of the architecture that it names, and what is to be said of that."""
    try:
        config = package.AutoConfig.from_pretrained(name, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError) as error:
        if local:
            raise ModelError(
                f"hf:{name} is not on this machine, and only its own pretrained weights are downloaded: "
                f"{_line(error)}"
            ) from None
        raise ModelError(f"hf:{name} is neither there nor to be downloaded: {_line(error)}") from None
    architecture = next(iter(config.architectures or ()), None)
    kind = getattr(package, str(architecture), None) if architecture else None
    if isinstance(kind, type) and issubclass(kind, package.PreTrainedModel):
        return config, kind, ()
    classifies = "ForImageClassification" in str(architecture)
    kind = package.AutoModelForImageClassification if classifies else package.AutoModel
    unknown = f"hf:{name}: transformers has no {architecture}; loaded as its plain network, without a head"
    return config, kind, (unknown,) if architecture and not classifies else ()


def _labels(config: Any, kind: Any) -> tuple[tuple[str, ...], int | None]:
    """Return the names of the classes, and how many there are, of a network with a head for them."""
    if "For" not in kind.__name__:
        return (), None
    names = config.id2label
    labels = tuple(str(names[place]) for place in sorted(names))
    if labels == tuple(f"LABEL_{place}" for place in range(len(labels))):
        labels = ()
    return labels, len(names)


def _image_size(config: Any) -> tuple[int, int] | None:
    side = getattr(config, "image_size", None)
    if side is None:
        return None
    return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))


def _build(kind: Any, name: str, config: Any, pretrained: bool) -> tuple[nn.Module, tuple[str, ...]]:
    if not pretrained:
        # A class of the package itself runs no code from elsewhere; an Auto class must be told so.
        return kind.from_config(config, trust_remote_code=False) if _is_auto(kind) else kind(config), ()
    more = {"trust_remote_code": False} if _is_auto(kind) else {}
    module, told = kind.from_pretrained(name, output_loading_info=True, **more)
    missing = sorted(told["missing_keys"])
    if not missing:
        return module, ()
    return module, (f"hf:{name} holds no weights for {len(missing)} tensors, {missing[0]!r} the first",)


def _is_auto(kind: Any) -> bool:
    return hasattr(kind, "from_config")


class _Unwrapped:
    """Before a transformers class: images in, one tensor out."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the one output that the network is for."""
        whole = super().forward  # type: ignore[misc]
        takes = inspect.signature(whole).parameters
        # Any canvas then fits; at the canvas that it was trained on nothing is interpolated.
        given = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        found = whole(pixel_values=images, **given)
        for name in ("logits", "image_embeds", "pooler_output", "last_hidden_state"):
            output = found.get(name) if hasattr(found, "get") else None
            if isinstance(output, Tensor):
                return output
        first: Tensor = found if isinstance(found, Tensor) else found[0]
        return first


def _unwrap(module: nn.Module) -> nn.Module:
    """A class of its own, not a wrapper: the layers keep their names, and copies are copies."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (_Unwrapped, kind), {"__module__": kind.__module__})
    return module


def _preprocessing(package: Any, name: str, *, local: bool) -> dict[str, Any]:
    """What its image processor does, for images in [0, 1]; nothing if there is none."""
    try:
        mixin = importlib.import_module("transformers.image_processing_utils").ImageProcessingMixin
        told, _ = mixin.get_image_processor_dict(name, local_files_only=local)
    except (OSError, ValueError):
        return {}
    # It multiplies 8-bit values by a factor, then subtracts the mean and divides by the deviation.
    scale = 255 * (told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1.0)
    shift = 1.0 if told.get("rescale_offset") else 0.0
    mean, std = [0.0] * 3, [1.0] * 3
    if told.get("do_normalize", True):
        if told.get("image_mean") is None or told.get("image_std") is None:
            return {}
        mean, std = told["image_mean"], told["image_std"]
    found: dict[str, Any] = {
        "mean": tuple((level + shift) / scale for level in mean),
        "std": tuple(level / scale for level in std),
        "interpolation": _RESAMPLING.get(int(told.get("resample") or 2), "bilinear"),
    }
    cropped = told.get("crop_size") if told.get("do_center_crop") else None
    size = cropped or told.get("size")
    if isinstance(size, int):
        found["input_size"] = (size, size)
    elif isinstance(size, dict) and "height" in size:
        found["input_size"] = (int(size["height"]), int(size["width"]))
    elif isinstance(size, dict) and "shortest_edge" in size:
        found["input_size"] = (int(size["shortest_edge"]),) * 2
    return found


@contextmanager
def _quiet(package: Any) -> Iterator[None]:
    """Keep progress bars and advice of the package off the terminal meanwhile."""
    logging = package.utils.logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
