"""Channel, neuron, logit: the number that is climbed, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.objectives.base import stack
from featvis.objectives.unit import of_target
from featvis.spec.target import Target
from tests.networks import activations_of, handle, layouts, scores_of, seeded, small


@pytest.fixture
def images(chance):
    return torch.rand((3, 3, 17, 10), generator=chance)


MEANS = {
    "map": lambda a, u: a[:, u].mean((1, 2)),
    "map_last": lambda a, u: a[:, :, :, u].mean((1, 2)),
    "tokens": lambda a, u: a[:, 2:, u].mean(1),  # the two prefix tokens are no positions
    "signal": lambda a, u: a[:, u].mean(1),
    "vector": lambda a, u: a[:, u],
}


@pytest.mark.parametrize("layer", MEANS)
@pytest.mark.parametrize("unit", [0, 2])
def test_t05_t09_a_channel_is_the_mean_over_its_positions(layer, unit, images):
    model = layouts()
    info = model.layer(layer)
    assert info.kind == layer
    found = scores_of(model, fv.channel(layer, unit), images)
    expected = MEANS[layer](activations_of(model, layer, images), unit)
    torch.testing.assert_close(found.detach(), expected)


def test_t06_a_neuron_is_by_default_the_middle_of_a_map_of_9_by_5(images):
    model = layouts()
    assert model.layer("map").shape == (1, 6, 9, 5)
    found = scores_of(model, fv.neuron("map", 3), images)
    torch.testing.assert_close(found.detach(), activations_of(model, "map", images)[:, 3, 4, 2])
    found = scores_of(model, fv.neuron("map_last", 3), images)
    torch.testing.assert_close(found.detach(), activations_of(model, "map_last", images)[:, 4, 2, 3])


@pytest.mark.parametrize("position", [(0, 0), (8, 4), (7, 1), (2, 3)])
def test_t06_a_position_is_row_then_column(position, images):
    model, (row, column) = layouts(), position
    truth = activations_of(model, "map", images)
    found = scores_of(model, fv.neuron("map", 1, position), images)
    torch.testing.assert_close(found.detach(), truth[:, 1, row, column])
    found = scores_of(model, of_target(Target("map_last", 1, position)), images)
    torch.testing.assert_close(found.detach(), activations_of(model, "map_last", images)[:, row, column, 1])


@pytest.mark.parametrize("position", [(9, 0), (0, 5), (4, 7), (8, -1)])
def test_a_position_outside_the_map_says_the_valid_range(position):
    with pytest.raises(fv.TargetError, match=r"9 rows by 5 columns.*0,0 to 8,4"):
        fv.neuron("map", 1, position).bind(layouts().at((17, 10)))


@pytest.mark.parametrize("layer", ["signal", "vector"])
def test_a_position_in_a_layer_without_a_map_is_refused(layer):
    with pytest.raises(fv.TargetError, match="no map"):
        fv.neuron(layer, 1, (0, 0)).bind(layouts().at((17, 10)))


@pytest.mark.parametrize("unit", [6, 99])
def test_a_unit_out_of_range_says_the_range(unit):
    with pytest.raises(fv.TargetError, match="units 0 to 5"):
        fv.channel("map", unit).bind(layouts().at((17, 10)))


@pytest.mark.parametrize("position", [None, (2, 3)])
def test_lanes_together_score_as_each_alone(position, images):
    model = layouts()
    network = model.at((17, 10))
    each = [of_target(Target("map", unit, position)).bind(network) for unit in (4, 0, 2)]
    together = stack(each)
    assert type(together) is type(each[0]), "one fast objective, not one for each lane"
    with model.tap(["map"], size=(17, 10)) as activations:
        found = activations(images)
    every = together(found, images)
    for lane, one in enumerate(each):
        assert torch.equal(every[lane], one(found, images)[lane])


def test_lanes_may_look_at_different_positions(images):
    model = layouts()
    network = model.at((17, 10))
    wanted = [Target("map", 4, (0, 1)), Target("map", 0, (8, 4)), Target("map", 2, (3, 0))]
    together = stack([of_target(target).bind(network) for target in wanted])
    with model.tap(["map"], size=(17, 10)) as activations:
        found = together(activations(images), images)
    truth = activations_of(model, "map", images)
    expected = [truth[lane, one.unit, *one.position] for lane, one in enumerate(wanted)]
    torch.testing.assert_close(found.detach(), torch.stack(expected))


LABELS = ["tench", "cardigan", "Cardigan, Cardigan Welsh corgi", "golden retriever", "crane, bird"]


def test_a_class_is_named_by_its_number_or_any_of_its_names(chance):
    model = small(labels=LABELS)
    images = torch.rand((2, 3, 17, 24), generator=chance)
    truth = activations_of(model, "fc", images)
    for wanted, unit in [
        (3, 3),
        ("golden retriever", 3),
        ("Golden Retriever", 3),
        ("cardigan", 1),
        ("crane, bird", 4),
    ]:
        found = scores_of(model, fv.logit(wanted), images)
        torch.testing.assert_close(found.detach(), truth[:, unit])
    assert fv.logit("Cardigan Welsh corgi").bind(model.at((17, 24))).label == LABELS[2]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (lambda: fv.logit("corgy"), "did you mean .*corgi"),
        (lambda: fv.logit(5), "units 0 to 4"),
        (lambda: fv.logit(0, layer="conv1"), "not .B, classes."),
        (lambda: fv.logit("tench", layer="norm"), "not .B, classes."),
        (lambda: fv.channel("conv", 0), "did you mean 'conv[12]'"),
    ],
)
def test_a_wrong_wish_names_the_right_ones(wish, says):
    with pytest.raises(fv.TargetError, match=says):
        wish().bind(small(labels=LABELS).at((17, 24)))


def test_an_unbound_objective_says_so():
    for one in (fv.channel("norm", 0), fv.direction("norm", [1.0] * 8), fv.logit(1)):
        with pytest.raises(fv.TargetError, match="not bound"):
            one({"norm": torch.zeros(2, 8, 3, 3)}, torch.zeros(2, 3, 9, 9))


def test_of_several_outputs_the_logit_is_the_last_layers():
    net = seeded(lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1)))
    net.append(torch.nn.Flatten()).append(torch.nn.Linear(4, 2))
    assert fv.logit(1).bind(handle(net).at((17, 24))).describe() == "3:1"


@pytest.mark.parametrize("unit", ["4", [4, 5], 4.0, None, True, slice(0, 4)])
def test_a_unit_is_one_whole_number(unit):
    with pytest.raises(fv.TargetError, match="a unit of norm is a whole number"):
        fv.channel("norm", unit)
    with pytest.raises(fv.TargetError, match="a unit of norm is a whole number"):
        fv.neuron("norm", unit)


@pytest.mark.parametrize("position", [5, (5,), (1, 2, 3), "5,5", (5.0, 5.0)])
def test_a_position_is_two_whole_numbers(position):
    with pytest.raises(fv.TargetError, match=r"a position is \(row, column\)"):
        fv.neuron("norm", 3, position)


def test_whole_numbers_of_numpy_and_torch_are_whole_numbers():
    for number in (np.int64(4), torch.tensor(4), np.uint8(4)):
        assert fv.channel("norm", number).units == (4,)
        assert type(fv.channel("norm", number).units[0]) is int
        assert fv.logit(number).describe() == "logit(4)"
    assert fv.neuron("norm", 1, np.array([2, 3])).describe() == "norm:1@2,3"


@pytest.mark.parametrize(
    "make",
    [
        lambda given: fv.channel(given, 1),
        fv.layer,
        lambda given: fv.direction(given, torch.ones(8)),
        lambda given: fv.logit(1, layer=given),
    ],
)
def test_a_module_in_place_of_its_name_is_told_the_name(make):
    model = small()
    with pytest.raises(fv.TargetError, match="a layer is given by its name, here 'norm'"):
        fv.render(model, make(model.module.norm), size=(17, 24), steps=1)
    with pytest.raises(fv.TargetError, match="one as a text, got list"):
        fv.render(model, make(["norm"]), size=(17, 24), steps=1)


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda one: fv.within(one("norm", 3), 2), "within(norm:3, 2..2)"),
        (lambda one: fv.interpolation(one("norm", 1), one("norm", 2)), "interpolation(norm:1, norm:2)"),
        (lambda one: fv.facet(one("norm", 3), {"conv1": torch.ones(6)}), None),
        (lambda one: fv.accentuation(one("norm", 3), torch.zeros(3, 8, 8)), None),
        (lambda one: fv.ensemble((small(), one("norm", 3))), None),
    ],
)
def test_an_address_stands_for_its_objective(make, same):
    told = make(lambda layer, unit: f"{layer}:{unit}").describe()
    assert told == make(fv.channel).describe()
    assert same in (None, told)


@pytest.mark.parametrize("given", ["norm:0:3", "norm:1,2", "norm", "norm,conv1:3", ["norm:1"], None, 3])
def test_what_names_no_single_unit_is_no_objective(given):
    with pytest.raises(fv.TargetError, match=r"within (is of one unit|takes an objective)"):
        fv.within(given, 2)
