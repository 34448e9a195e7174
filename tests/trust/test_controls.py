"""Controls: random weights keep their values and lose their meaning; the network itself is not touched."""

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.trust.controls import (
    is_untrained,
    randomize,
    randomized,
    responses_in_random_networks,
)
from featvis.trust.references import noise_images
from tests.networks import activations_of, handle, seeded, small


def values(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_randomized_tensors_keep_their_values_in_other_places():
    module = small().module.conv2
    before = values(module)
    randomize(module, torch.Generator().manual_seed(1))
    for name, value in module.state_dict().items():
        assert not torch.equal(value, before[name]), name
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)


def test_the_cascade_goes_from_the_layer_downwards_and_leaves_the_network_alone(chance):
    model = small()
    before = values(model.module)
    images = torch.rand((2, 3, 17, 24), generator=chance)
    changed = []
    for stage in randomized(model, "norm"):
        now = values(stage.model.module)
        changed.append(
            (
                len(stage.layers),
                [name for name in ("conv1", "conv2", "norm", "fc") if not _same(now, before, name)],
            )
        )
        assert stage.total == 3
    assert changed == [(1, ["norm"]), (2, ["conv2", "norm"]), (3, ["conv1", "conv2", "norm"])]
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    last = stage.model
    assert not torch.allclose(activations_of(last, "conv1", images), activations_of(model, "conv1", images))


def _same(now, before, module):
    return all(
        torch.equal(now[name], value) for name, value in before.items() if name.startswith(module + ".")
    )


def test_a_copy_gives_the_same_activations(chance):
    model = small()
    images = torch.rand((2, 3, 17, 24), generator=chance)
    copy = model.copy()
    assert copy.module is not model.module
    assert torch.equal(activations_of(copy, "fc", images), activations_of(model, "fc", images))
    assert copy.fingerprint() == model.fingerprint()


class Template(nn.Module):
    """One unit for each of 20 random templates of the whole image, after 40 units that mean nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 60, (8, 10), bias=False)
        self.flat = nn.Flatten()
        self.last = nn.Linear(60, 20, bias=False)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.weight[range(20), range(20)] = 1.0

    def forward(self, images):
        return self.last(self.flat(self.first(images)))


def test_what_a_unit_was_taught_is_gone_with_random_weights():
    model = handle(seeded(Template), (8, 10))
    pictures = torch.stack(
        [(one / one.abs().max() + 1) / 2 for one in model.module.first.weight[:20].detach()]
    )
    noise = noise_images(8, 3, (8, 10))
    units, signs = list(range(20)), [1] * 20
    depths = responses_in_random_networks(pictures, noise, model, "last", units, signs)
    assert depths[-1]["randomized"] == depths[-1]["of"] == 2
    trained = responses_in_random_networks(pictures, noise, model, "last", units, [-1] * 20)
    assert [one["z"] for one in trained] == [[-value for value in one["z"]] for one in depths]
    left = torch.tensor(depths[-1]["z"])
    assert left.abs().mean() < 2.0
    from featvis.trust.response import respond
    from featvis.trust.selectivity import standardize

    z = standardize(respond(pictures, model, "last"), respond(noise, model, "last"))
    assert z.diagonal().min() > 5.0


def test_a_network_that_has_seen_nothing_is_told_from_one_that_has():
    assert not is_untrained(small())
    assert is_untrained(handle(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))))
    assert not is_untrained(handle(nn.Sequential(nn.Conv2d(3, 4, 3))))
    assert is_untrained(fv.load_model("torchvision:squeezenet1_1", weights="none"))
    changed = fv.load_model("torchvision:squeezenet1_1", weights="none")
    with torch.no_grad():
        changed.module.classifier[1].bias.add_(0.1)
    assert not is_untrained(changed)


def test_photographs_tell_a_network_whose_statistics_are_not_theirs(chance):
    images = torch.rand((8, 3, 17, 24), generator=chance)
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)))
    module.train()
    module[1].momentum = 1.0
    with torch.no_grad():
        module((images - 0.5) / 0.5)
    model = handle(module.eval())
    assert not is_untrained(model, list(images))
    module[1].running_var *= 100
    assert is_untrained(model, list(images))
    assert not is_untrained(model, list(images[:7])), "too few to say"
    assert not is_untrained(model)


@pytest.mark.slow
def test_lite0_with_its_weights_dealt_out_anew_is_told_by_photographs(lite0):
    data = pytest.importorskip("skimage.data")
    names = ("astronaut", "chelsea", "coffee", "rocket")
    images = [torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1) / 255 for name in names]
    images += [image.flip(2) for image in images]
    assert not is_untrained(lite0, images)
    *_, last = randomized(lite0, "classifier")
    changed = last.model
    assert is_untrained(changed, images)
