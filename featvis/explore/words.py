"""Words for units: what an image-text pair calls the patches of photographs that they respond to most.

After SemanticLens (Dreyer et al. 2025, arXiv 2501.05398). Without a pair units are compared by the features
of their own network.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from featvis import draws
from featvis.attribution.blocks import load_icons
from featvis.errors import ModelError, OutputError, RecipeError, TargetError, UserError
from featvis.explore.meaning import (
    Certainty,
    RandomSets,
    clarity,
    draw_sets,
    polysemanticity,
    redundancy,
    unit_length,
)
from featvis.explore.patches import (
    WIDEST,
    Cutter,
    Embedder,
    Key,
    Patch,
    feature_layer,
    gone,
    recall,
    remember,
    size_of,
    square,
)
from featvis.files import check_inside, to_bytes, write_whole
from featvis.models.handle import ModelHandle
from featvis.models.paired import EMBEDDING, PairedHandle
from featvis.models.sources.imagenet import imagenet_labels
from featvis.notebook import plain, table
from featvis.pages.described import make_described_pages
from featvis.pages.folder import LIST, WORDS, write_pages
from featvis.photographs.framing import Size
from featvis.photographs.photos import Listing, list_files, read_photo
from featvis.photographs.record import key_of
from featvis.photographs.search import find_examples, units_by_name
from featvis.read import TOML_BYTES, read_file
from featvis.results.lock import FolderLock
from featvis.results.manifest import MANIFEST
from featvis.results.store import safe_name
from featvis.spec.same import SameByValue
from featvis.trust.panel import own_network
from featvis.trust.subjects import read_folder
from featvis.version import __version__

TEMPLATE = "a photo of {}"
COUNT, LEAST = 16, 4
"""Patches of each unit: so many, of fewer photographs a quarter, but at least so many."""
LISTED = 8
"""Words that are kept of each unit, and units most like it."""
_RANDOM = 128
"""Random patches of each layer."""
ABOUT, EMBEDDED = WORDS, "embeddings.safetensors"
SHOWN, TILE, _GAP = 6, 128, 7
"""How many patches of each unit the page shows, of how many pixels, and so many between them."""
_SMOOTH = Image.Resampling.LANCZOS
_ENOUGH = 8
"""Pictures of a layer from which on their own mean is what a picture is compared with."""


Look = Mapping[Key, Callable[[Image.Image], None]]
Icons = dict[str, dict[int, Image.Image]]
"""Rendered pictures, by layer and unit."""


@dataclass(frozen=True)
class Word:
    """A word for a unit."""

    text: str
    certainty: float
    """The softmax over the vocabulary of what sets the unit apart from random patches."""
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {"text": self.text, "certainty": _number(self.certainty), "cosine": _number(self.cosine)}


@dataclass(frozen=True)
class Match:
    """A unit that a search found, and how well it matches."""

    target: str
    strength: float
    """For words: standard deviations above random patches. Else: a cosine, without what all patches share."""


@dataclass(frozen=True)
class DescribedUnit:
    """What is said of a unit."""

    target: str
    label: str = ""
    patches: tuple[Patch, ...] = ()
    """Its best patches, the strongest first."""
    words: tuple[Word, ...] = ()
    """The nearest words to its patches, the surest first; none without a pair."""
    chance: float | None = None
    """How often random patches have a word that is as sure as the first one."""
    picture_words: tuple[Word, ...] = ()
    """The nearest words to its rendered picture."""
    clarity: float | None = None
    polysemanticity: float | None = None
    redundancy: float | None = None
    """The cosine with the unit of its layer that is most like it, ``twin``."""
    twin: str | None = None
    like: tuple[Match, ...] = ()
    """The units most like it, of all that were described."""
    is_silent: bool = False
    """Whether it says the same of every photograph, so that none of them is its."""

    def to_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        numbers = ("chance", "clarity", "polysemanticity", "redundancy")
        return {
            "target": self.target,
            "label": self.label,
            "is_silent": self.is_silent,
            "words": [word.to_json() for word in self.words],
            "picture_words": [word.to_json() for word in self.picture_words],
            **{name: _number(getattr(self, name)) for name in numbers},
            "twin": self.twin,
            "like": [{"target": one.target, "cosine": _number(one.strength)} for one in self.like],
            "patches": [patch.to_json() for patch in self.patches],
        }


@dataclass(frozen=True)
class _Layer:
    """What patches of a layer are like."""

    random: RandomSets
    share: float
    """How wide its patches are, the median, as a share of their photograph's shorter side."""


