"""Real architectures, without weights: their layers are measured, not assumed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import Layouts, activations_of, handle, layouts, seeded

SMALL = {"steps": 3, "lanes": 2}

ARCHITECTURES = {
    "timm:vit_tiny_patch16_224": (
        (48, 64),
        {
            "patch_embed.proj": ("map", 192, (3, 4)),
            "blocks.3.mlp.act": ("tokens", 768, (13,)),
            "blocks.3.mlp.fc1": ("tokens", 768, (13,)),
            "blocks.5.norm1": ("tokens", 192, (13,)),
            "blocks.11": ("tokens", 192, (13,)),
            "head": ("vector", 1000, ()),
        },
    ),
    "timm:swin_tiny_patch4_window7_224": (
        (224, 224),
        {
            "patch_embed.proj": ("map", 96, (56, 56)),
            "layers.0": ("map_last", 96, (56, 56)),
            "layers.1.blocks.0.mlp.fc1": ("tokens", 768, (784,)),
            "layers.2.blocks.1": ("map_last", 384, (14, 14)),
            "norm": ("map_last", 768, (7, 7)),
            "head.fc": ("vector", 1000, ()),
        },
    ),
    "timm:convnext_atto": (
        (64, 96),
        {
            "stem.0": ("map", 40, (16, 24)),
            "stages.0.blocks.0.conv_dw": ("map", 40, (16, 24)),
            "stages.2.blocks.1.mlp.act": ("map", 640, (4, 6)),
            "stages.3": ("map", 320, (2, 3)),
            "head.fc": ("vector", 1000, ()),
        },
    ),
    "torchvision:resnet18": (
        (40, 64),
        {
            "conv1": ("map", 64, (20, 32)),
            "bn1": ("map", 64, (20, 32)),
            "layer2.0.downsample.1": ("map", 128, (5, 8)),
            "layer4": ("map", 512, (2, 2)),
            "avgpool": ("map", 512, (1, 1)),
            "fc": ("vector", 1000, ()),
        },
    ),
    "torchvision:mobilenet_v3_small": (
        (40, 64),
        {
            "features.0.0": ("map", 16, (20, 32)),
            "features.4.block.1": ("map", 96, (3, 4)),
            "features.12": ("map", 576, (2, 2)),
            "classifier.0": ("vector", 1024, ()),
            "classifier.3": ("vector", 1000, ()),
        },
    ),
    "torchvision:swin_t": (
        (64, 96),
        {
            "features.0.0": ("map", 96, (16, 24)),
            "features.1": ("map_last", 96, (16, 24)),
            "features.3.0.mlp.0": ("map_last", 768, (8, 12)),
            "head": ("vector", 1000, ()),
        },
    ),
    "torchvision:convnext_tiny": (
        (40, 64),
        {
            "features.0.0": ("map", 96, (10, 16)),
            "features.1.0.block.3": ("map_last", 384, (10, 16)),
            "features.1.0": ("map", 96, (10, 16)),
            "classifier.2": ("vector", 1000, ()),
        },
    ),
}
FAST = [
    "timm:vit_tiny_patch16_224",
    "timm:convnext_atto",
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
]
LOADED = {}


def loaded(name):
    if name not in LOADED:
        LOADED[name] = fv.load_model(name, weights="none")
    return LOADED[name]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES]
)
def test_t09_units_are_on_the_right_axis(name):
    size, layers = ARCHITECTURES[name]
    network = loaded(name).at(size)
    for layer, (kind, units, spatial) in layers.items():
        info = network.layer(layer)
        places = tuple(n for axis, n in enumerate(info.shape) if axis not in (0, info.axis))
        assert (info.kind, info.units, places) == (kind, units, spatial), layer


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES]
)
def test_units_of_every_kind_of_layer_render(name):
    size, layers = ARCHITECTURES[name]
    chosen = [*list(layers)[1:3], list(layers)[-1]]
    wishes = [f"{layer}:{unit}" for layer in chosen for unit in (0, layers[layer][1] - 1)]
    # Before transforms, so that what is scored is what is climbed; random networks are flat.
    options = {**SMALL, "transforms": [], "penalties": [], "learning_rate": 0.05}
    for picture in fv.render(loaded(name), wishes, size=size, **options):
        assert picture.levels.shape == (3, *size)
        assert picture.status == "ok"
        assert picture.score > picture.start_score


def test_a_transformers_class_token_is_no_position(chance):
    model, size = loaded("timm:vit_tiny_patch16_224"), (48, 64)
    info = model.at(size).layer("blocks.3.mlp.act")
    assert info.prefix == 1
    images = torch.rand((1, 3, *size), generator=chance)
    truth = activations_of(model, "blocks.3.mlp.act", images)[0, 1:, 7].mean()
    bound = fv.channel("blocks.3.mlp.act", 7).bind(model.at(size))
    with model.tap(["blocks.3.mlp.act"], size=size) as activations:
        torch.testing.assert_close(bound(activations(images), images)[0].detach(), truth)


@pytest.mark.slow
def test_torchvisions_class_token_is_no_position_either():
    model = fv.load_model("torchvision:vit_b_32", weights="none")
    assert model.layer("encoder.layers.encoder_layer_3.mlp.1").prefix == 1


def test_a_network_of_one_size_is_shown_it_whatever_the_canvas():
    model = loaded("timm:vit_tiny_patch16_224")
    assert not model.takes_one_size
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 10, 4)))
    fixed = handle(net, (12, 10))
    assert fixed.takes_one_size
    (picture,) = fv.render(fixed, "1:2", size=(21, 16), **SMALL)
    assert picture.levels.shape == (3, 21, 16)
    assert picture.recipe["input_size"] == [12, 10]


@pytest.mark.parametrize(
    ("layer", "kind", "axis", "units"),
    [
        ("map", "map", 1, 6),
        ("map_last", "map_last", 3, 7),
        ("tokens", "tokens", 2, 5),
        ("signal", "signal", 1, 4),
        ("vector", "vector", 1, 3),
    ],
)
def test_every_layout_is_told_from_the_others(layer, kind, axis, units):
    info = layouts().layer(layer)
    assert (info.kind, info.axis, info.units) == (kind, axis, units)


def test_layouts_are_told_apart_where_the_numbers_coincide():
    # A map of 6 × 6 positions and 6 channels: only running two canvases tells the axis.
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()))
    info = handle(net, (6, 6)).layer("1")
    assert (info.kind, info.axis, info.shape) == ("map", 1, (1, 6, 6, 6))


class Folded(nn.Module):
    """Folds windows into the batch, as Swin's attention does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, images):
        found = self.inner(images.movedim(1, -1).flatten(0, 1))
        return self.outer(found.mean(1)).view(len(images), -1, 2).mean(1)


