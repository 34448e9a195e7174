"""A user's own functions: how many arguments they take, and what tells one from another."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import pickle
import random
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featvis.errors import UserError


def takes_second(function: Callable[..., Any], what: str, first: str, second: str) -> bool:
    """Whether a function is to be called with a second argument; it always gets the first.

    It gets both if it requires two, or if its second parameter is called as the second argument is: any
    other parameter with a default (``lambda a, n=n: …``) is its own. What does not tell its parameters gets
    the first alone.

    Args:
        function: what is called: a function, a bound method, a partial, an object with ``__call__``.
        what: what errors call it.
        first: the name of the first argument.
        second: that of the second; empty where there is none.

    Raises:
        UserError: it cannot be called so.

    >>> takes_second(lambda a, n=3: a, "an objective", "activations", "images")
    False
    >>> takes_second(lambda a, images: a, "an objective", "activations", "images")
    True
    """
    called = f"({first}, {second})" if second else f"({first})"
    if not callable(function):
        raise UserError(f"{what} is a function of {called}, got {type(function).__name__}")
    try:
        told = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):
        return False
    parameters = list(told.parameters.values())
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one.name for one in placed if one.default is one.empty]
    required += [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    any_number = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    both = bool(second) and (len(required) == 2 or (len(placed) > 1 and placed[1].name == second))
    try:
        told.bind(*range(2 if both else 1))
    except TypeError:
        either = f"({first}) or {called}" if second else called
        takes = ", ".join(required) if placed or required or any_number else "nothing"
        raise UserError(f"{what} is called with {either}; {name_of(function)} takes {takes}") from None
    return both


@contextmanager
def untouched(what: str, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse a function that writes into what it is given, which others read after it.

    Args:
        what: what errors call the function.
        values: what it is given, by the words that errors use for it.

    Raises:
        UserError: it wrote into one of them, in place.

    >>> given = torch.zeros(2)
    >>> with untouched("objective 'mine'", {"a['conv']": given}):
    ...     given += 1
    Traceback (most recent call last):
    featvis.errors.UserError: objective 'mine' writes into a['conv'], which others read: .clone() it first
    """

    def refusal(name: str) -> UserError:
        return UserError(f"{what} writes into {name}, which others read: .clone() it first")

    kept = {name: value for name, value in values.items() if not value.is_inference()}
    before = {name: value._version for name, value in kept.items()}
    try:
        yield
    except RuntimeError as error:
        changed = [name for name, value in kept.items() if value._version != before[name]]
        if changed or "inplace" in str(error) or "in-place" in str(error):
            raise refusal((*changed, " or ".join(values))[0]) from error
        raise
    for name, value in kept.items():
        if value._version != before[name]:
            raise refusal(name)


def chance_of(device: torch.device) -> tuple[object, ...]:
    """Return where torch's, NumPy's and Python's own generators stand; who draws moves one of them."""
    states = [torch.get_rng_state()]
    states += [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    told = [state.numpy().tobytes() for state in states]
    return (*told, random.getstate(), pickle.dumps(np.random.get_state()))


def name_of(function: Callable[..., Any]) -> str:
    """Return what a function is called by its ``def``, else by its kind: ``<lambda>``, ``partial``.

    >>> name_of(name_of), name_of(lambda: 1)
    ('name_of', '<lambda>')
    """
    return str(getattr(function, "__name__", type(function).__name__))


def digest_of_function(function: Callable[..., Any]) -> str:
    """Tell a function from others of its name by what it does and holds, in twelve characters.

    That is its code, constants and defaults, and the plain values, tensors and functions that it takes from
    the function or module around it; of a bound method or an object also what that object holds.

    >>> def make(n):
    ...     return lambda x: x + n
    >>> digest_of_function(make(1)) == digest_of_function(make(1))
    True
    >>> digest_of_function(make(1)) == digest_of_function(make(2))
    False
    """
    told = hashlib.sha256()
    for part in _parts(function, set(), own=True):
        told.update(len(part).to_bytes(8, "little") + part)
    return told.hexdigest()[:12]


def _parts(value: Any, seen: set[int], *, own: bool = False) -> Iterator[bytes]:
    """Yield what tells a value from others; ``own`` if it is what is called, not only held by it."""
    if isinstance(value, str | bytes | int | float | complex | bool | type(None) | np.generic):
        yield f"{type(value).__name__} {value!r}".encode()
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    yield getattr(value, "__qualname__", type(value).__qualname__).encode()
    inner: list[Any] = []
    if isinstance(value, Tensor | np.ndarray):
        yield _numbers(value)
    elif isinstance(value, list | tuple):
        inner = [*value]
    elif isinstance(value, set | frozenset):
        inner = sorted(value, key=repr)
    elif isinstance(value, Mapping):
        inner = [one for pair in value.items() for one in pair]
    elif isinstance(value, types.FunctionType):
        yield _code(value.__code__)
        inner = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).items(), *_around(value)]
    elif isinstance(value, types.MethodType):
        yield from _parts(value.__func__, seen, own=own)
        yield from _parts(value.__self__, seen, own=own)
    elif isinstance(value, functools.partial):
        yield from _parts(value.func, seen, own=own)
        inner = [value.args, value.keywords]
    elif isinstance(value, nn.Module):
        inner = [value.state_dict()]
    elif own and not isinstance(value, type):
        inner = [type(value).__dict__.get("__call__"), getattr(value, "__dict__", None)]
    for one in inner:
        yield from _parts(one, seen)


def _numbers(value: Any) -> bytes:
    """Return the type, shape and bytes of an array or tensor."""
    kind = f"{value.dtype}{tuple(value.shape)}".encode()
    if isinstance(value, np.ndarray):
        return kind + value.tobytes()
    if value.layout is not torch.strided or value.device.type == "meta":
        return kind
    plain: Tensor = value.detach().cpu().contiguous().reshape(-1)
    return bytes(kind + plain.view(torch.uint8).numpy().tobytes())


def _around(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function takes from around it: from the function that made it, and from its module."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    for name in sorted(_globals(function.__code__)):
        value = function.__globals__.get(name)
        # Another module's functions are known by their names.
        there = getattr(value, "__module__", None) == function.__module__
        yield (name, value if there or not isinstance(value, types.FunctionType) else value.__qualname__)


def _globals(code: types.CodeType) -> set[str]:
    found = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= _globals(inner)
    return found


def _code(code: types.CodeType) -> bytes:
    """Return what a function does, wherever it stands in its file."""
    constants = [
        _code(one).hex()
        if isinstance(one, types.CodeType)
        else repr(sorted(one, key=repr) if isinstance(one, frozenset) else one)
        for one in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}".encode()
