"""The methods whose loops are Captum's, on a score that borrows the network as everything here does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from featvis.attribution.blur import blur, shorter_side
from featvis.attribution.guided import GuidedReLU
from featvis.attribution.register import Outcome, method
from featvis.attribution.scoring import Score
from featvis.errors import ModelError

BATCH = 8
"""Images that a pass takes: beyond that a CPU wins nothing."""


def _captum() -> Any:
    return importlib.import_module("captum.attr")


def baseline_of(score: Score, image: Tensor, kind: str) -> Tensor:
    """Return what stands for missing pixels, like ``image``: the mean colour, black, white or a blur."""
    if kind == "blur":
        return blur(image, shorter_side((image.shape[2], image.shape[3])) / 12)
    level = {"mean": score.model.mean, "black": (0.0,), "white": (1.0,)}[kind]
    colour = torch.tensor(level, dtype=image.dtype, device=image.device).clamp(0, 1)
    return colour[:, None, None].expand_as(image).contiguous()


@method("saliency", about="the score's gradient", needs="captum.attr", extra="attribution")
def saliency(score: Score, image: Tensor, *, smooth: int = 0, noise: float = 0.15, seed: int = 0) -> Outcome:
    """Return the largest |∂score/∂pixel| over the colours, ``(H, W)`` (Simonyan et al. 2013)."""

    def gradient(images: Tensor) -> Tensor:
        return _captum().Saliency(score).attribute(images.requires_grad_(), abs=False)  # type: ignore[no-any-return]

    return Outcome(_smoothed(gradient, image, smooth, noise, seed).abs().amax(1)[0], {})


@method(
    "guided-backprop",
    about="the gradient, where rectifiers let only positive ones through",
    needs="captum.attr",
    extra="attribution",
)
def guided_backprop(
    score: Score, image: Tensor, *, smooth: int = 0, noise: float = 0.15, seed: int = 0
) -> Outcome:
    """Return saliency whose rectifiers let positive gradients through only (Springenberg et al. 2014)."""
    guide = GuidedReLU()

    def guided(images: Tensor) -> Tensor:
        with guide:
            return score(images)

    def gradient(images: Tensor) -> Tensor:
        return _captum().Saliency(guided).attribute(images.requires_grad_(), abs=False)  # type: ignore[no-any-return]

    values = _smoothed(gradient, image, smooth, noise, seed).abs().amax(1)[0]
    if not guide.met:
        raise ModelError(
            f"guided-backprop changes ReLUs, and {score.model.name} has none before "
            f"{score.objective.describe()}; saliency is the same there"
        )
    return Outcome(values, {})


@method(
    "integrated-gradients",
    about="the gradient along the way from a baseline, times that way",
    signed=True,
    needs="captum.attr",
    extra="attribution",
)
def integrated_gradients(
    score: Score,
    image: Tensor,
    *,
    steps: int = 50,
    baseline: str = "mean",
    smooth: int = 0,
    noise: float = 0.15,
    seed: int = 0,
) -> Outcome:
    """Return integrated gradients summed over the colours, ``(H, W)`` (Sundararajan et al. 2017).

    Told beside it: the baseline's score, and how far the sum is from the difference of both scores.
    """
    base = baseline_of(score, image, baseline)
    integrated = _captum().IntegratedGradients(score)

    def attributed(images: Tensor) -> Tensor:
        return integrated.attribute(  # type: ignore[no-any-return]
            images, baselines=base, n_steps=steps, internal_batch_size=BATCH
        )

    found = _smoothed(attributed, image, smooth, noise, seed).detach()
    before, after = score.values(torch.cat([base, image])).tolist()
    missing = float(found.cpu().double().sum()) - (after - before)
    return Outcome(found.sum(1)[0], {"baseline_score": before, "completeness_gap": missing})


@method(
    "occlusion",
    about="by how much the score falls where a window is covered",
    signed=True,
    needs="captum.attr",
    extra="attribution",
)
def occlusion(
    score: Score,
    image: Tensor,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: str = "mean",
) -> Outcome:
    """Return by how much the score falls when a window over a pixel is covered, ``(H, W)``.

    Zeiler and Fergus 2014; the mean over the windows that cover a pixel. By default a window is a seventh of
    the canvas's shorter side (of a signal's length), and half of that from one to the next.
    """
    size = (image.shape[2], image.shape[3])
    window = min(window or max(1, shorter_side(size) // 7), shorter_side(size))
    stride = min(stride or max(1, window // 2), window)
    windows, strides = ([min(length, side) for side in size] for length in (window, stride))
    found = (
        _captum()
        .Occlusion(score.values)
        .attribute(
            image,
            sliding_window_shapes=(image.shape[1], *windows),
            strides=(image.shape[1], *strides),
            baselines=baseline_of(score, image, baseline),
            perturbations_per_eval=BATCH,
        )
    )
    return Outcome(found[0, 0], {"window": window, "stride": stride})


def _smoothed(
    attributed: Callable[[Tensor], Tensor], image: Tensor, smooth: int, noise: float, seed: int
) -> Tensor:
    """SmoothGrad (Smilkov et al. 2017): the mean over copies of the image under noise of a deviation."""
    if smooth == 0:
        return attributed(image.detach().clone())
    chance = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(image)
    for _ in range(smooth):
        drawn = torch.randn(image.shape, generator=chance).to(image.device)
        total += attributed(image.detach() + noise * drawn)
    return total / smooth
