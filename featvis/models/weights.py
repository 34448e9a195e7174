"""Weights from files that nobody vouches for, and which of a file's tensors are a network's."""

from __future__ import annotations

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from featvis.errors import OutputError, WeightsError
from featvis.models.checkpoint import contents_of, read_pickled, short
from featvis.models.sources.register import split_weights
from featvis.read import read_json

Parts = tuple[str, ...]

_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
"""Parts of names that wrappers add (DataParallel, compile, FSDP, checkpointing) and that say nothing."""
_AVERAGES = frozenset(("ema", "swa", "averaged", "average", "shadow"))
_READINGS = 16


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by name, and what the file says of itself."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    nests: dict[str, str] = field(default_factory=dict)
    """Within what of the file each tensor lies, by its name; "" is the top."""
    networks: dict[str, str] = field(default_factory=dict)
    """The classes of whole networks that were pickled, by where they lie."""
    key: str = ""
    """The part of the file that its user named."""

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


@dataclass(frozen=True)
class Reading:
    """One way to read a file's names: those that begin with ``strip`` begin with ``add`` in the network."""

    strip: Parts
    add: Parts
    taken: dict[str, str]
    """The file's name of each tensor that fits, by the network's name of it."""
    odd: dict[str, str]
    """The same of those whose shape is another."""
    within: str = ""
    """The part of the file that all of them lie in."""

    @property
    def count(self) -> tuple[int, int]:
        """How well it fits: the more the better."""
        return len(self.taken), len(self.odd)

    @property
    def changes_names(self) -> bool:
        """Whether names are read otherwise than they stand in their part of the file."""
        return bool(self.add) or self.strip != _bare(_parts(self.within))

    @property
    def label(self) -> str:
        """What stands after the file's name to choose it."""
        return ".".join(self.strip)