@dataclass(frozen=True, repr=False, eq=False)
class UnitWords(SameByValue):
    """Units with their words, scores and patches; from :func:`featvis.describe_units`.

    >>> words = (Word("stripes", 0.8, 0.3), Word("fence", 0.1, 0.2))
    >>> unit = DescribedUnit("conv:4", words=words, chance=0.001, clarity=0.5)
    >>> found = UnitWords("mine", "clip", "embedding", 40, 0, 16, {"conv:4": unit}, 1000)
    >>> found
    UnitWords(1 unit of mine, 40 photographs: conv:4 stripes)
    """

    model: str
    pair: str | None
    """The image-text pair; None without one."""
    layer: str
    """Of the pair, else of the network itself: what patches were embedded by."""
    photographs: int
    skipped: int
    """Files of the folder that are no photographs."""
    count: int
    """How many patches a unit has."""
    units: dict[str, DescribedUnit]
    """By address."""
    vocabulary: int = 0
    """How many words there were to choose from."""
    template: str = TEMPLATE
    usual_clarity: dict[str, float] = field(default_factory=dict)
    """By layer, how clear random patches are."""
    _search: _Search | None = field(default=None, compare=False)
    folder: Path | None = field(default=None, compare=False)
    """Where the page lies; None where none was made."""
    weights: str = ""
    """The fingerprint of the network's weights."""

    def search(self, text: str, count: int = 10) -> list[Match]:
        """Return the units that fit words best, such as ``"dog snout"``, the best first.

        A unit's strength is how many standard deviations its cosine with the text lies above those of random
        patches. Of a unit that has nothing to do with the words it is around 0.
        """
        return self._searched.words(text)[:count]

    def like(self, target: str, count: int = 10) -> list[Match]:
        """Return the units most like one: by the cosine of what sets their patches apart from random ones."""
        return self._searched.like(target, count)

    def at(
        self, photograph: str | Path, row: float, column: float, share: float | None = None, count: int = 10
    ) -> list[Match]:
        """Return the units whose patches are most like a place of a photograph, the most alike first.

        Args:
            photograph: its file.
            row: the place's middle, in pixels of the upright photograph.
            column: likewise.
            share: the side of the square, as a share of the photograph's shorter side; by default that of
                each layer's patches.
            count: how many units.
        """
        return self._searched.at(Path(photograph), (row, column), share)[:count]

    @property
    def page(self) -> Path | None:
        """The page that shows them all, opened from disk; None where no ``out`` was given."""
        return None if self.folder is None else self.folder / "index.html"

    @property
    def _searched(self) -> _Search:
        if self._search is None:
            raise UserError("units are searched in what describe_units returned")
        return self._search

    def to_json(self) -> dict[str, Any]:
        """Return everything but what a search needs, ready for JSON."""
        names = (
            "model",
            "weights",
            "pair",
            "layer",
            "photographs",
            "skipped",
            "count",
            "vocabulary",
            "template",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "usual_clarity": {name: _number(value) for name, value in self.usual_clarity.items()},
            "units": [unit.to_json() for unit in self.units.values()],
        }

    def lines(self, words: int = 3) -> list[str]:
        """Return the result as a table of text, a line for each unit."""
        rows = [self._head(), *(self._row(unit, words) for unit in self.units.values())]
        wide = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        # Numbers stand to the right; the last column is text.
        return [
            "  ".join(
                cell.ljust(width) if place in (0, 1) else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, wide, strict=True))
            ).rstrip()
            for row in rows
        ]

    def _head(self) -> list[str]:
        what = "words" if self.pair is not None else "most like it"
        chance = ["chance"] if self.pair is not None else []
        return ["unit", what, *chance, "clarity", "polysemantic", "redundant"]

    def _row(self, unit: DescribedUnit, words: int) -> list[str]:
        if unit.is_silent:
            told = "says the same of every photograph"
        elif self.pair is not None:
            told = ", ".join(f"{word.text} {word.certainty:.0%}" for word in unit.words[:words])
        else:
            told = ", ".join(f"{one.target} {one.strength:.2f}" for one in unit.like[:words])
        numbers = (unit.clarity, unit.polysemanticity, unit.redundancy)
        chance = [_share(unit.chance)] if self.pair is not None else []
        return [unit.target, told, *chance, *("" if value is None else f"{value:.2f}" for value in numbers)]

    def __repr__(self) -> str:
        units = "1 unit" if len(self.units) == 1 else f"{len(self.units)} units"
        most = [f"{one.target} {one.words[0].text}" for one in self.units.values() if one.words][:3]
        told = f": {', '.join(most)}" if most else ""
        return f"UnitWords({units} of {self.model}, {self.photographs} photographs{told})"

    def _repr_html_(self) -> str:
        rows = [self._row(unit, 3) for unit in self.units.values()]
        return f"<div>{plain(repr(self))}</div>{table(self._head(), rows)}"


