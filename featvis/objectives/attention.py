"""What happens inside a transformer's attention: queries, keys, values and scores of one head."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor, nn

from featvis.errors import TargetError
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with
from featvis.objectives.shown import Activations

What = Literal["query", "key", "value"]


class Head(Objective):
    """One component of a head's queries, keys or values (mean over the patch tokens, or at one token)."""

    def __init__(self, layer: str, head: int, what: What, unit: int, token: int | None) -> None:
        self.layer, self.head, self.what, self.unit, self.token = layer, head, what, unit, token
        self.layers = (layer,)
        self._inside: _Inside | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        inside = _Inside(network, self.layer, self.head)
        _check("unit", self.unit, inside.width, self.layer)
        if self.token is not None:
            _check("token", self.token, inside.tokens, self.layer)
        return copy_with(self, layers=(inside.source,), _inside=inside)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        inside = self._bound(self._inside)
        component = inside.read(activations, self.what)[:, :, self.unit]
        return component[:, inside.prefix :].mean(1) if self.token is None else component[:, self.token]

    def describe(self) -> str:  # noqa: D102
        token = "" if self.token is None else f", token={self.token}"
        return f"head({self.layer}, {self.head}, {self.what}, {self.unit}{token})"


class AttentionScore(Objective):
    """q_i · k_j / √d of one head, before the softmax (which rises by lowering the others)."""

    def __init__(self, layer: str, head: int, query: int, key: int) -> None:
        self.layer, self.head, self.query, self.key = layer, head, query, key
        self.layers = (layer,)
        self._inside: _Inside | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        inside = _Inside(network, self.layer, self.head)
        for what, token in (("query", self.query), ("key", self.key)):
            _check(f"{what} token", token, inside.tokens, self.layer)
        return copy_with(self, layers=(inside.source,), _inside=inside)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        inside = self._bound(self._inside)
        query = inside.read(activations, "query")[:, self.query]
        key = inside.read(activations, "key")[:, self.key]
        return (query * key).sum(1) / math.sqrt(inside.width)

    def describe(self) -> str:  # noqa: D102
        return f"attention({self.layer}, {self.head}, {self.query}, {self.key})"


class _Inside:
    """Where an attention's queries, keys and values are read: timm's ``qkv``, torchvision's packed."""

    def __init__(self, network: NetworkAt, layer: str, head: int) -> None:
        modules = dict(network.module.named_modules())
        attention = modules.get(layer)
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        if attention is None:
            network.find(layer)  # says what is near
        if isinstance(qkv := getattr(attention, "qkv", None), nn.Linear):
            self.source, size = f"{layer}.qkv", qkv.out_features // 3
            for name in ("q_norm", "k_norm", "rope"):
                if not isinstance(getattr(attention, name, nn.Identity()), nn.Identity):
                    raise TargetError(f"{layer} changes its queries by {name}; only plain attention is read")
        elif isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None:
            self.source, size = layer.rpartition(".")[0] + ".ln_1", attention.embed_dim
            if self.source not in modules:
                raise TargetError(f"{layer}: what it reads is no layer of its own; there is no {self.source}")
            self.weight, self.bias = attention.in_proj_weight.detach(), attention.in_proj_bias
        else:
            raise TargetError(
                f"{layer} is no attention with qkv, as timm's and torchvision's transformers have"
            )
        heads = int(attention.num_heads)  # type: ignore[union-attr]
        _check("head", head, heads, layer)
        info = network.layer(self.source)
        if info.kind != "tokens":
            raise TargetError(f"{layer} attends within windows: {info.shape}; only attention over all tokens")
        self.tokens, self.prefix = info.shape[1], info.prefix
        self.width = size // heads
        self._parts = {what: place * size + head * self.width for place, what in enumerate(get_args(What))}

    def read(self, activations: Activations, what: str) -> Tensor:
        """Return the head's queries, keys or values ``(B, T, D)``."""
        part = slice(self._parts[what], self._parts[what] + self.width)
        activation = activations[self.source]
        if self.weight is None:
            return activation[:, :, part].float()
        bias = None if self.bias is None else self.bias.detach()[part]
        return nn.functional.linear(activation, self.weight[part], bias).float()


def _check(what: str, number: int, count: int, layer: str) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        raise TargetError(f"{what} {number!r} is out of range; {layer} has {what}s 0 to {count - 1}")


def attention_head(layer: str, head: int, what: str, unit: int, token: int | None = None) -> Head:
    """Climb a component of an attention head.

    Args:
        layer: the attention, for instance ``blocks.3.attn`` (timm) or
            ``encoder.layers.encoder_layer_3.self_attention`` (torchvision).
        head: which head.
        what: ``query``, ``key`` or ``value``.
        unit: the component, below the head's width.
        token: at one token, 0 the class token where there is one; by default the mean over the patches.

    Raises:
        TargetError: ``what`` is none of these; once bound, a number is out of range.

    >>> import featvis as fv
    >>> fv.attention_head("blocks.3.attn", head=1, what="query", unit=5)
    head(blocks.3.attn, 1, query, 5)
    """
    if what not in get_args(What):
        raise TargetError(f"attention_head: query, key or value, got {what!r}")
    return Head(layer, head, what, unit, token)  # type: ignore[arg-type]


def attention_score(layer: str, head: int, query: int, key: int) -> AttentionScore:
    """Climb how much one token attends to another in a head: q · k / √d, before the softmax.

    Args:
        layer, head: as for :func:`featvis.attention_head`.
        query, key: the token that attends, and the token that is attended to.

    Raises:
        TargetError: once bound, a number is out of range.

    >>> import featvis as fv
    >>> fv.attention_score("blocks.3.attn", head=1, query=0, key=7)
    attention(blocks.3.attn, 1, 0, 7)
    """
    return AttentionScore(layer, head, query, key)
