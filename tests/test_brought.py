"""Networks that people really bring: each is read as its author meant it, or refused by one true line."""

from __future__ import annotations

import dataclasses
import random
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import featvis as fv
from tests.networks import Small, handle, seeded, small
from tests.test_borrowed import state_of

FEW = {"steps": 12, "lanes": 1}


class Body(nn.Module):
    """Two convolutions and a linear layer; subclasses say what they do otherwise."""

    def __init__(self, width=6, side=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, width, 3, stride=2, padding=1)
        self.fc = nn.Linear(width, 5)

    def map_of(self, images):
        return functional.relu(self.conv2(functional.relu(self.conv1(images))))

    def forward(self, images):
        return self.fc(self.map_of(images).mean((2, 3)))


def of(make, size=(16, 16), **told):
    return handle(seeded(make).eval(), size, **told)


def rises(model, target, **options):
    (picture,) = fv.render(model, target, **{**FEW, **options})
    assert picture.status == "ok"
    assert picture.score > picture.start_score, (picture.start_score, picture.score)
    return picture


def line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# --- chance


class Undecided(Body):
    """Dropout that stays on, as for Monte Carlo estimates."""

    def forward(self, images):
        found = self.map_of(images)
        return self.fc(functional.dropout(found.mean((2, 3)), 0.5, training=True))


class Masked(Body):
    """Half of the image is masked at random, by NumPy's chance."""

    def forward(self, images):
        keep = torch.from_numpy(np.random.rand(*images.shape[-2:]) > 0.5)
        return super().forward(images * keep)


class Skipping(Body):
    """A layer is skipped now and then, by Python's chance."""

    def forward(self, images):
        found = self.map_of(images)
        if random.random() < 0.5:
            found = found * 2
        return self.fc(found.mean((2, 3)))


class Noisy(Body):
    def forward(self, images):
        found = self.conv1(images)
        found = self.conv2(found + torch.randn_like(found))
        return self.fc(found.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "layer", "names"),
    [(Undecided, "fc", "'fc'"), (Masked, "conv1", "'conv1'"), (Noisy, "fc", "'conv2'")],
)
def test_a_network_that_is_random_is_refused_where_it_is(make, layer, names):
    with pytest.raises(fv.UserError, match="another answer each time") as error:
        fv.render(of(make), f"{layer}:1", **FEW)
    assert names in line(error)
    assert "random" in line(error)


class Seldom(Body):
    """Another answer in one run of three, by whosever random numbers."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, images):
        found = self.conv2(self.conv1(images))
        return self.fc(found.mean((2, 3)) * (2.0 if self.draw() < 1 / 3 else 1.0))


@pytest.mark.parametrize("draw", [lambda: float(torch.rand(())), random.random, np.random.rand])
@pytest.mark.parametrize("seed", range(6))
def test_chance_that_shows_seldom_is_found(draw, seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    model = fv.load_model(Seldom(draw).eval(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(24, 33))
    with pytest.raises(fv.UserError, match="another answer each time"):
        fv.render(model, "fc:1", **FEW)


@pytest.mark.parametrize("make", [Undecided, Noisy, Skipping])
def test_the_layers_before_chance_serve(make):
    model = of(make)
    first, again = (rises(model, "conv1:1").png() for _ in range(2))
    assert first == again


@pytest.mark.parametrize("make", [Undecided, Masked, Skipping, Noisy, Body])
def test_measuring_uses_up_no_global_chance(make):
    def drawn():
        return torch.rand(3).tolist(), random.random(), np.random.rand()

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = drawn()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    model = of(make)
    assert model.layers
    assert not model.takes_one_size
    fv.render(model, "conv1:0", **FEW) if make is not Masked else None
    assert drawn() == expected


# --- mixing


class Mixing(Body):
    """BatchNorm without running statistics: each picture is normalized by its mates."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(6, track_running_stats=False)

    def forward(self, images):
        found = functional.relu(self.norm(self.conv1(images)))
        return self.fc(self.conv2(found).mean((2, 3)))


class Centred(Body):
    """The batch's mean is taken away."""

    def forward(self, images):
        found = self.map_of(images)
        return self.fc((found - found.mean(0, keepdim=True) / 2).mean((2, 3)))


@pytest.mark.parametrize("make", [Mixing, Centred])
def test_pictures_of_a_network_that_mixes_a_batch_have_a_lane_of_their_own(make):
    model = of(make)
    alone = fv.render(model, "fc:1", steps=6)[0]
    beside = fv.render(model, "fc:0,1,2", steps=6)[1]
    assert alone.png() == beside.png()
    assert alone.recipe["lanes"] == 1
    assert alone.start_score != alone.score


def test_what_comes_before_the_mixing_shares_a_batch():
    assert fv.render(of(Mixing), "conv1:0:3", steps=2, lanes=3)[0].recipe["lanes"] == 3


def test_a_set_of_pictures_is_refused_where_a_batch_is_mixed():
    with pytest.raises(fv.UserError, match="batch"):
        fv.render(of(Mixing), "fc:1", steps=2, diverse=2)