class _Search:
    """What a search needs: the embeddings of units, and of what patches are like."""

    def __init__(
        self,
        embedder: Embedder,
        means: dict[str, Tensor],
        layers: dict[str, _Layer],
        pair: PairedHandle | None,
        template: str,
    ) -> None:
        self._embedder, self._layers, self._pair, self._template = embedder, layers, pair, template
        self._targets = list(means)
        self._means = torch.stack(list(means.values())) if means else torch.zeros((0, 1))
        # What all patches share is no likeness.
        self._apart = unit_length(
            torch.stack([means[one] - layers[_layer_of(one)].random.middle for one in means])
            if means
            else self._means
        )

    def words(self, text: str) -> list[Match]:
        if self._pair is None:
            raise UserError(
                "units are searched by words through an image-text pair: give pair=fv.load_open_clip(…)",
                typed="units are searched by words through an image-text pair: give --pair",
            )
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"a search is for words, got {text!r}")
        vector = self._pair.embed(self._template.replace("{}", text.strip()))
        usual = {name: layer.random.sets @ vector for name, layer in self._layers.items()}
        spread = {
            name: (float(one.mean()), max(float(one.std(correction=0)), 1e-6)) for name, one in usual.items()
        }
        cosines = (self._means @ vector).tolist() if self._targets else []
        found = []
        for target, cosine in zip(self._targets, cosines, strict=True):
            mean, deviation = spread[_layer_of(target)]
            found.append(Match(target, (cosine - mean) / deviation))
        return sorted(found, key=lambda one: -one.strength)

    def like(self, target: str, count: int) -> list[Match]:
        if target not in self._targets:
            raise TargetError(f"{target!r} is none of the units that were described, or a silent one")
        alike = self._apart @ self._apart[self._targets.index(target)]
        return [one for one in self._ranked(alike, count + 1) if one.target != target][:count]

    def at(self, photograph: Path, place: tuple[float, float], share: float | None) -> list[Match]:
        photo = read_photo(photograph, self._embedder.model.channels)
        if photo is None:
            raise OutputError(f"no photograph {str(photograph)!r} that can be read")
        size = (photo.height, photo.width)
        if not (0 <= place[0] < size[0] and 0 <= place[1] < size[1]):
            raise UserError(f"{photograph} has {size[0]} rows and {size[1]} columns; no place {place}")
        if share is not None and not 0 < share <= 1:
            raise RecipeError(f"a patch's share of the shorter side lies above 0 and up to 1, got {share}")
        names = list(self._layers)
        boxes = [square(place, (share or self._layers[name].share) * min(size), size) for name in names]
        crops = [photo.crop((left, top, left + width, top + height)) for top, left, height, width in boxes]
        shown = dict(zip(names, self._embedder.images(crops), strict=True))
        alike = torch.zeros(len(self._targets))
        for number, target in enumerate(self._targets):
            name = _layer_of(target)
            apart = unit_length(shown[name] - self._layers[name].random.patch)
            alike[number] = self._apart[number] @ apart
        return self._ranked(alike, len(alike))

    def _ranked(self, alike: Tensor, count: int) -> list[Match]:
        order = alike.argsort(descending=True, stable=True)[:count].tolist()
        return [Match(self._targets[place], float(alike[place])) for place in order]


