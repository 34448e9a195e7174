"""Networks and jobs as bytes, for workers that share neither memory nor files with this process.

What a worker has already, a network and everything in it, is named in a job's bytes and not sent again.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featvis.errors import ModelError, UserError
from featvis.images.generator import kept_generators, take_generators
from featvis.models.borrow.loan import at_rest
from featvis.models.handle import ModelHandle
from featvis.models.layers.network import NetworkAt
from featvis.plan.wanted import Job, Wanted
from featvis.spec import register
from featvis.spec.pinned import contents_of, take_contents, texts_in
from featvis.spec.recipe import Recipe

PROTOCOL = 5
_HERE = Path(register.__file__).resolve().parents[1]


class Parcel(NamedTuple):
    """What a worker is given."""

    wanted: tuple[Wanted, ...]
    weights: str
    goes_on: bool
    """Whether a picture that fails is told, and the others are computed."""


class Packer:
    """Writes networks and jobs for workers; the networks are numbered, the one that is climbed is 0.

    Code of the user's own (a script, a notebook, a file that is not installed) is sent along; what is
    installed, featvis included, is installed on the workers, too.
    """

    def __init__(self, model: ModelHandle, pickling: ModuleType, recipes: Iterable[Recipe] = ()) -> None:
        """Begin with the network that is climbed and its jobs' recipes; ``pickling`` is a cloudpickle."""
        self.networks: list[ModelHandle] = []
        self._pickling = pickling
        self._known: dict[int, tuple[str, int, Any]] = {}
        self._own_code = _own_modules()
        self._carried = self._carry(recipes)
        self._enter(model)

    def network(self, number: int) -> bytes:
        """Return a network as bytes, on the CPU; a ModelError names what of it cannot be sent."""
        handle = self.networks[number]
        try:
            with at_rest(handle.module):
                sent = handle if handle.device.type == "cpu" else handle.copy(device="cpu")
                carried = self._carried if number == 0 else None
                return self._dump((register.brought(), carried, sent), named=False)
        except Exception as error:
            name, why = self._find_fault(handle.module, error)
            raise ModelError(f"{handle.name} cannot be sent to other processes: {name} {why}") from None

    def job(self, job: Job, weights: str, *, goes_on: bool) -> bytes:
        """Return a job as bytes, in which networks are named; it may have :attr:`networks` grow."""
        try:
            return self._dump(Parcel(job.wanted, weights, goes_on), named=True)
        except Exception as error:
            name = job.wanted[0].name
            raise UserError(f"{name} cannot be sent to other processes: {_reason(error)}") from None

    def _carry(self, recipes: Iterable[Recipe]) -> bytes:
        """Return what recipes name and this process has: what files hold, generators."""
        kinds = {recipe.model_dump_json(): recipe for recipe in recipes}
        told = [recipe.to_json() for recipe in kinds.values()]
        generators = kept_generators(texts_in(told))
        try:
            return self._dump((contents_of(told), generators), named=False)
        except UserError:
            raise
        except Exception as error:
            raise ModelError(f"the generator cannot be sent to other processes: {_reason(error)}") from None

    def _enter(self, handle: ModelHandle) -> int:
        """Number a network that is met for the first time, and note the names of all that is in it."""
        number = len(self.networks)
        self.networks.append(handle)
        with at_rest(handle.module):
            for name, module in handle.module.named_modules():
                self._known.setdefault(id(module), ("module", number, name))
            for name, tensor in (*handle.module.named_parameters(), *handle.module.named_buffers()):
                self._known.setdefault(id(tensor), ("tensor", number, name))
        return number

    def name_of(self, part: Any) -> tuple[str, int, Any] | None:
        """Return what names a network, or a part of one; None for anything else."""
        if isinstance(part, ModelHandle):
            known = self._known.get(id(part.module))
            return "handle", known[1] if known and known[2] == "" else self._enter(part), None
        if isinstance(part, NetworkAt):
            known = self._known.get(id(part.module))
            return ("at", known[1], part.size) if known and known[2] == "" else None
        return self._known.get(id(part)) if isinstance(part, nn.Module | Tensor) else None

    def _dump(self, content: Any, *, named: bool) -> bytes:
        """Pickle with the user's own modules by value; where that fails, by their names."""
        try:
            with self._by_value():
                return self._pickle(content, named=named)
        except Exception:
            if not self._own_code:
                raise
            return self._pickle(content, named=named)

    def _pickle(self, content: Any, *, named: bool) -> bytes:
        packer, kind = self, self._pickling.Pickler

        class Pickler(kind):  # type: ignore[misc, valid-type]
            def persistent_id(self, part: Any) -> tuple[str, int, Any] | None:
                return packer.name_of(part) if named else None

            def reducer_override(self, part: Any) -> Any:
                if isinstance(part, Tensor) and part.device.type != "cpu":
                    here: Any = part.cpu()  # a worker moves it to where it computes
                    return here.__reduce_ex__(PROTOCOL)
                return super().reducer_override(part)

        stream = io.BytesIO()
        Pickler(stream, PROTOCOL).dump(content)
        return stream.getvalue()

    @contextlib.contextmanager
    def _by_value(self) -> Iterator[None]:
        entered: list[ModuleType] = []
        try:
            for module in self._own_code:
                if sys.modules.get(module.__name__) is module:
                    self._pickling.register_pickle_by_value(module)
                    entered.append(module)
            yield
        finally:
            for module in entered:
                self._pickling.unregister_pickle_by_value(module)

    def _find_fault(self, network: nn.Module, error: Exception) -> tuple[str, str]:
        """Return the innermost module that cannot be pickled, and why."""
        for name, module in reversed(list(network.named_modules())):
            try:
                self._dump(module, named=False)
            except Exception as inner:
                kind = type(module).__name__
                return (
                    f"{name!r} ({kind})" if name else f"its {kind}"
                ), f"cannot be pickled: {_reason(inner)}"
        return "what was told of it", f"cannot be pickled: {_reason(error)}"


