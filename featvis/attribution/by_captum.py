"""The methods whose loops are Captum's, on a score that borrows the network as everything here does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from featvis.attribution.blur import blur
from featvis.attribution.choices import STEPS, Choices
from featvis.attribution.guided import GuidedReLU
from featvis.attribution.scoring import Score
from featvis.errors import ModelError

BATCH = 8
"""Images that a pass takes: beyond that a CPU wins nothing."""


def captum() -> Any:
    """Return ``captum.attr``.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return importlib.import_module("captum.attr")
    except ImportError as error:
        raise ModelError(
            f"this method is Captum's, which is not installed ({error}); pip install 'featvis[attribution]'"
        ) from None


def baseline_of(score: Score, image: Tensor, kind: str) -> Tensor:
    """Return what stands for missing pixels, like ``image``: the mean colour, black, white or a blur."""
    if kind == "blur":
        return blur(image, min(image.shape[2:]) / 12)
    level = {"mean": score.model.mean, "black": (0.0,), "white": (1.0,)}[kind]
    colour = torch.tensor(level, dtype=image.dtype, device=image.device).clamp(0, 1)
    return colour[:, None, None].expand_as(image).contiguous()


def saliency(score: Score, image: Tensor, choices: Choices) -> tuple[Tensor, dict[str, float]]:
    """Return the largest |∂score/∂pixel| over the colours, ``(H, W)`` (Simonyan et al. 2013)."""

    def gradient(images: Tensor) -> Tensor:
        return captum().Saliency(score).attribute(images.requires_grad_(), abs=False)  # type: ignore[no-any-return]

    return _smoothed(gradient, image, choices).abs().amax(1)[0], {}


def guided_backprop(score: Score, image: Tensor, choices: Choices) -> tuple[Tensor, dict[str, float]]:
    """Return saliency with rectifiers that let positive gradients through only (Springenberg et al. 2014).

    Raises:
        ModelError: the network has no ReLU or ReLU6 on the way to the target.
    """
    guide = GuidedReLU()

    def guided(images: Tensor) -> Tensor:
        with guide:
            return score(images)

    def gradient(images: Tensor) -> Tensor:
        return captum().Saliency(guided).attribute(images.requires_grad_(), abs=False)  # type: ignore[no-any-return]

    found = _smoothed(gradient, image, choices).abs().amax(1)[0]
    if not guide.met:
        raise ModelError(
            f"guided-backprop changes ReLUs, and {score.model.name} has none before "
            f"{score.objective.describe()}; saliency is the same there"
        )
    return found, {}


def integrated_gradients(score: Score, image: Tensor, choices: Choices) -> tuple[Tensor, dict[str, float]]:
    """Return integrated gradients summed over the colours, ``(H, W)`` (Sundararajan et al. 2017).

    Told beside it: the baseline's score, and how far the sum is from the difference of both scores.
    """
    base = baseline_of(score, image, choices.baseline)
    method = captum().IntegratedGradients(score)

    def attributed(images: Tensor) -> Tensor:
        return method.attribute(  # type: ignore[no-any-return]
            images,
            baselines=base,
            n_steps=choices.steps or STEPS["integrated-gradients"],
            internal_batch_size=BATCH,
        )

    found = _smoothed(attributed, image, choices).detach()
    before, after = score.values(torch.cat([base, image])).tolist()
    missing = float(found.double().sum()) - (after - before)
    return found.sum(1)[0], {"baseline_score": before, "completeness_gap": missing}


def occlusion(score: Score, image: Tensor, choices: Choices) -> tuple[Tensor, dict[str, float]]:
    """Return by how much the score falls when a window over a pixel is covered, ``(H, W)``.

    Zeiler and Fergus 2014; the mean over the windows that cover a pixel.
    """
    size = image.shape[2:]
    window = min(choices.window or max(1, min(size) // 7), *size)
    stride = choices.stride or max(1, window // 2)
    found = (
        captum()
        .Occlusion(score.values)
        .attribute(
            image,
            sliding_window_shapes=(image.shape[1], window, window),
            strides=(image.shape[1], min(stride, window), min(stride, window)),
            baselines=baseline_of(score, image, choices.baseline),
            perturbations_per_eval=BATCH,
        )
    )
    return found[0, 0], {"window": window, "stride": min(stride, window)}


def _smoothed(attributed: Callable[[Tensor], Tensor], image: Tensor, choices: Choices) -> Tensor:
    """SmoothGrad (Smilkov et al. 2017): the mean over copies of the image under noise."""
    if choices.smooth == 0:
        return attributed(image.detach().clone())
    chance = torch.Generator().manual_seed(choices.seed)
    total = torch.zeros_like(image)
    for _ in range(choices.smooth):
        noise = torch.randn(image.shape, generator=chance).to(image.device)
        total += attributed(image.detach() + choices.noise * noise)
    return total / choices.smooth
