"""Shares of a gallery's pictures: 3 of 64, the same whatever is done. No torch before one is taken."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from featvis.errors import RecipeError

if TYPE_CHECKING:
    from featvis.galleries.plan import GalleryItem

_SHARE = re.compile(r"(\d{1,9})/(\d{1,9})")
_NAME = re.compile(r"shard-(\d{1,9})-of-(\d{1,9})")
_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class Share:
    """One of so many shares of a gallery, counted from 1.

    >>> str(Share(3, 64)), Share(3, 64).name
    ('3/64', 'shard-3-of-64')
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        whole = all(type(one) is int for one in (self.number, self.count))
        if not whole or not 1 <= self.number <= self.count:
            got = f"{self.number}/{self.count}"
            raise RecipeError(f"a shard is one of so many, 1/64 to 64/64; got {got}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What its journal and lock are called."""
        return f"shard-{self.number}-of-{self.count}"

    def take(self, things: Sequence[_Thing]) -> list[_Thing]:
        """Return those of the things that are its: every ``count``-th.

        >>> Share(2, 3).take("abcdefgh")
        ['b', 'e', 'h']
        """
        return list(things[self.number - 1 :: self.count])

    def meets(self, other: Share) -> bool:
        """Whether the two may have a picture in common.

        Every n-th and every m-th of a row meet if they begin at the same place modulo what n and m share.

        >>> Share(3, 64).meets(Share(4, 64)), Share(1, 2).meets(Share(3, 4)), Share(1, 2).meets(Share(2, 4))
        (False, True, False)
        """
        return (self.number - other.number) % math.gcd(self.count, other.count) == 0

    def excludes(self, name: str) -> bool:
        """Whether another writer, by its name, may not be at work at the same time."""
        found = _NAME.fullmatch(name)
        return found is None or self.meets(Share(*map(int, found.groups())))


def parse_share(text: str) -> Share:
    """Read a share as it is typed.

    Raises:
        RecipeError: it is none.

    >>> parse_share("3/64")
    Share(number=3, count=64)
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        raise RecipeError(f"--shard is one of so many, for instance 3/64; got {text!r}")
    return Share(*map(int, found.groups()))


def share_of(items: Sequence[GalleryItem], share: Share) -> list[GalleryItem]:
    """Return the pictures of a share of all that a gallery wants; sets stay together, and lanes are full."""
    from featvis.plan.wanted import bundles

    mine = {place for bundle in share.take(bundles([item.wanted for item in items])) for place in bundle}
    return [item for place, item in enumerate(items) if place in mine]
