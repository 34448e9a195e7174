"""Reading pickled checkpoints as plain data: tensors by name, stand-ins for all else, and nothing that runs.

A pickle is a program. Here it can make dicts, lists, numbers, texts and tensors; every class and function
that it names becomes a :class:`StandIn` that keeps what it was given; none is looked up, called or imported.
"""

from __future__ import annotations

import _compat_pickle
import io
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from featvis.errors import WeightsError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What torch's format before 1.6 begins with."""
_DEEPEST = 64
_RUNNERS = frozenset(
    {
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "io",
        "_io",
        "shutil",
        "socket",
        "runpy",
        "pty",
        "importlib",
        "ctypes",
        "code",
        "codeop",
        "webbrowser",
        "commands",
        "pickle",
        "_pickle",
        "marshal",
        "timeit",
        "pdb",
        "bdb",
        "multiprocessing",
        "threading",
        "asyncio",
        "signal",
        "tempfile",
        "urllib",
    }
)
"""Modules whose functions no training puts into its checkpoints: a file that calls one is told as hostile.
That nothing runs does not depend on this list."""
_BUILTIN_RUNNERS = frozenset(
    {"eval", "exec", "open", "compile", "__import__", "input", "breakpoint", "setattr"}
)
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
}


class StandIn:
    """Stands for a class or function that a pickle names, or for what one would have made."""

    __slots__ = ("args", "entries", "members", "name", "owner", "state")

    def __init__(self, name: str, args: Any = None, owner: str = "") -> None:
        self.name, self.args, self.owner = name, args, owner
        self.state: Any = None
        self.entries: dict[Any, Any] = {}
        self.members: list[Any] = []

    @property
    def is_made(self) -> bool:
        """Whether it stands for an object, not for a class or function that is only named."""
        return self.args is not None


class _Array(StandIn):
    """A NumPy array on its way: its state comes after it was made."""

    __slots__ = ("tensor",)

    def __init__(self) -> None:
        super().__init__("numpy.ndarray", ())
        self.tensor: Tensor | None = None


class CodeInside(Exception):
    """A pickle calls a function that has no place in a checkpoint; the message names it."""


def read_pickled(path: Path) -> tuple[Any, list[str]]:
    """Return what a checkpoint holds, and the names of the classes and functions that it would call.

    Raises:
        WeightsError: damaged, or no checkpoint.
    """
    named: dict[str, None] = {}
    try:
        with path.open("rb") as stream:
            content = _read(stream, path.stat().st_size, named, 0)
    except CodeInside as error:
        raise WeightsError(
            f"{path} holds more than tensors and would run code ({error}); a state_dict saved as safetensors "
            "is safe"
        ) from None
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from None
    except (Exception, MemoryError, RecursionError) as error:  # whatever a damaged file makes of a reader
        raise WeightsError(
            f"{path} is no readable checkpoint: it is damaged or cut short ({short(error)})"
        ) from None
    return content, list(named)


@dataclass
class Contents:
    """The tensors in what a checkpoint holds."""

    tensors: dict[str, Tensor]
    """By their dotted paths; a whole pickled network gives the names that its ``state_dict`` would."""
    nests: dict[str, str]
    """The path of what each lies in, by its own path."""
    networks: dict[str, str]
    """The classes of whole pickled networks, by the paths of these."""


def contents_of(held: Any) -> Contents:
    """Find every tensor in what a checkpoint holds."""
    found = Contents({}, {}, {})
    visited: set[int] = set()
    waiting: list[tuple[tuple[str, ...], str, Any]] = [((), "", held)]
    while waiting:
        path, nest, value = waiting.pop()
        value = value.tensor if isinstance(value, _Array) else value
        place = ".".join(path)
        if isinstance(value, Tensor) and path:
            if place not in found.tensors:
                found.tensors[place], found.nests[place] = value, nest
            continue
        if (
            not isinstance(value, dict | list | tuple | StandIn)
            or id(value) in visited
            or len(path) > _DEEPEST
        ):
            continue
        visited.add(id(value))
        if isinstance(value, StandIn) and _is_network(value) and not _lies_in(place, found.networks):
            found.networks[place] = value.name
        own = next((at for at in found.networks if _lies_in(place, (at,))), place)
        inner = [((*path, key), own, child) for key, child in _children(value)]
        waiting += reversed(inner)
    return found


