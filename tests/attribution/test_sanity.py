from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.attribution.edges import edges
from featvis.attribution.measure import rank_correlation
from featvis.attribution.register import methods
from featvis.attribution.sanity import randomized, weighted_layers
from tests.networks import seeded, small


def test_layers_are_randomized_from_the_top_and_the_network_is_left_alone(chance):
    model = small(size=(17, 24))
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    image = torch.rand((1, 3, 17, 24), generator=chance)
    assert weighted_layers(model, ["fc"], (17, 24)) == ["fc", "conv2", "conv1"]
    assert weighted_layers(model, ["conv2"], (17, 24)) == ["conv2", "conv1"]
    changed = []
    for stage in randomized(model, ["fc"], image, stages=(0.0, 0.6, 1.0)):
        weights = stage.model.module.state_dict()
        changed.append(stage.layers)
        for name in ("fc", "conv2", "conv1"):
            same = torch.equal(weights[f"{name}.weight"], before[f"{name}.weight"])
            assert same == (name not in stage.layers)
        touched = not torch.equal(weights["norm.running_mean"], before["norm.running_mean"])
        assert touched == ("conv2" in stage.layers)
    assert changed == [("fc",), ("fc", "conv2"), ("fc", "conv2", "conv1")]
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())


def test_a_randomized_network_is_alive_and_its_statistics_are_its_own(lite0, chance):
    image = torch.rand((1, 3, 64, 64), generator=chance)
    *_, last = randomized(lite0, ["classifier"], image, stages=(1.0,))
    given = {}
    norm = last.model.module.blocks[4][0].bn2
    hook = norm.register_forward_pre_hook(lambda _, inputs: given.update(x=inputs[0]))
    last.model.run_once(torch.cat([image, image.flip(3), image.flip(2), image.flip(2, 3)]))
    hook.remove()
    values = given["x"].movedim(1, 0).flatten(1)
    assert torch.allclose(values.mean(1), norm.running_mean, atol=1e-3)
    assert (values.std(1) > 0).all()


def cascade(model, photo, target, method):
    """The similarity of the map after each stage, (rank correlation, SSIM)."""
    found = fv.attribute(model, photo, target, method, sanity=True)
    assert [stage["randomized"] for stage in found.sanity] == sorted(
        {stage["randomized"] for stage in found.sanity}
    )
    return np.array([(stage["rank_correlation"], stage["ssim"]) for stage in found.sanity])


def photograph(height, width):
    from skimage import data, transform

    shown = transform.resize(data.chelsea(), (height, width), anti_aliasing=True)
    return torch.from_numpy(shown).permute(2, 0, 1).float().clamp(0, 1)


@pytest.mark.slow
def test_the_gradient_changes_with_the_top_layers_and_guided_backprop_does_not(lite0):
    """Adebayo et al. 2018: guided backprop is an edge detector of sorts, whatever the layers above say."""
    photo = photograph(96, 112)
    gradient = cascade(lite0, photo, "classifier:tabby", "saliency")
    guided = cascade(lite0, photo, "classifier:tabby", "guided-backprop")
    # With the classifier random, and with the upper quarter and half of the layers.
    assert (gradient[:3] < 0.6).all()
    assert (guided[:2] > 0.9).all()
    assert (guided[:3] - gradient[:3] > 0.25).all()
    # With no layer left as it was nothing is alike.
    assert abs(gradient[-1, 0]) < 0.2
    assert guided[-1, 0] < 0.5


@pytest.mark.slow
def test_so_it_is_in_vgg16(vgg16_weights):
    model = fv.load_model("torchvision:vgg16", weights=vgg16_weights)
    photo = photograph(96, 112)
    gradient = cascade(model, photo, "features.28:10", "saliency")
    guided = cascade(model, photo, "features.28:10", "guided-backprop")
    assert (gradient[:3] < 0.5).all()
    assert (guided[:3, 0] > 0.8).all()
    assert abs(gradient[-1, 0]) < 0.3


def test_guided_backprop_is_more_like_edges_than_the_gradient_is(lite0):
    photo = photograph(96, 112)
    control = edges(photo)
    alike = {
        method: rank_correlation(
            torch.from_numpy(fv.attribute(lite0, photo, "classifier:tabby", method).values), control
        )
        for method in ("saliency", "guided-backprop")
    }
    assert alike["guided-backprop"] > alike["saliency"] + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", methods())
def test_every_method_runs_on_vgg16(vgg16_weights, method):
    model = fv.load_model("torchvision:vgg16", weights=vgg16_weights)
    steps = {"extremal": {"steps": 5}, "integrated-gradients": {"steps": 8}, "occlusion": {"window": 24}}
    found = fv.attribute(model, photograph(64, 80), "features.21:33", method, **steps.get(method, {}))
    assert found.values.shape == (64, 80)
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0


@pytest.mark.filterwarnings("ignore:extremal. the mask keeps")
@pytest.mark.parametrize(
    "target", ["classifier:Egyptian cat", pytest.param("blocks.4:17", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("method", methods())
def test_every_method_runs_on_lite0(lite0, method, target):
    steps = {"extremal": {"steps": 2}, "integrated-gradients": {"steps": 4}, "occlusion": {"window": 32}}
    found = fv.attribute(lite0, photograph(64, 80), target, method, **steps.get(method, {}))
    assert found.values.shape == (64, 80)
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0


def test_a_network_without_batchnorm_is_randomized_too(chance):
    model = fv.load_model(
        seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        input_size=(16, 16),
    )
    found = fv.attribute(model, torch.rand((3, 16, 18), generator=chance), "2:1", sanity=True)
    assert [stage["down_to"] for stage in found.sanity] == ["2", "0"]
    assert found.sanity[-1]["rank_correlation"] < 0.9
