"""The names of the 1000 ImageNet classes, from timm's metadata, synonyms separated by commas."""

from __future__ import annotations

from functools import lru_cache


@lru_cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the 1000 names; number 263 is ``Pembroke, Pembroke Welsh corgi``."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(1000))