class Fixed(nn.Module):
    """Takes one size; a layer of its own making gives an axis order that nothing tells."""

    class Strange(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :60].reshape(-1, 3, 4, 5)

    def __init__(self):
        super().__init__()
        self.strange, self.flat, self.fc = self.Strange(), nn.Flatten(), nn.Linear(60, 2)
        self.whole = nn.Linear(3 * 6 * 5, 2)

    def forward(self, images):
        return self.fc(self.flat(self.strange(images))) + self.whole(images.flatten(1))


def test_windows_folded_into_the_batch_are_refused():
    model = handle(seeded(Folded), (9, 12))
    with pytest.raises(fv.TargetError, match="first axis is not the batch"):
        fv.render(model, "inner:0", size=(9, 12), **SMALL)


def test_an_axis_that_cannot_be_told_is_refused_with_the_option_that_settles_it():
    net = seeded(Fixed)
    with pytest.raises(fv.TargetError, match=r"load_model\(…, unit_axis={'strange': 3}\)") as told:
        fv.render(handle(net, (6, 5)), "strange:0", size=(6, 5), **SMALL)
    assert told.value.typed.endswith("say so with --unit-axis")
    for axis, units in ((1, 3), (3, 5), (-1, 5)):
        for given in (axis, {"strange": axis}):
            model = handle(net, (6, 5), unit_axis=given)
            assert model.layer("strange").units == units
            (picture,) = fv.render(model, f"strange:{units - 1}", size=(6, 5), transforms=[], **SMALL)
            assert picture.score > picture.start_score
    with pytest.raises(fv.ModelError, match="cannot be 0"):
        handle(net, (6, 5), unit_axis={"strange": 0}).layer("strange")


def test_a_settled_axis_decides_what_is_averaged(chance):
    images = torch.rand((2, 3, 6, 5), generator=chance)
    net = seeded(Fixed)
    for axis in (1, 2, 3):
        model = handle(net, (6, 5), unit_axis={"strange": axis})
        expected = activations_of(model, "strange", images).movedim(axis, 1)[:, 1].mean((1, 2))
        bound = fv.channel("strange", 1).bind(model.at((6, 5)))
        with model.tap(["strange"]) as activations:
            torch.testing.assert_close(bound(activations(images), images).detach(), expected)


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("layer2.0.conv3", "layer2.0.conv"),
        ("Layer1", "layer1"),
        ("layer4.1.bn", "layer4.1.bn"),
        ("conv", "conv1"),
    ],
)
def test_t48_an_unknown_layer_names_the_nearest(asked, nearest):
    with pytest.raises(fv.TargetError, match=rf"did you mean '{nearest}"):
        loaded("torchvision:resnet18").at((40, 64)).layer(asked)


