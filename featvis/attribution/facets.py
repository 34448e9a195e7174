"""Linear probes that tell two kinds of photographs apart, for :func:`featvis.facet`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from featvis.attribution.attribute import photo_images
from featvis.errors import TargetError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photographs
from featvis.objectives.base import spread_over


@with_gradients
def fit_facet(
    model: ModelHandle,
    wanted: Photographs,
    others: Photographs,
    layers: Sequence[str],
    *,
    size: int | tuple[int, int] | None = None,
    decay: float = 0.01,
) -> dict[str, Tensor]:
    """Fit a logistic probe to each layer's mean activations, for :func:`featvis.facet`.

    Args:
        model: from :func:`featvis.load_model`.
        wanted: photographs of the facet: a folder; or a list of files, PIL images, or tensors or arrays
            ``(C, H, W)`` in [0, 1].
        others: the same of anything else.
        layers: that run before the unit whose facet is wanted.
        size: the canvas of photographs from files; by default the network's input.
        decay: weight of the squared weights, on centred activations of mean square 1.

    Returns:
        By layer, the probe's weights ``(units,)``, of length 1; they point to ``wanted``.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        OutputError: a folder that is not there or holds no photograph.
        TargetError: no layers, an unknown one, or one that answers alike to all.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> bright, dark = ([level + 0.1 * torch.rand(3, 16, 16) for _ in range(4)] for level in (0.8, 0.1))
    >>> fv.fit_facet(model, bright, dark, ["0"])["0"].shape
    torch.Size([4])
    """
    if not layers:
        raise TargetError("fit_facet: name at least one layer")
    groups = [_means(model, photographs, layers, size) for photographs in (wanted, others)]
    truth = torch.cat([torch.full((len(group[layers[0]]),), 1.0 - kind) for kind, group in enumerate(groups)])
    return {
        layer: _probe(layer, torch.cat([group[layer] for group in groups]), truth, decay) for layer in layers
    }


def _probe(layer: str, samples: Tensor, truth: Tensor, decay: float) -> Tensor:
    centred = samples - samples.mean(0)
    # One scale for the layer: a unit that hardly varies is given no say by being blown up.
    spread = centred.square().sum(1).mean().sqrt()
    if float(spread) <= 1e-6 * float(samples.abs().max()):
        raise TargetError(f"fit_facet: {layer} answers alike to all photographs")
    scaled = centred / spread
    weights = torch.zeros(samples.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    # Both kinds weigh the same, however many photographs there are of each.
    balance = torch.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    climber = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        wrong = functional.binary_cross_entropy_with_logits(scaled @ weights + bias, truth, balance)
        total = wrong + decay * weights.square().sum()
        weights.grad, bias.grad = torch.autograd.grad(total, [weights, bias])
        return total

    climber.step(loss)  # type: ignore[no-untyped-call]
    return functional.normalize(weights.detach(), dim=0)


def _means(
    model: ModelHandle,
    photographs: Photographs,
    layers: Sequence[str],
    size: int | tuple[int, int] | None,
) -> dict[str, Tensor]:
    images = photo_images(model, photographs, size or model.input_size)
    means: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for image in images:
        canvas = (image.shape[1], image.shape[2])
        infos = {layer: model.at(canvas).layer(layer) for layer in layers}
        with model.tap(list(layers), size=canvas) as tap, torch.no_grad():
            activations = tap(image[None].to(model.device))
            for layer in layers:
                means[layer].append(spread_over(infos[layer], activations[layer]).float().mean(2)[0].cpu())
    return {layer: torch.stack(rows) for layer, rows in means.items()}