def _lies_in(place: str, others: Iterable[str]) -> bool:
    return any(not other or place == other or place.startswith(other + ".") for other in others)


def short(error: BaseException | str) -> str:
    """Return an error's text as one line of bounded length, its class where it has none."""
    text = " ".join(str(error).split())[:160]
    return "".join(letter for letter in text if letter.isprintable()) or type(error).__name__


def _is_network(value: Any) -> bool:
    return isinstance(value, StandIn) and isinstance(value.state, dict) and "_modules" in value.state


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(key)[:200], child) for key, child in value.items() if isinstance(key, str | int))
    elif isinstance(value, list | tuple):
        if len(value) <= 1000:
            yield from ((str(place), child) for place, child in enumerate(value))
    elif _is_network(value):
        passing = value.state.get("_non_persistent_buffers_set")
        passing = set(passing) if isinstance(passing, list | tuple) else set()
        for group in ("_parameters", "_buffers", "_modules"):
            members = value.state.get(group)
            for key, child in members.items() if isinstance(members, dict) else ():
                if isinstance(key, str) and not (group == "_buffers" and key in passing):
                    yield key, child
    elif value.is_made:
        for group in (value.state, value.entries, value.members):
            yield from _children(group) if isinstance(group, dict | list | tuple) else ()


def _read(stream: IO[bytes], size: int, named: dict[str, None], depth: int) -> Any:
    if depth > 2:
        raise WeightsError("holds a checkpoint within a checkpoint within a checkpoint")
    if stream.read(4) == b"PK\x03\x04":
        return _read_zip(stream, size, named, depth)
    stream.seek(0)
    storages = _Storages(size)
    reader = _Reader(stream, named, storages, depth)
    first = reader.load()
    if type(first) is not int or first != _MAGIC:
        return first  # a plain pickle
    version = _Reader(stream, named, storages, depth).load()
    if type(version) is not int or version != _PROTOCOL:
        raise WeightsError("is a checkpoint of an unknown version")
    _Reader(stream, named, storages, depth).load()  # what the machine was
    content = _Reader(stream, named, storages, depth).load()
    keys = _Reader(stream, named, storages, depth).load()
    storages.fill(stream, keys)
    return content


def _read_zip(stream: IO[bytes], size: int, named: dict[str, None], depth: int) -> Any:
    archive = zipfile.ZipFile(stream)
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickled = sorted((name for name in entries if name.rpartition("/")[2] == "data.pkl"), key=len)
    if not pickled:
        raise WeightsError("is a zip archive, but no checkpoint of PyTorch")
    folder = pickled[0].removesuffix("data.pkl")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise WeightsError("is a compressed zip archive, which PyTorch does not write; unpack it first")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise WeightsError("is no readable checkpoint: it declares more than the file holds")

    def record(name: str) -> bytearray:
        entry = entries.get(folder + name)
        if entry is None:
            raise WeightsError(f"is no readable checkpoint: it lacks {short(name)!r}")
        # As torch reads it: by its place, for it may have been written without a checksum.
        stream.seek(entry.header_offset)
        head = stream.read(30)
        name_length, extra = struct.unpack("<HH", head[26:30])
        stream.seek(name_length + extra, io.SEEK_CUR)
        content = bytearray(entry.file_size)
        if stream.readinto(content) != entry.file_size:  # type: ignore[attr-defined]
            raise WeightsError("is cut short")
        return content

    if folder + "byteorder" in entries and bytes(record("byteorder")) == b"big":
        raise WeightsError("was written on a big-endian machine; save it as safetensors there")
    storages = _Storages(size, lambda key: record(f"data/{key}"))
    return _Reader(io.BytesIO(record("data.pkl")), named, storages, depth).load()


