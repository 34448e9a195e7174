"""``torchvision:NAME``: torchvision's classification and segmentation networks."""

from __future__ import annotations

from featvis.errors import ModelError, unknown
from featvis.models.sources.base import Loaded, ModelSource, refusal
from featvis.models.sources.imagenet import imagenet_labels
from featvis.models.sources.register import source


@source("torchvision", example="torchvision:NAME", about="torchvision (download)")
class Torchvision(ModelSource):
    """The networks that torchvision registers."""

    def names(self) -> list[str]:
        """Return the names that torchvision registers."""
        from torchvision import models

        return [*models.list_models(module=models), *models.list_models(module=models.segmentation)]

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Build a network; all that is known of it comes from its weights' metadata."""
        from torchvision import models

        known = self.names()
        if name not in known:
            raise ModelError(
                unknown("torchvision network", name, known, "`featvis models --search TEXT` lists them")
            )
        weights = models.get_model_weights(name).DEFAULT
        try:
            # Without weights the Inception family would spend minutes on SciPy's initialization.
            extra = (
                {"init_weights": False} if name in ("googlenet", "inception_v3") and not pretrained else {}
            )
            module = models.get_model(name, weights=weights if pretrained else None, **extra)
        except Exception as error:
            raise refusal(f"torchvision:{name}", pretrained, error) from None
        labels = tuple(weights.meta.get("categories") or ())
        transforms = weights.transforms()
        size = transforms.crop_size if hasattr(transforms, "crop_size") else transforms.resize_size
        side = size[0] if isinstance(size, list | tuple) else size
        return Loaded(
            module,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            input_size=(side, side),
            interpolation=str(transforms.interpolation.value),
            # The same 1000 classes with their synonyms, where the order is ImageNet's.
            labels=imagenet_labels() if len(labels) == 1000 and labels[0] == "tench" else labels,
        )
