"""Hostile inputs by kind: classes made by hand, and seeded changes of real files."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile import changes
from tests.hostile.guard import CANARY

RENDER = ["render", "blocks.0.0:0,3", "--recipe", "{seeds}/recipe.toml", "--out", "{out}"]
ONE = ["render", "blocks.0.0:0", "--size", "24", "--steps", "1", "--lanes", "1", "--out", "{out}"]
REPRODUCE = ["reproduce", "{in}/x.png", "--out", "{out}/again.png"]
EVALUATE = ["evaluate", "{out}", "--judge", "efficientnet_lite1"]
BUILD = ["gallery", "build", "{in}/gallery.toml", "--out", "{out}"]


@dataclass
class Input:
    """One hostile input and the command that reads it."""

    kind: str
    name: str
    typed: list[str]
    prepare: Callable[[Path, Path, Path], None]
    """Called with the folders of seeds, of inputs and of output; writes the hostile files."""
    more: dict[str, int] = field(default_factory=dict)


def every(seed: int, mutations: int) -> list[Input]:
    """Every input made by hand, and for each changed kind so many mutations."""
    return [*by_hand(), *mutated(seed, mutations)]


def by_hand() -> Iterator[Input]:
    yield from pictures()
    yield from manifests()
    yield from links()
    yield from recipes()
    yield from galleries()
    yield from tensors()
    yield from checkpoints()
    yield from images()
    yield from settings()
    yield from outputs()


# Pictures


def _recipe_changed(**fields: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        told = json.loads(changes.text_of(content))
        told["recipe"].update(fields)
        return changes.png_with(content, json.dumps(told))

    return change


def _told(**fields: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        told = json.loads(changes.text_of(content))
        told.update(fields)
        return changes.png_with(content, json.dumps(told))

    return change


def _as_text(text: str) -> Callable[[bytes], bytes]:
    return lambda content: changes.png_with(content, text)


def _with_chunk(kind: bytes, head: bytes, length: int) -> Callable[[bytes], bytes]:
    """Add a chunk that unpacks to so many bytes."""
    return lambda content: changes.png_with(content, None, [(kind, head + zlib.compress(bytes(length), 9))])


def _wide(width: int, height: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        head = struct.pack(">II", width, height) + content[24:29]
        return content[:8] + changes.chunk(b"IHDR", head) + content[33:]

    return change


PICTURES: dict[str, Callable[[bytes], bytes]] = {
    "10^9 steps": _recipe_changed(steps=10**9),
    "10^6 lanes": _recipe_changed(lanes=10**6),
    "a canvas of 10^5": _recipe_changed(size=[10**5, 10**5]),
    "a canvas of 10^9": _recipe_changed(size=[10**9, 10**9]),
    "an input size of 10^6": _recipe_changed(input_size=[10**6, 10**6]),
    "10^6 copies": _recipe_changed(copies=10**6),
    "10^6 threads": _recipe_changed(threads=10**6),
    "10^6 candidates": _recipe_changed(best_of=10**6),
    "10^9 attempts": _recipe_changed(attempts=10**9),
    "10^6 crops": _recipe_changed(transforms=[{"name": "multicrop", "crops": 10**6}]),
    "10^4 crops of crops": _recipe_changed(transforms=[{"name": "multicrop", "crops": 100}] * 2),
    "10^5 transforms": _recipe_changed(transforms=[{"name": "noise"}] * 10**5),
    "10^4 stages": _recipe_changed(stages=[[[24, 24], 0.5]] * 10**4),
    "a wide cppn": _recipe_changed(space={"name": "cppn", "width": 10**6}),
    "a tall cppn": _recipe_changed(space={"name": "cppn", "layers": 10**6}),
    "a deep prior": _recipe_changed(space={"name": "deep", "depth": 10**4, "width": 4096}),
    "a pyramid of all levels": _recipe_changed(space={"name": "pyramid", "levels": "all"}, size=[4096, 4096]),
    "masks in masks": _recipe_changed(
        space={"name": "mask", "inner": json.loads('{"name":"mask","inner":' * 40 + '"pixel"' + "}" * 40)}
    ),
    "masks in masks, 300 deep": _recipe_changed(
        space={"name": "mask", "inner": json.loads('{"name":"mask","inner":' * 300 + '"pixel"' + "}" * 300)}
    ),
    "a rate of infinity": _recipe_changed(learning_rate=float("inf")),
    "a rate of nan": _recipe_changed(learning_rate=float("nan")),
    "a rate of 1e300": _recipe_changed(learning_rate=1e300),
    "a weight of nan": _recipe_changed(penalties=[{"name": "l2", "weight": float("nan")}]),
    "a weight of infinity": _recipe_changed(penalties=[{"name": "l2", "weight": float("inf")}]),
    "a scale of 1e-300": _recipe_changed(transforms=[{"name": "warp", "scale": 1e-300}]),
    "a scale of 1e-9": _recipe_changed(transforms=[{"name": "warp", "scale": 1e-9}]),
    "a crop of 1e-9": _recipe_changed(transforms=[{"name": "crop", "side": 1e-9}]),
    "a blur of 1e9": _recipe_changed(transforms=[{"name": "blur", "sigma": 1e9}]),
    "a deviation of 1e300": _recipe_changed(space={"name": "pixel", "deviation": 1e300}),
    "a power of 1e6": _recipe_changed(transforms=[{"name": "noise", "sd": 0.1, "power": 1e6}]),
    "an lp of 10^9": _recipe_changed(penalties=[{"name": "lp", "p": 10**9}]),
    "a kernel of kornia": _recipe_changed(
        transforms=[
            {
                "name": "kornia",
                "augmentation": "RandomGaussianBlur",
                "kernel_size": [99999, 99999],
                "sigma": [1, 2],
            }
        ]
    ),
    "a module of kornia": _recipe_changed(transforms=[{"name": "kornia", "augmentation": "__import__"}]),
    "statistics of /dev/zero": _recipe_changed(space={"name": "pixel", "statistics": "/dev/zero"}),
    "statistics of /proc": _recipe_changed(space={"name": "pixel", "statistics": "/proc/self/environ"}),
    "statistics of a pipe": _recipe_changed(space={"name": "pixel", "statistics": "{in}/pipe"}),
    "statistics elsewhere": _recipe_changed(space={"name": "pixel", "statistics": "/etc/passwd"}),
    "statistics by a link": _recipe_changed(space={"name": "pixel", "statistics": "{in}/link"}),
    "statistics of a folder": _recipe_changed(space={"name": "pixel", "statistics": "{in}"}),
    "statistics within": _recipe_changed(
        space={"name": "mask", "inner": {"name": "pixel", "statistics": "/dev/zero"}}
    ),
    "statistics of a penalty elsewhere": _recipe_changed(
        penalties=[{"name": "batchnorm", "statistics": "/etc/passwd"}]
    ),
    "statistics of a penalty by /dev/zero": _recipe_changed(
        penalties=[{"name": "batchnorm", "statistics": "/dev/zero"}]
    ),
    "statistics with a NUL": _recipe_changed(space={"name": "pixel", "statistics": "a\0b"}),
    "a network of code": _told(model="file:{in}/code.py:build"),
    "a network of the hub": _told(model="hf:somebody/network"),
    "a network of a link": _told(model="timm:hf_hub:somebody/network"),
    "a network of another source": _told(model="plugin:x"),
    "a network of a path": _told(model="../../x"),
    "a target of 10^9 seeds": _told(target="seeds 0-999999999 of blocks.0.0:0"),
    "a target of 5,000 digits": _told(target="blocks.0.0:" + "9" * 5000, unit=None),
    "a position of 5,000 digits": _told(target="blocks.0.0:0@" + "9" * 5000 + ",0"),
    "a unit of 10^18": _told(unit=10**18),
    "a unit of 10^400": _told(unit=10**400),
    "a unit that is a text": _told(unit="0"),
    "a layer with a path": _told(layer="../../../tmp/x"),
    "a label of 1 MB": _told(label="x" * 10**6),
    "a label that clears the screen": _told(label="\x1b[2J\x1b]0;owned\x07"),
    "half a character": _told(label="\ud800"),
    "an attempt of 400": _told(attempt=400),
    "a seed of 10^400": _told(seed=10**400),
    "a recipe that is a list": _told(recipe=[1, 2]),
    "levels in the text": _told(levels=[[1]], snapshots={"1": 2}),
    "a score of nan": _told(score=float("nan")),
    "a status of its own": _told(status=["ok"]),
    "no channels": _told(channels=0),
    "10^9 channels": _told(channels=10**9),
    "channels of infinity": _told(channels=float("inf")),
    "stopped after 10^9 steps": _told(status="stopped", steps=10**9),
    "text that is none": _as_text("{"),
    "text that is a list": _as_text("[]"),
    "text that is null": _as_text("null"),
    "text nested 10^5 deep": _as_text("[" * 10**5),
    "text nested 900 deep": _as_text('{"a":' * 900 + "1" + "}" * 900),
    "text of 6 MB": _as_text('{"a":"' + "x" * 6_000_000 + '"}'),
    "text of 10^6 lists": _as_text("[" + "[]," * 10**6 + "[]]"),
    "a number of 10^5 digits": _as_text('{"seed":' + "9" * 10**5 + "}"),
    "text that unpacks to 1 GB": _with_chunk(b"zTXt", b"featvis\0\0", 10**9),
    "international text that unpacks": _with_chunk(b"iTXt", b"featvis\0\1\0\0\0", 10**8),
    "a profile that unpacks": _with_chunk(b"iCCP", b"x\0\0", 10**8),
    "a chunk longer than the file": lambda content: (
        content[:33] + struct.pack(">I", 2**31 - 1) + content[37:]
    ),
    "a chunk of 4 GB": lambda content: content[:33] + struct.pack(">I", 2**32 - 1) + content[37:],
    "a bomb of 10^9 pixels": _wide(32000, 32000),
    "a bomb of 2^62 pixels": _wide(2**31 - 1, 2**31 - 1),
    "no pixels": _wide(0, 0),
    "cut in half": lambda content: content[: len(content) // 2],
    "only a header": lambda content: content[:33],
    "empty": lambda content: b"",
    "an EPS that calls Ghostscript": lambda content: _EPS,
    "a FITS": lambda content: b"SIMPLE  =                    T" + b" " * 3000,
}
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(%pipe%touch ran-CANARY_5b1e) (w) file\nshowpage\n"


def _png(place: Path, change: Callable[[bytes], bytes], inputs: Path) -> None:
    content = change((place / "out" / "blocks.0.0" / "0000.png").read_bytes())
    if b"{in}" in content:
        told = changes.text_of(content).replace("{in}", str(inputs))
        content = changes.png_with(content, told)
    (inputs / "x.png").write_bytes(content)


def _traps(inputs: Path) -> None:
    os.mkfifo(inputs / "pipe")
    (inputs / "link").symlink_to("/etc/passwd")
    (inputs / "code.py").write_text(f"open('ran-{CANARY}', 'w')\ndef build(): ...\n")


def pictures() -> Iterator[Input]:
    for name, change in PICTURES.items():

        def prepare(seeds: Path, inputs: Path, out: Path, change: Callable[[bytes], bytes] = change) -> None:
            _traps(inputs)
            _png(seeds, change, inputs)

        yield Input("PNG", name, REPRODUCE, prepare)


# Manifests


def _entries(**fields: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        told = json.loads(text)
        for entry in told["pictures"]:
            entry.update(fields)
        return json.dumps(told)

    return change


def _top(**fields: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **fields})


def _every_recipe(**fields: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        told = json.loads(text)
        for recipe in told["recipes"].values():
            recipe.update(fields)
        return json.dumps(told)

    return change


MANIFESTS: dict[str, Callable[[str], str]] = {
    "nested 10^5 deep": lambda text: "[" * 10**5,
    "nested 900 deep in the gallery": _top(gallery=changes.deep(900, table=True)),
    "nested 900 deep in a recipe": _every_recipe(space=changes.deep(900)),
    "10^7 empty lists": lambda text: '{"pictures":[' + "[]," * 10**7 + "[]]}",
    "a file outside": _entries(file="../../../../etc/passwd"),
    "a file with a NUL": _entries(file="a\0b.png"),
    "a file of 10^5 letters": _entries(file="x" * 10**5 + ".png"),
    "a file that is a folder": _entries(file="."),
    "no layers": lambda text: text.replace('"layer"', '"l"'),
    "no units": lambda text: text.replace('"unit"', '"u"'),
    "no files": lambda text: text.replace('"file"', '"f"'),
    "layers that are lists": _entries(layer=["a"]),
    "units that are texts": _entries(unit="three"),
    "recipes that are tables": _entries(recipe={"a": 1}),
    "scores that are texts": _entries(score="high"),
    "traces that are texts": _entries(trace="up"),
    "seconds of infinity": _entries(seconds=float("inf")),
    "statuses that are lists": _entries(status=["ok"]),
    "dead without anything": _entries(status="dead", file=None, score=None, start_score=None),
    "verdicts that are numbers": _entries(verdicts=[1, 2]),
    "half characters": _entries(label="\ud800", target="a\ud800:1"),
    "a seed of 10^400": _entries(seed=10**400),
    "positions of 5,000 digits": _entries(target="blocks.0.0:0@" + "9" * 5000 + ",1"),
    "a layer of 10^6 letters": _entries(layer="x" * 10**6),
    "pictures that are a table": _top(pictures={}),
    "pictures that are numbers": _top(pictures=[1, 2]),
    "recipes that are a list": _top(recipes=[1]),
    "recipes of numbers": _top(recipes={"a": 1}),
    "a gallery that is a list": _top(gallery=[]),
    "sections that are numbers": _top(gallery={"sections": [1, {"pictures": 2}, {"pictures": [3, [4]]}]}),
    "a command that is code": _top(
        gallery={"command": "featvis gallery build /dev/zero --weights /dev/zero"}
    ),
    "a command of a pipe": _top(gallery={"command": "featvis gallery build {in}/pipe"}),
    "a command half quoted": _top(gallery={"command": "featvis gallery build 'x"}),
    "a version of 5,000 digits": _top(featvis="9" * 5000 + ".0"),
    "a version that is a list": _top(featvis=[0]),
    "a later version": _top(featvis="99.0"),
    "code as its network": _top(model="file:{in}/code.py:build"),
    "a list as its network": _top(model=[]),
    "weights of a number": _top(weights=3),
    "10^9 steps": _every_recipe(steps=10**9),
    "10^6 threads": _every_recipe(threads=10**6),
    "a canvas of 10^6": _every_recipe(size=[10**6, 10**6], input_size=[10**6, 10**6]),
    "10^6 crops": _every_recipe(transforms=[{"name": "multicrop", "crops": 10**6}]),
    "statistics of /dev/zero": _every_recipe(space={"name": "pixel", "statistics": "/dev/zero"}),
    "empty": lambda text: "",
    "bytes": lambda text: "\udcff\udcfe",
}
READERS = {
    "status": ["gallery", "status", "{out}"],
    "pages": ["gallery", "pages", "{out}"],
    "render": RENDER,
    "blocks": ["blocks", "{seeds}/photos/a.jpg", "--target", "classifier:3", "--layer", "blocks.0.0", "--icons", "{out}", "--size", "32",
               "--out", "{out}/blocks"],
    "evaluate": EVALUATE,
}  # fmt: skip


def _folder(seeds: Path, inputs: Path, out: Path, change: Callable[[str], str], which: str = "out") -> None:
    _traps(inputs)
    shutil.copytree(seeds / which, out, dirs_exist_ok=True)
    path = out / "manifest.json"
    changed = change(path.read_text()).replace("{in}", str(inputs))
    path.write_bytes(changed.encode("utf-8", "surrogateescape"))


def manifests() -> Iterator[Input]:
    readers = list(READERS)
    for place, (name, change) in enumerate(MANIFESTS.items()):
        # Every manifest by the cheap readers' turn, and those that name what is computed by evaluate.
        chosen = [
            readers[place % 4],
            *(["evaluate"] if place >= 34 and place < 44 else ["pages"] * (place % 4 != 1)),
        ]
        for reader in chosen:

            def prepare(
                seeds: Path,
                inputs: Path,
                out: Path,
                change: Callable[[str], str] = change,
                reader: str = reader,
            ) -> None:
                _folder(seeds, inputs, out, change, "built" if reader in ("status", "pages") else "out")

            yield Input("manifest", f"{name} ({reader})", READERS[reader], prepare)
    for name, file, text in (
        ("nested 10^5 deep", "examples.json", "[" * 10**5),
        ("a list", "examples.json", "[]"),
        (
            "units that are lists",
            "examples.json",
            '{"units":{"blocks.0.0:0":{"examples":[[1],{"box":[1e400,1]}]}}}',
        ),
        ("nested 10^5 deep", "site/pages.json", "[" * 10**5),
        ("names outside", "site/pages.json", '{"files":["../../x.html","/etc/passwd","a/../../b.html"]}'),
    ):

        def journal(seeds: Path, inputs: Path, out: Path, file: str = file, text: str = text) -> None:
            shutil.copytree(seeds / "built", out, dirs_exist_ok=True)
            (out / file).write_text(text)

        yield Input("journal", f"{file}: {name}", READERS["pages"], journal)
        build = ["gallery", "build", "{seeds}/gallery.toml", "--examples", "{seeds}/photos", "--out", "{out}"]
        yield Input("journal", f"{file}: {name} (build)", build, journal)


def _links(seeds: Path, inputs: Path, out: Path) -> None:
    """A folder that somebody sent, in which names lead elsewhere."""
    shutil.copytree(seeds / "built", out, dirs_exist_ok=True)
    (inputs / "elsewhere").mkdir()
    for name in ("0000.png", "0001.png", "grid.png", "0000-0.webp", "text"):
        (inputs / "elsewhere" / name).write_text("not ours")
    for name in ("blocks.0.0", "examples/blocks.0.0", "site"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).symlink_to(inputs / "elsewhere")
    for name in (".featvis-writable", ".featvis-lock", "manifest.json", "gallery.toml", "index.html"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(inputs / "elsewhere" / "text")


def links() -> Iterator[Input]:
    build = ["gallery", "build", "{seeds}/gallery.toml", "--examples", "{seeds}/photos", "--out", "{out}"]
    for name, typed in {
        "render": RENDER,
        "build": build,
        "pages": READERS["pages"],
        "evaluate": EVALUATE,
    }.items():
        yield Input("links", f"names that lead elsewhere ({name})", typed, _links)

        def one(seeds: Path, inputs: Path, out: Path) -> None:
            _links(seeds, inputs, out)
            for path in (".featvis-lock", "manifest.json", "gallery.toml", "index.html", "site"):
                (out / path).unlink()
            shutil.copy(seeds / "built" / "manifest.json", out)

        yield Input("links", f"layers that lie elsewhere ({name})", typed, one)


# Recipes and configs


RECIPES = {
    "10^5 dots": "a" + ".a" * 10**5 + " = 1",
    "10^5 dots in a heading": "[a" + ".a" * 10**5 + "]",
    "10^5 quoted dots": "'a'" + ".'a'" * 10**5 + " = 1",
    "10^4 dots within": "space = {a" + " . a" * 10**4 + " = 1}",
    "lists 10^4 deep": "size = " + "[" * 10**4 + "]" * 10**4,
    "tables 10^4 deep": "space = " + "{a=" * 10**4 + "1" + "}" * 10**4,
    "lists 500 deep": "size = " + "[" * 500 + "]" * 500,
    "3 MB": "# " + "x" * 3_000_000,
    "a number of 10^5 digits": "steps = " + "9" * 10**5,
    "a text that has no end": 'start = """' + "x" * 10**5,
    "10^4 unknown keys": "\n".join(f"key{n} = 1" for n in range(10**4)),
    "a key of 10^5 letters": "x" * 10**5 + " = 1",
    "a rate of nan": "learning_rate = nan",
    "a rate of infinity": "learning_rate = inf",
    "a weight of nan": "penalties = [{name = 'l2', weight = nan}]",
    "a weight of infinity": "penalties = [{name = 'l2', weight = inf}]",
    "options of nan": "transforms = [{name = 'warp', degrees = nan}]",
    "a space of infinity": "space = {name = 'pixel', deviation = inf}",
    "a range of nan": "transforms = [{name = 'blur', sigma = [nan, 1.0]}]",
    "kornia's nan": "transforms = [{name = 'kornia', augmentation = 'RandomGaussianNoise', std = nan}]",
    "a band of nan": "band = [nan, nan]",
    "a date": "steps = 1979-05-27",
    "parts that are numbers": "transforms = [1, 2]",
    "a space without a name": "space = {exponent = 1.0}",
    "masks in masks": "space = {name='mask', inner=" * 30 + "'pixel'" + "}" * 30,
    "statistics of a pipe": "space = {name = 'pixel', statistics = 'pipe'}",
    "statistics of /dev/zero": "space = {name = 'pixel', statistics = '/dev/zero'}",
    "statistics of a folder": "space = {name = 'pixel', statistics = '.'}",
    "a penalty by a pipe": "penalties = [{name = 'batchnorm', statistics = 'pipe'}]",
    "a penalty by numbers": "penalties = [{name = 'batchnorm', statistics = [1]}, 7]",
    "statistics of nobody": "space = {name = 'pixel', statistics = '~nobody-there/x'}",
    "a NUL": "steps = 2\n\0",
}
CONFIGS = {
    "10^4 sections": "[[sections]]\ntargets = ['a:1']\n" * 10**4,
    "10^5 targets": "recipe = {size = 24, steps = 1, lanes = 1}\n[[sections]]\ntargets = [" + "'blocks.0.0:0'," * 60_000 + "]",
    "a pattern of 10^4 stars": "[[sections]]\ntargets = ['" + "*" * 10**4 + "zz:0']",
    "a pattern that takes long": "[[sections]]\ntargets = ['" + "**a" * 20 + "b:0']",
    "a million units": "[[sections]]\ntargets = ['blocks.0.0:0:9999999999']",
    "5,000 digits": "[[sections]]\ntargets = ['blocks.0.0:" + "9" * 5000 + "']",
    "a base of /dev/zero": "recipe = {base = '/dev/zero.toml'}\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "a base that is itself": "recipe = 'gallery.toml'\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "weights of a pipe": "weights = 'pipe'\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "a mean of nan": "mean = [nan, nan, nan]\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "a std of infinity": "std = [inf, inf, inf]\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "an input of 10^9": "input_size = 1000000000\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "sections that are numbers": "sections = [1, 2]",
    "targets that are numbers": "[[sections]]\ntargets = [1]",
    "a model that is a list": "model = []\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "photographs of /proc": "[examples]\nfolder = '/proc/self/fd'\n[[sections]]\ntargets = ['nothing:0']",
    "text of controls": "title = '''\x1b[2J'''\n[[sections]]\ntargets = ['blocks.0.0:0']",
    "scripts as text": "title = '<script>alert(1)</script>'\n[recipe]\nsize=24\nsteps=1\nlanes=1\n"
                       "[[sections]]\ntargets = ['blocks.0.0:0']",
}  # fmt: skip