class _Storages:
    """The numbers of a checkpoint's tensors, by key: read when they are asked for, or filled at the end."""

    def __init__(self, size: int, record: Callable[[str], bytearray] | None = None) -> None:
        self._size, self._record = size, record
        self._flat: dict[str, Tensor] = {}
        self._declared = 0

    def find(self, told: Any) -> Tensor:
        """Return the storage that a persistent id names, as one row of numbers."""
        if not isinstance(told, tuple) or len(told) < 5 or _text(told[0]) != "storage":
            raise pickle.UnpicklingError("it names something else than a storage")
        kind, key, count = told[1], str(_text(told[2]))[:200], told[4]
        dtype = _STORAGES.get(kind.name.rpartition(".")[2]) if isinstance(kind, StandIn) else None
        if dtype is None:
            raise pickle.UnpicklingError("a storage of an unknown type")
        if key not in self._flat:
            size = dtype.itemsize * int(count)
            self._declared += size
            if not 0 <= size <= self._declared <= self._size:
                raise pickle.UnpicklingError("it declares more numbers than the file holds")
            if self._record is None:
                self._flat[key] = torch.zeros(int(count), dtype=dtype)
            else:
                content = self._record(key)
                if len(content) < size:
                    raise pickle.UnpicklingError("a tensor's numbers are cut short")
                self._flat[key] = _numbers(content, dtype)
        flat = self._flat[key]
        view = told[5] if len(told) > 5 else None
        if isinstance(view, tuple) and len(view) == 3:  # a part of a storage, in the old format
            return flat[int(view[1]) : int(view[1]) + int(view[2])]
        return flat

    def fill(self, stream: IO[bytes], keys: Any) -> None:
        """Read the numbers that lie at the end of the old format, in the order of ``keys``."""
        for key in keys if isinstance(keys, list) else ():
            flat = self._flat.get(str(_text(key))[:200])
            head = stream.read(8)
            if flat is None or len(head) < 8 or struct.unpack("<q", head)[0] != flat.numel():
                raise pickle.UnpicklingError("its storages are not those that it names")
            content = bytearray(flat.numel() * flat.itemsize)
            if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
                raise pickle.UnpicklingError("a tensor's numbers are cut short")
            flat.copy_(_numbers(content, flat.dtype))


_Unpickler: Any = vars(pickle)["_Unpickler"]
"""Python's own, in Python: the one in C keeps its memo in an array whose length the file chooses."""


