"""``file:PATH.py:FUNCTION``: a network that a function of the user's returns. It runs that file's code."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from featvis.errors import FeatvisError, ModelError, unknown
from featvis.models.given import as_module
from featvis.models.handle import ModelHandle
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.from_timm import read_config
from featvis.models.sources.register import source

_TOLD = (
    "mean",
    "std",
    "input_size",
    "interpolation",
    "labels",
    "signal",
    "forward",
    "channel_order",
    "range",
    "unit_axis",
    "sample_rate",
    "frames",
)
_imported: set[str] = set()
"""The names of modules that files of users imported from beside them: each file imports its own anew."""


@source(
    "file",
    example="file:PATH.py:FUNCTION",
    about="a function of your own (runs that file)",
    random=False,
    typed=True,
)
class PythonFile(ModelSource):
    """A function of the user's that returns a network."""

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Run the file and call its function, which returns a network, a network and a dict, or a handle.

        The dict may hold ``mean``, ``std``, ``input_size``, ``interpolation``, ``labels``, ``signal``,
        ``sample_rate``, ``frames``, ``forward``, ``channel_order``, ``range`` and ``unit_axis``, as for
        :func:`featvis.load_model`.
        """
        where, colon, function = name.rpartition(":")
        if not colon or not where or not function:
            raise ModelError(f"file:{name} lacks the function; write file:PATH.py:FUNCTION")
        path = Path(where)
        if not path.is_file():
            raise ModelError(f"no file {where!r} for the model file:{name}")
        with _as_a_script(path) as module:
            _run(module, path, where)
            made = _call(module, function, where)
        network, told = made if isinstance(made, tuple | list) and len(made) == 2 else (made, {})
        note: tuple[str, ...] = (f"file: ran the code of {where}",)
        kinds = nn.Module | ModelHandle | torch.export.ExportedProgram
        if not isinstance(network, kinds) or not isinstance(told, dict):
            raise ModelError(
                f"{function}() in {where} returned a {type(made).__name__}, not a torch.nn.Module"
            )
        for key in told:
            if key not in _TOLD:
                raise ModelError(unknown(f"key from {function}()", str(key), _TOLD))
        if isinstance(labels := told.get("labels"), str | Path) and not Path(labels).is_file():
            told = {**told, "labels": path.parent / labels}
        if isinstance(network, ModelHandle):
            known = _of_handle(network)
            if known.handle is not None and told:
                raise ModelError(
                    f"{function}() in {where}: a {type(network).__name__} has its own {next(iter(told))}"
                )
            return dataclasses.replace(known, notes=(*note, *network.notes), **told)
        network, more = as_module(network)
        note += more
        known = read_config(network)
        own_numbers = not {"mean", "std"} & told.keys()
        return dataclasses.replace(known, notes=note + (known.notes if own_numbers else ()), **told)


def _of_handle(handle: ModelHandle) -> Loaded:
    return Loaded(
        handle.module,
        mean=handle.mean[: handle.channels // (handle.frames or 1)],
        std=handle.std[: handle.channels // (handle.frames or 1)],
        input_size=handle.input_size,
        interpolation=handle.interpolation,
        labels=handle.labels,
        signal=handle.signal,
        sample_rate=handle.sample_rate,
        frames=handle.frames,
        unit_axis=handle.unit_axes or None,
        missing=tuple(handle.missing),
        handle=None if type(handle) is ModelHandle else handle,
    )


@contextlib.contextmanager
def _as_a_script(path: Path) -> Iterator[ModuleType]:
    """Within it Python is as ``python FILE`` finds it: the file's folder first, the file as ``__main__``.

    Its main block does not run, for its module has a name of its own. Afterwards the folder is the last place
    that is looked in, for what the network imports only when it runs, so that nothing in it hides a package.
    """
    folder = str(path.resolve().parent)
    mark = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"featvis_user_{path.stem}_{mark}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()
    hidden = _hide_others(Path(folder))
    before, arguments, main = set(sys.modules), sys.argv, sys.modules["__main__"]
    here, gradients, threads = os.getcwd(), torch.is_grad_enabled(), torch.get_num_threads()
    dtype = torch.get_default_dtype()
    places = [place for place in sys.path if place != folder]
    sys.path[:] = [folder, *places]
    sys.argv = [str(path)]
    sys.modules[spec.name] = sys.modules["__main__"] = module
    importlib.invalidate_caches()
    try:
        # What it prints is no part of a command's output.
        with contextlib.redirect_stdout(sys.stderr):
            yield module
    finally:
        # What a script sets for its own process is not ours.
        os.chdir(here)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        sys.modules["__main__"] = main
        sys.argv = arguments
        sys.path[:] = [*[place for place in sys.path if place != folder], folder]
        _imported.update(name for name in set(sys.modules) - before if _lies_in(name, Path(folder)))
        for name in hidden:  # the session's own, under the same name
            _imported.discard(name)
        sys.modules.update(hidden)


def _hide_others(folder: Path) -> dict[str, ModuleType]:
    """Take modules of other folders away that have the name of one beside the file; return them."""
    beside = {place.stem for place in folder.glob("*.py")} | {
        place.parent.name for place in folder.glob("*/*.py")
    }
    library = Path(sysconfig.get_paths()["stdlib"])
    hidden = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if top not in beside or top in ("__main__", "featvis") or not isinstance(file, str):
            continue
        place = Path(file).resolve()
        installed = place.is_relative_to(library) or {"site-packages", "dist-packages"} & set(place.parts)
        if not installed and not place.is_relative_to(folder):
            hidden[name] = sys.modules.pop(name)
    return hidden


def _lies_in(name: str, folder: Path) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and Path(file).resolve().is_relative_to(folder)


def _run(module: ModuleType, path: Path, where: str) -> None:
    try:
        module.__loader__.exec_module(module)  # type: ignore[union-attr]
    except (Exception, SystemExit) as error:
        raise ModelError(f"{where} fails when it is run: {_reason(error)}") from None


def _call(module: ModuleType, function: str, where: str) -> Any:
    try:
        make = functools.reduce(getattr, function.split("."), module)
    except AttributeError:
        make = None
    if isinstance(make, nn.Module | ModelHandle):
        return make
    if not callable(make):
        own = [
            key
            for key, value in vars(module).items()
            if (callable(value) and getattr(value, "__module__", "") == module.__name__)
            or isinstance(value, nn.Module | ModelHandle)
        ]
        raise ModelError(unknown(f"function in {where}", function, own, f"it has {', '.join(own) or 'none'}"))
    try:
        return make()
    except FeatvisError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{function}() in {where} fails: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program (exit code {error.code}); keep that under `if __name__ == '__main__':`"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
