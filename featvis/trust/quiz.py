"""A quiz: what people see in pictures, asked by one page that is sent round, and the key that it lacks."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from featvis.errors import FeatvisError, OutputError, UserError, unknown
from featvis.files import to_bytes, write_whole
from featvis.pages.entries import (
    CROP_SUFFIXES,
    read_entry,
    read_list,
    read_number,
    read_path,
    read_table,
    read_text,
)
from featvis.pages.quiz import Shown, make_quiz_page
from featvis.pages.thumbnails import read_picture_size
from featvis.photographs.photos import list_files, quiet_decoders, read_photo
from featvis.photographs.record import RECORD
from featvis.read import is_whole_number, parse_json
from featvis.results.manifest import MANIFEST, VIEW, read_manifest
from featvis.spec.target import synonyms
from featvis.version import __version__

TASKS = ("naming", "choice", "rating")
PAGE, KEY, LABELS = "quiz.html", "key.json", "labels.json"
KIND = "featvis quiz key"
NAMES = 8
"""How many names there are to choose from."""
REFERENCES = 9
"""At most so many pictures or photographs show what excites a unit."""
LONGEST_SIDE = 512
_TITLE = "What do you see?"
_FEWEST_NAMES = 2

Item = dict[str, Any]


def make_quiz(
    folders: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    seed: int = 0,
    count: int = 16,
    tasks: Sequence[str] = TASKS,
    title: str = _TITLE,
    text: str = "",
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Make a page that asks people what they see in pictures, and the key to their answers.

    The page is one HTML file with every picture in it; it works from disk, sends nothing and names neither
    folders nor labels but in the lists to choose from. ``key.json`` tells what each question shows: keep it,
    and give it to :func:`evaluate_answers` together with the files that people save.

    Args:
        folders: what ``featvis render`` or ``featvis gallery build`` wrote, and folders of images of any
            origin, such as photographs; these may hold a ``labels.json``, file to label. Such images are
            cut to the shape and size of the rendered pictures.
        out: the folder that ``quiz.html`` and ``key.json`` go to.
        seed: of what is drawn: which pictures, their order, the other names. The same one gives the same
            page.
        count: how many questions of each folder a task asks at most.
        tasks: in this order: ``naming`` (freely, then one of eight names), ``choice`` (which of two
            photographs excites the unit more, by its pictures or by other photographs that do) and
            ``rating`` (1 to 5: looks like a photograph, whole, harsh).
        title: the page's heading.
        text: what the page says below it.
        say: is told what was left out and why, a line at a time.

    Returns:
        What ``key.json`` holds: ``quiz`` (its id), ``title, seed, tasks, folders`` and ``items``.

    Raises:
        UserError: no such folder or task, nothing to ask, or ``out`` holds the key of another quiz.

    >>> import featvis as fv, tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("red", "green"):
    ...         Image.new("RGB", (24, 24), name).save(f"{folder}/{name}.png")
    ...     key = fv.make_quiz(folder, f"{folder}/quiz", tasks=["rating"])
    >>> sorted(item["file"] for item in key["items"])
    ['green.png', 'red.png']
    """
    if wrong := [task for task in tasks if task not in TASKS]:
        raise UserError(unknown("task", wrong[0], TASKS, f"tasks are {', '.join(TASKS)}"))
    if not tasks:
        raise UserError(f"no task; tasks are {', '.join(TASKS)}")
    if count < 1:
        raise UserError(f"a quiz asks at least 1 question of each folder, got {count}")
    places = [folders] if isinstance(folders, str | Path) else list(folders)
    if not places:
        raise UserError("no folder of pictures")
    title, text, place = read_text(title), read_text(text), Path(out)
    tell = say or (lambda _: None)
    with quiet_decoders():
        sources = [_read(Path(one), name, place) for one, name in zip(places, _names(places), strict=True)]
        gather = _Gather(sources, seed, count, tell)
        questions = [question for task in dict.fromkeys(tasks) for question in gather.ask(task)]
    if not questions:
        raise UserError("nothing to ask: no task found what it needs in these folders")
    images, trials = _lay_out(questions, gather)
    told = [{"item": number, **question.item} for number, question in enumerate(questions, start=1)]
    key: dict[str, Any] = {
        "kind": KIND,
        "version": 1,
        "featvis": __version__,
        "quiz": "",
        "title": title,
        "seed": seed,
        "tasks": list(dict.fromkeys(item["task"] for item in told)),
        "folders": [{"name": source.name, "folder": str(source.folder)} for source in sources],
        "items": told,
    }
    shown = [hashlib.sha256(image.content).hexdigest() for image in images]
    about = [title, text, seed, told, shown]
    key["quiz"] = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    page = make_quiz_page(title, text, key["quiz"], images, trials)
    _check_place(place, key["quiz"])
    # The key first: a page without its key is worth nothing.
    # Names of files that are no UTF-8 stay what they are: JSON's escapes hold them.
    write_whole(place / KEY, (json.dumps(key, indent=1) + "\n").encode())
    write_whole(place / PAGE, to_bytes(page))
    return key


