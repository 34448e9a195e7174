"""Directions in a layer's space that a photograph uses: its channels reduced by NMF or PCA.

Olah et al. 2018, "The Building Blocks of Interpretability", reduce a layer's channels by non-negative
matrix factorization; each factor is a direction that can be rendered or attributed like a unit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from featvis.attribution.attribute import photo_images
from featvis.errors import OutputError, RecipeError, TargetError, unknown
from featvis.files import write_whole
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photographs
from featvis.read import DAMAGED, check_file, parse_json
from featvis.spec.same import SameByValue

METHODS = ("nmf", "pca")
NAME = "directions"
"""The name of the tensor in a file of directions."""


@dataclass(frozen=True, repr=False, eq=False)
class Components(SameByValue):
    """Directions ``(count, units)`` of a layer, each of length 1, the one that explains most first.

    Two are equal whose fields are, directions and maps by their values.
    """

    layer: str
    method: str
    model: str
    directions: Tensor
    maps: tuple[Tensor, ...]
    """How much of each direction every place of each photograph holds, ``(count, rows, columns)``."""
    explained: float
    """The share of the activations' squares (NMF) or of their variance (PCA) that the directions explain."""

    def __repr__(self) -> str:
        count = f"{len(self.directions)} directions of {self.layer!r} by {self.method}"
        return f"Components({count}, which explain {self.explained:.1%})"

    def save(self, path: str | Path) -> Path:
        """Write the directions as rows of one safetensors file."""
        return write_whole(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the file that :meth:`save` writes."""
        metadata = {"layer": self.layer, "method": self.method, "model": self.model}
        return to_safetensors({NAME: self.directions.contiguous()}, {"featvis": json.dumps(metadata)})


@with_gradients
def find_components(
    model: ModelHandle,
    layer: str,
    images: Photographs,
    method: str = "nmf",
    count: int = 8,
    *,
    steps: int = 300,
    seed: int = 0,
) -> Components:
    """Reduce a layer's channels over photographs to a few directions.

    Args:
        model: from :func:`featvis.load_model`.
        layer: one that gives a map.
        images: photographs: a folder; or a list of files, PIL images, or tensors or arrays ``(C, H, W)`` in
            [0, 1], of any sizes. Each position of each map is a sample.
        method: ``nmf`` (of the activations above 0) or ``pca`` (of the centred activations).
        count: how many directions.
        steps, seed: of NMF's updates, and of its start.

    Returns:
        The directions ``(count, units)``, how much every place holds of each, and the share they explain.

    Raises:
        CanvasError: a photograph with other channels, or values beyond [0, 1].
        OutputError: no photograph.
        TargetError: the layer gives no map.
        RecipeError: an unknown method, or more directions than units or samples.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> components = fv.find_components(model, "0", [torch.rand(3, 16, 16)], "pca", count=2)
    >>> components.directions.shape, components.maps[0].shape
    (torch.Size([2, 4]), torch.Size([2, 14, 14]))
    """
    if method not in METHODS:
        raise RecipeError(unknown("method", method, METHODS, "methods: nmf, pca"))
    maps = []
    for image in photo_images(model, images, None):
        size = (image.shape[1], image.shape[2])
        info = model.at(size).layer(layer)
        if info.kind not in ("map", "map_last"):
            raise TargetError(f"components are of a layer that gives a map; {layer!r} gives {info.shape}")
        with model.tap([layer], size=size) as tap, torch.no_grad():
            maps.append(tap(image[None].to(model.device))[layer].movedim(info.axis, 1)[0].float().cpu())
    samples = torch.cat([one.flatten(1).T for one in maps])
    if not 1 <= count <= min(samples.shape):
        raise RecipeError(
            f"{count} directions of {samples.shape[1]} units in {samples.shape[0]} positions; "
            f"ask for 1 to {min(samples.shape)}"
        )
    reduce = _nmf if method == "nmf" else _pca
    held, directions, explained = reduce(samples, count, steps, seed)
    parts = torch.split(held, [one[0].numel() for one in maps])
    shaped = tuple(part.T.reshape(count, *one.shape[1:]) for part, one in zip(parts, maps, strict=True))
    return Components(layer, method, model.name, directions, shaped, explained)


def load_direction(path: str | Path, row: int = 0) -> tuple[str, Tensor]:
    """Read one direction of a file that :meth:`Components.save` wrote.

    Args:
        path: the file.
        row: which of its directions, from 0.

    Returns:
        Its layer, and the vector ``(units,)``, as :func:`featvis.direction` takes them.

    Raises:
        OutputError: no such file, none of ours, or no such row.

    >>> import tempfile, featvis as fv, torch
    >>> from featvis.attribution.components import Components
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     components = Components("conv", "pca", "mine", torch.eye(3), (), 1.0)
    ...     fv.load_direction(components.save(folder + "/directions.safetensors"), row=1)
    ('conv', tensor([0., 1., 0.]))
    """
    check_file(Path(path))
    try:
        with safe_open(str(path), "pt") as opened:
            layer = str(parse_json((opened.metadata() or {})["featvis"])["layer"])
            rows = opened.get_tensor(NAME)
    except (SafetensorError, *DAMAGED):
        raise OutputError(f"{path} is no file of directions; `featvis components` writes such") from None
    if rows.dim() != 2 or not rows.is_floating_point():
        raise OutputError(f"{path} holds no directions (rows, units): {tuple(rows.shape)}, {rows.dtype}")
    if not 0 <= row < len(rows):
        raise OutputError(f"{path} holds directions 0 to {len(rows) - 1}, not {row}")
    if not bool(rows[row].isfinite().all()):
        raise OutputError(f"{path}: direction {row} is not finite")
    return layer, rows[row]


def _nmf(samples: Tensor, count: int, steps: int, seed: int) -> tuple[Tensor, Tensor, float]:
    """Lee and Seung's multiplicative updates (2001) of samples ≈ held · directions."""
    values = samples.clamp(min=0).cpu().double()  # Apple's GPUs have no float64
    chance = torch.Generator().manual_seed(seed)
    spread = float((values.mean() / count).sqrt())
    held = spread * (0.1 + torch.rand((len(values), count), generator=chance, dtype=torch.float64))
    rows = spread * (0.1 + torch.rand((count, values.shape[1]), generator=chance, dtype=torch.float64))
    for _ in range(steps):
        rows *= (held.T @ values) / (held.T @ held @ rows + 1e-12)
        held *= (values @ rows.T) / (held @ (rows @ rows.T) + 1e-12)
    lengths = rows.norm(dim=1).clamp(min=1e-12)
    rows, held = rows / lengths[:, None], held * lengths
    order = held.square().sum(0).argsort(descending=True)
    total = values.square().sum().clamp(min=1e-30)
    explained = 1 - float((values - held @ rows).square().sum() / total)
    return held[:, order].float(), rows[order].float(), explained


def _pca(samples: Tensor, count: int, _: int, __: int) -> tuple[Tensor, Tensor, float]:
    exact = samples.cpu().double()
    centred = exact - exact.mean(0)
    _left, widths, rows = torch.linalg.svd(centred, full_matrices=False)
    rows = rows[:count]
    # A component's sign is free: its largest part speaks for it.
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    rows = rows * largest.sign()
    explained = float(widths[:count].square().sum() / widths.square().sum().clamp(min=1e-30))
    return (centred @ rows.T).float(), rows.float(), explained
