"""The address grammar: which unit of which layer, and where. No torch in here.

    layer:units[@row,column]

``features.28:0:64``      units 0 to 63 (a Python slice; ``0:64:4`` every fourth)
``blocks.4:3,17``         two units
``classifier:263``        one unit
``classifier:Pembroke``   a class by its name (any of its synonyms, upper or lower case)
``features.28:7@4,6``     unit 7 at row 4, column 6 of the layer's map
``blocks.2:all``          every unit; the same as ``blocks.2``
``blocks.2,blocks.3:0:8`` the product: these units of each of the layers
``blocks.3@sae.safetensors:0:8``  units 0 to 7 of a sparse autoencoder, or of components, in a file
``blocks.3@sae.safetensors:probe:0:8``  directions: rows 0 to 7 of a tensor in a file
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from featvis.errors import TargetError, unknown
from featvis.read import is_whole_number

_SLICE = re.compile(r"^(-?\d*):(-?\d*)(?::(-?\d*))?$")
_NUMBER = re.compile(r"^[+-]?\d+$")
_DASHED = re.compile(r"^(\d+)\s*(?:-|–|\.\.)\s*(\d+)$")
_SPACED = re.compile(r"^\d+(\s+\d+)+$")
_VECTORS = re.compile(r"^(?P<layers>[^@]+)@(?P<file>.+?\.(?:safetensors|pth?))(?::(?P<rest>.*))?$")
_POSITION = re.compile(r"^\s*(-?\d+)\s*,\s*(-?\d+)\s*$")


@dataclass(frozen=True, order=True)
class Target:
    """One unit of one layer, at one position of its map or over the whole of it.

    Args:
        layer: its dotted name.
        unit: channel, neuron or class, counted from 0.
        position: (row, column) on the layer's map, counted from 0; None for the mean over the map.

    >>> import featvis as fv
    >>> str(fv.Target("features.28", 7, (4, 6)))
    'features.28:7@4,6'
    """

    layer: str
    unit: int
    position: tuple[int, int] | None = None

    def __str__(self) -> str:
        where = "" if self.position is None else f"@{self.position[0]},{self.position[1]}"
        return f"{self.layer}:{self.unit}{where}"


@dataclass(frozen=True)
class Request:
    """An address as it was written: a layer, its units not yet counted, perhaps a position."""

    layer: str
    units: str
    position: tuple[int, int] | None = None
    is_one: bool = field(default=False, repr=False)
    """Whether the layer is one, by its very name, whatever signs that holds."""

    @property
    def layers(self) -> list[str]:
        """The layers that are named, separated by commas; most often one."""
        if self.is_one:
            return [self.layer]
        return [layer.strip() for layer in self.layer.split(",") if layer.strip()]

    @property
    def is_numeric(self) -> bool:
        """Whether the units are numbers or ranges, so that no class names are needed."""
        return all(_is_number_or_slice(part.strip()) for part in self.units.split(","))


_SET = re.compile(r"^seeds (\d{1,18})-(\d{1,18}) (?:among (.+) )?of (.+)$", re.DOTALL)
_AND = " | "


def name_set(name: str, first: int, count: int, among: Sequence[str] = ()) -> str:
    """Return how a target is called of which ``count`` pictures are rendered together, from seed ``first``.

    ``among`` are the names of all targets of its set, if it has several.

    >>> name_set("conv:4", 0, 4), read_set("seeds 0-3 of conv:4"), read_set("conv:4")
    ('seeds 0-3 of conv:4', ((0, 4), 'conv:4'), (None, 'conv:4'))
    >>> name_set("conv:4", 0, 1, ["conv:3", "conv:4"])
    'seeds 0-0 among conv:3 | conv:4 of conv:4'
    """
    among_others = f"among {_AND.join(among)} " if among else ""
    return f"seeds {first}-{first + count - 1} {among_others}of {name}"


def read_set(name: str) -> tuple[tuple[int, int] | None, str]:
    """Return the first seed and number of pictures that a name tells, None if it tells none; and the rest."""
    match = _SET.match(name)
    if match is None:
        return None, name
    first, last = int(match[1]), int(match[2])
    return (first, last - first + 1), match[4]


def read_among(name: str) -> list[str]:
    """Return the names of all targets of the set that a name tells; none, if that is of one target.

    >>> read_among("seeds 0-0 among conv:3 | conv:4 of conv:4"), read_among("seeds 0-3 of conv:4")
    (['conv:3', 'conv:4'], [])
    """
    match = _SET.match(name)
    return match[3].split(_AND) if match is not None and match[3] else []


def parse_request(text: str, layers: Iterable[str] = ()) -> Request:
    """Read an address; numbers are checked against the layer later, by :func:`expand`.

    Where the network's ``layers`` are known, a name of one that holds signs of the grammar is that layer.

    >>> parse_request("features.28:0:64")
    Request(layer='features.28', units='0:64', position=None)
    >>> parse_request("conv1")
    Request(layer='conv1', units='all', position=None)
    >>> parse_request("a:b:1", ["a:b"])
    Request(layer='a:b', units='1', position=None)
    """
    address = text.strip()
    odd = [name for name in layers if _SIGNS & {*name} and _begins_with(address, name)]
    if odd:
        layer = max(odd, key=len)
        return replace(parse_request("x" + address[len(layer) :]), layer=layer, is_one=True)
    position: tuple[int, int] | None = None
    if "@" in address:
        address, where = address.rsplit("@", 1)
        match = _POSITION.match(where)
        if match is None:
            raise TargetError(f"{text!r}: after '@' a position ROW,COLUMN is expected, got {where!r}")
        _check_length(text, where)
        position = (int(match[1]), int(match[2]))
        if min(position) < 0:
            raise TargetError(f"{text!r}: a position counts from 0, got {where!r}")
    layer, colon, units = address.partition(":")
    layer, units = layer.strip(), units.strip()
    if not layer:
        raise TargetError(f"{text!r} names no layer; an address is LAYER:UNITS, for instance 'blocks.3:0:8'")
    if colon and not units:
        raise TargetError(f"{text!r} names no units after ':'; write '{layer}:all' for all of them")
    for part in units.split(","):
        if _is_number_or_slice(part.strip()):
            _check_length(text, part)
    request = Request(layer, units or "all", position)
    if request.units != "all" and request.is_numeric:
        for part in request.units.split(","):
            _check_slice(text, part.strip())
    return request


_SIGNS = {*":@,"}


def _begins_with(address: str, name: str) -> bool:
    return address == name or address.startswith((f"{name}:", f"{name}@"))


def read_target(name: str) -> Target:
    """Read what a :class:`Target` is as text, whatever signs its layer's name holds.

    >>> read_target("features.28:7@4,6") == Target("features.28", 7, (4, 6)), read_target("a:b@c:1").layer
    (True, 'a:b@c')
    """
    layer, _, unit = name.rpartition(":")
    request = parse_request(f"x:{unit}")
    if not layer or not is_whole_number(request.units):
        raise TargetError(f"{name!r} is not LAYER:UNIT or LAYER:UNIT@ROW,COLUMN")
    return Target(layer, int(request.units), request.position)


@dataclass(frozen=True)
class VectorRequest:
    """``LAYER[,LAYER…]@FILE.safetensors[:KEY][:ROWS]`` as it was written."""

    layers: tuple[str, ...]
    file: str
    key: str
    """The tensor; empty for the units of the file's dictionary, ``dec`` for their directions."""
    rows: str  # Numbers and ranges as in an address; ``all`` if they were left out

    def within(self, file: object) -> str:
        """Return the address of the same rows of another file.

        >>> parse_vectors("conv@sae.safetensors:0:8").within("photos/sae.safetensors")
        'conv@photos/sae.safetensors:0:8'
        """
        key = f"{self.key}:" if self.key else ""
        return f"{','.join(self.layers)}@{file}:{key}{self.rows}"