@dataclass(frozen=True)
class Fit:
    """Which tensors of a file are which of a network."""

    file: WeightsFile
    reading: Reading
    others: tuple[Reading, ...]
    """Further readings that fit as well and were not taken."""
    own: dict[str, Tensor]

    @property
    def odd(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The file's and the network's tensor where their shapes differ, by the network's name."""
        return {
            name: (self.file.tensors[theirs], self.own[name]) for name, theirs in self.reading.odd.items()
        }

    @cached_property
    def classes(self) -> tuple[int, int] | None:
        """How many classes the file's head has and the network's, if that is all by which the two differ.

        Nothing depends on the length of what differs, so these are a network's last layers; where several do
        (boxes beside classes), their lengths have one ratio.
        """
        pairs = set()
        for name, (theirs, ours) in self.odd.items():
            if name == self.stem:
                continue
            if not theirs.dim() or theirs.dim() != ours.dim() or theirs.shape[1:] != ours.shape[1:]:
                return None
            pairs.add((theirs.shape[0], ours.shape[0]))
        if not pairs or len(self.reading.taken) < len(self.reading.odd):
            return None
        least = min(pairs, key=lambda pair: pair[1])
        return least if all(a * least[1] == b * least[0] for a, b in pairs) else None

    @cached_property
    def stem(self) -> str | None:
        """The one convolution that differs in how many channels it takes, and in nothing else; else None."""
        stems = [
            name
            for name, (theirs, ours) in self.odd.items()
            if theirs.dim() == ours.dim() == 4
            and theirs.shape[1] != ours.shape[1]
            and (theirs.shape[0], theirs.shape[2:]) == (ours.shape[0], ours.shape[2:])
        ]
        return stems[0] if len(stems) == 1 else None

    @property
    def channels(self) -> int | None:
        """How many channels the file's images have, where that is another number than the network's."""
        return None if self.stem is None else int(self.odd[self.stem][0].shape[1])

    def check(self) -> None:
        """Raise WeightsError where nothing fits, or a shape differs in what is no head."""
        if not self.reading.taken and not self.reading.odd:
            raise _no_fit(self.file, self.own)
        if self.odd and (self.classes is None or self.stem is not None):
            name, (theirs, ours) = next(iter(self.odd.items()))
            raise WeightsError(
                f"{self.file.path} does not fit this network: {name!r} has shape {tuple(theirs.shape)}, "
                f"the network needs {tuple(ours.shape)}"
            )


def read_weights(source: str | Path) -> WeightsFile:
    """Read a safetensors file or a PyTorch checkpoint, or ``FILE:KEY``; no code in the file is ever run."""
    path, key = split_weights(source)
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else ""
        raise WeightsError(f"{path} {what}" if what else f"no weights file {str(source)!r}")
    begin = _begin(path)
    nests: dict[str, str] = {}
    networks: dict[str, str] = {}
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors" or _is_safetensors(begin):
        tensors, metadata = _read_safetensors(path)
        read = WeightsFile(path, tensors, metadata, dict.fromkeys(tensors, ""))
    elif path.name.endswith(".index.json"):
        read = _read_parts(path)
    else:
        if (told := _other_kind(path, begin)) is not None:
            raise WeightsError(f"{path} {told}")
        content, named = read_pickled(path)
        found = contents_of(content)
        tensors, nests, networks = found.tensors, found.nests, found.networks
        if not tensors:
            raise WeightsError(f"{path} {_what_it_holds(content, named)}")
        read = WeightsFile(path, tensors, metadata, nests, networks)
    if not read.tensors:
        raise WeightsError(f"{path} holds no tensors")
    return _under(read, key) if key else read


def find_fit(module: nn.Module, file: WeightsFile) -> Fit:
    """Find which of the file's tensors are which of the network's, by name and shape.

    Names are compared as they stand in each part of the file, and with every beginning of either side taken
    away or put before; the reading that fits most tensors is taken.

    Raises:
        WeightsError: none fits, or several fit equally well.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    readings = sorted(_readings(own, file), key=lambda one: (one.count, one.label == ""), reverse=True)
    if not readings:
        if not _loads_in_its_own_way(module):
            raise _no_fit(file, own)
        within = Counter(file.nests.values()).most_common(1)[0][0]
        return Fit(file, Reading(_bare(_parts(within)), (), {}, {}, within), (), own)
    best = [one for one in readings if one.count == readings[0].count]
    alike = _unlike(best, file)
    trained = _without_averages(alike)
    chosen = [one for one in trained if not one.changes_names] or trained
    if len(chosen) > 1:
        raise WeightsError(_which(chosen, file, len(own)))
    others = [one for one in _unlike(readings, file) if one.count[0] * 10 >= chosen[0].count[0] * 9]
    others = [one for one in others if one.label != chosen[0].label]
    return Fit(file, chosen[0], tuple(others), own)


def _no_fit(file: WeightsFile, own: Mapping[str, Tensor]) -> WeightsError:
    theirs, ours = next(iter(file.tensors)), next(iter(own), "")
    return WeightsError(
        f"{file.path} does not fit this network: no name matches (the file has {theirs!r} …, "
        f"the network {ours!r} …)"
    )


@dataclass(frozen=True)
class Applied:
    """What became of a file's tensors in a network."""

    missing: list[str]
    """The network's tensors that have no weights now."""
    notes: list[str]


def apply_weights(module: nn.Module, fit: Fit) -> Applied:
    """Copy the file's tensors into ``module``, all that fit or none; say what does not.

    Raises:
        WeightsError: they do not fit.
    """
    file, reading = fit.file, fit.reading
    strangers = _strangers(fit)
    lacking = [name for name in _weights_of(fit.own) if name not in reading.taken]
    if (lacking or strangers or fit.odd) and _load_by_its_class(module, fit):
        return Applied([], [f"{file.path}: loaded by the network's own load_state_dict"])
    fit.check()
    values = {name: file.tensors[theirs] for name, theirs in reading.taken.items()}
    try:
        module.load_state_dict(values, strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{file.path} does not fit this network: {short(error)}") from None
    # Where the network uses one tensor under two names, the file may hold it under one.
    held = {fit.own[name].data_ptr() for name in reading.taken}
    lacking = [name for name in lacking if name in fit.odd or fit.own[name].data_ptr() not in held]
    notes = _notes(fit, values)
    if lacking:
        total = len(_weights_of(fit.own))
        parts = ", ".join(list(dict.fromkeys(name.partition(".")[0] for name in lacking))[:6])
        notes.append(
            f"{file.path} covers {total - len(lacking)} of {total} tensors; without weights: {parts}"
        )
    if strangers:
        notes.append(
            f"{file.path}: {len(strangers)} tensors are not part of this network, {strangers[0]!r} the first"
        )
    return Applied(lacking, notes)


def _notes(fit: Fit, values: Mapping[str, Tensor]) -> list[str]:
    file, reading, notes = fit.file, fit.reading, []
    if reading.within in file.networks:
        kind = file.networks[reading.within].rpartition(".")[2]
        notes.append(f"{file.path}: a whole pickled {kind}; its tensors were read, none of its code was run")
    took = []
    if reading.changes_names or fit.others:
        if reading.within:
            took.append(repr(reading.within))
        if more := reading.strip[len(_bare(_parts(reading.within))) :]:
            took.append(f"names without '{'.'.join(more)}.'")
        if reading.add:
            took.append(f"names under '{'.'.join(reading.add)}.'")
        took = took or ["names as they stand"]
        beside = [f"{file.path}:{one.label}" for one in fit.others[:3] if one.label]
        instead = f" (instead: {', '.join(beside)})" if beside else ""
        notes.append(f"{file.path}: took {', '.join(took)}{instead}")
    if fit.classes is not None:
        theirs, ours = fit.classes
        heads = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in fit.odd))
        notes.append(
            f"{file.path}: its head ({heads}) is of {theirs} classes, the network's of {ours}; "
            "layers before it serve"
        )
    sick = [name for name, value in values.items() if not _is_finite(value)]
    if sick:
        more_sick = f" and {len(sick) - 1} more" if len(sick) > 1 else ""
        notes.append(
            f"{file.path}: {sick[0]!r}{more_sick} holds values that are not finite; layers after it give none"
        )
    return notes


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point():
        return True
    return bool(torch.isfinite(value if value.itemsize > 1 else value.float()).all())


