"""The penalty batchnorm by statistics of photographs: for networks that have no BatchNorm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.galleries.config import load_gallery
from featvis.models.borrow.moments import MOMENTS_FROM
from featvis.plan.defaults import fit_penalties
from featvis.plan.make import make_plan
from featvis.spec import register
from tests.networks import activations_of, handle, scores_of, seeded, small

SIZE = (17, 24)
SHORT = {"size": SIZE, "steps": 3, "lanes": 2, "transforms": []}


class Plain(nn.Module):
    """Convolutions and in-place ReLUs; two branches that meet in a sum, which shares their gradient."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.three = nn.Conv2d(4, 5, 3, stride=2)
        self.last = nn.Conv2d(5, 3, 1)

    def forward(self, images):
        first = self.one(images).relu_()
        return self.last(self.three(first + self.two(first)).relu_()).mean((2, 3))


class Tokens(nn.Module):
    """As a transformer has them: LayerNorms over tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(2))
        self.mixing = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        for norm, mix in zip(self.norms, self.mixing, strict=True):
            tokens = tokens + torch.tanh(mix(norm(tokens)))
        return self.head(tokens.mean(1))


def photographs(size=SIZE, count=5):
    chance = torch.Generator().manual_seed(3)
    coarse = torch.rand((count, 3, 5, 6), generator=chance)
    return list(nn.functional.interpolate(coarse, size, mode="bilinear"))


def made(network, tmp_path, name="mine", **options):
    """A network and the file of its statistics."""
    model = handle(seeded(network), SIZE)
    out = tmp_path / f"{name}.safetensors"
    fv.activation_statistics(model, photographs(**options), out=out)
    return model, out


def penalty(out, until, **options):
    spec = {"name": "batchnorm", "statistics": str(out), **options}
    return register.make("objectives", spec).beside(until)


def slow_distance(model, out, names, images, pooled=False):
    """The formula, picture by picture, layer by layer, channel by channel, over all positions."""
    told = fv.load_activation_statistics(out).layers
    scores = []
    for group in [images] if pooled else [image[None] for image in images]:
        layers = []
        for name in names:
            given = activations_of(model, name, group).double()
            given = given.transpose(1, 2)[..., None] if given.dim() == 3 else given
            terms = []
            for channel, m, v in zip(given.transpose(0, 1), *told[name], strict=True):
                if v > 0:
                    mean = float(channel.mean())
                    variance = float(((channel - mean) ** 2).mean())
                    terms.append((mean - m) ** 2 / v + math.log(variance / v + 0.001) ** 2 / 4)
            layers.append(sum(terms) / len(terms))
        scores += [sum(layers) / len(layers)] * (len(images) if pooled else 1)
    return torch.tensor(scores, dtype=torch.float32)


@pytest.mark.parametrize(
    ("until", "read"),
    [
        (("last",), ["one", "two", "three"]),
        (("three",), ["one", "two"]),
        (("two",), ["one"]),
        (("three", "one"), ["two"]),
    ],
    ids=str,
)
def test_it_is_the_formula_over_the_layers_before_the_target(until, read, tmp_path, chance):
    model, out = made(Plain, tmp_path)
    images = torch.rand((3, 3, *SIZE), generator=chance)
    found = scores_of(model, penalty(out, until), images)
    torch.testing.assert_close(found, slow_distance(model, out, read, images), rtol=1e-3, atol=1e-4)


def test_of_a_target_behind_activations_and_pools_its_convolution_is_not_read(tmp_path):
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 6, 1), nn.ReLU(), nn.AvgPool2d(2)
    nn.utils.parametrizations.weight_norm(layers[3])  # its weight is computed anew at each call
    model = handle(seeded(lambda: nn.Sequential(nn.Sequential(*layers))), SIZE)
    fv.activation_statistics(model, photographs(), out=tmp_path / "mine.safetensors")
    for until in ("0.3", "0.4", "0.5", "0"):
        bound = penalty(tmp_path / "mine.safetensors", (until,)).bind(model.at(SIZE))
        assert bound.layers == (MOMENTS_FROM + "0.0", MOMENTS_FROM + "0.2"), until


def test_of_tokens_too(tmp_path, chance):
    model, out = made(Tokens, tmp_path)
    images = torch.rand((2, 3, *SIZE), generator=chance)
    found = scores_of(model, penalty(out, ("head",)), images)
    expected = slow_distance(model, out, ["norms.0", "norms.1"], images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_every_and_relative_are_as_with_batchnorms(tmp_path, chance):
    model, out = made(Plain, tmp_path)
    images = torch.rand((2, 3, *SIZE), generator=chance)
    every = scores_of(model, penalty(out, ("last",), every=2), images)
    expected = slow_distance(model, out, ["one", "three"], images)
    torch.testing.assert_close(every, expected, rtol=1e-3, atol=1e-4)
    size = activations_of(model, "last", images).flatten(1).square().mean(1).sqrt()
    relative = scores_of(model, penalty(out, ("last",), relative=True), images)
    torch.testing.assert_close(relative, scores_of(model, penalty(out, ("last",)), images) * size)


def test_pooled_they_are_of_the_whole_set(tmp_path, chance):
    model, out = made(Plain, tmp_path)
    images = torch.rand((3, 3, *SIZE), generator=chance)
    found = scores_of(model, penalty(out, ("last",), pooled=3), images)
    expected = slow_distance(model, out, ["one", "two", "three"], images, pooled=True)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    pictures = fv.render(
        model,
        "last:0:2",
        **{**SHORT, "lanes": None},
        penalties=[{"name": "batchnorm", "statistics": str(out), "pooled": 2}],
    )
    assert len(pictures) == 2


def test_photographs_themselves_are_nearer_than_noise(tmp_path, chance):
    model, out = made(Plain, tmp_path)
    term = penalty(out, ("last",))
    noise = scores_of(model, term, torch.rand((4, 3, *SIZE), generator=chance))
    assert float(scores_of(model, term, torch.stack(photographs())).max()) < float(noise.min())


@pytest.mark.parametrize("network", [Plain, Tokens])
def test_the_gradient_is_that_of_the_formula(network, tmp_path, chance):
    model = handle(seeded(network).double(), SIZE)
    out = tmp_path / "mine.safetensors"
    fv.activation_statistics(model, photographs(), out=out)
    last = "last" if network is Plain else "head"
    objective = fv.channel(last, 1) - 3.0 * penalty(out, (last,))
    images = torch.rand((2, 3, *SIZE), generator=chance).requires_grad_()
    bound = objective.bind(model.at(SIZE))
    with model.tap(bound.layers, size=SIZE) as activations:
        (slope,) = torch.autograd.grad(bound(activations(images), images).sum(), images)
    direction = torch.randn(images.shape, generator=chance)
    step = 1e-3
    names = list(fv.load_activation_statistics(out).layers)
    names = [name for name in names if name != last]

    def value(shift):
        moved = (images.detach() + shift * direction).double()
        climbed = activations_of(model, last, moved).flatten(2).mean(2)[:, 1] if network is Plain else (
            activations_of(model, last, moved)[:, 1]
        )  # fmt: skip
        return float((climbed - 3.0 * slow_distance(model, out, names, moved)).sum())

    expected = (value(step) - value(-step)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(expected, rel=2e-2)


def test_of_a_large_map_a_grid_is_read_and_what_is_behind_does_not_change(tmp_path, chance):
    size = (67, 90)
    model = handle(seeded(Plain), size)
    out = tmp_path / "mine.safetensors"
    fv.activation_statistics(model, photographs(size), out=out)
    images = torch.rand((2, 3, *size), generator=chance)
    told = fv.load_activation_statistics(out).layers
    names = [MOMENTS_FROM + name for name in told]
    with model.tap([*names, "last"], size=size) as activations, torch.no_grad():
        read = activations(images)
    torch.testing.assert_close(read["last"], activations_of(model, "last", images))
    given = activations_of(model, "one", images)
    stride = min(given.shape[2:]) // 16
    grid = given[:, :, ::stride, ::stride]
    assert min(grid.shape[2:]) >= 16
    expected = torch.stack((grid.mean((2, 3)), grid.square().mean((2, 3))), 1)
    torch.testing.assert_close(read[names[0]], expected, rtol=1e-4, atol=1e-5)


def test_a_channel_that_no_photograph_moves_is_left_out(tmp_path, chance):
    net = seeded(Plain)
    with torch.no_grad():
        net.two.weight[1], net.two.bias[1] = 0, 100.0
        net.one.weight.zero_()  # a layer that is dead as a whole
        net.one.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.1]))
        net.three.weight[0], net.three.bias[0] = 0, 0.0
    model = handle(net, SIZE)
    out = tmp_path / "mine.safetensors"
    fv.activation_statistics(model, photographs(), out=out)
    with pytest.raises(fv.RecipeError, match="no layer of the statistics"):
        penalty(out, ("two",)).bind(model.at(SIZE))
    with torch.no_grad():
        net.one.weight.normal_(generator=chance)
    out = tmp_path / "alive.safetensors"
    fv.activation_statistics(model, photographs(), out=out)
    told = fv.load_activation_statistics(out).layers
    assert told["three"][1][0] == 0
    images = torch.rand((2, 3, *SIZE), generator=chance)
    found = scores_of(model, penalty(out, ("last",)), images)
    arrays = {
        name: np.where(values[1] > 1e-6 * (values[0] ** 2 + values[1]), values, 0)
        for name, values in told.items()
    }
    assert arrays["two"][1][1] == 0
    told_of = fv.load_activation_statistics(out)
    fv.ActivationStatistics(arrays, told_of.model, told_of.kind, SIZE, 5, 0, told_of.weights).save(
        tmp_path / "of-the-living"
    )
    expected = slow_distance(model, tmp_path / "of-the-living", ["one", "two", "three"], images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_target_with_nothing_before_it_is_refused(tmp_path):
    model, out = made(Plain, tmp_path)
    with pytest.raises(
        fv.RecipeError, match=r"no layer of the statistics .*mine\.safetensors runs before one"
    ):
        fv.render(model, "one:0", **SHORT, penalties=[{"name": "batchnorm", "statistics": str(out)}])


def test_statistics_of_another_network_or_of_other_weights_are_refused(tmp_path):
    model, out = made(Plain, tmp_path)
    told = {"penalties": [{"name": "batchnorm", "statistics": str(out)}], **SHORT}
    with pytest.raises(fv.RecipeError, match="has no layer 'one'"):
        fv.render(handle(seeded(Tokens), SIZE), "head:0", **told)
    wider = seeded(Plain)
    wider.one, wider.two = nn.Conv2d(3, 7, 3), nn.Conv2d(7, 7, 3, padding=1)
    wider.three = nn.Conv2d(7, 5, 3, stride=2)
    with pytest.raises(fv.RecipeError, match=r"'one' has 4 channels; that of .* has 7"):
        fv.render(handle(wider, SIZE), "last:0", **told)
    with torch.no_grad():
        model.module.last.bias[0] += 0.1
    with pytest.raises(
        fv.RecipeError, match=r"other weights .*measure anew: fv\.activation_statistics"
    ) as caught:
        fv.render(model, "last:0", **told)
    assert "featvis statistics PHOTOS" in caught.value.typed
    assert "fv." not in caught.value.typed


def test_a_file_of_something_else_is_refused(tmp_path):
    model = handle(seeded(Plain), SIZE)
    fv.ImageStatistics(np.eye(1), np.full(1, 0.5), np.ones((1, 4, 3)), (4, 4), 2, 0).save(tmp_path / "images")
    for name, message in (
        ("images", "but image statistics"),
        ("gone", "activation_statistics.* makes such a"),
    ):
        given = [{"name": "batchnorm", "statistics": str(tmp_path / name)}]
        with pytest.raises(fv.UserError, match=message):
            fv.render(model, "last:0", **SHORT, penalties=given)


def test_without_batchnorm_and_without_statistics_the_way_to_them_is_told():
    with pytest.raises(
        fv.RecipeError, match=r"no BatchNorm2d runs before last; .*activation_statistics"
    ) as caught:
        fv.render(handle(seeded(Plain), SIZE), "last:0", **SHORT, penalties=["batchnorm"])
    assert "featvis statistics PHOTOS --out FILE" in caught.value.typed


def test_our_own_recipes_keep_batchnorm_where_they_have_statistics_and_the_rest_anyhow(tmp_path):
    model, out = made(Plain, tmp_path)
    network = model.at(SIZE)
    bound = fv.channel("last", 0).bind(network)
    recipe = fv.Recipe(penalties=["batchnorm", "contrast"])
    assert [one["name"] for one in fit_penalties(network, recipe, bound).penalties] == ["contrast"]
    told = fv.Recipe(penalties=[{"name": "batchnorm", "statistics": str(out)}, "contrast"])
    kept = fit_penalties(network, told, bound).penalties
    assert [one["name"] for one in kept] == ["batchnorm", "contrast"]


def test_where_a_class_lacks_them_a_line_says_what_takes_their_place(tmp_path):
    class Classes(Plain):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, images):
            return self.fc(super().forward(images))

    model, out = made(Classes, tmp_path)

    def notes(target, **fields):
        return [one for one in make_plan(model, target, size=SIZE, **fields).notes if "BatchNorm" in one]

    (line,) = notes(["fc:0", "fc:1", "last:0"])
    assert "featvis statistics, or fv.activation_statistics" in line
    told = [{"name": "batchnorm", "weight": 1.0, "statistics": str(out)}]
    assert not notes("last:0")
    assert not notes("fc:0", penalties=told)
    assert not notes("fc:0", penalties=["contrast"]), "who names penalties gets those"


def test_a_network_with_batchnorm_takes_them_too(tmp_path, chance):
    model = small()
    out = tmp_path / "mine.safetensors"
    fv.activation_statistics(model, photographs(), out=out)
    images = torch.rand((2, 3, *SIZE), generator=chance)
    found = scores_of(model, penalty(out, ("fc",)), images)
    expected = slow_distance(model, out, ["conv1", "conv2"], images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    scores = [
        fv.render(model, "fc:1", **SHORT, penalties=[{"name": "batchnorm", **given}])[0].levels
        for given in ({}, {"statistics": str(out)})
    ]
    assert (scores[0] != scores[1]).any()


def test_what_the_file_holds_is_part_of_the_key_and_where_it_lies_is_not(tmp_path):
    def key(place, **more):
        spec = {"name": "batchnorm", "statistics": str(place), **more}
        return fv.Recipe(penalties=["l2", spec]).key("a:1", 0, "w")

    _, out = made(Plain, tmp_path)
    moved = tmp_path / "moved"
    moved.write_bytes(out.read_bytes())
    assert key(out) == key(moved)
    assert key(out) != key(out, every=2)
    assert penalty(out, ("last",)).describe() == penalty(moved, ("last",)).describe()
    _, other = made(Plain, tmp_path, "other", count=4)
    assert key(out) != key(other)
    assert penalty(out, ("last",)).describe() != penalty(other, ("last",)).describe()
    recipe = fv.Recipe(penalties=[{"name": "batchnorm", "statistics": str(out)}])
    assert fv.Recipe(**recipe.to_json()) == recipe
    out.write_bytes(other.read_bytes())
    with pytest.raises(fv.RecipeError, match="other statistics than those the recipe was made with"):
        fv.Recipe(**recipe.to_json())


def test_a_recipe_beside_its_file_and_again_from_the_picture(tmp_path):
    model, out = made(Plain, tmp_path)
    file = tmp_path / "recipe.toml"
    file.write_text(
        f"size = [17, 24]\nsteps = 3\n[[penalties]]\nname = 'batchnorm'\nstatistics = '{out.name}'\n"
    )
    (picture,) = fv.render(model, "last:1", recipe=str(file), lanes=1, out=tmp_path / "out")
    saved = next((tmp_path / "out").rglob("0001.png"))
    with pytest.raises(fv.RecipeError, match=r"asks for .*mine\.safetensors.*outside.*unbounded=True allows"):
        fv.reproduce(saved, model)
    again = fv.reproduce(saved, model, unbounded=True)
    assert (again.levels == picture.levels).all()
    assert again.key == picture.key
    plain = fv.render(model, "last:1", recipe=fv.Recipe.load(file).but(penalties=[]), lanes=1)[0]
    assert (plain.levels != picture.levels).any()


def test_a_gallerys_config_finds_them_from_its_folder(tmp_path):
    _, out = made(Plain, tmp_path)
    penalties = f"penalties = ['l2', {{ name = 'batchnorm', statistics = '{out.name}' }}]"
    config = tmp_path / "gallery.toml"
    config.write_text(
        f"model = 'x'\n[recipe]\n{penalties}\n[[sections]]\ntargets = ['a:0']\n"
        f"[[sections]]\ntargets = ['a:1']\n[sections.recipe]\nsteps = 3\n{penalties}\n"
    )
    gallery = load_gallery(config)
    for section in gallery.sections:
        _, changes = gallery.recipe_of(section)
        assert fv.Recipe(**changes).penalties[1]["statistics"].startswith(str(out))


def test_in_bfloat16_and_with_patience_too(tmp_path):
    model, out = made(Plain, tmp_path)
    penalties = [{"name": "batchnorm", "statistics": str(out), "weight": 2.0}]
    for changes in ({"precision": "bfloat16"}, {"patience": 1, "steps": 9}, {"stages": [[[15, 20], 0.5]]}):
        options = {**SHORT, **changes}
        held, free = (fv.render(model, "last:1", penalties=some, **options)[0] for some in (penalties, []))
        assert np.isfinite(held.score), changes
        assert (held.levels != free.levels).any(), changes
