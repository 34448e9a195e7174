"""A text prompt, through a network that embeds images and texts in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from featvis.errors import TargetError
from featvis.models.layers.network import NetworkAt
from featvis.models.paired import EMBEDDING, PairedHandle
from featvis.objectives.base import Objective, copy_with, digest_of
from featvis.objectives.shown import Activations


class Text(Objective):
    """cos(E_img(Tx), E_txt(prompt)), from -1 to 1 (OpenAI's CLIP-featurevis; Goh et al. 2021)."""

    layers = (EMBEDDING,)
    constants = ("vectors",)

    def __init__(self, prompt: str, vectors: Tensor) -> None:
        self.prompt = prompt
        self.vectors = vectors  # (1 or B, D), of length 1

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(EMBEDDING)
        if info.units != self.vectors.shape[1]:
            raise TargetError(
                f"text: this embedding has {self.vectors.shape[1]} components, "
                f"{network.name} embeds images in {info.units}"
            )
        return self

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        embedding = activations[EMBEDDING].float()
        vectors = self.vectors.to(embedding.device)
        cosines: Tensor = functional.cosine_similarity(embedding, vectors, dim=1)
        return cosines

    def describe(self) -> str:  # noqa: D102
        return f"text({self.prompt!r}, {digest_of(self.vectors)})"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Text,)

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        first: Text = objectives[0]
        return copy_with(first, vectors=torch.cat([objective.vectors for objective in objectives]))


def text(model: PairedHandle, prompt: str) -> Text:
    """Climb how well the pictures fit a text: the cosine of the two embeddings, from -1 to 1.

    Args:
        model: from :func:`featvis.load_paired` or :func:`featvis.load_open_clip`.
        prompt: the text; embedded once.

    Raises:
        TargetError: the network has no text encoder, or there is no text.

    >>> import featvis as fv, torch
    >>> model = fv.load_model(torch.nn.Conv2d(3, 4, 3), mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> fv.text(model, "a red circle")
    Traceback (most recent call last):
    featvis.errors.TargetError: text: the network has no text encoder; load one with fv.load_paired
    """
    if not isinstance(model, PairedHandle):
        raise TargetError("text: the network has no text encoder; load one with fv.load_paired")
    if not isinstance(prompt, str) or not prompt.strip():
        raise TargetError(f"text: a prompt is a text, got {prompt!r}")
    return Text(prompt, model.embed(prompt)[None])
