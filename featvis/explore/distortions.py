"""Eigendistortions: the changes of a photograph that change a layer's answer most, and least.

Berardino et al. 2017, "Eigen-Distortions of Hierarchical Representations": the eigenvectors of JᵀJ of a
layer's answer at the photograph, of largest and of smallest eigenvalue. Found by Lanczos' method with
products by J and by its transpose alone, each new direction made orthogonal to all before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from featvis.attribution.attribute import photo_levels
from featvis.attribution.result import png
from featvis.errors import ModelError, RecipeError, TargetError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photograph
from featvis.models.reason import is_resource, reason_of
from featvis.results.picture import to_levels
from featvis.results.sheets import make_sheet
from featvis.spec.same import SameByValue

_SETTLED = 1e-3
"""How far JᵀJv may be from λv, over the largest λ, for an eigenvector that counts as found."""


@dataclass(frozen=True, repr=False, eq=False)
class Eigendistortions(SameByValue):
    """What :func:`featvis.eigendistortions` found: changes that a layer notices most, and least.

    >>> flat, one = torch.full((1, 2, 2), 0.5), torch.eye(2).reshape(1, 1, 2, 2) / 2**0.5
    >>> found = Eigendistortions("conv", "mine", flat, one, (4.0,), one.flip(3), (1.0,), (0.0, 0.0))
    >>> found, found.ratio
    (Eigendistortions('conv', eigenvalues 4 and 1), 2.0)
    """

    layer: str
    model: str
    photograph: Tensor
    """``(C, H, W)`` in [0, 1], as the network was shown it."""
    most: Tensor
    """``(count, C, H, W)``, each of length 1 and orthogonal to the others."""
    most_values: tuple[float, ...]
    """How much the layer's answer moves along each, squared, for a step of length 1."""
    least: Tensor
    least_values: tuple[float, ...]
    errors: tuple[float, float]
    """How far JᵀJv is from λv over the largest λ: the worst of the most noticed, and of the least noticed."""

    @property
    def is_settled(self) -> bool:
        """Whether all are eigenvectors to a thousandth of the largest eigenvalue."""
        return max(self.errors) <= _SETTLED

    @property
    def ratio(self) -> float:
        """How many times farther the answer moves along the most noticed change than along the least."""
        least = max(self.least_values[0], 0.0)
        return math.inf if least == 0 else math.sqrt(self.most_values[0] / least)

    def image(self, place: int = 0, strength: float = 4.0, *, least: bool = False) -> Tensor:
        """Return the photograph with a change added, ``strength`` long, in [0, 1]."""
        change = (self.least if least else self.most)[place]
        return (self.photograph + strength * change).clamp(0, 1)

    def sheet(self, strength: float = 4.0) -> Image.Image:
        """Return the photograph, with the most and with the least noticed change, and these."""
        tiles = [self.photograph, self.image(strength=strength), self.image(strength=strength, least=True)]
        shown = [_image(to_levels(one)) for one in tiles]
        for change in (self.most[0], self.least[0]):
            shown.append(_image(to_levels((0.5 + 0.5 * change / change.abs().max()).clamp(0, 1))))
        captions = [("photograph",), ("most noticed",), ("least noticed",), ("the change",), ("the change",)]
        return make_sheet(
            shown, captions, len(shown), title=f"{self.model}  {self.layer}  strength {strength:g}"
        )

    def __repr__(self) -> str:
        values = f"{self.most_values[0]:.3g} and {self.least_values[0]:.3g}"
        settled = (
            "" if self.is_settled else f", not settled (errors {self.errors[0]:.1g}, {self.errors[1]:.1g})"
        )
        return f"Eigendistortions({self.layer!r}, eigenvalues {values}{settled})"

    def _repr_png_(self) -> bytes:
        return png(self.sheet())


