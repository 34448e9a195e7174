"""Reading weights from files that nobody vouches for: safetensors, or checkpoints without code."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from featvis.errors import WeightsError

_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by name, and what the file says of itself."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def preprocessing(self) -> dict[str, tuple[float, ...]]:
        """Return ``mean`` and ``std`` if the file's metadata states them.

        As lists, or in a sentence such as ``mean (123.68,116.779,103.939)/255, std 1/255``.
        """
        statistics: dict[str, tuple[float, ...]] = {}
        for name in ("mean", "std"):
            for key, text in self.metadata.items():
                pattern = r"([\[(][^\])]*[\])]|[\d.]+)\s*(?:/\s*([\d.]+))?"
                match = (
                    re.search(rf"\b{name}\b\s*[:=]?\s*{pattern}", text)
                    if key != name
                    else re.match(pattern, text)
                )
                if match is None:
                    continue
                numbers = [float(number) for number in re.findall(r"-?\d*\.?\d+(?:[eE][-+]?\d+)?", match[1])]
                if numbers:
                    statistics[name] = tuple(number / float(match[2] or 1) for number in numbers)
        longest = max((len(values) for values in statistics.values()), default=0)
        return {name: values * longest if len(values) == 1 else values for name, values in statistics.items()}


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors file or a PyTorch checkpoint; no code in the file is ever run."""
    if not path.is_file():
        raise WeightsError(f"no weights file {str(path)!r}")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as opened:
                metadata = dict(opened.metadata() or {})
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path} is no readable safetensors file: {_short(error)}") from None
    else:
        tensors = _tensors(path, _read_checkpoint(path))
    if not tensors:
        raise WeightsError(f"{path} holds no tensors")
    return WeightsFile(path, _without_prefix(tensors), metadata)


def apply_weights(module: nn.Module, file: WeightsFile) -> tuple[list[str], list[str]]:
    """Copy the file's tensors into ``module``; return the names that the file lacks, and the module lacks."""
    own = module.state_dict()
    fitting = {name: value for name, value in file.tensors.items() if name in own}
    if not fitting:
        theirs, ours = next(iter(file.tensors)), next(iter(own))
        raise WeightsError(
            f"{file.path} does not fit this network: no name matches (the file has {theirs!r} …, "
            f"the network {ours!r} …)"
        )
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise WeightsError(
                f"{file.path} does not fit this network: {name!r} has shape {tuple(value.shape)}, "
                f"the network needs {tuple(own[name].shape)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{file.path}: {name!r} holds values that are not finite")
    module.load_state_dict(fitting, strict=False)
    lacking = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    return lacking, [name for name in file.tensors if name not in own]


def _read_checkpoint(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what counts is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise WeightsError(
            f"{path} is no checkpoint that can be read: it is damaged, or holds more than tensors and "
            f"would run code{what}; a state_dict saved as safetensors is safe"
        ) from None
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise WeightsError(f"{path} is no readable checkpoint: {_short(error)}") from None


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    for _ in range(3):
        if not isinstance(loaded, Mapping):
            raise WeightsError(f"{path} holds a {type(loaded).__name__}, not tensors by name")
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = next((loaded[key] for key in _NESTS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            return {}
        loaded = inner
    return {}


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((each for each in _PREFIXES if all(name.startswith(each) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
