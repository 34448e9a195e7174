"""Dictionaries of a layer: sparse autoencoders and plain directions, from the files that people share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from featvis.errors import FeatvisError, OutputError, TargetError, UserError, count_of
from featvis.models.checkpoint import StandIn, contents_of, read_pickled
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.base import Objective, copy_with, digest_of, spread_over
from featvis.objectives.shown import Activations
from featvis.read import DAMAGED, check_file, parse_json, read_json, reason_of
from featvis.spec.same import SameByValue

_ROLES = {
    "encoder": ("W_enc", "encoder.weight", "enc.weight"),
    "decoder": ("W_dec", "decoder.weight", "dec.weight", "directions"),
    "encoder_bias": ("b_enc", "encoder.bias", "enc.bias", "latent_bias"),
    "decoder_bias": ("b_dec", "decoder.bias", "dec.bias", "pre_bias"),
    "threshold": ("threshold", "log_threshold"),
    "sparsity": ("log_feature_sparsity",),
}
"""Names of tensors by what they are: saev, Prisma and SAELens; modules of torch; `featvis components`."""
_NORMS = {"none": "none", "None": "none", "False": "none", "layer_norm": "layer_norm"}
_DEAD = -7.0
"""The logarithm (base 10) of the share of samples below which a unit counts as one that never fires."""


@dataclass(frozen=True, repr=False, eq=False)
class Dictionary(SameByValue):
    """Units of a dictionary over a layer's units; from :func:`featvis.load_dictionary`.

    >>> import torch
    >>> found = Dictionary("sae.safetensors", torch.eye(4)[:3], encoder=torch.eye(4)[:3], bias=torch.zeros(3))
    >>> found, found.encode(torch.tensor([[1.0, -2.0, 3.0, 9.0]]))
    (Dictionary('sae.safetensors': 3 units of 4, with an encoder (relu)), tensor([[1., 0., 3.]]))
    """

    name: str
    """The file's."""
    decoder: Tensor
    """The directions, ``(count, units of the layer)``."""
    encoder: Tensor | None = None
    """``(count, units of the layer)``; None for plain directions."""
    bias: Tensor | None = None
    """What is added to the encoder's product, ``(count,)``, the decoder's bias already taken off."""
    threshold: Tensor | None = None
    """What it must exceed to fire, ``(count,)``; None for 0."""
    norm: str = "none"
    """``layer_norm`` where activations are brought to mean 0 and deviation 1 at each position first."""
    kind: str = "relu"
    """``relu``, ``jumprelu``, ``topk`` …: what the encoder ends with, as far as the file tells."""
    sparsity: Tensor | None = None
    """The logarithm (base 10) of how often each unit fires, where the file tells."""
    is_square: bool = False
    """Whether nothing but its name tells which axis of a tensor is which."""

    @property
    def count(self) -> int:
        """How many units it has."""
        return len(self.decoder)

    @property
    def digest(self) -> str:
        """What tells its numbers from all others, in twelve characters."""
        parts = [self.decoder, self.encoder, self.bias, self.threshold]
        numbers = torch.cat([part.flatten().double() for part in parts if part is not None])
        return f"{digest_of(numbers)} {self.norm}"

    @property
    def dead(self) -> list[int]:
        """The units that never fire, where the file tells."""
        return [] if self.sparsity is None else (self.sparsity < _DEAD).nonzero()[:, 0].tolist()

    def encode(self, activations: Tensor, units: Sequence[int] | None = None) -> Tensor:
        """Return what units give for activations ``(…, units of the layer)``: 0 where they do not fire.

        Of ``topk`` each unit is taken as if it were among the k. Plain directions give the inner product.

        Args:
            activations: of the layer, its units last.
            units: which of the dictionary's; by default all.
        """
        rows = slice(None) if units is None else torch.as_tensor(units, device=self.decoder.device)
        values = normalized(activations.float(), self.norm, -1)
        if self.encoder is None:
            return values @ self.decoder[rows].to(values.device).T
        assert self.bias is not None
        before = values @ self.encoder[rows].to(values.device).T + self.bias[rows].to(values.device)
        least = 0.0 if self.threshold is None else self.threshold[rows].to(values.device)
        return torch.where(before > least, before, torch.zeros_like(before))

    def turned(self, width: int) -> Dictionary:
        """Return the dictionary for a layer of ``width`` units, turned where it lies the other way.

        Raises:
            TargetError: neither axis is that of the layer's units.
        """
        if self.decoder.shape[1] == width:
            return self
        if self.encoder is None and self.decoder.shape[0] == width:
            return replace(self, decoder=self.decoder.T.contiguous())
        shape = "x".join(map(str, self.decoder.shape))
        raise TargetError(f"{self.name} is of a layer with other units: {shape}, the layer has {width} units")

    def __repr__(self) -> str:
        count, width = self.decoder.shape
        ends = f"with an encoder ({self.kind})" if self.encoder is not None else "directions"
        dead = f", {count_of(len(self.dead), 'unit')} never firing" if self.dead else ""
        return f"Dictionary({self.name!r}: {count} units of {width}, {ends}{dead})"