def parse_vectors(text: str) -> VectorRequest | None:
    """Read an address of directions in a file; None if the text is another kind of address.

    >>> found = parse_vectors("blocks.3@sae.safetensors:decoder:0:8")
    >>> found.key, found.rows, parse_vectors("blocks.3@sae.safetensors:0:8").key
    ('decoder', '0:8', '')
    >>> parse_vectors("blocks.3:0:8") is None
    True
    """
    match = _VECTORS.match(text.strip())
    if match is None:
        return None
    layers = tuple(layer.strip() for layer in match["layers"].split(","))
    rest = (match["rest"] or "").strip()
    if not all(layers) or rest.endswith(":") or match["rest"] == "":
        raise TargetError(
            f"{text!r}: directions of a file are LAYER@FILE.safetensors:ROWS, or …:KEY:ROWS of one tensor"
        )
    # Numbers are rows: of the units that the file holds.
    if all(_is_number_or_slice(part.strip()) for part in (rest or "all").split(",")):
        return VectorRequest(layers, match["file"], "", rest or "all")
    key, _, rows = rest.partition(":")
    return VectorRequest(layers, match["file"], key.strip(), rows.strip() or "all")


def expand(request: Request, units: int, labels: Sequence[str] = ()) -> list[Target]:
    """Turn a request into targets, in the order written, each once; ``labels`` are the units' synonyms.

    TargetError for a unit out of range, an empty range, an unknown or ambiguous name.

    >>> [str(t) for t in expand(parse_request("conv:4,0:6:2"), units=6)]
    ['conv:4', 'conv:0', 'conv:2']
    >>> [str(t) for t in expand(parse_request("fc:Corgi"), 3, ["cat", "Pembroke, corgi", "dog"])]
    ['fc:1']
    """
    indices = dict.fromkeys(_indices(request, units, labels))
    return [Target(request.layer, index, request.position) for index in indices]


