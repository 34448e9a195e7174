"""What is known of photographs without having any here: ``photographs.json``, figures of 500 of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from featvis.models.handle import ModelHandle
from featvis.read import parse_json
from featvis.trust.distribution import Distribution


@dataclass(frozen=True)
class Norms:
    """How far photographs are from what a judge's BatchNorm layers saw in training."""

    batch: int
    """How many stood together in ``batches``."""
    batches: Mapping[str, Distribution]
    """D_μ (``shift``) and D_σ (``spread``) of batches of photographs."""
    alone: Distribution
    """D_σ of single photographs."""


@dataclass(frozen=True)
class KnownJudge:
    """What is known of a judge with these very weights."""

    views: int
    """How many views of a picture suit it."""
    first: float
    """The share of photographs whose class it names first."""
    probability: float
    """The mean that it gives to their class."""
    photographs: int
    """Of how many photographs these two are."""
    norms: Norms | None
    """None for one without BatchNorm."""


@lru_cache
def known_looks() -> dict[str, Distribution]:
    """Return what is known of photographs' look by the measures' names, as ``trust/sets.py`` has them.

    >>> round(known_looks()["saturation"].mean, 3)
    0.143
    """
    return {name: _read(told) for name, told in _table()["looks"].items()}


def known_judge(judge: ModelHandle) -> KnownJudge | None:
    """Return what is known of a judge, told by its weights and preprocessing; None of any other network."""
    by_weights = _judges()
    return by_weights.get(judge.fingerprint()) if by_weights else None


@lru_cache
def _judges() -> dict[str, KnownJudge]:
    found = {}
    for told in _table()["judges"].values():
        told_norms, norms = told.get("batchnorm"), None
        if told_norms is not None:
            batches = {name: _read(told_norms[name]) for name in ("shift", "spread")}
            norms = Norms(int(told_norms["batch"]), batches, _read(told_norms["alone"]))
        found[str(told["weights"])] = KnownJudge(
            views=int(told["views"]),
            first=float(told["first"]),
            probability=float(told["probability"]),
            photographs=int(told["photographs"]),
            norms=norms,
        )
    return found


@lru_cache
def _table() -> dict[str, Any]:
    text = resources.files("featvis.trust").joinpath("photographs.json").read_text("utf-8")
    table: dict[str, Any] = parse_json(text)
    return table


def _read(told: Mapping[str, Any]) -> Distribution:
    return Distribution.of_quantiles(told["quantiles"], float(told["mean"]), int(told["count"]))