@dataclass(frozen=True)
class _Picture:
    """A picture that may be shown."""

    source: _Source
    file: str
    label: str = ""
    target: str = ""
    layer: str = ""
    unit: int | None = None
    where: str = ""

    @property
    def look(self) -> _Look:
        """The picture as it is shown."""
        return _Look(self.source, self.file)


@dataclass(frozen=True)
class _Crop:
    """Part of a photograph that excites a unit."""

    file: str
    image: str
    value: float


@dataclass(eq=False)
class _Source:
    """A folder and what of it may be shown."""

    name: str
    folder: Path
    manifest: dict[str, Any] | None
    pictures: list[_Picture] = field(default_factory=list)
    sets: list[_Picture] = field(default_factory=list)
    """Further pictures of units, such as diverse sets: references only."""
    crops: dict[tuple[str, int], list[_Crop]] = field(default_factory=dict)
    """By layer and unit, best first."""


def _names(places: Sequence[str | Path]) -> list[str]:
    """Return what each folder is called: its name, or where two have one, its path."""
    names = [read_text(Path(place).resolve().name or str(place)) for place in places]
    often = Counter(names)
    paths = [read_text(str(place)) for place in places]
    told = [name if often[name] == 1 else path for name, path in zip(names, paths, strict=True)]
    if len(set(told)) < len(told):
        raise UserError(f"the folder {Counter(told).most_common(1)[0][0]!r} is named twice")
    return told


def _read(folder: Path, name: str, out: Path) -> _Source:
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}" if not folder.exists() else f"{folder} is a file")
    manifest = read_manifest(folder)
    source = _Source(name, folder, manifest)
    if manifest is None:
        labels = _read_labels(folder)
        for file in list_files(folder, out).names:
            if Path(file).suffix.lower() in Image.registered_extensions():
                source.pictures.append(_Picture(source, file, labels.get(file, "")))
    else:
        recipes = read_table(manifest.get("recipes"))
        for raw in read_list(manifest.get("pictures")):
            entry = read_entry(raw, recipes)
            if entry.status != "ok" or entry.stale or entry.file is None or entry.variant == "negative":
                continue
            if not _is_inside(folder, entry.file):
                continue
            told = (entry.label, entry.target, entry.layer, entry.unit, entry.where)
            kind = source.pictures if entry.variant == "picture" else source.sets
            kind.append(_Picture(source, entry.file, *told))
        source.crops.update(_read_crops(folder))
    if not source.pictures:
        raise OutputError(f"{folder} holds no pictures: no {MANIFEST} that names some, and no image files")
    return source


def _is_inside(folder: Path, file: str) -> bool:
    path = (folder / file).resolve()
    return path.is_relative_to(folder.resolve()) and path.is_file()


def _read_labels(folder: Path) -> dict[str, str]:
    path = folder / LABELS
    try:
        loaded = parse_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path} does not read: {error}") from None
    if not isinstance(loaded, dict) or not all(isinstance(label, str) for label in loaded.values()):
        raise OutputError(f"{path} is a table of files and their labels, all texts")
    return {file: read_text(label).strip() for file, label in loaded.items()}


