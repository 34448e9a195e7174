"""How images go into a network that takes them otherwise than as RGB, or not as its one argument."""

from __future__ import annotations

import ast
import copy
import hashlib
import linecache
import types
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from featvis.errors import ModelError, unknown

Forward = Callable[[nn.Module, Tensor], Any]
ORDERS = ("rgb", "bgr")


def seen_as(module: nn.Module, forward: Forward | None = None, channel_order: str = "rgb") -> nn.Module:
    """Return the network as one that takes normalized images ``(B, C, H, W)`` in RGB; ``module`` stays.

    What is returned shares all that it has (parameters, hooks, mode, names of layers) but how it is called.

    Args:
        module: the network.
        forward: how it is run: a function of the network and the images that it takes.
        channel_order: of the images that it takes, ``rgb`` or ``bgr``.
    """
    if channel_order not in ORDERS:
        raise ModelError(unknown("channel_order", str(channel_order), ORDERS, "rgb or bgr"))
    if forward is not None and not callable(forward):
        raise ModelError(
            "forward is a function of the network and images, for instance "
            f"lambda net, images: net(images, other); got {type(forward).__name__}"
        )
    if forward is None and channel_order == "rgb":
        return module
    return _view(module, forward, channel_order)


class Seen:
    """A network that :func:`seen_as` returned."""

    seen: str
    """What its fingerprint knows beside the weights."""
    channel_order: str


def _view(module: nn.Module, forward: Forward | None, channel_order: str) -> nn.Module:
    kind = type(module)

    class View(Seen, kind):  # type: ignore[misc, valid-type]
        seen = f"{channel_order} {_told(forward)}"

        def __call__(self, images: Tensor) -> Any:
            plain = object.__new__(kind)
            plain.__dict__ = self.__dict__
            shown = images.flip(1) if channel_order == "bgr" else images
            return plain(shown) if forward is None else forward(plain, shown)

        def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
            plain = object.__new__(kind)
            plain.__dict__ = self.__dict__
            return _view(copy.deepcopy(plain, memo), forward, channel_order)

        def __reduce_ex__(self, protocol: Any) -> Any:
            plain = object.__new__(kind)
            plain.__dict__ = self.__dict__
            return _view, (plain, forward, channel_order)

    View.channel_order = channel_order
    View.__name__, View.__qualname__, View.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    view: nn.Module = object.__new__(View)
    view.__dict__ = module.__dict__
    return view


def _told(forward: Forward | None) -> str:
    """Return what makes a function another one: what it does and what it holds, not where it stands."""
    if forward is None:
        return ""
    if not isinstance(forward, types.FunctionType):
        inner = getattr(forward, "__func__", None) or getattr(forward, "func", None)
        name = getattr(forward, "__qualname__", type(forward).__qualname__)
        return f"{name} {_told(inner) if isinstance(inner, types.FunctionType) else ''}"
    digest = hashlib.sha256((_source(forward) or _code(forward.__code__)).encode())
    held = [*(forward.__defaults__ or ()), *(forward.__kwdefaults__ or {}).values()]
    for cell in forward.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    held += [forward.__globals__[name] for name in forward.__code__.co_names if name in forward.__globals__]
    for value in held:
        digest.update(_value(value).encode())
    return digest.hexdigest()


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        return f"{plain.dtype}{tuple(plain.shape)}{plain.flatten().tolist()}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key!r}:{_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, str | bytes | int | float | complex | bool | None):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def _source(function: types.FunctionType) -> str | None:
    """Return the function's own source, without what stands beside it; None where there is none."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return None
    names = code.co_varnames[: code.co_argcount]
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda | ast.FunctionDef)
        and code.co_firstlineno in {node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))}
        and tuple(one.arg for one in (*node.args.posonlyargs, *node.args.args)) == names
    ]
    return ast.unparse(found[0]) if len(found) == 1 else None


def _code(code: types.CodeType) -> str:
    constants = [_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
