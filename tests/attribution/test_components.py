from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.attribution.components import find_components, load_direction
from featvis.errors import OutputError, RecipeError, TargetError
from tests.networks import handle, small


class Mixed(nn.Module):
    """Gives two known directions of five units: one for red, one for green."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 5, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[:, 0, 0, 0] = torch.tensor([3.0, 0, 1, 0, 0])
            self.mix.weight[:, 1, 0, 0] = torch.tensor([0.0, 2, 0, 0, 2])

    def forward(self, images):
        return self.mix(images)


def mixed():
    return fv.load_model(Mixed(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(8, 10))


def photos():
    """Left red, right green; the second of another size, green only."""
    first, second = torch.zeros(3, 8, 10), torch.zeros(3, 6, 9)
    first[0, :, :5], first[1, :, 5:], second[1, 2:] = 0.9, 0.6, 0.5
    return [first, second]


def test_nmf_finds_the_planted_directions_and_where_they_are():
    found = find_components(mixed(), "mix", photos(), "nmf", 2)
    red = torch.tensor([3.0, 0, 1, 0, 0]) / 10**0.5
    green = torch.tensor([0.0, 1, 0, 0, 1]) / 2**0.5
    assert torch.allclose(found.directions, torch.stack([red, green]), atol=1e-3)  # red explains most
    assert found.explained == pytest.approx(1, abs=1e-4)
    left = torch.zeros(8, 10)
    left[:, :5] = 0.9 * 10**0.5
    assert torch.allclose(found.maps[0][0], left, atol=1e-2)
    assert found.maps[1].shape == (2, 6, 9)
    assert found.maps[1][1, 2:].min() > 1
    assert found.maps[1][1, :2].max() < 1e-2


def test_pca_is_of_the_covariance(chance):
    model = small(size=(16, 20))
    images = [torch.rand((3, 16, 20), generator=chance) for _ in range(3)]
    found = find_components(model, "conv2", images, "pca", 3)
    with model.tap(["conv2"], size=(16, 20)) as tap:
        samples = tap(torch.stack(images))["conv2"].movedim(1, 3).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(torch.cov(samples.T))
    expected = vectors.flip(1).T[:3]
    assert torch.allclose(
        (found.directions.double() * expected).sum(1).abs(), torch.ones(3).double(), atol=1e-4
    )
    assert found.explained == pytest.approx(float(values.flip(0)[:3].sum() / values.sum()), abs=1e-5)
    assert (found.directions.gather(1, found.directions.abs().argmax(1, keepdim=True)) > 0).all()


def test_a_component_is_a_target_for_rendering_and_attribution(tmp_path):
    found = find_components(mixed(), "mix", photos(), "nmf", 2)
    layer, vector = load_direction(found.save(tmp_path / "rows.safetensors"), 1)
    assert layer == "mix"
    assert torch.equal(vector, found.directions[1])
    where = fv.attribute(mixed(), photos()[0], fv.direction(layer, vector), "lrp").values
    assert where[:, 5:].min() > 0
    assert abs(where[:, :5]).max() < 1e-3 * where.max()
    options = {"size": (8, 10), "steps": 2, "lanes": 1, "transforms": []}
    picture = fv.render(mixed(), fv.direction(layer, vector), **options)[0]
    assert picture.score > picture.start_score


def test_mistakes(tmp_path):
    with pytest.raises(TargetError, match="gives a map"):
        find_components(small(), "fc", [torch.zeros(3, 17, 24)])
    with pytest.raises(RecipeError, match="ask for 1 to 5"):
        find_components(mixed(), "mix", photos(), count=6)
    with pytest.raises(RecipeError, match="did you mean 'nmf'"):
        find_components(mixed(), "mix", photos(), "nnmf")
    path = find_components(mixed(), "mix", photos(), count=2).save(tmp_path / "rows.safetensors")
    with pytest.raises(OutputError, match="holds directions 0 to 1, not 2"):
        load_direction(path, 2)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(OutputError, match="no file of directions"):
        load_direction(tmp_path / "text")


def test_the_handles_of_a_layer_that_keeps_units_last_agree(chance):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 4)

        def forward(self, images):
            return self.lin(images.permute(0, 2, 3, 1))

    torch.manual_seed(0)
    model = handle(Last(), (8, 12))
    found = find_components(model, "lin", [torch.rand((3, 8, 12), generator=chance)], "pca", 2)
    assert found.maps[0].shape == (2, 8, 12)
    assert found.directions.shape == (2, 4)