class _Reader(_Unpickler):  # type: ignore[misc]
    """An unpickler that makes plain data only."""

    def __init__(self, stream: IO[bytes], named: dict[str, None], storages: _Storages, depth: int) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._named, self._storages, self._depth = named, storages, depth

    def find_class(self, module: str, name: str) -> StandIn:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return StandIn(f"{module}.{name}"[:200], owner=name.rpartition(".")[0][:200])

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("it names a class by a number")

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) > 1 and _text(pid[0]) == "module":  # a class with its source
            return pid[1]
        return self._storages.find(pid)

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, StandIn) or not isinstance(args, tuple):
            raise pickle.UnpicklingError("it calls something that is no function")
        name = function.name
        if function.is_made:  # as what getattr gave
            raise CodeInside(short(name))
        if name in _MAKES:
            return _MAKES[name](self, *args)
        top, last = name.partition(".")[0], name.rpartition(".")[2]
        is_method = bool(function.owner) and last.islower()  # of a class, which data has no need to call
        if is_method or top in _RUNNERS or (top == "builtins" and last in _BUILTIN_RUNNERS):
            raise CodeInside(short(name))
        if name not in ("copyreg._reconstructor", "copy_reg._reconstructor"):
            self._named[name] = None
            return StandIn(name, args)
        kind = args[0].name if args and isinstance(args[0], StandIn) else name
        self._named[kind] = None
        return StandIn(kind, args)

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def _make(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        self.append(self._call(kind, args))

    def _make_with_names(self) -> None:
        _, args, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(self._call(kind, args))

    def _instantiate(self, kind: Any, args: Any) -> None:
        self.append(self._call(kind, tuple(args)))

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Array):
            made.tensor = _array_of(state)
        elif isinstance(made, StandIn) and made.is_made:
            if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # with slots
                state = {**(state[0] if isinstance(state[0], dict) else {}), **state[1]}
            made.state = state
        elif not isinstance(made, dict | Tensor):  # an OrderedDict's attributes are not ours
            raise pickle.UnpicklingError("it gives a state to something that has none")

    def _set_items(self, pairs: list[Any]) -> None:
        made = self.stack[-1]
        place = made.entries if isinstance(made, StandIn) and made.is_made else made
        if not isinstance(place, dict):
            raise pickle.UnpicklingError("it sets items of something that has none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, StandIn | Tensor | list | dict | set):
                continue
            _check_key(key)
            place[key] = value

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _set_marked_items(self) -> None:
        self._set_items(self.pop_mark())

    def _append(self, values: list[Any]) -> None:
        made = self.stack[-1]
        place = made.members if isinstance(made, StandIn) and made.is_made else made
        if not isinstance(place, list):
            raise pickle.UnpicklingError("it appends to something that is no list")
        place.extend(values)

    def _append_one(self) -> None:
        value = self.stack.pop()
        self._append([value])

    def _append_marked(self) -> None:
        self._append(self.pop_mark())

    def _make_dict(self) -> None:
        pairs = self.pop_mark()
        self.append({})
        self._set_items(pairs)

    def _make_list_of_set(self) -> None:
        self.append(list(self.pop_mark()))  # nothing is hashed that may be deep

    def _begin_set(self) -> None:
        self.append([])

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)
    for _code, _does in {
        pickle.REDUCE: _reduce,
        pickle.NEWOBJ: _make,
        pickle.NEWOBJ_EX: _make_with_names,
        pickle.BUILD: _build,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_marked_items,
        pickle.APPEND: _append_one,
        pickle.APPENDS: _append_marked,
        pickle.DICT: _make_dict,
        pickle.EMPTY_SET: _begin_set,
        pickle.ADDITEMS: _append_marked,
        pickle.FROZENSET: _make_list_of_set,
    }.items():
        dispatch[_code[0]] = _does


def _check_key(key: Any, depth: int = 0) -> None:
    """Raise unless a key is a plain value: a tuple of tuples of … would end the process when it is hashed."""
    if isinstance(key, tuple):
        if depth > 4 or len(key) > 100:
            raise pickle.UnpicklingError("a key of it is too deep")
        for part in key:
            _check_key(part, depth + 1)
    elif not isinstance(key, str | bytes | int | float | complex | None):
        raise pickle.UnpicklingError("a key of it is no plain value")


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _numbers(content: bytearray, dtype: torch.dtype) -> Tensor:
    whole = len(content) // dtype.itemsize
    if not whole:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=whole)


