"""``timm:NAME``: timm's networks."""

from __future__ import annotations

import logging
from typing import Any

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
        import timm

        if not timm.is_model(name):
            raise ModelError(
                unknown("timm network", name, self.names(), "`featvis models --search TEXT` lists them")
            )
        logging.getLogger("timm").setLevel(logging.ERROR)
        try:
            module = _create(name, pretrained)
        except Exception as error:
            raise refusal(f"timm:{name}", pretrained, error) from None
        config = module.pretrained_cfg
        size = config.get("input_size", (3, 224, 224))
        return Loaded(
            module,
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            input_size=(int(size[1]), int(size[2])),
            interpolation=str(config.get("interpolation", "bicubic")),
            labels=imagenet_labels() if module.num_classes == 1000 else (),
        )


def _create(name: str, pretrained: bool) -> Any:
    import timm

    # Transformers that can take any canvas are asked to: a small one is a quick look.
    for options in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            return timm.create_model(name, pretrained=pretrained, **options)
        except TypeError as error:
            if not options or "img_size" not in str(error):
                raise
    raise AssertionError("unreachable")