@with_gradients
def eigendistortions(
    model: ModelHandle,
    layer: str,
    photograph: Photograph,
    *,
    count: int = 1,
    steps: int = 60,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Eigendistortions:
    """Find the changes of a photograph that a layer's answer moves most and least along.

    Of a layer with fewer numbers than pixels the least noticed change is not noticed at all, and one of many.

    Args:
        model: from :func:`featvis.load_model`.
        layer: whose whole answer is looked at.
        photograph: a file or PIL image; or a tensor or array ``(C, H, W)`` in [0, 1], taken at its own size.
        count: how many changes at either end.
        steps: of Lanczos' method, each a pass back through the network and one forth; the ends settle first.
        size: the canvas for a file, as for :func:`featvis.attribute`.
        seed: of the direction that it starts from.

    Returns:
        The changes with their eigenvalues, and how far from eigenvectors they are at most.

    Raises:
        RecipeError: a count or number of steps that is no whole number above 0.
        TargetError: the layer gives no numbers that depend on the photograph.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 12, bias=False))
    >>> model = fv.load_model(network, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=2)
    >>> found = fv.eigendistortions(model, "1", torch.full((3, 2, 2), 0.5))
    >>> bool(found.most_values[0] > found.least_values[0] > 0), tuple(found.most.shape)
    (True, (1, 3, 2, 2))
    """
    for name, value in (("count", count), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RecipeError(f"{name} is a whole number from 1 up, got {value!r}")
    image = torch.from_numpy(photo_levels(model, photograph, size))[None].float().to(model.device) / 255
    canvas = (image.shape[2], image.shape[3])
    model.at(canvas).layer(layer)
    pixels = image.numel()
    steps = min(max(steps, 2 * count), pixels)
    if 2 * count > pixels:
        raise RecipeError(f"count is at most {pixels // 2}, half the photograph's numbers; got {count}")
    # torch's fused attention has no second derivative, its plain form has.
    with model.tap([layer], size=canvas, cheaper=False) as tap, sdpa_kernel(SDPBackend.MATH):
        watched = image.requires_grad_()
        answer = tap(watched)[layer].float()
        if not answer.requires_grad:
            raise TargetError(f"no gradient of {layer!r} reaches the photograph")
        # Jᵀu is linear in u, so that its slope by u is J: a product with J by two passes back.
        weights = torch.zeros_like(answer, requires_grad=True)
        (back,) = torch.autograd.grad(answer, watched, weights, create_graph=True)

        def product(change: Tensor) -> Tensor:
            """Return JᵀJ times a change."""
            try:
                (forth,) = torch.autograd.grad(back, weights, change.view_as(watched), retain_graph=True)
            except (RuntimeError, NotImplementedError) as error:
                if is_resource(error):
                    raise
                raise ModelError(
                    f"{model.name} has no second derivative up to {layer!r}: {reason_of(error)}"
                ) from None
            (both,) = torch.autograd.grad(answer, watched, forth, retain_graph=True)
            return both.flatten()

        values, vectors, errors = _lanczos(product, pixels, steps, image.device, seed)
    if not math.isfinite(float(values.sum())):
        raise TargetError(f"the slope of {layer!r} is not finite at this photograph")
    if float(values[-1]) <= 0:
        raise TargetError(f"{layer!r} does not answer to any change of this photograph")
    shape = (count, *image.shape[1:])
    most, least = vectors[-count:].flip(0), vectors[:count]
    most_values = tuple(float(one) for one in values[-count:].flip(0))
    least_values = tuple(max(0.0, float(one)) for one in values[:count])
    worst = (float(errors[-count:].max()), float(errors[:count].max()))
    return Eigendistortions(
        layer,
        model.name,
        image.detach()[0].cpu(),
        most.reshape(shape).float(),
        most_values,
        least.reshape(shape).float(),
        least_values,
        worst,
    )


def _lanczos(
    product: Callable[[Tensor], Tensor], pixels: int, steps: int, device: torch.device, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return Ritz values, smallest first, their vectors as rows, and each one's error over the largest."""
    chance = torch.Generator().manual_seed(seed)

    def fresh(basis: list[Tensor]) -> Tensor:
        return _orthogonal(torch.randn(pixels, generator=chance), basis)

    basis, images = [fresh([])], list[Tensor]()
    while True:
        # The network computes in float32 where it is; all else is done here, in float64.
        images.append(product(basis[-1].to(device, torch.float32)).cpu().double())
        if len(basis) == steps:
            break
        following = images[-1]
        length = float(following.norm())
        following = _orthogonal(following, basis, normalize=False)
        if float(following.norm()) <= 1e-6 * max(length, 1e-30):
            following = fresh(basis)  # all that the start leads to is spanned
        else:
            following = _orthogonal(following, basis)
        basis.append(following)
    rows = torch.stack(basis)
    moved = torch.stack(images)
    values, turn = torch.linalg.eigh((rows @ moved.T + moved @ rows.T) / 2)
    vectors, theirs = turn.T @ rows, turn.T @ moved
    largest = values.abs().max().clamp(min=1e-30)
    return values, vectors, (theirs - values[:, None] * vectors).norm(dim=1) / largest


def _orthogonal(vector: Tensor, basis: list[Tensor], *, normalize: bool = True) -> Tensor:
    vector = vector.double()
    if basis:
        rows = torch.stack(basis)
        for _ in range(2):  # once is not enough in floating point
            vector = vector - rows.T @ (rows @ vector)
    return vector / vector.norm() if normalize else vector


def _image(levels: NDArray[np.uint8]) -> Image.Image:
    if levels.shape[0] == 3:
        return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return Image.fromarray(np.ascontiguousarray(levels[0]))
