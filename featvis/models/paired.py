"""Networks of two towers, one for images and one for text (CLIP and its kin), as one that can be climbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import ModelError
from featvis.models.borrow.tap import borrowed
from featvis.models.handle import ModelHandle
from featvis.models.load import as_canvas

EMBEDDING = "embedding"
"""The layer that gives the embedding of an image."""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP (arXiv 2103.00020)."""
_CLIP_SCALE = 100.0
"""The largest that CLIP's logits are scaled by, which its training ends at."""


class ImageTower(nn.Module):
    """The image encoder of a pair, as a network whose last layer is the embedding."""

    def __init__(self, pair: Any) -> None:
        super().__init__()
        self.pair = pair
        # Its output is a layer of its own, whatever the encoder does last.
        self.embedding = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``(B, D)``, not normalized."""
        embedding: Tensor = self.embedding(self.pair.encode_image(images))
        return embedding


class PairedHandle(ModelHandle):
    """A network of images that can also tell where a text lies among its embeddings."""

    def __init__(self, pair: Any, tokenize: Callable[[list[str]], Any], **told: Any) -> None:
        super().__init__(ImageTower(pair), **told)
        self._tokenize = tokenize

    @property
    def pair(self) -> Any:
        """The network with both towers."""
        return self.module.pair

    def _forget(self) -> None:
        super()._forget()
        self._texts: dict[str, Tensor] = {}

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before a softmax over texts: exp of ``logit_scale``, else 100."""
        told = getattr(self.pair, "logit_scale", None)
        if not isinstance(told, Tensor) or told.numel() != 1 or not bool(told.isfinite().all()):
            return _CLIP_SCALE
        return min(math.exp(min(told.detach().item(), 50.0)), _CLIP_SCALE)

    def embed(self, prompt: str) -> Tensor:
        """Return the unit vector ``(D,)`` of a text, float32 on the CPU; computed once for each text."""
        return self.embed_all([prompt])[0]

    def embed_all(self, prompts: Sequence[str], batch: int = 64) -> Tensor:
        """Return the unit vectors ``(N, D)`` of texts, as :meth:`embed` does of one, many at once."""
        fresh = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._texts))
        for start in range(0, len(fresh), batch):
            some = fresh[start : start + batch]
            for prompt, vector in zip(some, self._embedded(some), strict=True):
                if not bool(vector.isfinite().all()) or not bool(vector.any()):
                    raise ModelError(f"{self.name}: the embedding of {prompt!r} has no direction")
                self._texts[prompt] = vector / vector.norm()
        return torch.stack([self._texts[prompt] for prompt in prompts])

    def _embedded(self, prompts: list[str]) -> Tensor:
        with borrowed(self.pair), torch.no_grad():
            tokens = self._tokenize(prompts)
            tokens = tokens.to(self.device) if isinstance(tokens, Tensor) else tokens
            embedded = self.pair.encode_text(tokens)
        count, texts = len(prompts), "one text" if len(prompts) == 1 else f"{len(prompts)} texts"
        if not isinstance(embedded, Tensor) or embedded.dim() != 2 or embedded.shape[0] != count:
            came = tuple(embedded.shape) if isinstance(embedded, Tensor) else type(embedded).__name__
            raise ModelError(f"{self.name}: encode_text gives ({count}, D) for {texts}, it gave {came}")
        return embedded.detach().float().cpu()


def load_paired(
    pair: Any,
    tokenize: Callable[[list[str]], Any],
    *,
    mean: Sequence[float] = OPENAI_MEAN,
    std: Sequence[float] = OPENAI_STD,
    input_size: int | tuple[int, int] = 224,
    name: str | None = None,
) -> PairedHandle:
    """Load a network with an image and a text encoder, such as CLIP; climb texts with :func:`featvis.text`.

    Args:
        pair: an ``nn.Module`` with ``encode_image(images) -> (B, D)`` and ``encode_text(tokens) -> (B, D)``.
        tokenize: from a list of texts to what ``encode_text`` takes.
        mean, std: as for :func:`featvis.load_model`; by default those of OpenAI's CLIP.
        input_size: one side, or (height, width).
        name: for manifests; by default the class of ``pair``.

    Returns:
        A handle whose last layer, ``embedding``, is the image's embedding.

    Raises:
        ModelError: ``pair`` has not both encoders, or is no module.

    >>> import featvis as fv, torch
    >>> class Pair(torch.nn.Module):
    ...     def encode_image(self, images):
    ...         return images.mean((2, 3))
    ...     def encode_text(self, tokens):
    ...         return tokens
    >>> model = fv.load_paired(Pair(), lambda texts: torch.eye(3)[:1], input_size=16)
    >>> model.output_layer, fv.text(model, "red").vectors.tolist()
    ('embedding', [[1.0, 0.0, 0.0]])
    """
    for encoder in ("encode_image", "encode_text"):
        if not callable(getattr(pair, encoder, None)):
            raise ModelError(
                f"a pair has encode_image and encode_text; {type(pair).__name__} has no {encoder}"
            )
    if not isinstance(pair, nn.Module):
        raise ModelError(f"the pair is an nn.Module, so that it can be frozen; got {type(pair).__name__}")
    size = as_canvas(input_size)
    return PairedHandle(pair, tokenize, name=name or type(pair).__name__, mean=mean, std=std, input_size=size)


def load_open_clip(name: str, tag: str | None = None) -> PairedHandle:
    """Load a pair (see :func:`featvis.load_paired`) of open_clip with its own preprocessing and tokenizer.

    Args:
        name: for instance ``ViT-B-32``.
        tag: of the weights, for instance ``openai``, which are downloaded; None for random ones.

    Raises:
        ModelError: no such network or weights; or no open_clip (``pip install featvis[clip]``).

    >>> import featvis as fv
    >>> fv.load_open_clip("ViT-B-32", "openai")  # doctest: +SKIP
    ModelHandle('open_clip:ViT-B-32/openai', input 224x224, 0 class names)
    """
    try:
        import open_clip
    except ImportError:
        raise ModelError("open_clip is not installed; pip install 'featvis[clip]'") from None
    try:
        pair, _, _ = open_clip.create_model_and_transforms(name, pretrained=tag)
        tokenize = open_clip.get_tokenizer(name)
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        raise ModelError(f"open_clip could not build {name!r} with weights {tag!r}: {said}") from None
    visual = pair.visual
    size = visual.image_size
    return load_paired(
        pair.eval(),
        tokenize,
        mean=visual.image_mean or OPENAI_MEAN,
        std=visual.image_std or OPENAI_STD,
        input_size=(size, size) if isinstance(size, int) else tuple(size),
        name=f"open_clip:{name}" + (f"/{tag}" if tag else ""),
    )