def load_dictionary(path: str | Path) -> Dictionary:
    """Read a sparse autoencoder, or plain directions, of a layer.

    Layouts: safetensors or a checkpoint with ``W_enc``, ``W_dec``, ``b_enc``, ``b_dec`` (saev, Prisma,
    SAELens), with ``encoder.weight``, ``decoder.weight`` and biases in either orientation, with ``threshold``
    (JumpReLU) or ``log_feature_sparsity``; one tensor ``(count, units)``; what ``featvis components`` writes.
    A ``cfg.json`` or ``config.json`` beside it is heeded. The decoder's bias is taken off activations before
    they are encoded, unless the configuration says ``apply_b_dec_to_input: false``, or the file is one of
    saev's with a schema. Only tensors are read; nothing in a checkpoint runs.

    Args:
        path: the file, ``.safetensors``, ``.pt`` or ``.pth``.

    Returns:
        Its units, with their encoder where there is one.

    Raises:
        UserError: no such file, none of these layouts, or activations prepared in a way that is not known.

    >>> import featvis as fv, tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sae = {"decoder.weight": torch.ones(4, 6), "decoder.bias": torch.ones(4)}
    ...     save_file(sae, f"{folder}/sae.safetensors")
    ...     fv.load_dictionary(f"{folder}/sae.safetensors")
    Dictionary('sae.safetensors': 6 units of 4, directions)
    """
    place = Path(path)
    tensors, config = read_tensors(place)
    parts = _parts_of(place, tensors)
    if "decoder" not in parts and "encoder" not in parts:
        held = ", ".join(sorted(tensors)[:8]) or "no tensor"
        raise TargetError(
            f"{place.name} holds {held}, no dictionary that is known: "
            "say which tensor's rows are meant, LAYER@FILE.safetensors:KEY:ROWS"
        )
    count, width, square = _sizes(place, parts)
    encoder, decoder = (
        None if role not in parts else _rows(place, parts[role][1], count, width, parts[role][0])
        for role in ("encoder", "decoder")
    )
    if decoder is None:
        assert encoder is not None
        decoder = encoder
    told = str(
        config.get("activation_fn_str") or config.get("activation_fn") or config.get("architecture") or ""
    )
    activation = config.get("activation")
    if isinstance(activation, dict):
        told = str(activation.get("cls", told))
    elif activation:
        told = str(activation)
    threshold = None
    if "threshold" in parts:
        name, values = parts["threshold"]
        threshold = (values.float().exp() if "log_" in name else values.float()).flatten().expand(count)
    kind = (
        "jumprelu" if threshold is not None else "topk" if "topk" in told.lower().replace("_", "") else "relu"
    )
    norm = _norm_of(place, config)
    bias = None
    if encoder is not None:
        bias = _vector(place, parts, "encoder_bias", count)
        if _takes_off(config):
            bias = bias - encoder @ _vector(place, parts, "decoder_bias", width)
    sparsity = parts["sparsity"][1].float().flatten() if "sparsity" in parts else None
    if sparsity is not None and len(sparsity) != count:
        sparsity = None
    for what in (encoder, decoder, bias, threshold):
        if what is not None and not bool(what.isfinite().all()):
            raise UserError(f"{place.name} holds numbers that are not finite")
    return Dictionary(
        place.name, decoder, encoder, bias, threshold, norm, kind, sparsity, square and encoder is None
    )


