"""What a picture's own network says: references, fresh transforms, groups, ceilings."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.trust.own_network import (
    ENOUGH,
    Group,
    Responses,
    ceiling,
    groups_of,
    ranks_beside_photographs,
    standardized,
)
from featvis.trust.references import noise_images, read_photographs
from featvis.trust.response import as_its_network_is_shown, respond, under_fresh_transforms
from featvis.trust.selectivity import selectivity, standardize
from featvis.trust.subjects import read_contents, read_folder
from tests.networks import activations_of, handle, layouts, small
from tests.trust.planted import FAST, SIZE, colors, write_photographs


def subjects_of(folder, channels=3):
    return read_contents(folder, read_folder(folder), channels).subjects


def in_turn(pictures, units, usual):
    """Slower: every picture and unit by themselves."""
    z = torch.zeros(pictures.shape, dtype=torch.double)
    for row, unit in enumerate(units):
        mean, deviation = [], []
        for other in range(pictures.shape[1]):
            kept = [place for place, one in enumerate(units) if one not in (unit, other)]
            reference = torch.cat((usual, pictures[kept]))[:, other].double()
            mean.append(reference.mean())
            deviation.append(reference.std(correction=0))
        wide = torch.stack(deviation)
        floor = 0.25 * wide.square().mean().sqrt()
        z[row] = (pictures[row] - torch.stack(mean)) / wide.maximum(floor)
    return z.float()


@pytest.mark.parametrize("away", [0.0, 1000.0])
def test_usual_responses_are_to_all_but_pictures_of_the_two_units_compared(chance, away):
    pictures, noise = away + torch.rand((5, 6), generator=chance), away + torch.rand((5, 6), generator=chance)
    photographs = away + torch.rand((3, 6), generator=chance)
    units = [2, 2, 4, 0, 5]
    found = standardized(Responses(pictures, noise, None), units)
    assert torch.allclose(found, in_turn(pictures, units, noise), rtol=1e-3)
    found = standardized(Responses(pictures, noise, photographs), units)
    assert torch.allclose(found, in_turn(pictures, units, torch.cat((noise, photographs))), rtol=1e-3)
    alone = standardized(Responses(pictures[:1], noise, None), [2])
    assert torch.allclose(alone, standardize(pictures[:1], noise), rtol=1e-3)


def rare_units(chance, own, leak):
    """A layer of units that each reach ``own`` on their own picture, and ``leak`` on all others.

    Half of them are silent on nearly all photographs.
    """
    pictures = leak + 0.05 * leak * torch.rand((16, 16), generator=chance)
    pictures[torch.arange(16), torch.arange(16)] = own
    photographs = torch.rand((20, 16), generator=chance)
    photographs[:, ::2] *= 0.02
    return Responses(pictures, 0.5 * torch.rand((16, 16), generator=chance), photographs)


def test_a_unit_that_photographs_rarely_excite_does_not_stand_above_what_a_picture_was_made_for(chance):
    said, units = rare_units(chance, own=10.0, leak=2.5), list(range(16))
    alone = [one.rank for one in selectivity(standardize(said.pictures, said.photographs), units)]
    assert max(alone[1::2]) > 1, "beside photographs alone they do"
    assert [one.rank for one in selectivity(standardized(said, units), units)] == [1] * 16
    assert ranks_beside_photographs(said, units, [1] * 16) == alone
    few = Responses(said.pictures, said.noise, said.photographs[: ENOUGH - 1])
    assert ranks_beside_photographs(few, units, [1] * 16) == [None] * 16


@pytest.mark.parametrize("rival", [8, 9])
def test_a_picture_that_excites_another_unit_as_its_own_does_is_not_first(chance, rival):
    said, units = rare_units(chance, own=10.0, leak=2.5), list(range(16))
    said.pictures[3, 3], said.pictures[3, rival] = 5.0, 10.0
    ranks = [one.rank for one in selectivity(standardized(said, units), units)]
    assert ranks[3] == 2
    assert ranks[:3] + ranks[4:] == [1] * 15


def test_no_unit_gains_by_the_pictures_that_lie_in_the_folder(chance):
    pictures = torch.rand((8, 8), generator=chance)
    said = Responses(pictures.clone(), torch.rand((16, 8), generator=chance), None)
    said.noise[:, 1] = said.noise[:, 0]
    said.pictures[:, 1] = said.pictures[:, 0]  # they always say the same; unit 0 has a picture
    z = standardized(said, [0, 2, 3, 4, 5, 6, 7, 2])
    assert torch.allclose(z[0, 0], z[0, 1], rtol=1e-4)


@pytest.mark.parametrize(("sd", "at_the_end"), [([0.3, 0.0], 0.0), ([0.0, 0.2], 0.2)])
def test_fresh_transforms_are_those_late_in_the_run(tmp_path, sd, at_the_end):
    model = colors()
    options = {**FAST, "transforms": [fv.Noise(sd=tuple(sd))]}
    fv.render(model, "0:0,3", out=tmp_path, **options)
    subjects = subjects_of(tmp_path)
    plain = respond(as_its_network_is_shown(subjects, model), model, "0")
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
    assert one.shown_size == (17, 24)
    shown = as_its_network_is_shown([one], model)
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
    assert all(isinstance(one, Group) and one.shown_size == (17, 24) for one in found)


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
