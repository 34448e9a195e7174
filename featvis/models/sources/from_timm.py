"""``timm:NAME``: timm's networks."""

from __future__ import annotations

import logging
from typing import Any

from featvis.errors import ModelError, WeightsError, unknown
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source


@source("timm", example="timm:NAME", about="timm (download)")
class Timm(ModelSource):
    """The networks that timm registers."""

    def names(self) -> list[str]:
        """Return the names that timm registers."""
        import timm

        found: list[str] = timm.list_models()
        return found

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
            if not pretrained:
                raise ModelError(
                    f"timm:{name} could not be built: {' '.join(str(error).split())[:160]}"
                ) from None
            raise WeightsError(
                f"the weights of timm:{name} could not be downloaded ({' '.join(str(error).split())[:120]}); "
                "give --weights FILE, or --weights none for random ones"
            ) from None
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
