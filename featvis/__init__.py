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
    "ascend": "featvis.engine.ascend",
    "Step": "featvis.engine.ascend",
    "compare": "featvis.trust.compare",
    "attribute": "featvis.attribution.attribute",
    "Attribution": "featvis.attribution.result",
    "facet": "featvis.objectives.facet",
    "fit_facet": "featvis.attribution.facets",
    "find_blocks": "featvis.attribution.blocks",
    "find_components": "featvis.attribution.components",
    "load_direction": "featvis.attribution.components",
    "CanvasError": "featvis.errors",
    "FeatvisError": "featvis.errors",
    "Interrupted": "featvis.errors",
    "ModelError": "featvis.errors",
    "OutputError": "featvis.errors",
    "RecipeError": "featvis.errors",
    "TargetError": "featvis.errors",
    "UserError": "featvis.errors",
    "WeightsError": "featvis.errors",
    "GeneratorImage": "featvis.images.generator",
    "generator_image": "featvis.images.generator",
    "find_examples": "featvis.photographs.search",
    "morph": "featvis.results.films",
    "video": "featvis.results.films",
    "build_gallery": "featvis.galleries.build",
    "grid": "featvis.results.sheets",
    "CPPNImage": "featvis.images.cppn",
    "DeepImage": "featvis.images.deep",
    "ImageSpace": "featvis.images.base",
    "AlphaImage": "featvis.images.alpha",
    "FilteredPyramidImage": "featvis.images.filtered_pyramid",
    "FourierImage": "featvis.images.fourier",
    "MaskedImage": "featvis.images.mask",
    "NormBallImage": "featvis.images.norm_ball",
    "PhaseImage": "featvis.images.phase",
    "PixelImage": "featvis.images.pixel",
    "PyramidImage": "featvis.images.pyramid",
    "SharedImage": "featvis.images.shared",
    "ImageStatistics": "featvis.images.statistics",
    "load_statistics": "featvis.images.statistics",
    "ModelHandle": "featvis.models.handle",
    "load_open_clip": "featvis.models.paired",
    "load_paired": "featvis.models.paired",
    "list_models": "featvis.models.load",
    "load_model": "featvis.models.load",
    "accentuation": "featvis.objectives.accentuation",
    "attention_head": "featvis.objectives.attention",
    "attention_score": "featvis.objectives.attention",
    "Objective": "featvis.objectives.base",
    "objective": "featvis.objectives.custom",
    "contrast": "featvis.objectives.contrast",
    "alignment": "featvis.objectives.alignment",
    "caricature": "featvis.objectives.caricature",
    "direction": "featvis.objectives.direction",
    "diversity": "featvis.objectives.diversity",
    "interpolation": "featvis.objectives.interpolation",
    "layer": "featvis.objectives.layer",
    "direction_at": "featvis.objectives.local",
    "weighted": "featvis.objectives.local",
    "match": "featvis.objectives.match",
    "linf": "featvis.objectives.norms",
    "lp": "featvis.objectives.norms",
    "dot_cosine": "featvis.objectives.pattern",
    "tensor_direction": "featvis.objectives.pattern",
    "l1": "featvis.objectives.penalties",
    "l2": "featvis.objectives.penalties",
    "total_variation": "featvis.objectives.penalties",
    "blur": "featvis.objectives.smoothness",
    "boundary": "featvis.objectives.smoothness",
    "style": "featvis.objectives.style",
    "log_probability": "featvis.objectives.classes",
    "margin": "featvis.objectives.classes",
    "ensemble": "featvis.objectives.ensemble",
    "text": "featvis.objectives.text",
    "vectors": "featvis.objectives.vectors",
    "channel": "featvis.objectives.unit",
    "logit": "featvis.objectives.unit",
    "neuron": "featvis.objectives.unit",
    "image_statistics": "featvis.photographs.statistics",
    "within": "featvis.objectives.band",
    "weights_image": "featvis.attribution.kernels",
    "part": "featvis.spec.register",
    "Picture": "featvis.results.picture",
    "load_image": "featvis.results.picture",
    "load_picture": "featvis.results.picture",
    "Recipe": "featvis.spec.recipe",
    "RunOptions": "featvis.spec.recipe",
    "render": "featvis.run.render",
    "reproduce": "featvis.run.render",
    "Target": "featvis.spec.target",
    "Transform": "featvis.transforms.base",
    "transform": "featvis.transforms.function",
    "Blur": "featvis.transforms.blur",
    "ColorJitter": "featvis.transforms.color_jitter",
    "ColorShift": "featvis.transforms.color_shift",
    "Crop": "featvis.transforms.crop",
    "Flip": "featvis.transforms.flip",
    "Kornia": "featvis.transforms.from_kornia",
    "MultiCrop": "featvis.transforms.multicrop",
    "Noise": "featvis.transforms.noise",
    "Tile": "featvis.transforms.tile",
    "Warp": "featvis.transforms.warp",
    "evaluate": "featvis.trust.evaluation",
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