def normalized(activations: Tensor, norm: str, axis: int) -> Tensor:
    """Return activations as an encoder takes them: as they are, or of mean 0 and deviation 1 each."""
    if norm != "layer_norm":
        return activations
    centred = activations - activations.mean(axis, keepdim=True)
    return centred / (centred.std(axis, keepdim=True) + 1e-5)


class DictionaryUnit(Objective):
    """The mean over positions of what a dictionary's unit gives, encoder and ReLU; see :class:`Dictionary`.

    Where it fires nowhere, its score is how far it is from that on average, below 0: a picture that begins
    there has a slope to climb.
    """

    constants = ("encoders", "biases", "thresholds")

    def __init__(
        self, layer: str, encoders: Tensor, biases: Tensor, thresholds: Tensor, name: str, norm: str
    ) -> None:
        self.layers = (layer,)
        self.encoders, self.biases, self.thresholds = encoders, biases, thresholds  # (1 or B, …)
        self.name, self.norm = name, norm
        self._info: LayerInfo | None = None

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        info = network.layer(self.layers[0])
        if self.encoders.shape[1] != info.units:
            raise TargetError(
                f"{self.name} is of a layer with {self.encoders.shape[1]} units, {info.name} has {info.units}"
            )
        return copy_with(self, _info=info)

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        info = self._bound(self._info)
        spread = normalized(spread_over(info, activations[self.layers[0]]).float(), self.norm, 1)
        lanes = spread.shape[0]
        encoders, biases, thresholds = (
            part.to(spread.device).expand(lanes, *part.shape[1:])
            for part in (self.encoders, self.biases, self.thresholds)
        )
        before = torch.einsum("bup,bu->bp", spread, encoders) + biases[:, None]
        fires = before > thresholds[:, None]
        fired = torch.where(fires, before, torch.zeros_like(before)).mean(1)
        return torch.where(fires.any(1), fired, (before - thresholds[:, None]).mean(1))

    def describe(self) -> str:  # noqa: D102
        numbers = torch.cat([self.encoders.flatten(), self.biases, self.thresholds]).cpu().double()
        norm = "" if self.norm == "none" else f", {self.norm}"
        return f"{self.layers[0]}@{self.name}#{digest_of(numbers)}{norm}"

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (DictionaryUnit, self.layers, self.norm)

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:  # noqa: D102
        parts = {name: torch.cat([getattr(one, name) for one in objectives]) for name in cls.constants}
        first: DictionaryUnit = objectives[0]
        return copy_with(first, **parts)


def unit_of(dictionary: Dictionary, layer: str, row: int, name: str) -> DictionaryUnit:
    """Return the objective of a dictionary's unit, which must have an encoder."""
    assert dictionary.encoder is not None
    assert dictionary.bias is not None
    row_of = slice(row, row + 1)
    threshold = torch.zeros(1) if dictionary.threshold is None else dictionary.threshold[row_of].clone()
    encoder, bias = dictionary.encoder[row_of].clone(), dictionary.bias[row_of].clone()
    return DictionaryUnit(layer, encoder, bias, threshold, name, dictionary.norm)


