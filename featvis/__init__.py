"""featvis: feature visualization and activation maximization.

>>> import featvis as fv
>>> fv.__version__
'0.1.0'

The public names are imported when they are first used, so that ``import featvis`` costs nothing and
touches no device.
"""

from __future__ import annotations

import importlib
from typing import Any

from featvis.version import __version__

_HOMES = {
    "ascend": "featvis.ascent",
    "Step": "featvis.ascent",
    "CanvasError": "featvis.errors",
    "FeatvisError": "featvis.errors",
    "ModelError": "featvis.errors",
    "OutputError": "featvis.errors",
    "RecipeError": "featvis.errors",
    "TargetError": "featvis.errors",
    "UserError": "featvis.errors",
    "WeightsError": "featvis.errors",
    "find_examples": "featvis.examples.search",
    "build_gallery": "featvis.galleries.build",
    "grid": "featvis.sheets",
    "ImageSpace": "featvis.images.base",
    "FourierImage": "featvis.images.fourier",
    "PixelImage": "featvis.images.pixel",
    "ModelHandle": "featvis.models.handle",
    "load_open_clip": "featvis.models.paired",
    "load_paired": "featvis.models.paired",
    "list_models": "featvis.models.load",
    "load_model": "featvis.models.load",
    "accentuation": "featvis.objectives.accentuation",
    "attention_head": "featvis.objectives.attention",
    "attention_score": "featvis.objectives.attention",
    "Objective": "featvis.objectives.base",
    "objective": "featvis.objectives.base",
    "log_probability": "featvis.objectives.classes",
    "margin": "featvis.objectives.classes",
    "direction": "featvis.objectives.direction",
    "ensemble": "featvis.objectives.ensemble",
    "l1": "featvis.objectives.penalties",
    "l2": "featvis.objectives.penalties",
    "total_variation": "featvis.objectives.penalties",
    "text": "featvis.objectives.text",
    "vectors": "featvis.objectives.vectors",
    "channel": "featvis.objectives.unit",
    "logit": "featvis.objectives.unit",
    "neuron": "featvis.objectives.unit",
    "part": "featvis.parts",
    "Picture": "featvis.pictures",
    "load_picture": "featvis.pictures",
    "Recipe": "featvis.recipe",
    "RunOptions": "featvis.recipe",
    "render": "featvis.rendering",
    "reproduce": "featvis.rendering",
    "Target": "featvis.target",
    "Transform": "featvis.transforms.base",
    "Noise": "featvis.transforms.noise",
    "Warp": "featvis.transforms.warp",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featvis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