def _weights_of(own: Iterable[str]) -> list[str]:
    return [name for name in own if not name.endswith("num_batches_tracked")]


def _strangers(fit: Fit) -> list[str]:
    """The file's names that are not the network's, of those that lie where the ones that were taken do."""
    used = {*fit.reading.taken.values(), *fit.reading.odd.values()}
    places = {fit.file.nests.get(name, "") for name in used}
    return [name for name in fit.file.tensors if name not in used and fit.file.nests.get(name, "") in places]


def _loads_in_its_own_way(module: nn.Module) -> bool:
    return any(
        inner._load_state_dict_pre_hooks
        or type(inner).load_state_dict is not nn.Module.load_state_dict
        or not type(inner)._load_from_state_dict.__module__.startswith("torch.")
        for inner in module.modules()
    )


def _load_by_its_class(module: nn.Module, fit: Fit) -> bool:
    """Load by the network's own way if it has one, as by hooks that rename what an older version wrote."""
    if not _loads_in_its_own_way(module):
        return False
    before = {name: value.clone() for name, value in fit.own.items()}
    start = len(fit.reading.within) + 1 if fit.reading.within else 0
    inside = {
        name[start:]: value
        for name, value in fit.file.tensors.items()
        if fit.file.nests.get(name, "") == fit.reading.within
    }
    try:
        module.load_state_dict(inside)
    except Exception:
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if isinstance(value, Tensor) and name in before:
                    value.copy_(before[name])
        return False
    return True


# How names are read


def _parts(name: str) -> Parts:
    return tuple(name.split(".")) if name else ()


def _bare(parts: Parts) -> Parts:
    return tuple(part for part in parts if part not in _WRAPPERS)


def _without_wrappers(names: Iterable[str]) -> dict[str, Parts]:
    """Return each name's parts without those that wrappers add, unless two names would become one."""
    whole = {name: _parts(name) for name in names}
    bare = {name: _bare(parts[:-1]) + parts[-1:] for name, parts in whole.items()}
    return bare if len(set(bare.values())) == len(bare) else whole


def _readings(own: Mapping[str, Tensor], file: WeightsFile) -> list[Reading]:
    ours = {parts: name for name, parts in _without_wrappers(own).items()}
    theirs = _without_wrappers(file.tensors)
    alike: dict[tuple[str, torch.Size], list[Parts]] = defaultdict(list)
    for parts, name in ours.items():
        if own[name].dim():
            alike[parts[-1], own[name].shape].append(parts)
    votes: Counter[tuple[Parts, Parts]] = Counter()
    for name, parts in theirs.items():
        for other in alike.get((parts[-1], file.tensors[name].shape), ()):
            same = 1
            while same < min(len(parts), len(other)) and parts[-same - 1] == other[-same - 1]:
                same += 1
            votes[parts[: len(parts) - same], other[: len(other) - same]] += 1
    tried = [((), ()), *(pair for pair, _ in votes.most_common(_READINGS)), *_nests(file, theirs)]
    readings = [_read(strip, add, ours, theirs, own, file) for strip, add in dict.fromkeys(tried)]
    return [one for one in readings if _is_likely(one, own, file)]