def _indices(request: Request, units: int, labels: Sequence[str]) -> list[int]:
    if request.units == "all":
        return list(range(units))
    if not request.is_numeric:
        # Class names may hold commas themselves: the whole text is tried before its parts.
        whole = _by_name(request, request.units, labels, required=False)
        if whole is not None:
            return [whole]
    indices: list[int] = []
    for raw in request.units.split(","):
        part = raw.strip()
        if part == "all":
            indices.extend(range(units))
            continue
        if not part:
            raise TargetError(f"{request.layer}:{request.units}: a unit is missing before or after a comma")
        if _is_number_or_slice(part):
            _check_length(f"{request.layer}:{request.units}", part)
        match = _SLICE.match(part)
        if match is not None:
            span = range(*slice(*(int(n) if n else None for n in match.groups())).indices(units))
            stop = match[2]
            if (stop and int(stop) > units) or not span:
                what = "reaches past the last unit" if span else "holds no unit"
                has = f"{request.layer} has units 0 to {units - 1} (write {request.layer}:0:{units} for all)"
                raise TargetError(f"{request.layer}:{part} {what}; {has}")
            indices.extend(span)
        elif _NUMBER.match(part):
            index = int(part)
            if not 0 <= index < units:
                raise TargetError(f"unit {index} is out of range; {request.layer} has units 0 to {units - 1}")
            indices.append(index)
        else:
            named = _by_name(request, part, labels, required=True)
            assert named is not None
            indices.append(named)
    return indices


def _by_name(request: Request, name: str, labels: Sequence[str], *, required: bool) -> int | None:
    span = _DASHED.match(name.strip())
    if span is not None and name.strip() not in labels:
        if not required:
            return None
        _check_length(f"{request.layer}:{name}", name)
        right = f"{request.layer}:{int(span[1])}:{int(span[2]) + 1}"
        raise TargetError(f"{request.layer}:{name}: a range is FIRST:END, END not included: {right}")
    if _SPACED.match(name.strip()) and name.strip() not in labels:
        if not required:
            return None
        right = f"{request.layer}:{','.join(name.split())}"
        raise TargetError(f"{request.layer}:{name}: several units have commas between: {right}")
    if ":" in name and required and not any(":" in label for label in labels):
        raise TargetError(
            f"{request.layer}:{request.units}: a comma stands between units of one layer; further addresses "
            "are given as targets of their own"
        )
    if not labels:
        if not required:
            return None
        layer = request.layer
        what = f"the units of {layer!r} have no names; give numbers, for instance '{layer}:0:8'"
        raise TargetError(f"{layer}:{name}: {what}")
    # As written first: ImageNet has 'cardigan' (a garment) and 'Cardigan' (a dog).
    spelled, wanted = name.strip(), name.strip().casefold()
    matches = (
        [i for i, label in enumerate(labels) if label == spelled],
        [i for i, label in enumerate(labels) if spelled in synonyms(label)],
        [i for i, label in enumerate(labels) if wanted in synonyms(label.casefold())],
        [i for i, label in enumerate(labels) if wanted and wanted in re.split(r"[^\w]+", label.casefold())],
    )
    for indices in matches:
        if len(indices) == 1:
            return indices[0]
        if indices:
            if not required:
                return None
            choices = ", ".join(f"{i} ({labels[i]})" for i in indices[:6])
            choices += f" and {len(indices) - 6} more" if len(indices) > 6 else ""
            raise TargetError(f"class name {name!r} is ambiguous; give a number: {choices}")
    if not required:
        return None
    every = [synonym for label in labels for synonym in synonyms(label)]
    every += [word for label in labels for word in re.split(r"[^\w]+", label) if len(word) > 3]
    raise TargetError(unknown("class name", name, every, f"{request.layer} has {len(labels)} named units"))


def synonyms(label: str) -> list[str]:
    """Split a label into the names it gives.

    >>> synonyms("Pembroke, Pembroke Welsh corgi")
    ['Pembroke', 'Pembroke Welsh corgi']
    """
    return [part.strip() for part in label.split(",")]


def _is_number_or_slice(part: str) -> bool:
    return part == "all" or _NUMBER.match(part) is not None or _SLICE.match(part) is not None


def _check_length(text: str, numbers: str) -> None:
    if re.search(r"\d{19}", numbers):
        shown = text if len(text) <= 80 else f"{text[:40]}…{text[-20:]}"
        raise TargetError(f"{shown!r}: no layer has units or positions beyond 18 digits")


def _check_slice(text: str, part: str) -> None:
    match = _SLICE.match(part)
    if match is None:
        return
    start, stop, step = (int(n) if n else None for n in match.groups())
    if step is not None and step <= 0:
        raise TargetError(f"{text!r}: the step of a range is at least 1, got {step}")
    if start is not None and stop is not None and 0 <= stop <= start:
        raise TargetError(f"{text!r}: the range {part} holds no unit; a range is FIRST:END, END not included")
    if (start or 0) < 0 or (stop or 0) < 0:
        raise TargetError(f"{text!r}: units count from 0, got {part}")
