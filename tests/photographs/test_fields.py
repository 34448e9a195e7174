"""What a position sees, against the gradient and against arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from featvis.photographs.fields import Fields
from tests.networks import handle, layouts, seeded


def smooth(*layers):
    """Convolutions with something between them through which every gradient comes."""
    return seeded(lambda: nn.Sequential(*(part for layer in layers for part in (layer(), nn.Softplus()))))


def conv(*args, **options):
    return lambda: nn.Conv2d(*args, **options)


class Same(nn.Conv2d):
    """TensorFlow's padding, which depends on the canvas."""

    def forward(self, images):
        needed = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(images.shape[2:], self.stride, self.kernel_size, strict=True)
        ]
        down, across = needed
        padded = functional.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(padded)


class Skipping(nn.Module):
    """A small U-Net: what a position of ``out`` sees depends on its remainder by four."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, stride=4)
        self.up = nn.ConvTranspose2d(4, 4, 4, stride=4)
        self.side = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.out(functional.softplus(self.up(self.down(images)) + self.side(images)))


NETWORKS = {
    "odd kernels, padded": lambda: smooth(conv(3, 4, 3, padding=1), conv(4, 4, 5, padding=2)),
    "even kernels, no padding": lambda: smooth(conv(3, 4, 4), conv(4, 4, 2)),
    "even kernel, stride, padding": lambda: smooth(conv(3, 4, 4, stride=2, padding=1), conv(4, 3, 2)),
    "strides": lambda: smooth(conv(3, 4, 3, stride=2, padding=1), conv(4, 4, 3, stride=2, padding=1)),
    "stride wider than the kernel": lambda: smooth(conv(3, 4, 2, stride=3), conv(4, 4, 1, stride=2)),
    "stride three, then two": lambda: smooth(conv(3, 4, 5, stride=3, padding=1), conv(4, 4, 3, stride=2)),
    "dilation": lambda: smooth(conv(3, 4, 3, dilation=3, padding=2), conv(4, 4, 2, dilation=2, stride=2)),
    "not square": lambda: smooth(
        conv(3, 4, (3, 6), stride=(1, 2), padding=(0, 2)), conv(4, 4, (5, 1), stride=(2, 1), padding=(1, 0))
    ),
    "padded on one side": lambda: seeded(
        lambda: nn.Sequential(nn.ZeroPad2d((0, 3, 2, 0)), nn.Conv2d(3, 4, 4, stride=2))
    ),
    "padding by the canvas": lambda: smooth(
        lambda: Same(3, 4, 3, stride=2), lambda: Same(4, 4, 3, stride=2), lambda: Same(4, 4, 5)
    ),
    "pooling": lambda: smooth(conv(3, 4, 3), lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "skip connections": lambda: seeded(Skipping),
}


def seen_by_gradient(activations, layer, position, canvas):
    """First and last row and column that a position's activation depends on."""
    images = torch.rand((1, 3, *canvas), generator=torch.Generator().manual_seed(1)).requires_grad_()
    activation = activations(images)[layer.name].movedim(layer.axis, 1)
    (gradient,) = torch.autograd.grad(activation[0, :, position[0], position[1]].sum(), images)
    reached = gradient[0].abs().sum(0) > 0
    spans = []
    for axis in (1, 0):
        pixels = reached.any(axis).nonzero().flatten().tolist()
        spans.append((pixels[0], pixels[-1] + 1) if pixels else None)
    return spans


def clipped(span, side):
    return (0, side) if span is None else (max(span[0], 0), min(span[1], side))


def compare(model, canvas, multiple=1, gaps=False):
    """Compare every position of every map with where its gradient is."""
    layers = model.at(model.input_size).layers
    maps = [name for name, info in layers.items() if info.kind == "map"]
    compared = 0
    with model.tap(maps) as tap:
        fields = Fields(tap, layers, maps, channels=3, multiple=multiple)
        given = tap(torch.zeros(1, 3, *canvas))
        for name in maps:
            height, width = given[name].shape[2:]
            for n in range(max(height, width)):
                position = (n % height, n % width)
                truth = seen_by_gradient(tap, layers[name], position, canvas)
                if None in truth:
                    continue  # it sees nothing but padding
                found = fields.of(name, position, canvas)
                for span, true, side in zip(found, truth, canvas, strict=True):
                    told = (name, position, canvas, span, true)
                    low, high = clipped(span, side)
                    assert span is not None or true == (0, side), told
                    if gaps and (low == 0 or high == side):
                        assert low <= true[0] < true[1] <= high, told  # a gap may lie at the edge
                    else:
                        assert (low, high) == true, told
                compared += 1
    assert compared > 10


@pytest.mark.parametrize("canvas", [(36, 48), (37, 51), (38, 41), (51, 35)], ids=str)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "skip connections"])
def test_every_position_sees_what_its_gradient_says(name, canvas):
    compare(handle(NETWORKS[name](), (36, 36)), canvas, gaps=name == "dilation")