def test_a_container_that_gives_no_tensor_is_said_to_give_none():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.unused = nn.ModuleList([nn.Conv2d(3, 2, 1)]), nn.Conv2d(3, 1, 1)

        def forward(self, images):
            return self.both[0](images)

    network = handle(Pair(), (9, 12)).at((9, 12))
    for name in ("both", "unused"):
        with pytest.raises(fv.TargetError, match="gives no single tensor"):
            network.layer(name)


@pytest.mark.parametrize("name", ["timm:convnext_atto", "kernels"])
def test_t47_too_small_a_canvas_names_the_smallest_that_works(name):
    if name == "kernels":
        model = handle(
            seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 9), nn.MaxPool2d(3), nn.Conv2d(4, 2, 5))), (40, 50)
        )
        target, size = "2:0", (10, 13)
    else:
        model, target, size = loaded(name), "stem.0:0", (1, 1)
    with pytest.raises(fv.CanvasError) as caught:
        fv.render(model, target, size=size, **SMALL)
    side = int(str(caught.value).rsplit(" ", 1)[1])
    assert fv.render(model, target, size=side, **SMALL)[0].levels.shape == (3, side, side)
    with pytest.raises(fv.CanvasError):
        fv.render(model, target, size=side - 1, **SMALL)


def runs(model, size):
    try:
        model.at(size)
    except fv.CanvasError:
        return False
    return True


def test_t47_a_canvas_that_is_not_a_multiple_of_the_patch_names_one_that_works():
    model = fv.load_model(
        nn.Sequential(seeded(Patches)), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(32, 48)
    )
    with pytest.raises(fv.CanvasError) as caught:
        model.at((20, 28))
    side = int(str(caught.value).rsplit(" ", 1)[1])
    assert side % 16 == 0
    assert runs(model, (side, side))


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 4, 16, 16)

    def forward(self, images):
        assert images.shape[2] % 16 == images.shape[3] % 16 == 0, "not a multiple of the patch"
        return self.proj(images)


def test_a_network_that_runs_on_nothing_says_why():
    model = handle(nn.Sequential(nn.Conv2d(4, 2, 1)), (9, 12))
    with pytest.raises(
        fv.ModelError, match=r"takes images of 4 channels, not 3 .*expected input.* to have 4"
    ):
        fv.render(model, "0:0", size=(9, 12), **SMALL)


def test_t35_grey_enters_the_network_as_its_own_preprocessing_says():
    mean, std = (0.4, 0.2, 0.1), (0.5, 0.25, 0.125)
    model = fv.load_model(nn.Sequential(nn.Identity()), mean=mean, std=std, input_size=(9, 12))
    with model.tap(["0"]) as activations:
        seen = activations(torch.full((2, 3, 9, 12), 0.5))["0"]
    expected = torch.tensor([(0.5 - m) / s for m, s in zip(mean, std, strict=True)])
    torch.testing.assert_close(seen, expected[None, :, None, None].expand(2, 3, 9, 12))


@pytest.mark.parametrize(
    ("name", "mean", "std", "size"),
    [
        ("efficientnet_lite0", (127 / 255,) * 3, (128 / 255,) * 3, 224),
        ("torchvision:resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
        ("timm:vit_tiny_patch16_224", (0.5,) * 3, (0.5,) * 3, 224),
    ],
)
def test_t35_preprocessing_comes_from_the_weights_own_metadata(name, mean, std, size):
    model = loaded(name)
    assert model.mean == pytest.approx(mean)
    assert model.std == pytest.approx(std)
    assert model.input_size == (size, size)
    assert model.labels[263] == "Pembroke, Pembroke Welsh corgi"


def test_the_embedded_network_is_the_trained_one(lite0):
    photos = pytest.importorskip("skimage.data", reason="scikit-image ships the photograph")
    cat = torch.from_numpy(photos.chelsea()).permute(2, 0, 1)[None].float() / 255
    cat = nn.functional.interpolate(cat, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    bound = fv.logit(0).bind(lite0.at((224, 224)))
    with lite0.tap([bound.layer]) as activations:
        best = int(activations(cat)[bound.layer].argmax())
    assert "cat" in lite0.labels[best].lower()


def test_a_prefix_is_left_out_only_where_there_are_more_tokens():
    net = seeded(Layouts)
    model = handle(net, (17, 10))
    assert model.layer("tokens").prefix == 2
    assert model.layer("map").prefix == model.layer("vector").prefix == 0


class Spectrum(nn.Module):
    """What a Fourier layer gives is complex, and what the network gives, too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fourier = self.Fourier()

    class Fourier(nn.Module):
        def forward(self, found):
            return torch.fft.fft2(found)

    def forward(self, images):
        return self.fourier(self.norm(self.conv(images)))


@pytest.mark.filterwarnings("error")
def test_a_network_with_complex_layers_draws_no_warning():
    (picture,) = fv.render(handle(seeded(Spectrum), (9, 12)), "norm:1", size=(9, 12), **SMALL)
    assert picture.status == "ok"