def read_tensors(path: Path, only: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file by name, and what is told of how it was made.

    Where there is one called ``only``, no other needs be read.
    """
    try:
        check_file(path)
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as opened:
                names = [only] if only in opened.keys() else list(opened.keys())  # noqa: SIM118
                tensors = {str(name): opened.get_tensor(name) for name in names}
                return tensors, _config_beside(path) | _plain(opened.metadata() or {})
        with path.open("rb") as stream:
            begin = stream.readline(1 << 20)
        header = _plain_json(begin) if begin.startswith(b"{") else None
        if header is not None:  # saev: a line of JSON, then the checkpoint
            with tempfile.TemporaryDirectory() as folder:
                inner = Path(folder) / "sae.pt"
                with path.open("rb") as stream, inner.open("wb") as copied:
                    stream.seek(len(begin))
                    while part := stream.read(1 << 24):
                        copied.write(part)
                held, _ = read_pickled(inner)
            cfg = header.get("cfg")
            told = {**(cfg if isinstance(cfg, dict) else header), "saev": "schema" in header}
        else:
            held, _ = read_pickled(path)
            told = _config_beside(path) | _config_within(held)
        return contents_of(held).tensors, told
    except OutputError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except UserError:
        raise
    except (SafetensorError, *DAMAGED) as error:
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from None


def _config_beside(path: Path) -> dict[str, Any]:
    for name in ("cfg.json", "config.json"):
        if (path.parent / name).is_file():
            try:
                told = read_json(path.parent / name)
            except FeatvisError:
                continue
            if isinstance(told, dict) and {"d_in", "d_sae", "apply_b_dec_to_input"} & told.keys():
                return told
    return {}


def _config_within(held: Any) -> dict[str, Any]:
    cfg = held.get("cfg", held.get("config")) if isinstance(held, dict) else None
    if isinstance(cfg, StandIn):
        cfg = cfg.state
    return {str(key): value for key, value in cfg.items()} if isinstance(cfg, Mapping) else {}


def _plain(metadata: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        inner = _plain_json(text.encode())
        found |= inner if inner is not None else {key: text}
    return found


def _plain_json(text: bytes) -> dict[str, Any] | None:
    try:
        told = parse_json(text)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _parts_of(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Return the tensors by what they are, each with its name; a lone matrix is the directions."""
    parts: dict[str, tuple[str, Tensor]] = {}
    for role, names in _ROLES.items():
        fitting = [
            name
            for known in names
            for name in tensors
            if name == known or name.endswith(f".{known}")
            if tensors[name].is_floating_point()
        ]
        if fitting:
            parts[role] = fitting[0], tensors[fitting[0]]
    matrices = [name for name, one in tensors.items() if one.dim() == 2 and one.is_floating_point()]
    if not {"encoder", "decoder"} & parts.keys() and len(matrices) == 1:
        parts["decoder"] = matrices[0], tensors[matrices[0]]
    for role in ("encoder", "decoder"):
        if role in parts and parts[role][1].dim() != 2:
            raise TargetError(f"{path.name}: {parts[role][0]} is no matrix: {tuple(parts[role][1].shape)}")
    return parts


def _sizes(path: Path, parts: Mapping[str, tuple[str, Tensor]]) -> tuple[int, int, bool]:
    """Return how many units a dictionary has, of how many of the layer; and whether only names told which."""
    lengths = {role: part[1].numel() for role, part in parts.items()}
    matrices = [parts[role] for role in ("decoder", "encoder") if role in parts]
    name, first = matrices[0]
    sides = tuple(first.shape)
    for told, place in (("encoder_bias", 0), ("threshold", 0), ("sparsity", 0), ("decoder_bias", 1)):
        if lengths.get(told) in sides and sides[0] != sides[1]:
            other = sides[0] + sides[1] - lengths[told]
            return (lengths[told], other, False) if place == 0 else (other, lengths[told], False)
    # torch's Linear holds (outputs, inputs); W_dec and W_enc are for activations on the left.
    turned = name.endswith(("decoder.weight", "dec.weight", "W_enc"))
    return (sides[1], sides[0], True) if turned else (sides[0], sides[1], True)


def _rows(path: Path, matrix: Tensor, count: int, width: int, name: str) -> Tensor:
    """Return a matrix as ``(count, width)``."""
    shape = tuple(matrix.shape)
    if sorted(shape) != sorted((count, width)):
        raise TargetError(f"{path.name}: {name} is {shape[0]}x{shape[1]}, not {count}x{width} or turned")
    turned = shape != (count, width)
    if count == width:
        turned = name.endswith(("decoder.weight", "dec.weight", "W_enc"))
    return (matrix.T if turned else matrix).float().contiguous()


def _vector(path: Path, parts: Mapping[str, tuple[str, Tensor]], role: str, length: int) -> Tensor:
    if role not in parts:
        return torch.zeros(length)
    name, values = parts[role]
    if values.numel() != length:
        raise TargetError(f"{path.name}: {name} has {values.numel()} numbers, not {length}")
    return values.float().flatten()


def _takes_off(config: Mapping[str, Any]) -> bool:
    """Whether the decoder's bias is taken off activations before they are encoded."""
    if "saev" in config:
        return not config["saev"]
    told = config.get("apply_b_dec_to_input", True)
    return str(told).lower() not in ("false", "0")


def _norm_of(path: Path, config: Mapping[str, Any]) -> str:
    told = str(config.get("normalize_activations") or "none")
    if told not in _NORMS:
        raise UserError(
            f"{path.name} is of activations that were prepared by {told!r}, which is not known here; "
            f"its directions can be had one by one, LAYER@{path.name}:W_dec:ROWS"
        )
    return _NORMS[told]