def describe_units(
    model: ModelHandle,
    targets: Sequence[str] | str | None,
    photographs: str | Path,
    pair: ModelHandle | None = None,
    *,
    vocabulary: Sequence[str] | str | Path | None = None,
    template: str = TEMPLATE,
    pictures: str | Path | None = None,
    count: int | None = None,
    widest: float = WIDEST,
    out: str | Path | None = None,
    batch: int = 16,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> UnitWords:
    """Find words for units: what an image-text pair calls the patches that they respond to most.

    A unit's patches are cut out of the photographs that it responds to most, and embedded; their mean is
    compared with the embedding of every word. How sure a word is: the softmax over all words of what sets
    the unit's cosines apart from those of random patches of the same photographs. Without a pair units
    have scores and can be compared with each other, by the features of their own network.

    Args:
        model: from :func:`featvis.load_model`.
        targets: addresses, ``"blocks.4:0:16"``, or a list of them; None for all that ``pictures`` has.
        photographs: a folder; the more it holds, the more a word is worth.
        pair: from :func:`featvis.load_open_clip` or :func:`featvis.load_paired`.
        vocabulary: the words to choose from: a list, or a file with one on each line; by default the names
            of ImageNet's classes.
        template: what a word is put into before it is embedded, at ``{}``.
        pictures: a gallery of the network, whose pictures get words, too.
        count: how many patches of each unit, each of another photograph; by default 16, or a quarter of
            fewer photographs, at least 4.
        widest: a patch is at most this share of its photograph's shorter side wide.
        out: a folder for ``words.json``, the page ``index.html``, and what is kept so that nothing is
            searched or embedded twice.
        batch: how many images the networks see at once.
        seed: of random patches.
        say: is told how far it is, a line at a time.

    Returns:
        The units with words, how sure they are, how often chance is as sure, and SemanticLens' clarity,
        polysemanticity and redundancy; ``search``, ``like`` and ``at`` look for further units.

    Raises:
        UserError: no such unit, no photographs, no pair, no word, or a gallery of another network.

    >>> import featvis as fv, tempfile, torch
    >>> from PIL import Image
    >>> colours = ["red", "lime", "blue"]
    >>> class Pair(torch.nn.Module):
    ...     def encode_image(self, images):
    ...         return images.mean((2, 3))
    ...     def encode_text(self, texts):
    ...         return torch.eye(3)[[colours.index(text.split()[-1]) for text in texts]]
    >>> pair = fv.load_paired(Pair(), list, mean=(0,) * 3, std=(1,) * 3, input_size=8)
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    >>> network[0].weight.data = torch.eye(3)[:, :, None, None]
    >>> model = fv.load_model(network, mean=(0,) * 3, std=(1,) * 3, input_size=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in range(6):
    ...         Image.new("RGB", (8, 8), colours[number % 3]).save(f"{folder}/{number}.png")
    ...     found = fv.describe_units(model, "0:all", folder, pair, vocabulary=colours, count=2)
    >>> [unit.words[0].text for unit in found.units.values()]
    ['red', 'lime', 'blue']
    """
    if pair is not None and not isinstance(pair, PairedHandle):
        raise ModelError(
            f"{pair.name} embeds no texts; a pair is what fv.load_open_clip or fv.load_paired returns",
            typed=f"{pair.name} embeds no texts; --pair is an image-text pair",
        )
    if template.count("{}") != 1:
        raise RecipeError(f"a template holds one {{}}, where the word goes; got {template!r}")
    if not 0 < widest <= 1:
        raise RecipeError(f"a patch is above 0 and up to 1 of a photograph's side wide, got {widest:g}")
    if out is not None and (Path(out) / MANIFEST).is_file():
        raise OutputError(f"{out} is a gallery, whose pages would be overwritten; choose another folder")
    words = read_words(vocabulary) if pair is not None else ()
    folder = Path(photographs)
    icons = {} if pictures is None else _pictures(model, Path(pictures), targets)
    wanted = units_by_name(model, targets if targets is not None else _addresses(icons))
    listing = list_files(folder, None if out is None else Path(out))
    patches_of = count if count is not None else min(COUNT, max(LEAST, len(listing.names) // 4))
    if patches_of < 2:
        raise RecipeError(f"a unit has at least 2 patches, got {patches_of}")
    embedder = Embedder(pair, EMBEDDING, batch) if pair is not None else None
    own = embedder or Embedder(model, feature_layer(model), batch)
    found = find_examples(model, folder, wanted, out=out, count=patches_of, batch=batch, say=say)
    if found["images"] < 2:
        raise UserError(f"{folder} holds one photograph; what sets a unit apart needs several")
    tiles: dict[Key, Image.Image] = {}
    about = f"{listing.fingerprint} {own.about}"
    known = {} if out is None else recall(Path(out) / EMBEDDED, about, own.width)
    work = _Work(model, listing, own, widest, seed, say, None if out is None else tiles, known)
    units: dict[str, DescribedUnit] = {}
    means: dict[str, Tensor] = {}
    layers: dict[str, _Layer] = {}
    for name, rows in wanted.items():
        work.describe(name, rows, found, units, means, layers)
    if pair is not None:
        texts = pair.embed_all([template.replace("{}", word) for word in words])
        for name in wanted:
            if name in layers:
                sure = Certainty(texts, layers[name].random.sets, pair.scale)
                of = [key for key in units if _layer_of(key) == name and key in means]
                for key in of:
                    units[key] = _named(units[key], means[key], sure, words)
                _name_pictures(units, icons.get(name, {}), name, own, texts, sure, words, pair.scale)
    search = _Search(own, means, layers, pair, template)
    for key in means:
        units[key] = replace(units[key], like=tuple(search.like(key, LISTED)))
    usual = {name: one.random.clarity for name, one in layers.items()}
    made = UnitWords(
        model.name,
        None if pair is None else pair.name,
        own.layer,
        found["images"],
        found["skipped"],
        patches_of,
        units,
        len(words),
        template,
        {name: value for name, value in usual.items() if value is not None},
        search,
        None if out is None else Path(out),
        model.fingerprint(),
    )
    if out is not None:
        remember(Path(out) / EMBEDDED, about, work.used)
        _write_page(made, Path(out), tiles, icons)
    return made


def _write_page(found: UnitWords, out: Path, tiles: dict[Key, Image.Image], icons: Icons) -> None:
    files: dict[str, bytes] = {}
    units = []
    for told, unit in zip(found.to_json()["units"], found.units.values(), strict=True):
        layer, _, row = unit.target.rpartition(":")
        place = f"{safe_name(layer)}/{int(row):04d}.webp"
        cut = [tiles[one.key] for one in unit.patches[:SHOWN]]
        icon = icons.get(layer, {}).get(int(row))
        told |= {"strip": None, "strip_width": 0, "shown": len(cut), "picture": None}
        if cut:
            strip = Image.new("RGBA", (len(cut) * (TILE + _GAP) - _GAP, TILE))
            for number, one in enumerate(cut):
                strip.paste(one, (number * (TILE + _GAP), 0))
            told |= {"strip": f"patches/{place}", "strip_width": strip.width}
            files[f"patches/{place}"] = _webp(strip)
        if icon is not None:
            told["picture"] = f"pictures/{place}"
            files[f"pictures/{place}"] = _webp(icon.resize((TILE, TILE), _SMOOTH))
        units.append(told)
    about = {"featvis": __version__, **found.to_json(), "units": units}
    files |= {name: to_bytes(text) for name, text in make_described_pages(about).items()}
    files[ABOUT] = to_bytes(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    for name, content in files.items():
        check_inside(out / name, out)
        write_whole(out / name, content, sync=False)


def tell_gallery(found: UnitWords, gallery: Path) -> None:
    """Write what was found into a gallery, as ``words.json``, and its pages anew if it has any."""
    with FolderLock(gallery):
        content = json.dumps({"featvis": __version__, **found.to_json()}, indent=1, ensure_ascii=False) + "\n"
        write_whole(gallery / WORDS, to_bytes(content))
        if (gallery / LIST).is_file():
            write_pages(gallery)


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    return buffer.getvalue()


class _Work:
    """One description: layer by layer the same."""

    def __init__(
        self,
        model: ModelHandle,
        listing: Listing,
        embedder: Embedder,
        widest: float,
        seed: int,
        say: Callable[[str], None] | None,
        tiles: dict[Key, Image.Image] | None,
        known: dict[Key, Tensor],
    ) -> None:
        self._model, self._embedder, self._tiles = model, embedder, tiles
        self._folder, self._names = listing.folder, listing.names
        self._widest, self._seed, self._say = widest, seed, say
        self._sizes: dict[str, Size | None] = {}
        self._known, self.used = known, dict[Key, Tensor]()

    def size(self, name: str) -> Size | None:
        if name not in self._sizes:
            self._sizes[name] = size_of(self._folder / name)
        return self._sizes[name]

    def describe(
        self,
        name: str,
        rows: Sequence[int],
        found: dict[str, Any],
        units: dict[str, DescribedUnit],
        means: dict[str, Tensor],
        layers: dict[str, _Layer],
    ) -> None:
        """Add a layer's units, and what its patches are like; nothing of the latter if all are silent."""
        info = self._model.layer(name.partition("@")[0])
        cutter = Cutter(self._model, info, self._widest)
        speaking: dict[str, list[Patch]] = {}
        for row in rows:
            key = key_of(name, row)
            label = info.labels[row] if "@" not in name and row < len(info.labels) else ""
            told = found["units"][key]
            silent = _is_silent(told)
            patches = [] if silent else self._patches(cutter, told["examples"])
            units[key] = DescribedUnit(key, label, tuple(patches), is_silent=silent)
            if patches:
                speaking[key] = patches
        if not speaking:
            return
        if self._say is not None:
            self._say(f"{name}: embedding what {len(speaking):,} units see")
        every = [patch for patches in speaking.values() for patch in patches]
        shown = {one.key for patches in speaking.values() for one in patches[:SHOWN]}
        look = {} if self._tiles is None else {key: self._keep(key) for key in shown}
        vectors = self._embed(every, look)
        parts = torch.split(vectors, [len(patches) for patches in speaking.values()])
        of = dict(zip(speaking, parts, strict=True))
        layers[name] = self._random(name, every, max(map(len, speaking.values())))
        means |= {key: unit_length(each.mean(0)) for key, each in of.items()}
        largest, twins = _twins(list(of), means)
        for key, each in of.items():
            units[key] = replace(
                units[key],
                clarity=round(float(clarity(each)), 6) if len(each) > 1 else None,
                polysemanticity=polysemanticity(each),
                redundancy=largest.get(key),
                twin=twins.get(key),
            )

    def _embed(self, patches: Sequence[Patch], look: Look) -> Tensor:
        vectors = self._embedder.patches(self._folder, patches, known=self._known, look=look, say=self._say)
        self.used |= {one.key: self._known[one.key] for one in patches}
        return vectors

    def _keep(self, key: Key) -> Callable[[Image.Image], None]:
        def keep(cut: Image.Image) -> None:
            if self._tiles is not None:
                self._tiles[key] = cut.convert("RGB").resize((TILE, TILE), _SMOOTH)

        return keep

    def _patches(self, cutter: Cutter, examples: Sequence[dict[str, Any]]) -> list[Patch]:
        patches = []
        for one in examples:
            size = self.size(one["image"])
            if size is None:
                raise gone(self._folder / one["image"])
            patches.append(Patch(one["image"], cutter.box(one, size), one["value"]))
        return patches

    def _random(self, name: str, patches: Sequence[Patch], count: int) -> _Layer:
        """Draw random patches of the sizes that a layer's patches have."""
        shares = [one.box[2] / min(self.size(one.image) or one.box[2:]) for one in patches]
        chance = draws.stream(self._seed, name, 0, "random patches")
        order = [self._names[place] for place in torch.randperm(len(self._names), generator=chance).tolist()]
        chosen: list[tuple[str, Size]] = []
        for one in order:
            if len(chosen) == _RANDOM:
                break
            if (size := self.size(one)) is not None:
                chosen.append((one, size))
        each = -(-_RANDOM // len(chosen))
        drawn = []
        for image, size in chosen:
            for _ in range(each):
                which, down, across = torch.rand(3, generator=chance).tolist()
                side = max(1.0, shares[int(which * len(shares))] * min(size))
                middle = [
                    side / 2 + at * (most - side) for at, most in zip((down, across), size, strict=True)
                ]
                drawn.append(Patch(image, square((middle[0], middle[1]), side, size)))
        vectors = self._embed(drawn, {})
        sets = draw_sets(vectors.reshape(len(chosen), each, -1), count, chance)
        return _Layer(sets, statistics.median(shares))


def read_words(vocabulary: Sequence[str] | str | Path | None) -> tuple[str, ...]:
    """Return the words to choose from, each once: a list, a file's lines, or ImageNet's classes.

    >>> read_words(["cat ", "dog", "cat"]), len(read_words(None))
    (('cat', 'dog'), 998)
    """
    if vocabulary is None:
        told: Sequence[Any] = [label.split(",")[0] for label in imagenet_labels()]
    elif isinstance(vocabulary, str | Path):
        try:
            text = read_file(Path(vocabulary), 16 * TOML_BYTES, "file of words").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{vocabulary} is no text file with a word on each line: {error}") from None
        told = text.splitlines()
    else:
        told = list(vocabulary)
    if odd := [word for word in told if not isinstance(word, str)]:
        raise RecipeError(f"a vocabulary is of texts, got {odd[0]!r}")
    words = tuple(dict.fromkeys(line for word in told if (line := " ".join(word.split()))))
    if len(words) < 2:
        where = f" of {vocabulary}" if isinstance(vocabulary, str | Path) else ""
        raise RecipeError(f"a vocabulary{where} has at least 2 words to choose from, got {len(words)}")
    return words


def _pictures(model: ModelHandle, gallery: Path, targets: Sequence[str] | str | None) -> Icons:
    manifest = read_folder(gallery)
    own_network(gallery, manifest, model)
    if targets is None:
        names = list(dict.fromkeys(str(one.get("layer")) for one in manifest["pictures"] if one.get("layer")))
    else:
        names = [name for name in units_by_name(model, targets) if "@" not in name]
    icons: Icons = {}
    for name in names:
        with suppress(OutputError):
            icons[name] = load_icons(gallery, name)
    if not icons:
        of = ", ".join(names[:4]) or "units"
        raise OutputError(f"{gallery} holds no picture of {of}, and so none to find words for")
    return icons


def _addresses(icons: Icons) -> list[str]:
    if not icons:
        raise TargetError("no unit to find words for; name some, or give pictures=, a gallery")
    return [f"{name}:{','.join(map(str, units))}" for name, units in icons.items()]


def _is_silent(told: dict[str, Any]) -> bool:
    """Whether a unit's values are all the same: the largest is the mean, to the digits that are kept."""
    largest, mean = told["quantiles"][-1][1], told["mean_value"]
    if not told["examples"] or largest is None or mean is None:
        return True
    return bool(abs(largest - mean) <= 1e-6 * max(abs(largest), abs(mean)))


def _twins(keys: Sequence[str], means: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
    if len(keys) < 2:
        return {}, {}
    stacked = torch.stack([means[key] for key in keys])
    largest = redundancy(stacked).tolist()
    nearest = (stacked @ stacked.T).fill_diagonal_(-2).argmax(1).tolist()
    return dict(zip(keys, largest, strict=True)), {
        key: keys[place] for key, place in zip(keys, nearest, strict=True)
    }


def _listed(certainties: Tensor, cosines: Tensor, words: Sequence[str]) -> tuple[Word, ...]:
    best = certainties.argsort(descending=True, stable=True)[:LISTED].tolist()
    return tuple(Word(words[place], float(certainties[place]), float(cosines[place])) for place in best)


def _named(unit: DescribedUnit, mean: Tensor, sure: Certainty, words: Sequence[str]) -> DescribedUnit:
    listed = _listed(*sure.of(mean), words)
    return replace(unit, words=listed, chance=sure.chance(listed[0].certainty))


def _name_pictures(
    units: dict[str, DescribedUnit],
    icons: dict[int, Image.Image],
    name: str,
    embedder: Embedder,
    texts: Tensor,
    sure: Certainty,
    words: Sequence[str],
    scale: float,
) -> None:
    """Find words for rendered pictures: against the mean of their layer's, of a few against photographs."""
    keys = [key_of(name, unit) for unit in icons]
    vectors = embedder.images([icon.convert(_mode(embedder)) for icon in icons.values()])
    if len(vectors) >= _ENOUGH:
        sure = Certainty(texts, vectors, scale)
    for key, vector in zip(keys, vectors, strict=True):
        if key in units:
            units[key] = replace(units[key], picture_words=_listed(*sure.of(vector), words))


def _mode(embedder: Embedder) -> str:
    return "RGB" if embedder.model.channels == 3 else "L"


def _layer_of(target: str) -> str:
    return target.rpartition(":")[0]


def _number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _share(value: float | None) -> str:
    if value is None:
        return ""
    return "<.01" if value < 0.01 else f"{value:.2f}"