class Unpacker:
    """Reads on a worker what a :class:`Packer` wrote."""

    def __init__(self, fetch: Callable[[int], bytes], device: torch.device) -> None:
        """``fetch`` gets a network's bytes by its number; all are kept on ``device``."""
        self._fetch, self._device = fetch, device
        self._networks: dict[int, ModelHandle] = {}

    def network(self, number: int) -> ModelHandle:
        """Return a network, read when it is first needed."""
        if number not in self._networks:
            parts, carried, handle = pickle.loads(self._fetch(number))
            register.take_brought(parts)
            if carried is not None:
                contents, generators = pickle.loads(carried)
                take_contents(contents)
                take_generators(generators)
            if self._device.type != "cpu":
                handle.module.to(self._device)
            handle.spreads = False
            self._networks[number] = handle
        return self._networks[number]

    def job(self, content: bytes) -> Parcel:
        """Return a job, with the networks of this worker where it names them."""
        find = self._find

        class Reader(pickle.Unpickler):
            def persistent_load(self, name: Any) -> Any:
                return find(*name)

        parcel: Parcel = Reader(io.BytesIO(content)).load()
        return parcel

    def _find(self, kind: str, number: int, name: Any) -> Any:
        handle = self.network(number)
        if kind == "handle":
            return handle
        if kind == "at":
            return handle.at(name)
        if kind == "module":
            return handle.module.get_submodule(name)
        owner, _, own = name.rpartition(".")
        return getattr(handle.module.get_submodule(owner), own)


def _own_modules() -> list[ModuleType]:
    """Return the modules that are neither Python's nor installed packages, nor of this package."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not isinstance(file, str) or getattr(module, "__name__", None) != name:
            continue
        path = Path(file)
        if {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(library):
            continue
        if not path.resolve().is_relative_to(_HERE):
            found.append(module)
    return found


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