@pytest.mark.parametrize("canvas", [(36, 48), (40, 60)], ids=str)
def test_positions_of_different_kinds_see_different_fields(canvas):
    compare(handle(NETWORKS["skip connections"](), (36, 36)), canvas, multiple=4)


def test_a_network_of_one_size_is_scanned():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=2, padding=1), nn.Softplus(), nn.Conv2d(4, 2, 3), nn.Flatten(),
            nn.Linear(2 * 9 * 8, 3),
        )
    )  # fmt: skip
    model = handle(net, (22, 20))
    assert model.takes_one_size
    compare(model, (22, 20), multiple=None)


def of(model, layer, position, canvas, multiple=1):
    layers = model.at(model.input_size).layers
    with model.tap([layer]) as tap:
        return Fields(tap, layers, [layer], channels=3, multiple=multiple).of(layer, position, canvas)


def test_arithmetic():
    model = handle(smooth(conv(3, 4, 3, stride=2, padding=1), conv(4, 4, 3, stride=2, padding=1)), (64, 64))
    # 3 + (3 - 1) * 2 = 7 wide, stride 4, begins at -1 - 2 = -3
    assert of(model, "2", (0, 5), (64, 96)) == ((-3, 4), (17, 24))
    assert of(model, "0", (3, 0), (64, 96)) == ((5, 8), (-1, 2))


def test_a_field_that_exceeds_the_canvas_is_all_of_it():
    model = handle(smooth(conv(3, 2, 21, padding=10)), (32, 32))
    assert of(model, "0", (3, 4), (32, 20)) == ((-7, 14), None)
    pooled = handle(seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))), (32, 32))
    assert of(pooled, "1", (0, 0), (32, 40)) == (None, None)


def test_a_small_canvas_does_not_speak_for_a_large_one():
    model = handle(smooth(conv(3, 2, 41, padding=20), conv(2, 2, 1)), (20, 20))
    layers = model.at((20, 20)).layers
    with model.tap(["2"]) as tap:
        fields = Fields(tap, layers, ["2"], channels=3, multiple=1)
        for _ in range(2):
            assert fields.of("2", (3, 4), (20, 20)) == (None, None)
            assert fields.of("2", (3, 30), (20, 60)) == (None, (10, 51))
            assert fields.of("2", (30, 3), (60, 20)) == ((10, 51), None)


class Squeeze(nn.Module):
    """Every position depends on the mean of all."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.out = nn.Conv2d(4, 4, 1)

    def forward(self, images):
        found = self.conv(images)
        return self.out(found * found.mean((2, 3), keepdim=True).sigmoid())


def test_global_operations_are_not_measured_on_every_canvas():
    model = handle(seeded(Squeeze), (32, 32))
    layers, passes = model.at((32, 32)).layers, []
    with model.tap(["out"]) as tap:
        fields = Fields(
            lambda images: passes.append(1) or tap(images), layers, ["out"], channels=3, multiple=1
        )
        for side in range(32, 129, 2):
            assert fields.of("out", (3, 4), (32, side)) == (None, None)
    assert len(passes) < 20


def test_global_operations_see_everything():
    model = handle(seeded(Squeeze), (32, 32))
    assert of(model, "conv", (3, 4), (32, 40)) == ((6, 9), (8, 11))
    assert of(model, "out", (3, 4), (32, 40)) == (None, None)


class Patches(nn.Module):
    """A transformer's first steps at one size: patches, a class token before them, attention."""

    def __init__(self):
        super().__init__()
        self.num_prefix_tokens = 1
        self.cut = nn.Conv2d(3, 8, 6, stride=6)
        self.begin = nn.Parameter(torch.randn(1, 5 * 4 + 1, 8))
        self.each = nn.Linear(8, 8)
        self.all = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, images):
        found = self.cut(images).flatten(2).transpose(1, 2)
        found = self.each(torch.cat([self.begin[:, :1].expand(len(found), -1, -1), found], 1) + self.begin)
        return self.norm(self.all(found, found, found)[0])


def test_tokens_of_patches_see_their_patch_and_after_attention_everything():
    model = handle(seeded(Patches), (30, 24))
    assert model.takes_one_size
    assert model.layer("each").kind == model.layer("norm").kind == "tokens"
    assert of(model, "each", (2, 3), (30, 24), multiple=None) == ((12, 18), (18, 24))
    assert of(model, "norm", (2, 3), (30, 24), multiple=None) == (None, None)


def test_a_transformer_of_any_size():
    import featvis as fv

    model = fv.load_model("timm:vit_tiny_patch16_224", weights="none", input_size=64)
    assert not model.takes_one_size
    assert of(model, "patch_embed", (2, 5), (64, 96), multiple=16) == ((32, 48), (80, 96))
    assert of(model, "norm_pre", (2, 5), (64, 96), multiple=16) == ((32, 48), (80, 96))
    assert of(model, "blocks.0", (2, 5), (64, 96), multiple=16) == (None, None)


def test_units_on_the_last_axis():
    model = layouts((18, 12))
    assert model.layer("map_last").kind == "map_last"
    assert of(model, "map_last", (1, 2), (18, 12)) == ((1, 4), (3, 6))
