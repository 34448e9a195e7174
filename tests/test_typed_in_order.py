"""The README's and the guides' commands, typed one after the other into one folder, as their reader does.

They are made quick (a canvas of 32 pixels, two steps, four units); what is not on this machine is replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
import tomllib

import pytest
import tomli_w
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet18

from featvis.cli import main
from tests.documents import EXAMPLES, GUIDES, REPOSITORY, commands, text_of
from tests.trust.quizzes import answers, write, write_classes, write_photos

NOT_HERE = {
    # VGG16's weights are no part of featvis, and are large: layers of the same names, with fewer channels.
    "--model torchvision:vgg16 --weights vgg16_features.safetensors": "--model file:vgg.py:make",
    # Another judge that needs no download.
    "timm:resnet50.a1_in1k": "squeezenet1_1",
    # In the guide's first example best.pth is of a network of one's own, in another of a ResNet.
    "--model torchvision:resnet18 --weights best.pth": "--model torchvision:resnet18 --weights resnet.pth",
    # Folders that readers have from elsewhere: a gallery of their own, and the one in the repository.
    "evaluate lite0": "evaluate gallery/small",
    "evaluate gallery/tour": "evaluate gallery/small",
    # The layers of the same names have eight channels.
    "features.7:12": "features.7:2",
    # Need a package more.
    "--layout umap": "--layout pca",
    "--pair open_clip:ViT-B-32/openai": "--pair file:pair.py:make",
}
NOT_TYPED = {
    "bench": "measures time and writes nothing",
    "layers": "writes nothing",
    "models": "writes nothing",
    "parts": "writes nothing",
    "--dry-run": "writes nothing",
    "--install-completion": "writes into the shell's own settings",
}
SIDE, STEPS, UNITS = 32, 2, 4
TYPED_ELSEWHERE = {"cluster.md": "by tests/galleries/test_cluster.py and tests/run/executors/test_ray.py"}
"""Pages whose commands need what their own tests start."""
TAKES_SIZE = ("render", "dream", "accentuate", "invert", "caricature", "style", "compare")
TAKES_STEPS = ("render", "dream", "accentuate", "invert", "caricature", "style", "compare")


def toctree():
    """The guides in the order in which a reader turns their pages."""
    names = re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(GUIDES / "index.md"), re.M | re.S)[0].split()
    return [path for name in names for path in GUIDES.glob(f"{name}.*") if path.suffix in (".md", ".ipynb")]


def typed():
    """Every command in order, made quick, each once for every page that has it."""
    lines = []
    for path in [REPOSITORY / "README.md", *toctree(), *EXAMPLES]:
        for line in commands(path) if path.name not in TYPED_ELSEWHERE else ():
            line = line.replace("$V", "--model torchvision:vgg16 --weights vgg16_features.safetensors")
            for there, here in NOT_HERE.items():
                line = line.replace(there, here)
            words = shlex.split(line, comments=True)[1:]
            if not any(word in words for word in NOT_TYPED):
                lines.append((path.name, quick(words)))
    return lines


def few(word):
    """Addresses with the first few of their units: ``blocks.3:0:8`` and ``classifier:5,6,7,8,9``."""
    word = re.sub(r":0:\d+$", f":0:{UNITS}", word)
    return re.sub(r":(\d+(?:,\d+)+)$", lambda found: ":" + ",".join(found[1].split(",")[:UNITS]), word)


def quick(words):
    words = [few(word) for word in words]

    def put(name, value):
        if name in words:
            words[words.index(name) + 1] = value
        else:
            words.extend([name, value])

    if words[0] in TAKES_SIZE or words[0] == "attribute":
        wide = "--size" in words and "x" in words[words.index("--size") + 1]
        side = 4 * SIDE if "@" in words[1] else SIDE  # a position must be there
        put("--size", f"{side}x{side * 3 // 2}" if wide else str(side))
    if words[0] in TAKES_STEPS or (words[0] == "attribute" and "all" in words):
        put("--steps", str(STEPS))
    if words[0] == "render" and "--layer" in words:
        put("--units", f"0:{UNITS}")
    if words[0] == "atlas":
        for name, value in {
            "--count": "40",
            "--grids": "2",
            "--least": "1",
            "--layout": "pca",
            "--cell": "16",
        }.items():
            put(name, value)
        put("--steps", "1")
    if words[0] == "circuit" or ("--grid" in words and words[0] == "blocks"):
        put("--size", str(SIDE))
        put("--steps", str(STEPS))
    if "--grid" in words and words[0] == "blocks":
        put("--groups", "2")
        put("--size", str(3 * SIDE))
    if words[0] == "words":
        put("--count", "2")
    if words[0] in ("components", "quiz", "circuit"):
        put("--count", str(UNITS) if words[0] == "components" else "2")
    if words[0] in ("evaluate", "compare") and "--answers" not in words:
        put("--views", "1")
        if "--judge" not in words:
            put("--judge", "squeezenet1_1")
    return words


NETWORKS = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(3, 8, 5, stride=2))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(8, 10))
    return network, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "input_size": 28}
"""
VGG = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    parts, before = [], 3
    for width, count in ((4, 2), (8, 2), (16, 3), (16, 3), (288, 3)):
        for _ in range(count):
            parts += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
        parts.append(nn.MaxPool2d(2, ceil_mode=True))
    network = nn.Module()
    network.features = nn.Sequential(*parts)
    network.forward = network.features.forward
    return network, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "input_size": 64}
