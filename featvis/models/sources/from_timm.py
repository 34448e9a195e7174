"""``timm:NAME``: timm's networks."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from featvis.errors import ModelError, unknown
from featvis.models.sources.base import Loaded, ModelSource, refusal
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source


@source("timm", example="timm:NAME", about="timm (download)")
class Timm(ModelSource):
    """The networks that timm registers."""

    def names(self) -> list[str]:
        """Return the names that timm registers."""
        import timm

        return list(timm.list_models())

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build a network; all that is known of it comes from its ``pretrained_cfg``."""
        return self._build(name, pretrained)

    def load_for(self, name: str, classes: int | None, channels: int | None) -> Loaded | None:
        """Build it for so many classes and channels."""
        wanted = {"num_classes": classes, "in_chans": channels}
        return self._build(name, False, **{key: value for key, value in wanted.items() if value is not None})

    def has_weights(self, name: str) -> bool:
        """Whether the folder of downloads has them."""
        import timm
        from huggingface_hub import try_to_load_from_cache

        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        where = getattr(config, "hf_hub_id", None)
        files = (getattr(config, "hf_hub_filename", None), "model.safetensors", "pytorch_model.bin")
        return bool(where) and any(
            isinstance(try_to_load_from_cache(str(where), file), str) for file in files if file
        )

    def _build(self, name: str, pretrained: bool, **wanted: int) -> Loaded:
        import timm

        if not timm.is_model(name):
            raise ModelError(
                unknown("timm network", name, self.names(), "`featvis models --search TEXT` lists them")
            )
        logging.getLogger("timm").setLevel(logging.ERROR)
        try:
            module = _create(name, pretrained, **wanted)
        except Exception as error:
            raise refusal(f"timm:{name}", pretrained, error) from None
        return read_config(module)


def read_config(module: nn.Module) -> Loaded:
    """Return a network with what its ``pretrained_cfg`` says, as timm's have one; without it, no more."""
    config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    if "mean" not in config or "std" not in config:
        return Loaded(module)
    size = config.get("input_size", (3, 224, 224))
    mean, std = tuple(map(float, config["mean"])), tuple(map(float, config["std"]))
    channels = channels_of(module, config)
    notes: tuple[str, ...] = ()
    if channels is not None and channels != len(mean):
        # timm mixes the colours' weights into any other number of channels; so are the colours' numbers.
        told = len(mean)
        mean, std = (sum(mean) / told,) * channels, (sum(std) / told,) * channels
        notes = (
            f"it takes {channels} channels where its preprocessing tells of {told}: mean {mean[0]:.3f} and "
            f"std {std[0]:.3f}, their averages, for each; give mean and std if it was trained with others",
        )
    classes = getattr(module, "num_classes", None)
    return Loaded(
        module,
        mean=mean,
        std=std,
        input_size=(int(size[1]), int(size[2])),
        interpolation=str(config.get("interpolation", "bicubic")),
        labels=imagenet_labels() if classes == 1000 else (),
        notes=notes,
        classes=classes,
    )


def channels_of(module: nn.Module, config: dict[str, Any]) -> int | None:
    """Return how many channels a network of timm takes: those of its first layer, which its config names."""
    first = config.get("first_conv")
    first = first[0] if isinstance(first, list | tuple) and first else first
    try:
        found = module.get_submodule(first) if isinstance(first, str) else None
    except AttributeError:
        return None
    channels = getattr(found, "in_channels", None)
    return channels if isinstance(channels, int) else None


def _create(name: str, pretrained: bool, **wanted: int) -> Any:
    import timm

    # Transformers that can take any canvas are asked to: a small one is a quick look.
    for options in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            return timm.create_model(name, pretrained=pretrained, **wanted, **options)
        except TypeError as error:
            if not options or "img_size" not in str(error):
                raise
    raise AssertionError("unreachable")