class Pairs(Body):
    """BatchNorm over a vector, without running statistics: one image alone is refused by torch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, images):
        return self.fc(self.norm(self.map_of(images).mean((2, 3))))


def test_a_network_that_cannot_see_one_image_alone_says_so():
    model = of(Pairs)
    with pytest.raises(fv.UserError, match="more than 1 value per channel") as error:
        fv.render(model, "fc:1", **FEW)
    line(error)
    rises(model, "conv2:1")


# --- layout


class Viewed(Body):
    """The commonest line of tutorials."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6 * 8 * 8, 5)

    def forward(self, images):
        found = self.map_of(images)
        return self.fc(found.view(found.size(0), -1))


class ViewedRows(Viewed):
    def forward(self, images):
        return self.fc(self.map_of(images).view(-1, 6 * 8 * 8))


class Grouped(Body):
    """Channels are shuffled by views."""

    def forward(self, images):
        found = self.map_of(images)
        batch, units, height, width = found.shape
        found = found.view(batch, 2, units // 2, height, width).transpose(1, 2).contiguous()
        return self.fc(found.view(batch, units, -1).mean(2))


class Strided(Body):
    """Looks at memory itself: not refused in another layout, but another network."""

    def forward(self, images):
        found = self.map_of(images)
        return self.fc(torch.as_strided(found, (len(found), 6), (found[0].numel(), 1)))


@pytest.mark.parametrize("make", [Viewed, ViewedRows, Grouped, Strided])
def test_a_network_that_runs_by_itself_runs_here(make):
    model = of(make)
    before = state_of(model.module)
    picture = rises(model, "fc:1", transforms=[], size=16)
    with torch.no_grad():
        own = model.module(picture.image[None] * 2 - 1)[0, 1]
    assert picture.score == pytest.approx(float(own), rel=1e-3)
    rises(model, "conv2:1")
    steps = list(fv.ascend(model, fv.channel("fc", 1), fv.PixelImage(size=16), steps=3))
    assert len(steps) == 3
    assert state_of(model.module) == before


# --- gradients


class Ungraded(Body):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


class Detached(Body):
    def forward(self, images):
        return self.fc(self.map_of(images).detach().mean((2, 3)))


class ByNumPy(Body):
    def forward(self, images):
        return self.fc(torch.from_numpy(self.map_of(images).detach().numpy().mean((2, 3))))


class Rounded(Body):
    def forward(self, images):
        return self.fc((self.map_of(images).mean((2, 3)) * 50).round())


class Inferred(Body):
    @torch.inference_mode()
    def forward(self, images):
        return super().forward(images)


class Backless(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("this operation has no backward")


class WithoutBackward(Body):
    def forward(self, images):
        return self.fc(Backless.apply(self.map_of(images)).mean((2, 3)))


@pytest.mark.parametrize("make", [Ungraded, Detached, ByNumPy, Rounded, Inferred, WithoutBackward])
def test_no_gradient_is_said_before_the_first_step(make):
    model, steps = of(make), []
    before = state_of(model.module)
    with pytest.raises(fv.ModelError, match="no gradient reaches the image") as error:
        fv.render(model, "fc:1", watch=steps.append, **FEW)
    assert "'fc'" in line(error) or "layer fc" in line(error)
    with pytest.raises(fv.ModelError, match="no gradient reaches the image"):
        next(fv.ascend(model, fv.channel("fc", 1), fv.PixelImage(size=16), steps=3))
    assert steps == []
    assert state_of(model.module) == before
    if make in (Detached, Rounded, WithoutBackward):
        rises(model, "conv1:1")


def test_a_dead_unit_is_still_a_dead_unit():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(-1.0)
    (picture,) = fv.render(handle(module, (16, 16)), "1:0", redirect_steps=0, attempts=1, **FEW)
    assert picture.status == "dead"


# --- a batch of one


class Instances(nn.Module):
    """Each map normalized by itself, as in networks of style."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.GELU(), nn.Conv2d(4, 3, 3, stride=2)
        )

    def forward(self, images):
        return self.body(images)


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_gradient_is_the_networks_own_whatever_the_layout(lanes):
    # Torch's InstanceNorm sends a single image another gradient where that comes back channels_last.
    model = of(Instances)
    bound = fv.channel("body", 1).bind(model.at((16, 16)))
    images = torch.rand(lanes, 3, 16, 16)
    slopes = []
    model.check_gradient(["body"], (16, 16), lanes)
    with model.tap(["body"], lanes=lanes) as activations:
        leaf = images.clone().requires_grad_()
        slopes += torch.autograd.grad(bound(activations(leaf), leaf).sum(), leaf)
    leaf = images.clone().requires_grad_()
    slopes += torch.autograd.grad(model.module(leaf * 2 - 1)[:, 1].mean((1, 2)).sum(), leaf)
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-6)
    picture = fv.render(model, "body:1", steps=24, lanes=lanes, transforms=[], recipe="channel")[0]
    assert picture.score > 10 * abs(picture.start_score)


class Squeezed(Body):
    def forward(self, images):
        return self.fc(functional.adaptive_avg_pool2d(self.map_of(images), 1).squeeze())


def test_a_squeeze_that_takes_away_a_batch_of_one():
    model = of(Squeezed)
    (alone,) = fv.render(model, "fc:1", steps=6, lanes=1, transforms=[])
    together = fv.render(model, "fc:1,2", steps=6, lanes=2, transforms=[])[0]
    assert alone.score == pytest.approx(together.score, rel=1e-3)
    assert alone.score > alone.start_score


# --- numbers


def test_a_last_layer_that_gives_nan_leaves_the_others():
    module = seeded(Body)
    with torch.no_grad():
        module.fc.weight[2, 3] = float("nan")
    model = handle(module.eval(), (16, 16))
    rises(model, "conv2:1")
    with pytest.raises(
        fv.TargetError, match=r"layer 'fc' gives numbers that are not finite \(fc.weight holds"
    ):
        fv.render(model, "fc:1", **FEW)


def test_an_overflow_is_named_where_it_first_shows():
    class Loud(Body):
        def forward(self, images):
            return self.fc(self.map_of(images).mean((2, 3)) * 1e38 * 1e10)

    model = of(Loud)
    rises(model, "conv2:0")
    with pytest.raises(fv.TargetError, match="not finite"):
        fv.render(model, "fc:0", **FEW)


# --- what is returned


class Ended(Body):
    """A softmax at the end, as a module."""

    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(1)

    def forward(self, images):
        return self.softmax(super().forward(images))


class EndedByFunction(Body):
    def forward(self, images):
        return super().forward(images).softmax(1)


class EndedInHead(Body):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(6, 5), nn.Softmax(1))

    def forward(self, images):
        return self.head(self.map_of(images).mean((2, 3)))


NAMES = ("ape", "bee", "cat", "dog", "eel")


@pytest.mark.parametrize(
    ("make", "logits"), [(Ended, "fc"), (EndedByFunction, "fc"), (EndedInHead, "head.0")]
)
def test_a_softmax_at_the_end_is_seen(make, logits):
    model = of(make, labels=NAMES)
    network = model.at(model.input_size)
    assert network.logits_layer == logits
    (picture,) = fv.render(model, fv.logit("cat"), **FEW)
    assert picture.target == f"{logits}:2"
    assert picture.label == "cat"


@pytest.mark.parametrize(
    ("make", "asked", "logits"), [(Ended, "softmax", "fc"), (EndedInHead, "head", "head.0")]
)
def test_probabilities_are_climbed_by_their_logits_and_that_is_said(make, asked, logits, tmp_path):
    model = of(make, labels=NAMES)
    lines = []
    from featvis.run.prepare import prepare

    prepared = prepare(model, f"{asked}:dog", **FEW)
    lines += prepared.plan.notes
    assert [wanted.name for wanted in prepared.plan.wanted] == [f"{logits}:3"]
    assert any("probabilit" in text and logits in text for text in lines), lines


class TwoHeads(Body):
    """Returns the main head first, though the other one runs last."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(6, 5)

    def forward(self, images):
        found = self.map_of(images).mean((2, 3))
        return self.fc(found), self.extra(found)


class Segmenting(nn.Module):
    """As torchvision's: a dict, the main head resized, an auxiliary head that runs last."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.classifier, self.aux_classifier = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)

    def forward(self, images):
        found = functional.relu(self.backbone(images))
        size = images.shape[-2:]
        out = functional.interpolate(self.classifier(found), size=size, mode="bilinear")
        return {
            "out": out,
            "aux": functional.interpolate(self.aux_classifier(found), size=size, mode="bilinear"),
        }


class Answer(dict):
    """As transformers' outputs: a dict that is no plain one."""


class LikeTransformers(Body):
    def forward(self, images):
        found = self.map_of(images)
        return Answer(logits=self.fc(found.mean((2, 3))), hidden=self.conv2.weight)


@pytest.mark.parametrize(
    ("make", "output"), [(TwoHeads, "fc"), (Segmenting, "classifier"), (LikeTransformers, "fc"), (Body, "fc")]
)
def test_the_output_is_what_forward_returns(make, output):
    model = of(make, (32, 32), labels=NAMES)
    assert model.output_layer == output
    assert model.layer(output).labels == NAMES
    (picture,) = fv.render(model, fv.logit("dog"), **FEW)
    assert (picture.target, picture.label) == (f"{output}:3", "dog")
    (named,) = fv.render(model, f"{output}:bee", **FEW)
    assert named.unit == 1


# --- an output that no module gives


@dataclasses.dataclass
class Told:
    aux: torch.Tensor
    logits: torch.Tensor


class Returns(Body):
    """Returns what a function makes of itself and its features ``(B, 6)``."""

    def __init__(self, made):
        super().__init__()
        self.made, self.other = made, nn.Linear(6, 5)
        self.heads = nn.ModuleList([nn.Linear(6, 1) for _ in range(3)])
        self.rows = nn.Parameter(torch.randn(6, 6))

    def forward(self, images):
        found = self.map_of(images).mean((2, 3))
        return self.made(self, found)


OWN = {
    "heads side by side": lambda net, f: torch.cat([head(f) for head in net.heads], 1),
    "cosines": lambda net, f: 30 * functional.linear(functional.normalize(f), functional.normalize(net.rows)),
    "distances": lambda net, f: -net.fc(f).pow(2),
    "mean of two": lambda net, f: (net.fc(f) + net.other(f)) / 2,
    "negative": lambda net, f: -net.fc(f),
    "negative, written in place": lambda net, f: net.fc(f).mul_(-1),
    "the other way round": lambda net, f: net.fc(f).flip(1),
    "without the first": lambda net, f: net.fc(f)[:, 1:],
    "scaled": lambda net, f: 20 * net.fc(f),
    "softmax at a temperature": lambda net, f: (5 * net.fc(f)).softmax(1),
    "a dict with another first": lambda net, f: {"aux": net.fc(f), "logits": -net.other(f)},
    "a plain dataclass": lambda net, f: Told(net.fc(f), -net.other(f)),
    "an object": lambda net, f: types.SimpleNamespace(aux=net.fc(f), logits=-net.other(f)),
    "one number for each image": lambda net, f: net.fc(f).abs().sum(1),
    "squeezed": lambda net, f: (-net.fc(f)).squeeze(),
}


def answer_to(net, images):
    with torch.no_grad():
        returned = net(images)
    returned = returned if isinstance(returned, dict | torch.Tensor) else vars(returned)
    answer = returned["logits"] if isinstance(returned, dict) else returned
    return answer.reshape(len(images), -1)


@pytest.mark.parametrize("how", OWN)
def test_a_class_is_one_of_what_forward_returns(how):
    net = seeded(lambda: Returns(OWN[how])).eval()
    units = answer_to(net, torch.rand(2, 3, 16, 16)).shape[1]
    names = [f"class {unit}" for unit in range(units)]
    model = handle(net, (16, 16), labels=names)
    assert model.output_layer == "output"
    assert model.layer("output").labels == tuple(names)
    last = units - 1
    (picture,) = fv.render(model, fv.logit(names[last]), size=16, **FEW)
    assert (picture.target, picture.label) == (f"output:{last}", names[last])
    assert picture.score > picture.start_score
    shown = (picture.image[None] - 0.5) / 0.5
    assert picture.score == pytest.approx(float(answer_to(net, shown)[0, last]), rel=1e-3, abs=1e-4)
    if units > 1:
        score = fv.render(model, fv.log_probability(last), size=16, **FEW)[0]
        told = answer_to(net, (score.image[None] - 0.5) / 0.5).log_softmax(1)
        assert score.score == pytest.approx(float(told[0, last]), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("how", ["heads side by side", "cosines", "a plain dataclass", "squeezed"])
def test_pictures_of_the_own_output_in_several_lanes_are_kept_and_made_again(how, tmp_path):
    net = seeded(lambda: Returns(OWN[how])).eval()
    model = handle(net, (16, 16))
    pictures = fv.render(model, "output:0:3", size=16, steps=4, lanes=3, out=tmp_path)
    for unit, picture in enumerate(pictures):
        shown = (picture.image[None] - 0.5) / 0.5
        assert picture.score == pytest.approx(float(answer_to(net, shown)[0, unit]), rel=1e-3, abs=1e-4)
    again = fv.reproduce(tmp_path / "output" / "0002.png", model=model)
    assert again.levels.tolist() == pictures[2].levels.tolist()
    photo = pictures[1].image
    for method in ("saliency", "occlusion"):
        score = fv.attribute(model, photo, "output:1", method).score
        assert score == pytest.approx(
            float(answer_to(net, (photo[None] - 0.5) / 0.5)[0, 1]), rel=1e-2, abs=1e-3
        )


def test_features_get_no_class_names_but_layers_of_the_same_classes_do():
    names = [f"class {unit}" for unit in range(6)]
    model = handle(seeded(lambda: Returns(OWN["cosines"])).eval(), (16, 16), labels=names)
    assert [layer.name for layer in model.layers if layer.labels] == ["output"]
    model = handle(seeded(lambda: Returns(OWN["mean of two"])).eval(), (16, 16), labels=names[:5])
    assert [layer.name for layer in model.layers if layer.labels] == ["fc", "other", "output"]
    model = handle(seeded(lambda: Returns(OWN["negative"])).eval(), (16, 16), labels=names[:5])
    assert [layer.name for layer in model.layers if layer.labels] == ["output"]


SAME = {
    "as it is": lambda net, f: net.fc(f) + 0.0,
    "its softmax": lambda net, f: net.fc(f).softmax(1),
    "its log_softmax": lambda net, f: net.fc(f).log_softmax(1),
    "its sigmoid": lambda net, f: net.fc(f).sigmoid(),
    "the logits of a dict": lambda net, f: {"aux": net.other(f), "logits": net.fc(f)},
    "the logits of a dataclass": lambda net, f: Told(net.other(f), net.fc(f)),
}


@pytest.mark.parametrize("how", SAME)
def test_a_layer_that_is_the_output_stays_its_name(how):
    model = handle(seeded(lambda: Returns(SAME[how])).eval(), (16, 16))
    assert model.output_layer == "fc"
    assert "output" not in [layer.name for layer in model.layers]


def test_a_module_called_output_keeps_its_name():
    class Taken(Body):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(6, 5)

        def forward(self, images):
            return 20 * self.output(self.map_of(images).mean((2, 3)))

    model = of(Taken)
    assert model.output_layer == "returned"
    assert rises(model, "returned:2").score == pytest.approx(20 * rises(model, "output:2").score, rel=0.2)


class OnlyFunctions(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernels, self.rows = nn.Parameter(torch.randn(6, 3, 3, 3)), nn.Parameter(torch.randn(5, 6))

    def forward(self, images):
        return functional.relu(functional.conv2d(images, self.kernels)).mean((2, 3)) @ self.rows.T


@pytest.mark.parametrize("make", [OnlyFunctions, lambda: nn.Conv2d(3, 4, 3, padding=1)])
def test_a_network_without_parts_is_climbed_by_its_output(make):
    model = of(make)
    picture = rises(model, "output:2", size=16)
    with torch.no_grad():
        own = model.module((picture.image[None] - 0.5) / 0.5)[0, 2].mean()
    assert picture.score == pytest.approx(float(own), rel=1e-3, abs=1e-4)


def test_what_needs_a_module_says_that_the_own_output_has_none():
    model = handle(seeded(lambda: Returns(OWN["negative"])).eval(), (16, 16))
    for ask in (lambda: fv.without(model, "output:1"), lambda: fv.weights_image(model, "output")):
        with pytest.raises(fv.TargetError, match="'output' is") as error:
            ask()
        line(error)


def test_a_class_of_a_map_at_a_position():
    model = of(Segmenting, (32, 32), labels=NAMES)
    picture = rises(model, "classifier:cat@2,3", transforms=[], size=32)
    with torch.no_grad():
        own = model.module.classifier(functional.relu(model.module.backbone(picture.image[None] * 2 - 1)))
    assert picture.score == pytest.approx(float(own[0, 2, 2, 3]), rel=1e-3)


# --- tokens


class Transformer(nn.Module):
    """Patches of 4 by 4, a class token under a name that nobody can guess."""

    def __init__(self, extra=1, linear=False):
        super().__init__()
        self.linear = linear
        self.patches = nn.Linear(48, 12) if linear else nn.Conv2d(3, 12, 4, stride=4)
        self.first = nn.Parameter(torch.randn(1, extra, 12))
        self.block = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
        self.fc = nn.Linear(12, 5)

    def forward(self, images):
        if self.linear:
            rows = functional.unfold(images, 4, stride=4).transpose(1, 2)
            found = self.patches(rows)
        else:
            found = self.patches(images).flatten(2).transpose(1, 2)
        found = torch.cat([self.first.expand(len(found), -1, -1), found], 1)
        return self.fc(self.block(found)[:, 0])


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.net = inner

    def forward(self, images):
        return self.net(images)


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
@pytest.mark.parametrize("linear", [False, True])
def test_class_tokens_are_counted_by_the_patches(extra, linear):
    model = of(lambda: Wrapped(Transformer(max(extra, 1), linear)) if extra else Patches(linear), (24, 32))
    block = model.layer("net.block" if extra else "block")
    assert block.kind == "tokens"
    assert block.prefix == extra
    if not linear:
        assert block.grid == (6, 8)


class Patches(Transformer):
    def __init__(self, linear=False):
        super().__init__(1, linear)
        del self.first

    def forward(self, images):
        if self.linear:
            found = self.patches(functional.unfold(images, 4, stride=4).transpose(1, 2))
        else:
            found = self.patches(images).flatten(2).transpose(1, 2)
        return self.fc(self.block(found).mean(1))


def test_a_channel_of_tokens_leaves_out_the_class_token_and_has_positions():
    model = of(lambda: Wrapped(Transformer(2)), (24, 32))
    images = torch.rand(1, 3, 24, 32)
    with model.tap(["net.block"], size=(24, 32)) as activations:
        given = activations(images)["net.block"].detach()
    for objective, expected in (
        (fv.channel("net.block", 3), given[0, 2:, 3].mean()),
        (fv.neuron("net.block", 3, (2, 5)), given[0, 2 + 2 * 8 + 5, 3]),
    ):
        bound = objective.bind(model.at((24, 32)))
        assert float(bound.score({"net.block": given}, images)[0]) == pytest.approx(float(expected), abs=1e-6)
    rises(model, "net.block:3@2,5", size=(24, 32), transforms=[])
    with pytest.raises(fv.TargetError, match="6 rows by 8 columns"):
        fv.render(model, "net.block:3@6,0", size=(24, 32), **FEW)


def test_timms_first_tokens_have_no_class_token_yet():
    vit = fv.load_model("timm:vit_tiny_patch16_224", weights="none", device="cpu")
    assert (vit.layer("patch_embed").prefix, vit.layer("blocks.0").prefix) == (0, 1)
    assert vit.layer("blocks.3.mlp.act").grid == (14, 14)


# --- names


class Again(nn.Module):
    """One module under two names, and one that runs three times."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first
        self.act = nn.Tanh()
        self.fc = nn.Linear(3, 2)

    def forward(self, images):
        found = self.act(self.first(images))
        found = self.act(found * 2)
        return self.fc(self.act(found * 3).mean((2, 3)))


def test_each_call_and_each_name_of_a_module():
    model = of(Again)
    images = torch.rand(2, 3, 16, 16)
    shown = images * 2 - 1
    conv, calls = model.module.first(shown).tanh(), [torch.Tensor()]
    calls = [conv, (conv * 2).tanh(), ((conv * 2).tanh() * 3).tanh()]
    names = ["act#1", "act#2", "act#3", "act", "second", "first"]
    expected = [*calls, calls[2], model.module.first(shown), model.module.first(shown)]
    for name, values in zip(names, expected, strict=True):
        with model.tap([name]) as activations:
            torch.testing.assert_close(activations(images)[name], values.detach(), rtol=1e-4, atol=1e-5)
    with model.tap(["act#1", "act#3"]) as activations:
        given = activations(images)
    torch.testing.assert_close(given["act#1"], calls[0].detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(given["act#3"], calls[2].detach(), rtol=1e-4, atol=1e-5)
    assert rises(model, "act#2:1").target == "act#2:1"
    assert rises(model, "second:1").target == "second:1"
    with pytest.raises(fv.TargetError, match="runs 3 times in a pass, act#1 to act#3"):
        model.layer("act#4")
    with pytest.raises(fv.TargetError, match="runs once"):
        model.layer("fc#2")


# --- the network's own errors


class Mine(Exception):
    pass


def failing(error):
    class Failing(Body):
        def forward(self, images):
            self.conv1(images)
            raise error

    return Failing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("mask"), "KeyError: 'mask'"),
        (AttributeError("no such thing"), "AttributeError: no such thing"),
        (Mine("my own\nreason"), "Mine: my own reason"),
        (NotImplementedError(), "NotImplementedError"),
        (RuntimeError("the network itself"), "RuntimeError: the network itself"),
        (StopIteration(), "StopIteration"),
    ],
)
def test_an_exception_of_the_network_is_told_first(error, words):
    with pytest.raises(fv.ModelError) as raised:
        fv.render(of(failing(error)), "conv1:0", **FEW)
    text = line(raised)
    assert text.startswith(f"Failing fails on images of 3x16x16: {words} (test_brought.py, line ")
    assert "forward=lambda net, images: net(images" in text
    assert "--" not in text
    assert "forward=" not in raised.value.typed
    assert "file:" in raised.value.typed


class Breaking(Body):
    """Fails once it is climbed."""

    def forward(self, images):
        if torch.is_grad_enabled():
            raise Mine("only with gradients")
        return super().forward(images)


def test_an_exception_while_it_is_climbed_is_one_line():
    model = of(Breaking)
    before = state_of(model.module)
    with pytest.raises(
        fv.ModelError, match="Breaking fails in its forward: Mine: only with gradients"
    ) as error:
        fv.render(model, "fc:1", **FEW)
    line(error)
    assert state_of(model.module) == before


class NeedsMask(Body):
    def forward(self, images, mask):
        return super().forward(images * mask)


class NeedsNamed(Body):
    def forward(self, images, *, scale):
        return super().forward(images * scale)


class TakesDict(Body):
    def forward(self, batch):
        return super().forward(batch["pixel_values"] if "more" not in batch else batch["more"])


class ChannelsLast(Body):
    def forward(self, images):
        return super().forward(images.permute(0, 3, 1, 2))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(3, 4, 5), nn.Linear(4, 2)

    def forward(self, signals):
        return self.fc(self.conv(signals).mean(2))


class Waves(Sound):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 5)

    def forward(self, signals):
        batch, _ = signals.shape
        return self.fc(self.conv(signals.view(batch, 1, -1)).mean(2))


class Film(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, frames):
        return self.fc(self.conv(frames).mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (NeedsMask, ["needs more than images", "TypeError", "'mask'", "net(images, mask)"]),
        (NeedsNamed, ["needs more than images", "net(images, scale=scale)"]),
        (TakesDict, ["takes a dict", "net({'pixel_values': images})"]),
        (ChannelsLast, ["images (B, H, W, C)", "net(images.permute(0, 2, 3, 1))"]),
        (Sound, ["signals (B, C, T)", "signal=True"]),
        (Waves, ["signals (B, T)", "signal=True"]),
    ],
)
def test_a_network_that_takes_its_images_otherwise_is_told_how(make, words):
    with pytest.raises(fv.ModelError) as error:
        assert of(make, (20, 24)).layers
    for word in words:
        assert word in line(error), (word, line(error))
    assert "forward=" not in error.value.typed


def test_a_network_of_videos_is_found_to_be_one():
    model = of(Film, (20, 24))
    assert model.frames == 16
    assert model.layer("conv").units == 4
    assert any("takes videos or volumes" in note for note in model.notes)


def test_the_wrong_number_of_channels_is_said():
    class Gray(Body):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 6, 3, padding=1)

    with pytest.raises(fv.ModelError, match="Gray takes images of 1 channel, not 3") as error:
        fv.render(of(Gray), "conv1:0", **FEW)
    assert "mean=(0.5,)" in line(error)
    assert "--mean 0.5" in error.value.typed


def test_a_lazy_network_that_never_ran():
    with pytest.raises(fv.ModelError, match="run it once"):
        assert handle(nn.Sequential(nn.LazyConv2d(4, 3)), (16, 16)).layers


# --- the canvas


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 12), nn.Linear(12, 5)

    def forward(self, images):
        return self.fc2(torch.relu(self.fc1(images.view(-1, 784))))


class Fixed(Viewed):
    """Takes 32 by 32 only."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6 * 16 * 16, 5)


@pytest.mark.parametrize(("make", "channels", "side"), [(Flat, 1, 28), (Fixed, 3, 32)])
@pytest.mark.parametrize("told", [True, False])
def test_the_canvas_is_the_networks_own(make, channels, side, told):
    size = {"input_size": side} if told else {}
    model = fv.load_model(seeded(make).eval(), mean=(0.5,) * channels, std=(0.5,) * channels, **size)
    assert model.input_size == (side, side)
    (picture,) = fv.render(model, model.output_layer + ":1", steps=6, lanes=1)
    assert tuple(picture.image.shape) == (channels, side, side)
    assert picture.score > picture.start_score
    assert picture.recipe["input_size"] is None
    # Another canvas, if it is asked for, is shown at the network's own size.
    (large,) = fv.render(model, model.output_layer + ":1", steps=2, lanes=1, size=2 * side)
    assert tuple(large.image.shape) == (channels, 2 * side, 2 * side)
    assert large.recipe["input_size"] == [side, side]


@pytest.mark.parametrize(
    ("own", "recipe", "canvas"),
    [
        (32, None, (32, 32)),
        (28, "maco", (28, 28)),
        ((65, 129), None, (65, 129)),
        ((40, 40), "fast", (40, 40)),
        (96, None, (96, 96)),
        (160, None, (224, 224)),
        (224, None, (224, 224)),
        (240, None, (224, 224)),
        (299, None, (224, 224)),
        (96, "fast", (128, 128)),
        (32, fv.Recipe(size=48), (48, 48)),
        (32, fv.Recipe(steps=2), (32, 32)),
    ],
)
def test_which_canvas(own, recipe, canvas):
    from featvis.plan.make import make_plan

    size = own if isinstance(own, tuple) else (own, own)
    plan = make_plan(handle(seeded(Body).eval(), size), "fc:1", recipe=recipe)
    assert plan.wanted[0].recipe.size == canvas
    said = [text for text in plan.notes if text.startswith("canvas ")]
    assert bool(said) == (
        canvas == size and own != 224 and not (isinstance(recipe, fv.Recipe) and recipe.size[0] == 48)
    )


def test_what_is_in_pixels_shrinks_with_the_canvas():
    from featvis.plan.make import make_plan

    plan = make_plan(handle(seeded(Body).eval(), (28, 28)), "conv2:1", recipe="dream")
    (jitter,) = [one["jitter"] for one in plan.wanted[0].recipe.transforms if "jitter" in one]
    assert jitter == 1.0


# --- compiled and quantized


def test_a_compiled_network_is_climbed_as_it_was_written():
    module = seeded(Small).eval()
    plain = fv.render(handle(module), "fc:1", size=(17, 24), **FEW)[0]
    compiled = handle(torch.compile(module))
    assert [layer.name for layer in compiled.layers] == [layer.name for layer in handle(module).layers]
    assert fv.render(compiled, "fc:1", size=(17, 24), **FEW)[0].levels.tolist() == plain.levels.tolist()
    assert sum("compiled" in text for text in compiled.notes) == 1


def test_a_compiled_part_is_run_as_it_was_written():
    module = seeded(Small).eval()
    plain = fv.render(handle(module), "fc:1", size=(17, 24), **FEW)[0]
    module.conv2 = torch.compile(module.conv2)
    module.fc.compile()
    with torch._dynamo.config.patch(disable=False):
        count = torch._dynamo.utils.counters["frames"]["total"]
        found = fv.render(handle(module), "fc:1", size=(17, 24), **FEW)[0]
        assert torch._dynamo.utils.counters["frames"]["total"] == count, "nothing was compiled"
    assert found.levels.tolist() == plain.levels.tolist()


def test_a_quantized_network_says_why():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(seeded(Body).eval(), {nn.Linear}, dtype=torch.qint8)
    model = handle(module, (16, 16))
    with pytest.raises(fv.ModelError, match="'fc' is quantized") as error:
        fv.render(model, "fc:1", **FEW)
    assert "float network" in line(error)
    rises(model, "conv1:1")


def test_small_and_ordinary_networks_are_what_they_were():
    model = small()
    assert model.output_layer == "fc"
    assert [layer.kind for layer in model.layers] == ["map"] * 6 + ["vector"] * 3
    assert not any(layer.fault or layer.mixes for layer in model.layers)


def test_a_table_for_each_image_is_no_batch_of_parts():
    """What networks for detection return: as many boxes for an image as they find."""

    class Finds(Body):
        def forward(self, images):
            found = self.fc(self.map_of(images).mean((2, 3)))
            return [{"boxes": torch.cat([one[None, :4]] * 3), "scores": one[:3]} for one in found]

    model = of(Finds)
    rises(model, "conv2:1")
    assert "fc" in [layer.name for layer in model.layers]


# --- what is said of modules that are no layers, of axes, and of names that hold signs


class Odd(Body):
    def __init__(self):
        super().__init__()
        self.total, self.best, self.both = (
            Makes(lambda x: x.sum((1, 2, 3))),
            Makes(lambda x: x.argmax(1)),
            Table(),
        )
        self.unused, self.same = nn.Conv2d(3, 3, 1), self.total

    def forward(self, images):
        found = self.map_of(images)
        self.total(found), self.best(found), self.both(found)
        return self.fc(found.mean((2, 3)))


class Makes(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, images):
        return self.made(images)


class Table(nn.Module):
    def forward(self, images):
        return {"one": images, "other": -images}


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        ("total", r"shape \(B,\), which has no axis of units"),
        ("same", r"shape \(B,\), which has no axis of units"),
        ("best", "type int64, which have no gradient"),
        ("both", "no single tensor in a plain forward pass, but dict"),
        ("unused", "does not run"),
    ],
)
def test_a_module_that_is_no_layer_is_told_why(layer, why):
    with pytest.raises(fv.TargetError, match=f"'{layer}' .*{why}") as error:
        of(Odd).layer(layer)
    line(error)


def test_an_axis_for_every_layer_is_of_those_that_have_it():
    layers = {layer.name: layer for layer in of(Body, unit_axis=2).layers}
    assert (layers["conv1"].axis, layers["fc"].axis) == (2, 1)
    for axis in (4, -4, 0):
        with pytest.raises(fv.ModelError, match="axis") as error:
            _ = of(Body, unit_axis=axis).layers
        line(error)
    with pytest.raises(fv.ModelError, match="unknown layer 'fcc'; did you mean 'fc'"):
        _ = of(Body, unit_axis={"fcc": 1}).layers


def test_a_network_that_is_nested_too_deep_is_told_the_limit():
    def nested():
        net = nn.Conv2d(3, 4, 3, padding=1)
        for _ in range(200):
            net = nn.Sequential(net)
        return net

    with pytest.raises(fv.ModelError, match="setrecursionlimit") as error:
        _ = handle(nested(), (16, 16)).layers
    line(error)
    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10 * before)
        assert handle(nested(), (16, 16)).layers[-1].units == 4
    finally:
        sys.setrecursionlimit(before)


def test_a_network_on_meta_is_told_that_it_has_no_weights():
    with torch.device("meta"):
        net = Body()
    with pytest.raises(fv.ModelError, match=r"no weights: 'conv1\.weight' is on the device meta"):
        _ = handle(net, (16, 16)).layers


def test_names_that_hold_signs_are_addressed_as_they_are(tmp_path):
    net = nn.Sequential()
    names = ("x:y", "x", "c@d", "x,c@d", "e:1")
    for place, name in enumerate(names):
        net.add_module(name, nn.Conv2d(4 if place else 3, 4, 3, padding=1))
    model = handle(net, (16, 16))
    options = {"size": 16, "steps": 2, "lanes": 1}
    for name in names:
        plain = fv.render(model, fv.channel(name, 1), out=tmp_path / "out", **options)[0]
        (picture,) = fv.render(model, f"{name}:1", **options)
        assert (picture.target, picture.layer, picture.unit) == (f"{name}:1", name, 1)
        assert picture.levels.tolist() == plain.levels.tolist()
        (neuron,) = fv.render(model, f"{name}:1@3,4", out=tmp_path / "out", **options)
        assert (neuron.target, neuron.layer) == (f"{name}:1@3,4", name)
        made = next((tmp_path / "out").glob("*/0001@3,4.png"))
        made.unlink()
        photo = torch.rand(3, 16, 16)
        scores = [
            fv.attribute(model, photo, one, "saliency").score for one in (f"{name}:1", fv.channel(name, 1))
        ]
        assert scores[0] == scores[1]
        assert fv.without(model, f"{name}:1").name.endswith(f"without {name}:1")