def _tensor(_: _Reader, flat: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Any:
    if not isinstance(flat, Tensor):
        raise pickle.UnpicklingError("a tensor without numbers")
    size, stride = [int(n) for n in size], [int(n) for n in stride]
    if any(n < 0 for n in (*size, *stride, int(offset))) or len(size) != len(stride) or len(size) > 64:
        raise pickle.UnpicklingError("a tensor of an impossible shape")
    if math.prod(size) == 0:
        return torch.empty(size, dtype=flat.dtype) if max(size, default=0) < 2**40 else torch.empty(0)
    return torch.as_strided(flat, size, stride, int(offset))  # refused where it reaches beyond


def _tensor_of_type(reader: _Reader, flat: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Any:
    kind = more[2] if len(more) > 2 else None
    dtype = getattr(torch, kind.name.removeprefix("torch."), None) if isinstance(kind, StandIn) else None
    if not isinstance(dtype, torch.dtype) or not isinstance(flat, Tensor):
        raise pickle.UnpicklingError("a tensor of an unknown type")
    return _tensor(reader, flat.view(dtype), offset, size, stride)


def _quantized(
    reader: _Reader, flat: Any, offset: Any, size: Any, stride: Any, told: Any = (), *more: Any
) -> Any:
    """Return the numbers that a quantized tensor stands for; a stand-in where there is no one scale."""
    whole = _tensor(reader, flat, offset, size, stride)
    scheme = told[0].name if isinstance(told, tuple) and told and isinstance(told[0], StandIn) else ""
    if not scheme.endswith("per_tensor_affine"):
        return StandIn("torch._utils._rebuild_qtensor", ())
    return (whole.float() - int(told[2])) * float(told[1])


def _subclass(reader: _Reader, function: Any, kind: Any, args: Any, state: Any = None) -> Any:
    return reader._call(function, args)


def _first(_: _Reader, data: Any = None, *more: Any) -> Any:
    return data


def _dict(reader: _Reader, pairs: Any = (), *more: Any) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for pair in (
        pairs.items() if isinstance(pairs, dict) else pairs if isinstance(pairs, list | tuple) else ()
    ):
        key, value = pair
        _check_key(key)
        made[key] = value
    return made


def _list(_: _Reader, values: Any = (), *more: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else []


def _tuple(_: _Reader, values: Any = (), *more: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, list | tuple) else ()


def _bytes(_: _Reader, text: Any = "", encoding: Any = "latin1", *more: Any) -> bytes:
    return str(text).encode("latin1") if encoding in ("latin1", "latin-1") else str(text).encode("utf-8")


def _within(reader: _Reader, content: Any = b"", *more: Any) -> Any:
    return _read(io.BytesIO(bytes(content)), len(content), reader._named, reader._depth + 1)


def _begin_array(_: _Reader, *more: Any) -> _Array:
    return _Array()


def _array_from_buffer(
    _: _Reader, content: Any, kind: Any, shape: Any, order: Any = "C", *more: Any
) -> _Array:
    made = _Array()
    made.tensor = _array_of((1, shape, kind, order == "F", content))
    return made


def _array_of(state: Any) -> Tensor | None:
    """Return the tensor of a NumPy array's state; None where it holds no plain numbers."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], StandIn):
        return None
    _, shape, kind, fortran, content = state
    code = _text(kind.args[0]) if isinstance(kind.args, tuple) and kind.args else None
    if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[fiub]\d", code):
        return None
    order = _text(kind.state[1]) if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if isinstance(content, str):
        content = content.encode("latin1")
    if code[0] not in "<>=|":
        code = (order if order in ("<", ">") else "<") + code
    flat = np.frombuffer(bytes(content), dtype=np.dtype(code))
    array = flat.reshape(tuple(int(n) for n in shape), order="F" if fortran else "C")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


_MAKES: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "builtins.dict": _dict,
    "collections.defaultdict": lambda reader, *more: {},
    "builtins.list": _list,
    "builtins.tuple": _tuple,
    "builtins.set": _list,
    "builtins.frozenset": _list,
    "builtins.bytearray": lambda reader, *args: _bytes(reader, *args) if args else b"",
    "builtins.bytes": lambda reader, *args: _bytes(reader, *args) if args else b"",
    "_codecs.encode": _bytes,
    "torch.Size": _tuple,
    "torch.nn.parameter.Parameter": _first,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_xla_tensor": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.storage._load_from_bytes": _within,
    "numpy.core.multiarray._reconstruct": _begin_array,
    "numpy._core.multiarray._reconstruct": _begin_array,
    "numpy.core.numeric._frombuffer": _array_from_buffer,
    "numpy._core.numeric._frombuffer": _array_from_buffer,
    "numpy.dtype": lambda reader, *args: StandIn("numpy.dtype", args),
}
