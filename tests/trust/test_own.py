"""What a picture's own network says: references, fresh transforms, groups, ceilings."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.trust.own import ENOUGH, Group, Responses, ceiling, groups_of, standardized
from featvis.trust.references import noise_images, read_photographs
from featvis.trust.response import respond, seen_by_its_network, under_fresh_transforms
from featvis.trust.selectivity import standardize
from featvis.trust.subjects import read_contents, read_folder
from tests.networks import activations_of, handle, layouts, small
from tests.trust.planted import FAST, SIZE, colors, write_photographs


def subjects_of(folder, channels=3):
    return read_contents(folder, read_folder(folder), channels).subjects


def test_usual_responses_are_photographs_or_else_noise_and_pictures_of_other_units(chance):
    pictures, noise = torch.rand((4, 6), generator=chance), torch.rand((5, 6), generator=chance)
    units = [2, 2, 4, 0]
    found = standardized(Responses(pictures, noise, None), units)
    expected = standardize(pictures[:1], torch.cat((noise, pictures[2:])))
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[2], standardize(pictures[2:3], torch.cat((noise, pictures[[0, 1, 3]])))[0])
    photographs = torch.rand((ENOUGH, 6), generator=chance)
    found = standardized(Responses(pictures, noise, photographs), units)
    assert torch.allclose(found, standardize(pictures, photographs))
    few = standardized(Responses(pictures, noise, photographs[1:]), units)
    assert torch.allclose(few[0], expected[0]), "too few photographs"


@pytest.mark.parametrize(("sd", "at_the_end"), [([0.3, 0.0], 0.0), ([0.0, 0.2], 0.2)])
def test_fresh_transforms_are_those_late_in_the_run(tmp_path, sd, at_the_end):
    model = colors()
    options = {**FAST, "transforms": [fv.Noise(sd=tuple(sd))]}
    fv.render(model, "0:0,3", out=tmp_path, **options)
    subjects = subjects_of(tmp_path)
    plain = respond(seen_by_its_network(subjects, model), model, "0")
    fresh = under_fresh_transforms(subjects, model, count=3)
    for row, (one, found) in enumerate(zip(subjects, fresh, strict=True)):
        # The score is minus a mean square: noise takes its variance away from it.
        assert found == pytest.approx(float(plain[row, one.unit]) - at_the_end**2, abs=0.004)
    again = under_fresh_transforms(subjects, model, count=3)
    assert again == fresh
    other = [replace(one, entry={**one.entry, "seed": 9}) for one in subjects]
    assert at_the_end == 0 or under_fresh_transforms(other, model, count=3) != fresh


def test_a_picture_is_shown_as_it_was_scored_also_at_another_size(tmp_path):
    model = small()
    fv.render(model, "relu2:3", out=tmp_path, size=(23, 31), input_size=(17, 24), steps=4, lanes=1)
    (one,) = subjects_of(tmp_path)
    assert one.seen == (17, 24)
    shown = seen_by_its_network([one], model)
    assert shown.shape == (1, 3, 17, 24)
    assert float(respond(shown, model, "relu2")[0, 3]) == pytest.approx(one.entry["score"], abs=1e-4)


def test_a_file_of_another_run_of_the_same_unit_is_not_genuine(tmp_path):
    fv.render(colors(), "0:0", out=tmp_path, seeds=2, **FAST)
    (tmp_path / "0" / "0000.png").write_bytes((tmp_path / "0" / "0000-seed1.png").read_bytes())
    assert {one.entry["seed"]: one.genuine for one in subjects_of(tmp_path)} == {0: False, 1: True}


def test_responses_are_what_pictures_are_scored_by_in_every_layout(chance):
    images = torch.rand((3, 3, 17, 10), generator=chance)
    for name in ("map", "map_last", "tokens", "signal", "vector"):
        model = layouts()
        found = respond(images, model, name)
        for unit in range(found.shape[1]):
            objective = fv.channel(name, unit).bind(model.at((17, 10)))
            with model.tap([name], size=(17, 10)) as activations:
                assert torch.allclose(found[:, unit], objective(activations(images), images), atol=1e-6)
    at = respond(images, layouts(), "map_last", (4, 1))
    assert torch.allclose(at, activations_of(layouts(), "map_last", images)[:, 4, 1], atol=1e-6)


def test_groups_are_of_one_layer_position_and_size(tmp_path):
    model = small()
    options = {"steps": 2, "lanes": 1, "transforms": []}
    fv.render(model, ["conv1:0,1", "conv1:2@3,4", "relu2:0"], out=tmp_path, size=(17, 24), **options)
    found = groups_of(subjects_of(tmp_path))
    assert {(one.layer, one.position): one.units for one in found} == {
        ("conv1", None): [0, 1],
        ("conv1", (3, 4)): [2],
        ("relu2", None): [0],
    }
    assert all(isinstance(one, Group) and one.seen == (17, 24) for one in found)


@pytest.mark.parametrize(
    ("module", "most"),
    [
        (nn.ReLU6(), 6),
        (nn.Hardtanh(-1, 3), 3),
        (nn.Sigmoid(), 1),
        (nn.Tanh(), 1),
        (nn.ReLU(), None),
        (nn.GELU(), None),
    ],
)
def test_the_ceiling_of_a_layer(module, most):
    model = handle(nn.Sequential(nn.Conv2d(3, 4, 3), module), (9, 9))
    assert ceiling(model, "1") == most
    assert ceiling(model, "0") is None


def test_the_ceiling_of_a_norm_that_holds_its_activation(lite0):
    assert ceiling(lite0, "bn1") == 6


def test_photographs_are_spread_over_the_folder_and_files_that_are_none_are_left_out(tmp_path):
    folder = write_photographs(tmp_path / "photographs", 30)
    (folder / "010.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("none")
    found = read_photographs(folder, colors(), most=7)
    assert found.images.shape == (7, 3, *SIZE)
    assert found.names[0] == "000.png"
    assert int(found.names[-1][:3]) > 20
    assert len(read_photographs(folder, colors()).names) == 29
    (tmp_path / "none").mkdir()
    with pytest.raises(fv.UserError, match="holds no photograph"):
        read_photographs(tmp_path / "none", colors())


def test_half_of_the_noise_is_white():
    images = noise_images(8, 3, (64, 64))
    steps = images.diff(dim=3).abs().mean((1, 2, 3))
    assert steps[::2].min() > 3 * steps[1::2].max()