def _written(name: str, content: str | bytes) -> Callable[[Path, Path, Path], None]:
    def prepare(seeds: Path, inputs: Path, out: Path) -> None:
        _traps(inputs)
        (inputs / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return prepare


TOML = ["render", "blocks.0.0:0", "--recipe", "{in}/x.toml", "--size", "24", "--steps", "1", "--lanes", "1",
        "--out", "{out}"]  # fmt: skip


def recipes() -> Iterator[Input]:
    for name, text in RECIPES.items():
        yield Input("recipe TOML", name, TOML, _written("x.toml", text))
    yield Input("recipe TOML", "bytes", TOML, _written("x.toml", b"\xff\xfe\x00"))
    yield Input(
        "recipe TOML", "a pipe", ["render", "blocks.0.0:0", "--recipe", "{in}/pipe"], _written("x", "")
    )
    yield Input(
        "recipe TOML", "a device", ["render", "blocks.0.0:0", "--recipe", "/dev/zero"], _written("x", "")
    )


def galleries() -> Iterator[Input]:
    for name, text in CONFIGS.items():
        yield Input("gallery TOML", name, BUILD, _written("gallery.toml", text))


# Tensors and arrays


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(
    shape: list[int], kind: str = "F32", end: int | None = None, name: str = "decoder"
) -> dict[str, object]:
    count = 4
    for side in shape:
        count *= side
    return {name: {"dtype": kind, "shape": shape, "data_offsets": [0, count if end is None else end]}}


def _nan(count: int) -> bytes:
    return struct.pack("<f", float("nan")) * count


TENSORS: dict[str, bytes] = {
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of 5 MB": struct.pack("<Q", 5_000_000) + b"{" + b" " * 4_999_999,
    "no header": b"",
    "a header that is no table": _safetensors([]),
    "a header nested 10^5 deep": _safetensors(b"[" * 10**5),
    "shapes beyond the file": _safetensors(_tensor([10**9, 10**9], end=16), bytes(16)),
    "negative offsets": _safetensors({"decoder": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}),
    "no tensors": _safetensors({}),
    "of no rows": _safetensors(_tensor([0, 24])),
    "a number": _safetensors(_tensor([]), bytes(4)),
    "five axes": _safetensors(_tensor([1, 1, 1, 1, 24]), bytes(96)),
    "whole numbers": _safetensors(_tensor([1, 24], "I32"), bytes(96)),
    "not numbers": _safetensors(_tensor([1, 24]), _nan(24)),
    "eight bits": _safetensors(_tensor([1, 24], "F8_E4M3", end=24), bytes(24)),
    "an unknown type": _safetensors(_tensor([1, 24], "Q99"), bytes(96)),
    "metadata of lists": _safetensors({**_tensor([1, 24]), "__metadata__": {"featvis": [1]}}, bytes(96)),
    "metadata nested deep": _safetensors(
        {**_tensor([1, 24], name="directions"), "__metadata__": {"featvis": "[" * 10**5}}, bytes(96)
    ),
    "metadata that is no table": _safetensors(
        {**_tensor([1, 24], name="directions"), "__metadata__": {"featvis": "[1]"}}, bytes(96)
    ),
    "directions of no rows": _safetensors(
        {**_tensor([0, 24], name="directions"), "__metadata__": {"featvis": '{"layer":"blocks.1"}'}}
    ),
    "directions of one number": _safetensors(
        {**_tensor([], name="directions"), "__metadata__": {"featvis": '{"layer":"blocks.1"}'}}, bytes(4)
    ),
    "directions that are not numbers": _safetensors(
        {**_tensor([1, 24], name="directions"), "__metadata__": {"featvis": '{"layer":"blocks.1"}'}}, _nan(24)
    ),
    "a layer that is a list": _safetensors(
        {**_tensor([1, 24], name="directions"), "__metadata__": {"featvis": '{"layer":["a"]}'}}, bytes(96)
    ),
    "statistics of infinity": _safetensors({"__metadata__": {"featvis": json.dumps(
        {"format": "image statistics 1", "size": [float("inf"), 3], "images": 1, "skipped": 0, "fingerprint": ""})}}),
    "statistics of no axes": _safetensors({**_tensor([], name="covariance"), "__metadata__": {"featvis": json.dumps(
        {"format": "image statistics 1", "size": [], "images": 1, "skipped": 0, "fingerprint": ""})}}, bytes(4)),
}  # fmt: skip
TENSOR_READERS = {
    "vectors": ["render", "blocks.1@{in}/x.safetensors:decoder:0", *ONE[2:]],
    "directions": [
        "attribute",
        "{seeds}/photos/a.jpg",
        "--direction",
        "{in}/x.safetensors:0",
        "--size",
        "32",
        "--out",
        "{out}",
    ],
    "statistics": [*ONE, "--set", "space={{name='pixel', statistics='{in}/x.safetensors'}}"],
    "weights": [*ONE, "--weights", "{in}/x.safetensors"],
    "penalty": [
        *("render", "classifier:3", "--size", "32", "--steps", "1", "--lanes", "1", "--out", "{out}"),
        *("--recipe", "portrait", "--set", "penalties.batchnorm.statistics={in}/x.safetensors"),
    ],
}


def tensors() -> Iterator[Input]:
    names = list(TENSOR_READERS)
    for place, (name, content) in enumerate(TENSORS.items()):
        chosen = (
            "directions" if "direction" in name or "metadata" in name or "layer" in name else names[place % 4]
        )
        chosen = "statistics" if name.startswith("statistics") else chosen
        yield Input(
            "safetensors", f"{name} ({chosen})", TENSOR_READERS[chosen], _written("x.safetensors", content)
        )
    for reader in ("vectors", "directions", "statistics", "penalty"):
        typed = [word.replace("x.safetensors", "pipe.safetensors") for word in TENSOR_READERS[reader]]

        def pipe(seeds: Path, inputs: Path, out: Path) -> None:
            os.mkfifo(inputs / "pipe.safetensors")

        yield Input("safetensors", f"a pipe ({reader})", typed, pipe)
    for name, content in ARRAYS.items():
        yield Input(
            "arrays", name, ["py:image_statistics", "{in}/arrays"], _written_below("arrays", "x.npy", content)
        )


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


class _Runs:
    """A pickle that would write a file if it were run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path(f"ran-{CANARY}"),))  # type: ignore[return-value]


ARRAYS = {
    "10^18 values": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000000, 1000000000), }"),
    "objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([_Runs()])),
    "a pickle": pickle.dumps(_Runs()),
    "a header of code": _npy("__import__('os').system('touch ran')"),
    "a header nested deep": _npy("(" * 5000 + ")" * 5000),
    "a header of brackets": _npy("[" * 9000),
    "a shape of texts": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': ('a',), }"),
    "a negative shape": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, 3), }", bytes(36)),
    "records": _npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2, 2), }", bytes(48)),
    "not numbers": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2), }", _nan(12)),
    "empty": b"",
}


def _zip_bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.npy", bytes(300_000_000))
    return made.getvalue()


def _written_below(folder: str, name: str, content: bytes) -> Callable[[Path, Path, Path], None]:
    def prepare(seeds: Path, inputs: Path, out: Path) -> None:
        (inputs / folder).mkdir()
        (inputs / folder / name).write_bytes(content)

    return prepare


# Checkpoints


def _checkpoint(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("archive/data.pkl", data)
        packed.writestr("archive/version", "3")
        packed.writestr("archive/byteorder", "little")
    return made.getvalue()


CHECKPOINTS = {
    "a pickle of code": pickle.dumps(_Runs()),
    "a checkpoint of code": _checkpoint(pickle.dumps({"state_dict": _Runs()}, 2)),
    "a checkpoint that imports": _checkpoint(b"\x80\x02cos\nsystem\nX\x05\0\0\0touch\x85R."),
    "a checkpoint that builds": _checkpoint(b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R."),
    "no end": _checkpoint(b"\x80\x02"),
    "nested 10^5 deep": _checkpoint(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."),
    "a memo of 2^31": _checkpoint(b"\x80\x02" + b"j\xff\xff\xff\x7f."),
    "a text of 4 GB": _checkpoint(b"\x80\x02X\xff\xff\xff\xffx."),
    "a number of 2 GB": _checkpoint(b"\x80\x02\x8b\xff\xff\xff\x7f1."),
    "it holds itself": _checkpoint(b"\x80\x02}q\0X\x05\0\0\0modelh\0s."),
    "a zip without members": b"PK\x05\x06" + bytes(18),
    "half a zip": _checkpoint(pickle.dumps({}, 2))[:60],
    "empty": b"",
    "zeros": bytes(10_000),
}


def checkpoints() -> Iterator[Input]:
    for name, content in CHECKPOINTS.items():
        yield Input("checkpoint", name, [*ONE, "--weights", "{in}/x.pth"], _written("x.pth", content))


# Images


def _bomb(kind: str) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("1" if kind in ("PNG", "TIFF") else "L", (20_000, 20_000)).save(
        made, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {})
    )
    return made.getvalue()


def _large(mode: str, kind: str, side: int = 9400) -> bytes:
    """As many pixels as Pillow reads."""
    from PIL import Image

    made = io.BytesIO()
    Image.new(mode, (side, side)).save(made, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return made.getvalue()


def _strip(height: int, width: int) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (width, height)).save(made, "PNG")
    return made.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: _EPS,
    "a bomb (PNG)": lambda: _bomb("PNG"),
    "a bomb (TIFF)": lambda: _bomb("TIFF"),
    "89 million pixels": lambda: _large("RGB", "PNG"),
    "89 million pixels, transparent": lambda: _large("RGBA", "PNG"),
    "89 million floats": lambda: _large("F", "TIFF"),
    "89 million whole numbers": lambda: _large("I;16", "PNG"),
    "one row": lambda: _strip(1, 60_000),
    "one column": lambda: _strip(60_000, 1),
    "one pixel": lambda: _strip(1, 1),
    "half a JPEG": lambda: b"\xff\xd8\xff\xe0" + bytes(100),
    "a GIF of nothing": lambda: b"GIF89a" + bytes(7),
    "a TIFF that points at itself": lambda: (
        b"II*\0\x08\0\0\0\x01\0" + b"\x00\x01\x04\0\x01\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
    ),
    "a BMP of -1 rows": lambda: (
        b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 100, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "a PPM of 10^9 columns": lambda: b"P6 1000000000 1000000000 255 ",
    "an SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "a WMF": lambda: b"\xd7\xcd\xc6\x9a" + bytes(100),
    "a FITS": lambda: b"SIMPLE  =                    T" + b" " * 3000,
    "empty": lambda: b"",
}
IMAGE_READERS = {
    "attribute": [
        "attribute",
        "{in}/photos/x.png",
        "--target",
        "classifier:3",
        "--size",
        "32",
        "--no-curves",
        "--out",
        "{out}",
    ],
    "dream": [
        "dream",
        "{in}/photos/x.png",
        "--layer",
        "blocks.0.0",
        "--steps",
        "1",
        "--octaves",
        "1",
        "--size",
        "64",
        "--out",
        "{out}",
    ],
    "start": [*ONE[:2], "--steps", "1", "--lanes", "1", "--start", "{in}/photos/x.png", "--out", "{out}"],
    "components": [
        "components",
        "blocks.0.0",
        "{in}/photos",
        "--count",
        "2",
        "--size",
        "32",
        "--out",
        "{out}/d.safetensors",
    ],
    "statistics": ["py:image_statistics", "{in}/photos"],
}


def images() -> Iterator[Input]:
    readers = list(IMAGE_READERS)
    for place, (name, make) in enumerate(IMAGES.items()):
        chosen = [readers[place % 5]]
        if name == "89 million pixels":  # the largest that is decoded
            chosen = ["attribute", "start"]
        for reader in chosen:

            def prepare(seeds: Path, inputs: Path, out: Path, make: Callable[[], bytes] = make) -> None:
                (inputs / "photos").mkdir()
                (inputs / "photos" / "x.png").write_bytes(make())
                shutil.copy(seeds / "photos" / "a.jpg", inputs / "photos")

            yield Input("image", f"{name} ({reader})", IMAGE_READERS[reader], prepare)

    def odd(seeds: Path, inputs: Path, out: Path) -> None:
        photos = inputs / "photos"
        photos.mkdir()
        shutil.copy(seeds / "photos" / "a.jpg", photos)
        os.mkfifo(photos / "pipe.png")
        (photos / "loop").symlink_to(photos)
        (photos / "zero.png").symlink_to("/dev/zero")
        (photos / "gone.png").symlink_to("nowhere")
        (photos / "folder.png").mkdir()
        (photos / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
        (photos / "huge.png").touch()
        os.truncate(photos / "huge.png", 10**12)
        (photos / "zip.npy").write_bytes(_zip_bomb())

    yield Input("folder", "pipes, loops and devices", IMAGE_READERS["components"], odd)
    yield Input("folder", "pipes, loops and devices (statistics)", IMAGE_READERS["statistics"], odd)
    build = ["gallery", "build", "{seeds}/gallery.toml", "--examples", "{in}/photos", "--out", "{out}"]
    yield Input("folder", "pipes, loops and devices (gallery)", build, odd)
    yield Input("folder", "the root of processes", ["py:image_statistics", "/proc/self/fd"], odd)


# What is typed


SETTINGS = {
    "10^5 dots": "space" + ".a" * 10**5 + "=1",
    "10^5 dots in the value": "space={a" + ".a" * 10**5 + "=1}",
    "lists 10^4 deep": "size=" + "[" * 10**4,
    "a rate of nan": "learning_rate=nan",
    "a rate of infinity": "learning_rate=inf",
    "a weight of nan": "penalties=[{name='l2', weight=nan}]",
    "a scale of infinity": "transforms=[{name='warp', scale=inf}]",
    "5,000 digits": "steps=" + "9" * 5000,
    "a field of 10^5 letters": "x" * 10**5 + "=1",
    "a NUL": "space=\0",
    "a line that ends": "steps=1\nlanes=3",
}


def settings() -> Iterator[Input]:
    def nothing(seeds: Path, inputs: Path, out: Path) -> None: ...

    for name, text in SETTINGS.items():
        # Fields of format(): braces are doubled.
        yield Input(
            "--set", name, [*ONE[:2], "--set", text.replace("{", "{{").replace("}", "}}"), *ONE[8:]], nothing
        )


# Places that cannot be written


def outputs() -> Iterator[Input]:
    def blocked(seeds: Path, inputs: Path, out: Path) -> None:
        (out / "file").write_text("a file")
        (out / "blocks.0.0").write_text("a file where a folder should be")
        (out / "loop").symlink_to(out / "loop")
        (out / "x.png").mkdir()
        os.mkfifo(out / "pipe")
        shutil.copytree(seeds / "built", out / "built")
        for path in [out / "built" / "index.html"]:
            path.unlink()
            path.mkdir()

    png = ["reproduce", "{seeds}/out/blocks.0.0/0000.png", "--out"]
    places = (
        "{out}/file/below",
        "/proc/nothing/here",
        "/dev/null/x",
        "{out}/loop",
        "{out}/" + "x" * 300,
        "a\0b",
    )
    for place in places:
        yield Input("output", f"render to {place[:20]!r}", [*ONE[:-1], place], blocked)
        yield Input("output", f"reproduce to {place[:20]!r}", [*png, place], blocked)
    yield Input("output", "a file where a layer goes", ONE, blocked)
    yield Input("output", "a folder where a PNG goes", [*png, "{out}/x.png"], blocked)
    yield Input("output", "a pipe where a PNG goes", [*png, "{out}/pipe"], blocked)
    yield Input("output", "a folder where a page goes", ["gallery", "pages", "{out}/built"], blocked)
    yield Input(
        "output",
        "a ZIP into a folder",
        ["gallery", "export", "{seeds}/built", "--zip", "{out}/x.png"],
        blocked,
    )
    yield Input("output", "weights into a folder", ["weights", "conv_stem", "--out", "{out}/x.png"], blocked)
    photo = "{seeds}/photos/a.jpg"
    where = {
        "render": ["render", *ONE[1:-1], "{out}/new"],
        "reproduce": [*png, "{out}/new.png"],
        "gallery build": ["gallery", "build", "{seeds}/gallery.toml", "--out", "{out}/new"],
        "gallery export": ["gallery", "export", "{seeds}/built", "--zip", "{out}/new.zip"],
        "attribute": [
            "attribute",
            photo,
            "--target",
            "classifier:3",
            "--size",
            "32",
            "--no-curves",
            "--out",
            "{out}/new",
        ],
        "dream": [
            "dream",
            photo,
            "--layer",
            "blocks.0.0",
            "--steps",
            "1",
            "--octaves",
            "1",
            "--out",
            "{out}/new",
        ],
        "components": [
            "components",
            "blocks.0.0",
            photo,
            "--count",
            "2",
            "--size",
            "32",
            "--out",
            "{out}/new/d.safetensors",
        ],
        "weights": ["weights", "conv_stem", "--out", "{out}/new.png"],
        "blocks": [
            "blocks",
            photo,
            "--target",
            "classifier:3",
            "--layer",
            "blocks.0.0",
            "--size",
            "32",
            "--out",
            "{out}/new",
        ],
    }
    for name, typed in where.items():
        yield Input("full disk", name, typed, blocked, {"file_size": 600})


# Changes of real files


@dataclass(frozen=True)
class Changed:
    """A kind of real file, how it is changed, and the command that reads it."""

    source: str
    change: Callable[[bytes, random.Random], bytes]
    typed: list[str]
    place: str = "x"
    folder: str = ""
    """One of the seeds that is copied to the output, the changed file among it."""


def _text(change: Callable[[str, random.Random], str]) -> Callable[[bytes, random.Random], bytes]:
    def changed(content: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.2:
            return changes.change_bytes(content, chance)
        return change(content.decode(), chance).encode("utf-8", "surrogatepass")

    return changed


CHANGED: dict[str, Changed] = {
    "PNG": Changed("out/blocks.0.0/0000.png", changes.change_png, REPRODUCE, "x.png"),
    "PNG of a folder": Changed("out/blocks.0.0/0000.png", changes.change_png, RENDER, "blocks.0.0/0000.png", "out"),
    "manifest, status": Changed("built/manifest.json", _text(changes.change_json), READERS["status"], "manifest.json", "built"),
    "manifest, pages": Changed("built/manifest.json", _text(changes.change_json), READERS["pages"], "manifest.json", "built"),
    "manifest, render": Changed("out/manifest.json", _text(changes.change_json), RENDER, "manifest.json", "out"),
    "manifest, evaluate": Changed("out/manifest.json", _text(changes.change_json), EVALUATE, "manifest.json", "out"),
    "examples.json": Changed("built/examples.json", _text(changes.change_json),
        ["gallery", "build", "{seeds}/gallery.toml", "--examples", "{seeds}/photos", "--out", "{out}"], "examples.json", "built"),
    "recipe TOML": Changed("recipe.toml", _text(changes.change_toml),
        ["render", "blocks.0.0:0", "--recipe", "{in}/x.toml", "--set", "size=24", "--steps", "1", "--lanes", "1", "--out", "{out}"], "x.toml"),
    "gallery TOML": Changed("gallery.toml", _text(changes.change_toml), BUILD, "gallery.toml"),
    "safetensors, vectors": Changed("sae.safetensors", changes.change_safetensors, TENSOR_READERS["vectors"], "x.safetensors"),
    "safetensors, directions": Changed("directions.safetensors", changes.change_safetensors, TENSOR_READERS["directions"], "x.safetensors"),
    "safetensors, statistics": Changed("statistics.safetensors", changes.change_safetensors, TENSOR_READERS["statistics"], "x.safetensors"),
    "safetensors, penalty": Changed("activations.safetensors", changes.change_safetensors, TENSOR_READERS["penalty"], "x.safetensors"),
    "safetensors, weights": Changed("weights.safetensors", changes.change_safetensors, TENSOR_READERS["weights"], "x.safetensors"),
    "checkpoint": Changed("net.pth", changes.change_zip, [*ONE, "--weights", "{in}/x.pth"], "x.pth"),
    "array": Changed("arrays/a.npy", changes.change_bytes, ["py:image_statistics", "{in}/arrays"], "arrays/x.npy"),
    "JPEG": Changed("photos/a.jpg", changes.change_bytes, IMAGE_READERS["attribute"], "photos/x.png"),
    "WEBP": Changed("photos/c.webp", changes.change_bytes, IMAGE_READERS["start"][:-2] + ["--size", "24", "--out", "{out}"], "photos/x.png"),
    "TIFF": Changed("photos/d.tiff", changes.change_bytes, ["py:image_statistics", "{in}/photos"], "photos/x.tiff"),
}  # fmt: skip


def mutated(seed: int, count: int) -> Iterator[Input]:
    for kind, how in CHANGED.items():
        for number in range(count):
            yield change_of(kind, how, f"{seed} {kind} {number}")


def change_of(kind: str, how: Changed, chance: str) -> Input:
    """Return the input that a kind of file becomes by this chance."""

    def prepare(seeds: Path, inputs: Path, out: Path) -> None:
        content = how.change((seeds / how.source).read_bytes(), random.Random(chance))
        place = inputs
        if how.folder:
            shutil.copytree(seeds / how.folder, out, dirs_exist_ok=True)
            place = out
        (place / how.place).parent.mkdir(parents=True, exist_ok=True)
        (place / how.place).write_bytes(content)
        if how.place == "gallery.toml":
            shutil.copy(seeds / "recipe.toml", place)

    return Input(f"changed {kind}", chance, how.typed, prepare)
