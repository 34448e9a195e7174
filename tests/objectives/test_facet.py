"""Facets: a unit that answers to red and to green alike is driven to the one that a probe points at."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from tests.networks import PLAIN, handle, scores_of

SIZE = (9, 14)


def either():
    """Unit 0 of ``sum`` answers to red and to green alike, by two channels of ``low``; unit 1 to blue."""
    low, last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        low.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])[..., None, None])
        low.bias.zero_()
        last.weight.copy_(torch.tensor([[1.0, 1, 0], [0, 0, 1]])[..., None, None])
        last.bias.zero_()
    names = {"low": low, "act": nn.Softplus(), "sum": last}
    module = nn.Sequential()
    for name, one in names.items():
        module.add_module(name, one)
    return handle(module, SIZE)


def colored(color, count, chance):
    base = torch.tensor(color)[:, None, None] * 0.7 + 0.1
    return [(base + 0.15 * torch.rand((3, *SIZE), generator=chance)).clamp(0, 1) for _ in range(count)]


def test_the_score_is_the_formula(chance):
    model, images = either(), torch.rand((2, 3, *SIZE), generator=chance)
    weights = torch.tensor([1.0, -2.0, 0.5])
    found = fv.facet(fv.channel("sum", 0), {"act": weights}, strength=0.4).bind(model.at(SIZE))
    with model.tap(["act", "sum"], size=SIZE) as tap:
        seen = tap(images.clone().requires_grad_())
        score = found(seen, images)
        acts, plain = seen["act"].detach(), seen["sum"].detach()[:, 0].mean((1, 2))
    # ∂J/∂A is the last layer's weight over the number of positions.
    slope = torch.tensor([1.0, 1.0, 0.0])[:, None, None] / (SIZE[0] * SIZE[1])
    wanted = plain + 5 * 0.4 * (acts * slope * weights[:, None, None]).sum((1, 2, 3))
    assert torch.allclose(score, wanted, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(scores_of(model, found, images), plain, atol=1e-5)


def test_a_probe_of_two_folders_points_at_their_difference_and_steers_the_picture(tmp_path, chance):
    model = either()
    for name, color in (("red", (1.0, 0, 0)), ("green", (0, 1.0, 0))):
        (tmp_path / name).mkdir()
        for place, image in enumerate(colored(color, 4, chance)):
            levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(levels).save(tmp_path / name / f"{place}.png")
        (tmp_path / name / "notes.txt").write_text("no photograph")
    probes = fv.fit_facet(model, tmp_path / "red", tmp_path / "green", ["act"])
    assert probes["act"].norm().item() == pytest.approx(1)
    assert probes["act"][0] > 0.3
    assert probes["act"][1] < -0.3
    target = fv.channel("sum", 0)
    options = {**PLAIN, "size": SIZE, "steps": 20, "optimizer": "adam"}
    mirrored = {"act": -probes["act"]}
    red, green = (fv.render(model, fv.facet(target, one, 3.0), **options)[0] for one in (probes, mirrored))
    redness = [(one.image[0] - one.image[1]).mean().item() for one in (red, green)]
    assert redness[0] > 0.1
    assert redness[1] < -0.1
    assert red.target != green.target


def test_several_facets_climb_together_as_alone(chance):
    model, probes = either(), {"act": torch.tensor([1.0, -1.0, 0.0])}
    facets = [fv.facet(fv.channel("sum", unit), probes, 2.0) for unit in (0, 1)]
    options = {**PLAIN, "size": SIZE, "steps": 4, "lanes": 2}
    both = fv.render(model, facets, **options)
    for one, picture in zip(facets, both, strict=True):
        assert torch.equal(fv.render(model, [one], **options)[0].image, picture.image)


def test_mistakes(tmp_path):
    model = either()
    with pytest.raises(fv.TargetError, match="has 3 weights, got 2"):
        fv.render(model, fv.facet(fv.channel("sum", 0), {"act": [1.0, 2.0]}), size=SIZE, steps=1)
    with pytest.raises(fv.TargetError, match="does not run before"):
        fv.render(model, fv.facet(fv.channel("act", 0), {"sum": [1.0, 2.0]}), size=SIZE, steps=1)
    with pytest.raises(fv.UserError, match="one finite weight"):
        fv.facet(fv.channel("sum", 0), {})
    with pytest.raises(fv.UserError, match="strength"):
        fv.facet(fv.channel("sum", 0), {"act": [1.0, 2, 3]}, -1)
    with pytest.raises(fv.UserError, match="no folder"):
        fv.fit_facet(model, tmp_path / "none", tmp_path, ["act"])
    grey = [torch.full((3, *SIZE), 0.5)] * 2
    with pytest.raises(fv.TargetError, match="alike"):
        fv.fit_facet(model, grey, grey, ["act"])