def _nests(file: WeightsFile, theirs: Mapping[str, Parts]) -> list[tuple[Parts, Parts]]:
    """The parts of the file with most tensors, read as they stand: all shapes of a head alone may differ."""
    counted = Counter(file.nests.values()).most_common(_READINGS)
    return [(_bare(_parts(nest)), ()) for nest, _ in counted]


def _read(
    strip: Parts,
    add: Parts,
    ours: Mapping[Parts, str],
    theirs: Mapping[str, Parts],
    own: Mapping[str, Tensor],
    file: WeightsFile,
) -> Reading:
    taken: dict[str, str] = {}
    odd: dict[str, str] = {}
    for name, parts in theirs.items():
        if parts[: len(strip)] != strip or (mine := ours.get(add + parts[len(strip) :])) is None:
            continue
        (taken if file.tensors[name].shape == own[mine].shape else odd)[mine] = name
    places = {file.nests.get(name, "") for name in (*taken.values(), *odd.values())}
    return Reading(strip, add, taken, odd, places.pop() if len(places) == 1 else "")


def _is_likely(reading: Reading, own: Mapping[str, Tensor], file: WeightsFile) -> bool:
    """Whether it is no chance: where names are changed, half of what could fit does."""
    if not reading.taken and not reading.odd:
        return False
    if not reading.changes_names:
        return True
    beside = sum(nest == reading.within for nest in file.nests.values())
    return 2 * len(reading.taken) >= min(len(own), beside or len(file.tensors))


def _unlike(readings: list[Reading], file: WeightsFile) -> list[Reading]:
    """Return the readings of which none gives the same values as one before it."""
    kept: list[Reading] = []
    for one in readings:
        if not any(_same(one, other, file) for other in kept):
            kept.append(one)
    return kept


def _same(one: Reading, other: Reading, file: WeightsFile) -> bool:
    if one.taken.keys() != other.taken.keys():
        return False
    pairs = ((file.tensors[one.taken[name]], file.tensors[other.taken[name]]) for name in one.taken)
    return all(a is b or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


def _without_averages(alike: list[Reading]) -> list[Reading]:
    """Running averages stand beside what they are of: that is what was trained."""
    plain = [one for one in alike if not _AVERAGES & set(re.split(r"[^a-z]+", one.label.lower()))]
    return plain or alike


def _which(alike: list[Reading], file: WeightsFile, total: int) -> str:
    labels = dict.fromkeys(one.label for one in alike)
    if len(labels) == 1:
        places = " and ".join(repr(".".join(one.add)) for one in alike)
        return f"{file.path} fits several parts of this network equally well: {places}"
    counts = {one.label: len(one.taken) for one in reversed(alike)}
    choices = ", ".join(f"{file.path}:{label} ({counts[label]} of {total} tensors)" for label in labels)
    return f"{file.path} holds several sets of weights that fit equally well; choose one: {choices}"


def _under(file: WeightsFile, key: str) -> WeightsFile:
    """Return the part of a file that its user named."""
    wanted = _parts(key.strip("."))
    whole = {name: _parts(name) for name in file.tensors}
    for asked, names in ((wanted, whole), (_bare(wanted), _without_wrappers(file.tensors))):
        inside = [name for name, parts in names.items() if asked and parts[: len(asked)] == asked]
        if inside:
            tensors = {name: file.tensors[name] for name in inside}
            nests = {name: file.nests.get(name, "") for name in inside}
            return WeightsFile(file.path, tensors, file.metadata, nests, file.networks, key)
    keys = list(dict.fromkeys(name.partition(".")[0] for name in file.tensors))
    raise WeightsError(f"{file.path} holds nothing under {key!r}; it has {', '.join(map(repr, keys[:8]))}")


# What a file is


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(1024)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None


def _is_safetensors(begin: bytes) -> bool:
    return len(begin) > 9 and begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file: {_kind_beside(path) or short(error)}"
        ) from None


def _kind_beside(path: Path) -> str | None:
    told = _other_kind(path, _begin(path))
    return f"it {told}" if told else None