"""


PAIR = """
import featvis as fv
import torch
from torch import nn

class Pair(nn.Module):
    def encode_image(self, images):
        return images.mean((2, 3))

    def encode_text(self, tokens):
        return tokens

def tokenize(texts):
    sums = [sum(map(ord, text)) for text in texts]
    return torch.tensor([[1.0 + one % number for number in (7, 11, 13)] for one in sums])

def make():
    return fv.load_paired(Pair(), tokenize, input_size=16)
"""


def write_config(path, there):
    """One of our galleries, made quick."""
    told = tomllib.loads(path.read_text("utf-8"))
    if told["model"] == "torchvision:vgg16":
        told = {**told, "model": "file:../../vgg.py:make"}
        told.pop("weights")
    told["recipe"] = {**told.get("recipe", {}), "size": SIDE, "steps": STEPS}
    for section in told["sections"]:
        section["targets"] = [re.sub(r":\d+:\d+(:\d+)?$", ":0:2", one) for one in section["targets"][:2]]
        section["recipe"] = {**section.get("recipe", {}), "size": SIDE, "steps": STEPS}
    there.write_text(tomli_w.dumps(told), "utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """What the reader has: photographs, a network of one's own with checkpoints, our configs, folders."""
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    place = tmp_path_factory.mktemp("desk")
    for name, image in {"cat.jpg": "chelsea", "art.jpg": "immunohistochemistry"}.items():
        Image.fromarray(getattr(data, image)()).resize((48, 36)).save(place / name)
    for name in ("astronaut", "chelsea", "immunohistochemistry"):
        short = {"immunohistochemistry": "ihc"}.get(name, name)
        Image.fromarray(getattr(data, name)()).resize((48, 36)).save(place / f"{short}.png")
    write_photos(place / "photos", 5)
    write_classes(place / "new", 12)
    write_classes(place / "old", 12)
    (place / "net.py").write_text(NETWORKS)
    (place / "vgg.py").write_text(VGG)
    (place / "pair.py").write_text(PAIR)
    (place / "words.txt").write_text("dog\ncat\nfur\nsnout\n")
    space: dict = {}
    exec(NETWORKS, space)
    weights = space["make"]()[0].state_dict()
    other = {name: tensor + 0.01 for name, tensor in weights.items()}
    torch.save({"model": weights, "model_ema": other}, place / "best.pth")
    torch.save(other, place / "other.pth")
    torch.save(resnet18(num_classes=10).state_dict(), place / "resnet.pth")
    rows = torch.randn(64, 320)
    parts = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": torch.ones(64), "b_dec": torch.zeros(320)}
    save_file(parts, place / "sae.safetensors")
    (place / "classes.txt").write_text("\n".join(f"digit {number}" for number in range(10)))
    (place / "configs" / "galleries").mkdir(parents=True)
    for path in (REPOSITORY / "configs" / "galleries").glob("*.toml"):
        write_config(path, place / "configs" / "galleries" / path.name)
    return place


def answer(place):
    """What two people saved of the quiz, in the folder that the guide names."""
    folder = place / "answers"
    folder.mkdir()
    key = json.loads((place / "quiz" / "key.json").read_text("utf-8"))
    for session in ("a", "b"):
        told = answers(key, session, naming=lambda item: {"free": "otter", "name": item["right"]})
        write(folder / f"{session}.json", told)


KEPT = re.compile(
    r"(^|/)(grid\.png|(manifest|evaluation|examples|ablations)\.json)$|\.html$|(^|/)site/|(^|/)thumbs/"
)
"""What tells of a folder as a whole, and so of what was added to it."""


def contents(place):
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".lock"
    }


@pytest.mark.slow
def test_no_file_that_was_there_changes(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    monkeypatch.delenv("FEATVIS_OUT", raising=False)
    known, took, wrong = contents(desk), [], []
    for page, words in typed():
        began = time.perf_counter()
        code = main(words)
        told = capsys.readouterr()
        took.append((time.perf_counter() - began, " ".join(words)))
        if words[0] == "quiz":
            answer(desk)
        if code != 0:
            wrong.append(f"{page}: {' '.join(words)}: exit code {code}: {told.err.strip()[-300:]}")
        found = contents(desk)
        gone = [name for name in known if name not in found]
        changed = [name for name in known if name in found and found[name] != known[name]]
        changed = [name for name in changed if not KEPT.search(name)]
        if gone or changed:
            wrong.append(f"{page}: {' '.join(words)}: gone {gone}, changed {changed}")
        known = found
    print(*(f"{seconds:6.1f} s  {line[:110]}" for seconds, line in took), sep="\n")
    print(f"{len(took)} commands, {sum(seconds for seconds, _ in took):.0f} s, {len(known)} files")
    assert len(took) > 65
    assert wrong == []