def _read_crops(folder: Path) -> Iterator[tuple[tuple[str, int], list[_Crop]]]:
    """Read which photographs excite which units; what is damaged counts as not there."""
    try:
        loaded = parse_json((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    for unit, table in read_table(read_table(loaded).get("units")).items():
        layer, _, number = unit.rpartition(":")
        found: list[_Crop] = []
        for raw in map(read_table, read_list(read_table(table).get("examples"))):
            file, value = read_path(raw.get("file"), CROP_SUFFIXES), read_number(raw.get("value"))
            image = raw.get("image")
            if file is None or value is None or not isinstance(image, str):
                # Its value is not known, so nothing is known to be below it.
                found = []
                break
            found.append(_Crop(file, image, value))
        if found and layer and is_whole_number(number):
            yield (layer, int(number)), found


@dataclass(frozen=True)
class _Look:
    """An image that a question shows, by where it comes from."""

    source: _Source
    file: str
    is_crop: bool = False


@dataclass(frozen=True)
class _Question:
    """What a question is about, for the key, and what it shows, for the page."""

    item: Item
    picture: _Look | None = None
    names: tuple[str, ...] = ()
    references: tuple[_Look, ...] = ()
    pair: tuple[_Look, ...] = ()


class _Gather:
    """Draws what is asked, and reads what is shown."""

    def __init__(
        self, sources: Sequence[_Source], seed: int, count: int, tell: Callable[[str], None]
    ) -> None:
        self.sources, self.seed, self.count, self.tell = sources, seed, count, tell
        self._read: dict[tuple[str, str, bool], Shown | None] = {}
        self._size = self._common_size()

    def ask(self, task: str) -> list[_Question]:
        """Return a task's questions in their order."""
        chance = random.Random(f"{self.seed}\n{task}")
        asked = {"naming": self._naming, "choice": self._choice, "rating": self._rating}[task](chance)
        chance.shuffle(asked)
        return asked

    def read(self, look: _Look) -> Shown | None:
        """Return an image as the page shows it; None if its file shows none."""
        name = (look.source.name, look.file, look.is_crop)
        if name not in self._read:
            folder = look.source.folder
            image = _open(folder, look.file) if _is_inside(folder, look.file) else None
            if image is not None and look.source.manifest is None and self._size is not None:
                # Another shape or size would tell which folder it is of.
                image = ImageOps.fit(image, self._size, Image.Resampling.LANCZOS)
            self._read[name] = None if image is None else _encode(image, is_crop=look.is_crop)
        return self._read[name]

    def _naming(self, chance: random.Random) -> list[_Question]:
        """Each name is asked for once: after the list of names it is no longer a free one."""
        named = [one for one in self.sources if any(picture.label for picture in one.pictures)]
        if not named:
            self.tell("naming: left out, no picture here is of a class with a name")
            return []
        waiting = {
            source.name: sorted(
                (picture for picture in source.pictures if picture.label),
                key=lambda picture: self._rank("naming", picture.source.name, picture.label, picture.file),
            )
            for source in named
        }
        shown: dict[str, list[_Picture]] = {source.name: [] for source in named}
        used: set[str] = set()
        # In turns, so that folders with the same names get equally many of them.
        for _ in range(self.count):
            for source in named:
                picture = next(
                    (
                        one
                        for one in waiting[source.name]
                        if _fold(one.label) not in used and self.read(one.look) is not None
                    ),
                    None,
                )
                if picture is not None:
                    used.add(_fold(picture.label))
                    shown[source.name].append(picture)
        asked = []
        for source in named:
            pool = self._pool(source)
            for picture in shown[source.name]:
                own = set(map(_fold, synonyms(picture.label)))
                others = [name for name in pool if not own & set(map(_fold, synonyms(name)))]
                names = [picture.label, *chance.sample(others, min(NAMES - 1, len(others)))]
                if len(names) < _FEWEST_NAMES:
                    self.tell(f"naming: {picture.label!r} left out, there is no other name to choose from")
                    continue
                chance.shuffle(names)
                item = {**_about(picture, "naming"), "names": names, "right": names.index(picture.label)}
                asked.append(_Question(item, picture.look, names=tuple(names)))
            wanted = min(self.count, len({_fold(picture.label) for picture in waiting[source.name]}))
            if len(shown[source.name]) < wanted:
                told = f"{len(shown[source.name])} pictures of {source.name}"
                self.tell(f"naming: {told}; a name is asked for once, so folders share those that they have")
        return asked

    def _pool(self, source: _Source) -> list[str]:
        """Return the names that others are drawn from: the folder's, else the network's and all folders'."""
        own = list(dict.fromkeys(picture.label for picture in source.pictures if picture.label))
        if len(own) >= NAMES:
            return own
        others = [one.label for other in self.sources for one in other.pictures if one.label]
        pool = {_fold(name): name for name in (*others, *_network_names(source), *own)}
        if len(pool) < NAMES:
            self.tell(f"naming: only {len(pool)} names are known to choose from in {source.name}")
        return sorted(pool.values())

    def _choice(self, chance: random.Random) -> list[_Question]:
        """Ask for each unit of a network once: who saw its photographs knows them."""
        asked: dict[str, list[_Question]] = {source.name: [] for source in self.sources}
        used: set[tuple[str, str, int]] = set()
        makers = [(source.name, self._pairs(source, chance, used)) for source in self.sources]
        # In turns, so that folders of the same units get equally many of them.
        for _ in range(self.count):
            for name, maker in makers:
                asked[name] += islice(maker, 1)
        lacking = [source for source in self.sources if not asked[source.name]]
        if none := [source.name for source in lacking if not source.crops]:
            why = f"no photographs to choose from are recorded in {', '.join(none)}"
            self.tell(f"choice: {why} (`featvis gallery build CONFIG --examples PHOTOS` records them)")
        if few := [source.name for source in lacking if source.crops]:
            why = "none of the photographs is known to excite a unit less than its best ones"
            self.tell(f"choice: in {', '.join(few)} {why}; search more of them, or keep fewer for each unit")
        return [question for made in asked.values() for question in made]

    def _pairs(
        self, source: _Source, chance: random.Random, used: set[tuple[str, str, int]]
    ) -> Iterator[_Question]:
        """Ask for units: one of its best photographs, and one of other units' that is none of them."""
        weights = str((source.manifest or {}).get("weights"))
        made, first_side = 0, chance.randrange(2)
        of_unit: dict[tuple[str, int], list[_Picture]] = {}
        for picture in (*source.pictures, *source.sets):
            # Of one position alone a picture was not scored as photographs were.
            if picture.unit is not None and not picture.where:
                of_unit.setdefault((picture.layer, picture.unit), []).append(picture)
        for layer, unit in sorted(
            of_unit.keys() & source.crops.keys(), key=lambda one: self._rank("choice", *one)
        ):
            if (weights, layer, unit) in used:
                continue
            mine = source.crops[layer, unit]
            # What is not among a unit's best excites it no more than the last of them.
            floor, images = min(crop.value for crop in mine), {crop.image for crop in mine}
            high = [crop for crop in mine if crop.value > floor]
            low = [
                crop
                for (other, _), crops in sorted(source.crops.items())
                if other == layer
                for crop in crops
                if crop.image not in images
            ]
            best, least = self._any(source, high, chance), self._any(source, low, chance)
            if best is None or least is None:
                continue
            kinds = {
                "pictures": [picture.look for picture in of_unit[layer, unit]],
                "photographs": [_Look(source, one.file, is_crop=True) for one in mine if one is not best],
            }
            kinds = {
                name: [look for look in looks if self.read(look) is not None] for name, looks in kinds.items()
            }
            # In turns; a unit that has only one of the two does not move the others' turn.
            kind = ("pictures", "photographs")[made % 2]
            kind = kind if kinds[kind] else next((name for name, looks in kinds.items() if looks), "")
            if not kind:
                continue
            # As often left as right, whatever the references.
            pair = [best, least] if (made // 2) % 2 == first_side else [least, best]
            references = tuple(kinds[kind][:REFERENCES])
            item = {
                "task": "choice",
                "folder": source.name,
                "target": f"{layer}:{unit}",
                "label": of_unit[layer, unit][0].label,
                "references": kind,
                "shown": [look.file for look in references],
                "photographs": [crop.file for crop in pair],
                "right": pair.index(best),
                "value": best.value,
                "at_most": floor,
            }
            looks = tuple(_Look(source, crop.file, is_crop=True) for crop in pair)
            made += 1
            used.add((weights, layer, unit))
            yield _Question(item, references=references, pair=looks)

    def _any(self, source: _Source, crops: list[_Crop], chance: random.Random) -> _Crop | None:
        drawn = chance.sample(crops, len(crops))
        return next((crop for crop in drawn if self.read(_Look(source, crop.file, is_crop=True))), None)

    def _rating(self, _: random.Random) -> list[_Question]:
        """Show the same classes or units of every folder, where they have the same."""
        asked = []
        for source in self.sources:
            often: Counter[str] = Counter()
            order = []
            for picture in source.pictures:
                what = picture.label or picture.target or picture.file
                # A second picture of a class comes after the first ones of all.
                order.append((often[what], self._rank("rating", what), picture.file, picture))
                often[what] += 1
            readable = (one for *_, one in sorted(order, key=lambda one: one[:3]) if self.read(one.look))
            asked += [
                _Question(_about(picture, "rating"), picture.look) for picture in islice(readable, self.count)
            ]
        return asked

    def _rank(self, *words: str | int) -> str:
        """Return a place in an order that the seed gives to these words, whatever else there is."""
        text = "\n".join(map(str, (self.seed, *words)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _common_size(self) -> tuple[int, int] | None:
        """Return the (width, height) that most rendered pictures have; None where nothing is cut to it."""
        if all(source.manifest is not None for source in self.sources):
            return None
        rendered = [one for source in self.sources if source.manifest is not None for one in source.pictures]
        found = (read_picture_size(one.source.folder / one.file) for one in rendered)
        sizes = Counter(size for size in found if size is not None)
        if not sizes:
            return None
        height, width = max(sizes, key=lambda size: (sizes[size], size))
        return width, height


def _network_names(source: _Source) -> Sequence[str]:
    """Return the names of the classes that a folder's network knows, if it is there to be asked."""
    if source.manifest is None:
        return ()
    from featvis.trust.panel import load_network_of

    try:
        network = load_network_of(source.folder, source.manifest, "cpu")
    except FeatvisError:
        return ()
    return network.layer(network.output_layer).labels


def _lay_out(questions: Sequence[_Question], gather: _Gather) -> tuple[list[Shown], list[Item]]:
    """Return the images in the order in which they are shown, each once, and what the page is told."""
    images: list[Shown] = []
    numbers: dict[bytes, int] = {}

    def place(look: _Look) -> int:
        shown = gather.read(look)
        assert shown is not None, f"{look.file} was read before"
        if shown.content not in numbers:
            numbers[shown.content] = len(images)
            images.append(shown)
        return numbers[shown.content]

    trials: list[Item] = []
    for number, question in enumerate(questions, start=1):
        trial: Item = {"item": number, "task": question.item["task"]}
        if question.picture is not None:
            trial["picture"] = place(question.picture)
        if question.names:
            trial["names"] = list(question.names)
        if question.pair:
            trial["references"] = [place(look) for look in question.references]
            trial["pair"] = [place(look) for look in question.pair]
        trials.append(trial)
    return images, trials


def _about(picture: _Picture, task: str) -> Item:
    return {
        "task": task,
        "folder": picture.source.name,
        "file": picture.file,
        "target": picture.target,
        "label": picture.label,
    }


def _open(folder: Path, file: str) -> Image.Image | None:
    """Read an image as it is looked at."""
    path = folder / file
    view = path.with_suffix(VIEW)
    return read_photo(view if view.is_file() else path, 3)


def _encode(image: Image.Image, *, is_crop: bool) -> Shown:
    """Write an image as a WebP without anything that it carries: every level as it is, but for crops."""
    shrink = LONGEST_SIDE / max(image.size)
    if shrink < 1:
        small = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(small, Image.Resampling.LANCZOS)
    plain = Image.new("RGB", image.size)
    plain.paste(image)
    buffer = io.BytesIO()
    plain.save(buffer, "WEBP", lossless=not is_crop, quality=90 if is_crop else 60, method=4)
    return Shown(buffer.getvalue(), (image.height, image.width), is_crop)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_place(place: Path, quiz: str) -> None:
    """Refuse a folder whose key is another quiz's: without it that quiz's answers would be lost."""
    key, page = place / KEY, place / PAGE
    if key.exists():
        try:
            loaded = parse_json(key.read_text("utf-8"))
            known = loaded["quiz"] if loaded["kind"] == KIND else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            known = None
        if known is None:
            raise OutputError(f"{key} is no key of a quiz; name another folder to write to")
        if known != quiz:
            raise OutputError(f"{place} holds another quiz, whose answers need its key; name another folder")
    elif page.exists():
        raise OutputError(f"{page} is there without its key; name another folder to write to")
