"""What a network is made of, told cheaply: whether its user changed it since it was measured."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_PLAIN = {bool, int, float, str, type(None), types.FunctionType, types.BuiltinFunctionType}
_EVERY_MODULES = {*vars(nn.Module())}
"""Attributes that each module has, its mode among them."""
_NONE = object()
_SIDES = 64
"""Numbers of a list that are looked at; longer ones are tables, not settings."""

Outline = dict[tuple[str, str], object]
"""By module and attribute; under "" of a module which one it is, with its weights and buffers."""


def outline_of(module: nn.Module) -> Outline:
    """Return the modules by name, which they are, the shapes of what they hold, and their settings.

    Of weights it tells how often they were written. Nothing that is measured depends on the mode.
    Hooks are left out: most only look on, come and go, and would have all measured anew each time.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3))
    >>> before = outline_of(net)
    >>> net[0].stride = (2, 2)
    >>> changed(before, outline_of(net))
    {('0', 'stride')}
    """
    found: Outline = {}
    _add(found, "", module)
    return found


def _add(found: Outline, name: str, module: nn.Module) -> None:
    weights = [(key, *_held(one), id(one)) for key, one in module._parameters.items() if one is not None]
    # What is borrowed has its buffers put back, which counts their versions up.
    buffers = [(key, _held(one)[0]) for key, one in module._buffers.items() if one is not None]
    found[name, ""] = (id(module), type(module), weights, buffers)
    for key, value in module.__dict__.items():
        if key not in _EVERY_MODULES and (setting := _setting(value)) is not _NONE:
            found[name, key] = setting
    for key, inner in module._modules.items():
        if inner is not None:
            _add(found, f"{name}.{key}" if name else key, inner)


def _held(one: Tensor) -> tuple[object, int]:
    """Return a tensor's shape, and how often it was written: each but what goes by ``.data`` counts."""
    if is_lazy(one):
        return None, 0
    return one.shape, -1 if one.is_inference() else one._version


def changed(before: Mapping[tuple[str, str], object], after: Mapping[tuple[str, str], object]) -> set[Any]:
    """Return the entries that differ."""
    if before == after:
        return set()
    return {key for key in {*before, *after} if key not in before or before.get(key) != after.get(key)}


def _setting(value: object) -> object:
    """Return what can be compared of an attribute; ``_NONE`` of what is no setting."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple) and len(value) <= _SIDES:  # type: ignore[arg-type]
        parts = [_setting(part) for part in value]  # type: ignore[attr-defined]
        return _NONE if any(part is _NONE for part in parts) else parts
    return _NONE
