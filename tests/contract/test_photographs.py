"""What every function that takes a photograph holds to: any form gives the same, what is none is refused.

A new function is covered by a line of ``DOORS``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.models.photograph import read_photograph
from tests.networks import small

SIZE = (17, 24)
NETWORKS = {3: small(size=SIZE), 1: small(1, SIZE)}
LEVELS = np.random.default_rng(5).integers(0, 256, (3, *SIZE), dtype=np.uint8)
QUICK = {"steps": 1, "lanes": 1, "transforms": []}
CLASS, UNIT = "fc:1", fv.channel("conv1", 1)


def reference(make):
    """What a bound objective holds of a photograph."""
    return lambda model, x: make(x).bind(model.at(SIZE)).describe()


def render(model, x):
    return fv.render(model, UNIT, start=x, **QUICK)[0].levels


def reproduce(model, x):
    path = Path(PLACE, f"started-{model.channels}.png")
    if not path.exists():
        fv.render(model, UNIT, start=good(model.channels)["tensor"], **QUICK)[0].save(path)
    return fv.reproduce(path, model, objective=UNIT, start=x, progress=False).levels


def ascend(model, x):
    space = fv.PixelImage(size=SIZE, channels=model.channels)
    return next(fv.ascend(model, UNIT, space, steps=1, start=x)).images.detach()


def building_blocks(model, x):
    """What is taken apart; the page of it is not made."""

    def stop(handle, image, *told):
        raise Seen(image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featvis.explore.building_blocks.find_blocks", stop)
        try:
            fv.building_blocks(model, x, CLASS, "conv2", Path(PLACE, "blocks"), size=8, **QUICK)
        except Seen as seen:
            return seen.args[0]
    return None


class Seen(Exception):
    """Carries what a function was going to show."""


def film(model, x):
    return fv.video(x, Path(PLACE, "film.gif")).read_bytes()


ONE = {
    "load_image": lambda model, x: fv.load_image(x, model.channels),
    "render(start)": render,
    "reproduce(start)": reproduce,
    "ascend(start)": ascend,
    "attribute": lambda model, x: fv.attribute(model, x, CLASS).values,
    "find_blocks": lambda model, x: fv.find_blocks(model, x, CLASS, "conv1").contributions,
    "building_blocks": building_blocks,
    "eigendistortions": lambda model, x: fv.eigendistortions(model, "fc", x, steps=2).photograph,
    "differentiate": lambda model, x: (
        fv.differentiate(model, model, CLASS, "fc:2", start=x, steps=1).up.image
    ),
    "circuit(picture)": lambda model, x: fv.circuit(model, CLASS, "conv2", picture=x).paths[0].kernels,
    "accentuation": reference(lambda x: fv.accentuation(fv.logit(3), x)),
    "match": reference(lambda x: fv.match("conv1", x)),
    "caricature": reference(lambda x: fv.caricature("conv1", x)),
    "style": reference(lambda x: fv.style("conv1", x)),
}
"""Functions of one photograph, each with what it makes of it."""
SEVERAL = {
    "find_components": lambda model, x: fv.find_components(model, "conv1", x, "pca", 1).directions,
    "fit_facet": lambda model, x: fv.fit_facet(model, x, [BLACK[model.channels]], ["conv1"])["conv1"],
    "circuit": lambda model, x: fv.circuit(model, CLASS, "conv2", photographs=x).paths[0].kernels,
    "walk_circuit": lambda model, x: (
        fv.walk_circuit(model, CLASS, "conv2", levels=1, count=1, photographs=x, size=SIZE, **QUICK)
        .circuits[CLASS]
        .paths[0]
        .kernels
    ),
    "ablate": lambda model, x: [one.logit for one in fv.ablate(model, "conv1:1", x, "mean").classes],
    "without": lambda model, x: fv.without(model, "conv1:1", "mean", photographs=x).fingerprint(),
    "activation_statistics": lambda model, x: fv.activation_statistics(model, x).layers["conv1"],
    "image_statistics": lambda model, x: fv.image_statistics(x, size=SIZE, channels=model.channels).mean,
}
"""Functions of several photographs, or of a folder of them."""
SHOWN = {"grid": lambda model, x: np.asarray(fv.grid(x)), "video": film}
"""Functions that show one image or several, of any network."""
DOORS = {
    **ONE,
    **{name: lambda model, x, door=door: door(model, [x]) for name, door in {**SEVERAL, **SHOWN}.items()},
}
RGB_FILES = ("accentuation", "match", "caricature", "style")
"""They know no network yet: they read files as RGB."""
SLOW = ("building_blocks", "fit_facet", "walk_circuit", "attribute")
BLACK = {channels: torch.zeros(channels, *SIZE) for channels in (1, 3)}
PLACE = ""


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    global PLACE
    PLACE = str(tmp_path_factory.mktemp("forms"))


def good(channels):
    """One photograph in every form."""
    levels = LEVELS[:channels]
    last = np.ascontiguousarray(levels.transpose(1, 2, 0))
    file = Path(PLACE, f"x{channels}.png")
    image = Image.fromarray(last if channels == 3 else levels[0])
    image.save(file)
    read_only = levels.astype(np.float32) / 255
    read_only.flags.writeable = False
    turned = Image.fromarray(np.asarray(image.transpose(Image.Transpose.ROTATE_90)))
    turned.getexif()[0x0112] = 6
    return {
        "tensor": torch.from_numpy(levels.astype(np.float32) / 255),
        "float64 tensor": torch.from_numpy(levels / 255),
        "a graph's tensor": torch.from_numpy(levels.astype(np.float32) / 255).requires_grad_(),
        "channels-last tensor": torch.from_numpy(last).permute(2, 0, 1) / 255,
        "rounded beyond": torch.from_numpy(levels / 255 + (levels == 255) * 1e-7 - (levels == 0) * 1e-7),
        "uint8 tensor": torch.from_numpy(levels),
        "array": levels / 255,
        "read-only array": read_only,
        "uint8 array": levels,
        "uint8 as PIL gives it": np.asarray(image),
        "backwards": (levels[:, :, ::-1] / 255)[:, :, ::-1],
        "PIL": image,
        "PIL, turned": turned,
        "PIL, RGBA": image.convert("RGBA"),
        "text": str(file),
        "path": file,
    }


def same(one, other):
    if isinstance(one, str | bytes):
        return one == other
    one, other = (np.asarray(value, dtype=np.float64) for value in (one, other))
    return one.shape == other.shape and np.allclose(one, other, atol=1e-5)


EXPECTED = {}


def expected(name, channels):
    if (name, channels) not in EXPECTED:
        image = good(channels)["tensor"]
        before = image.clone()
        EXPECTED[name, channels] = DOORS[name](NETWORKS[channels], image)
        assert torch.equal(image, before), "the user's own image stays as it is"
    return EXPECTED[name, channels]


@pytest.mark.parametrize("channels", [3, 1])
def test_every_form_is_read_alike(channels):
    forms = good(channels)
    for form, photo in forms.items():
        read = read_photograph(photo, channels)
        assert read.dtype == torch.float32
        assert read.shape == (channels, *SIZE)
        assert torch.allclose(read, forms["tensor"], atol=1e-6), form


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", DOORS)
def test_every_function_takes_it(name, channels):
    forms = good(channels)
    chosen = ["PIL"] if name in SLOW else ["PIL", "text", "uint8 as PIL gives it", "read-only array"]
    wanted = expected(name, channels)
    for form in chosen:
        assert same(DOORS[name](NETWORKS[channels], forms[form]), wanted), form


@pytest.mark.parametrize("name", RGB_FILES)
def test_a_colourful_one_is_not_made_grey_unasked(name):
    with pytest.raises(fv.CanvasError, match=r"in colour.*takes 1 channel: fv.load_image\(…, channels=1\)"):
        DOORS[name](NETWORKS[1], good(3)["PIL"])


X = torch.from_numpy(LEVELS.astype(np.float32) / 255)
WRONG = {
    "levels as floats": (X * 255, r"beyond: 0 to 255; x / 255"),
    "normalized": ((X - 0.5) / 0.25, r"beyond: -2 to 2; .*x \* std \+ mean"),
    "a little beyond": (X * 1.1, r"beyond: 0 to 1.1; x.clip\(0, 1\)"),
    "NaN": (X.masked_fill(X > 0.99, torch.nan), "NaN"),
    "sparse": (X.to_sparse(), "plain tensor"),
    "without numbers": (X.to("meta"), "plain tensor"),
    "infinite": (X.masked_fill(X > 0.99, torch.inf), "infinity"),
    "whole numbers": (X.long(), "got torch.int64"),
    "an array of truths": (X.numpy() > 0.5, "got bool"),
    "(H, W, C)": (X.permute(1, 2, 0), r"\(17, 24, 3\); x.permute\(2, 0, 1\)"),
    "an array (H, W, C)": (X.permute(1, 2, 0).numpy(), r"\(17, 24, 3\); x\.(transpose|permute)\(2, 0, 1\)"),
    "two channels": (X[:2], r"H, W\), got shape \(2, 17, 24\)"),
    "no pixel": (X[:, :0], r"got shape \(3, 0, 24\)"),
    "a plane": (X[0], r"got shape \(17, 24\)"),
    "a batch": (X[None], r"got shape \(1, 3, 17, 24\); .*x\[0\]"),
    "None": (None, r"file.*PIL.*\(C, H, W\).*NoneType|list"),
    "a number": (3, r"file.*PIL.*\(C, H, W\).*int|list"),
    "no file": ("nowhere.png", "nowhere.png"),
    "a folder": (".", r"folder|no photograph '\.'"),
}
OPTIONAL = {"render(start)", "reproduce(start)", "ascend(start)", "circuit(picture)"}


def refusal(name, photo):
    """What a function says of what is no photograph; None if it took it."""
    try:
        DOORS[name](NETWORKS[3], photo)
    except fv.UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_photograph_is_refused_in_one_line(name):
    for wrong, (photo, says) in WRONG.items():
        if photo is None and name in OPTIONAL:
            continue
        told = refusal(name, photo)
        assert told is not None, wrong
        assert re.search(says, told), (wrong, told)
        assert "\n" not in told
        assert len(told) < 200


@pytest.mark.parametrize("name", sorted(DOORS.keys() - {"grid", "video"}))
def test_a_grey_photograph_is_not_spread_over_colours(name):
    with pytest.raises(fv.CanvasError, match=r"\(3( or 4)?, H, W\), got shape \(1, 17, 24\)"):
        DOORS[name](NETWORKS[3], X[:1])


@pytest.mark.parametrize("name", [*SEVERAL, *SHOWN])
def test_several_come_in_any_row(name):
    door, model = {**SEVERAL, **SHOWN}[name], NETWORKS[3]
    two = [X, X.flip(2)]
    wanted = door(model, two)
    for form in ((one for one in two), torch.stack(two).numpy(), dict(enumerate(two))):
        assert same(door(model, form), wanted)
    assert same(door(model, X), expected(name, 3))
    assert same(door(model, good(3)["PIL"]), expected(name, 3))


@pytest.mark.parametrize("name", SEVERAL)
def test_a_folder_gives_what_its_files_give(name):
    folder = Path(PLACE, "folder")
    folder.mkdir(exist_ok=True)
    good(3)["PIL"].save(folder / "x.png")
    (folder / "notes.txt").write_text("no image")
    assert same(SEVERAL[name](NETWORKS[3], folder), expected(name, 3))
    with pytest.raises(fv.UserError, match="nowhere"):
        SEVERAL[name](NETWORKS[3], "nowhere")
    with pytest.raises(fv.UserError, match=r"photograph|image"):
        SEVERAL[name](NETWORKS[3], [])


def test_a_picture_is_a_photograph_too():
    (picture,) = fv.render(NETWORKS[3], UNIT, size=SIZE, **QUICK)
    assert torch.equal(read_photograph(picture, 3), picture.image)
    assert same(DOORS["attribute"](NETWORKS[3], picture), DOORS["attribute"](NETWORKS[3], picture.image))


def test_files_and_pil_images_are_brought_to_the_canvas_that_is_asked_for():
    image = Image.fromarray(np.kron(LEVELS.transpose(1, 2, 0), np.ones((3, 3, 1), np.uint8)))
    wanted = fv.load_image(image, 3, SIZE)
    assert torch.equal(fv.load_image(image, 3, 9), fv.load_image(image, 3, (9, 9)))
    begun = fv.render(NETWORKS[3], UNIT, start=wanted, **QUICK)[0]
    assert np.array_equal(
        fv.render(NETWORKS[3], UNIT, start=image, size=SIZE, **QUICK)[0].levels, begun.levels
    )
    assert fv.render(NETWORKS[3], UNIT, start=image, **QUICK)[0].size == (51, 72)
    assert same(ascend(NETWORKS[3], image), ascend(NETWORKS[3], wanted))
    with pytest.raises(fv.CanvasError, match=r"\(3, 17, 24\) is expected, got \(3, 9, 9\)"):
        ascend(NETWORKS[3], wanted[:, :9, :9])
    for size in (0, 2.5, True, "64", (3,), (4, 0)):
        with pytest.raises(fv.CanvasError, match="size is a side or"):
            fv.load_image(image, 3, size)


def test_ascend_begins_at_the_image(monkeypatch):
    begun = []
    monkeypatch.setattr("featvis.engine.ascend.climb", lambda *told, start, **more: begun.append(start) or [])
    space = fv.PixelImage(size=SIZE)
    list(fv.ascend(NETWORKS[3], UNIT, space, steps=1, lanes=2, start=X))
    assert torch.allclose(space.decode(begun[0]), X.expand(2, -1, -1, -1), atol=0.5 / 255)