def _read_parts(path: Path) -> WeightsFile:
    """Read a checkpoint in several files, by its index: where each tensor lies, in files beside it."""
    try:
        places = read_json(path)["weight_map"]
        files = sorted({str(place) for place in places.values()})
    except (ValueError, KeyError, TypeError, AttributeError, OSError, OutputError) as error:
        raise WeightsError(f"{path} is no index of a checkpoint in parts: {short(error)}") from None
    tensors: dict[str, Tensor] = {}
    for name in files:
        if Path(name).name != name or name.endswith(".index.json"):
            raise WeightsError(f"{path} names {short(name)!r}, which is no file beside it")
        tensors |= read_weights(path.with_name(name)).tensors
    return WeightsFile(path, tensors, {}, dict.fromkeys(tensors, ""))


_MAGICS = (
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes it; featvis takes networks of PyTorch"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it first"),
    (b"BZh", "is compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz; unpack it first"),
    (b"7z\xbc\xaf", "is a 7-zip archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"GGUF", "is a GGUF file, a format of llama.cpp; featvis takes networks of PyTorch"),
    (b"\x89PNG", "is a picture, no weights file"),
    (b"\xff\xd8\xff", "is a picture, no weights file"),
    (b"\x93NUMPY", "is a single NumPy array without names; save a state_dict"),
)


def _other_kind(path: Path, begin: bytes) -> str | None:
    """Say what a file is that is no checkpoint, and the way out; None where it may be one."""
    text = begin.lstrip().lower()
    save = "torch.save({}, 'weights.pth') in Python, then the weights are weights.pth"
    if not begin:
        return "is empty, no checkpoint: nothing was written, or its download failed"
    if begin.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; `git lfs pull` fetches it"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, no checkpoint: an error or a login page was saved; download it again"
    for magic, told in _MAGICS:
        if begin.startswith(magic):
            return told
    if begin[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if path.suffix == ".onnx" or (begin[:1] == b"\x08" and b"\x12" in begin[1:8] and b"torch" in begin[:64]):
        return "is an ONNX file, which names its tensors otherwise; save the PyTorch network's state_dict()"
    if path.suffix in (".tflite", ".pb") or begin[4:8] == b"TFL3":
        return "is a file of TensorFlow; featvis takes networks of PyTorch"
    if begin.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path, save)
    if (
        text
        and all(byte in b"\t\n\r" or byte >= 32 for byte in begin)
        and text[:1] in b"{[#/abcdefghijklmnopqrstuvwxyz"
    ):
        return "is a text file, no checkpoint"
    return None


def _kind_of_zip(path: Path, save: str) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return f"is no readable checkpoint: it is damaged or cut short ({short(error)})"
    ends = {name.partition("/")[2] or name for name in names}
    if "constants.pkl" in ends:
        script = f"torch.jit.load({str(path)!r}).state_dict()"
        return f"is a TorchScript archive: {save.format(script)}"
    exported = ("serialized_exported_program.json", "models/model.json", "archive_format")
    if path.suffix == ".pt2" or any(name in ends or name in names for name in exported):
        program = f"torch.export.load({str(path)!r}).state_dict"
        return f"is an exported program of torch.export: {save.format(program)}"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return None
    if any(name.endswith(".npy") for name in names):
        return "is an archive of NumPy arrays (.npz); save the PyTorch network's state_dict()"
    if "config.json" in names and any(name.endswith((".h5", ".json")) for name in names):
        return "is a network of Keras; featvis takes networks of PyTorch"
    endings = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".zip", ".tar")
    inside = next((name for name in names if name.endswith(endings)), None)
    if inside is not None:
        return f"is a zip archive that holds {short(inside)!r}; unpack it first"
    first = repr(short(names[0])) if names else "nothing"
    return f"is a zip archive, but no checkpoint of PyTorch (it holds {first})"


def _what_it_holds(content: object, named: list[str]) -> str:
    if isinstance(content, Tensor):
        return "holds one tensor without a name, not tensors by name; save a state_dict()"
    if isinstance(content, Mapping):
        keys = ", ".join(repr(str(key)[:40]) for key in list(content)[:6])
        return f"holds no tensors; it has {keys}" if keys else "holds no tensors"
    kind = type(content).__name__ if not named else named[0]
    return f"holds no tensors by name, but a {short(kind)}; save a state_dict()"
