"""What every objective that is made of others holds to: it forgets nothing of what these are."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from contextlib import contextmanager
from functools import cache

import pytest
import torch

import featvis as fv
import featvis.objectives
from featvis import draws
from featvis.objectives.accentuation import Accentuation
from featvis.objectives.band import Within
from featvis.objectives.base import Composite, EachItsOwn, Objective, Sum
from featvis.objectives.ensemble import Elsewhere
from featvis.objectives.facet import Facet
from featvis.objectives.interpolation import Interpolation
from tests.networks import Small, handle, seeded, small

for _, name, _ in pkgutil.iter_modules(featvis.objectives.__path__, "featvis.objectives."):
    importlib.import_module(name)

SIZE, LANES = (17, 24), 2
MODEL, TWIN, OTHER = small(), small(), handle(seeded(Small, 2), (13, 9))
"""The network that is climbed, another that is just like it, and one that is not."""
PHOTOGRAPH = torch.rand((3, *SIZE), generator=torch.Generator().manual_seed(3))


def subclasses(kind):
    for inner in kind.__subclasses__():
        yield inner
        yield from subclasses(inner)


def kinds(kind):
    return sorted(
        (each for each in set(subclasses(kind)) if each.__module__.startswith("featvis.objectives")),
        key=lambda each: each.__name__,
    )


@fv.objective(layers=["norm"])
def brightest(activations):
    return activations["norm"].amax((1, 2, 3))


INNER = {
    "unit": lambda: fv.channel("norm", 1),
    "last layer": lambda: fv.channel("conv2", 3),
    "class": lambda: fv.logit(1),
    "neuron": lambda: fv.neuron("conv1", 2, (3, 20)),
    "sum": lambda: fv.channel("norm", 1) - 0.5 * fv.total_variation(),
    "coupled": lambda: fv.channel("norm", 1) - fv.diversity("conv2"),
    "photograph": lambda: fv.caricature("norm", PHOTOGRAPH),
    "shown": lambda: fv.accentuation(fv.logit(1), PHOTOGRAPH, layer="conv1"),
    "custom": lambda: brightest,
    "ensemble": lambda: fv.ensemble((OTHER, fv.caricature("norm", PHOTOGRAPH))),
}
WRAPPERS = {
    Sum: lambda inner: Sum([(1.0, inner)]),
    EachItsOwn: lambda inner: EachItsOwn([inner] * LANES),
    Within: lambda inner: fv.within(inner, 1e9),
    Accentuation: lambda inner: fv.accentuation(inner, PHOTOGRAPH, weight=0.0),
    Interpolation: lambda inner: fv.interpolation(inner, inner),
    Facet: lambda inner: Facet(inner, {"relu1": torch.ones(6)}, 0.0),
    Elsewhere: lambda inner: Elsewhere(TWIN, inner),
}
"""Each in a form that changes nothing: a weight of 0, a band out of reach, a network that is the same."""


def skip_what_cannot_be(kind, name):
    if kind is Facet and name in ("neuron", "ensemble"):
        pytest.skip("a facet has a target that reads a layer behind those that are probed")


every_pair = pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in WRAPPERS for name in INNER],
    ids=lambda one: getattr(one, "__name__", one),
)


def climb(objective, size=SIZE, **options):
    """Every step's scores and the last images; the chance is the same whatever the objective's name."""
    streams = [lambda purpose, lane=lane: draws.stream(lane, "the same", 0, purpose) for lane in range(LANES)]
    transforms = [fv.Warp(jitter=3, scale=(0.9, 1.1)), fv.Noise(sd=0.05)]
    options = {"steps": 3, "transforms": transforms, "streams": streams, "redirect_steps": 0, **options}
    steps = [
        (step.scores, step.images)
        for step in fv.ascend(MODEL, objective, fv.FourierImage(size=size), **options)
    ]
    return torch.stack([scores for scores, _ in steps]), steps[-1][1]


@cache
def climb_plainly(name, **options):
    """What an objective gives by itself, to which each that is made of it is compared."""
    return climb(INNER[name](), **options)


def test_every_composite_has_a_sample_here():
    assert set(WRAPPERS) == set(kinds(Composite))


def test_who_holds_another_objective_is_a_composite():
    for kind in set(kinds(Objective)) - set(kinds(Composite)) - {Composite}:
        assert not re.search(r"self\.\w+\.(bind|opened)\(", inspect.getsource(kind)), kind


@every_pair
def test_it_is_what_its_inner_objectives_are(kind, name):
    skip_what_cannot_be(kind, name)
    bound = WRAPPERS[kind](INNER[name]()).bind(MODEL.at(SIZE))
    (inner,) = {id(one): one for one in bound.inner}.values()
    assert bound.reads_shown == (kind.reads_shown or inner.reads_shown)
    assert bound.coupled == (kind.coupled or inner.coupled)
    if kind is Elsewhere:  # these are read by its own network
        assert not bound.layers
        assert not bound.references
    else:
        assert bound.layers == tuple(dict.fromkeys((*inner.layers, *bound.own_layers)))
        assert bound.references.keys() == inner.references.keys()
    if kind in (Sum, Within):
        assert bound.place() == inner.place()
        assert bound.gather(LANES)[1] == inner.gather(LANES)[1]
        assert bound.stacks_with() == WRAPPERS[kind](inner).stacks_with()
    if name == "neuron" and bound.place() is not None:
        assert bound.moved((1, 1)).place() == ("conv1", (1, 1))


@every_pair
def test_one_that_changes_nothing_climbs_as_the_plain_objective(kind, name):
    skip_what_cannot_be(kind, name)
    expected, found = climb_plainly(name), climb(WRAPPERS[kind](INNER[name]()))
    for one, other in zip(expected, found, strict=True):
        if kind in (Sum, Within, Accentuation, Facet):
            assert torch.equal(one, other)
        else:  # shares are rounded; where lanes or networks are apart, the last layer computes all its units
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("outer", WRAPPERS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", WRAPPERS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", ["coupled", "photograph", "shown", "ensemble"])
def test_one_may_stand_in_another(outer, kind, name):
    skip_what_cannot_be(kind, name)
    skip_what_cannot_be(outer, "ensemble" if kind is Elsewhere else name)
    if outer is kind in (Elsewhere, EachItsOwn) or {outer, kind} == {Facet, EachItsOwn}:
        pytest.skip("a network is borrowed once, a lane is no set of lanes; a facet needs a run of its own")
    expected = climb_plainly(name, steps=1)
    found = climb(WRAPPERS[outer](WRAPPERS[kind](INNER[name]())), steps=1)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", INNER)
def test_a_recipes_band_out_of_reach_changes_no_byte(name):
    options = {"size": SIZE, "steps": 3, "seeds": 2, "transforms": [fv.Warp(jitter=3)]}
    plain = fv.render(MODEL, INNER[name](), **options)
    banded = fv.render(MODEL, INNER[name](), band=1e9, **options)
    assert [picture.levels.tobytes() for picture in plain] == [picture.levels.tobytes() for picture in banded]
    assert [picture.score for picture in plain] == [picture.score for picture in banded]
    assert not {picture.key for picture in plain} & {picture.key for picture in banded}


@pytest.mark.parametrize("kind", WRAPPERS, ids=lambda one: one.__name__)
def test_around_a_coupled_objective_its_pictures_are_a_set(kind):
    objective = WRAPPERS[kind](INNER["coupled"]())
    with pytest.raises(fv.RecipeError, match="compares pictures that are rendered together"):
        fv.render(MODEL, objective, size=SIZE, steps=1)
    pictures = fv.render(MODEL, objective, size=SIZE, steps=1, seeds=2)
    (again,) = fv.render(MODEL, objective, size=SIZE, steps=1, seeds=2)[1:]
    assert pictures[1].png() == again.png()
    assert pictures[0].target.startswith("seeds 0-1 of ")


class Recorder(Objective):
    """Notes what it is asked."""

    layers = ("conv2",)

    def __init__(self):
        self.asked = []

    def bind(self, network):
        self.asked.append(("bind", network.size))
        return self

    def beside(self, layers, units=()):
        self.asked.append(("beside", layers, units))
        return self

    @contextmanager
    def opened(self, device, precision="float32"):
        self.asked.append(("opened", precision))
        yield self
        self.asked.append(("closed", precision))

    def score(self, activations, images):
        return activations["conv2"].mean((1, 2, 3))

    def describe(self):
        return "recorder()"


@pytest.mark.parametrize("kind", WRAPPERS, ids=lambda one: one.__name__)
def test_what_it_is_asked_its_inner_objectives_are_asked_once(kind):
    recorder = Recorder()
    with (
        WRAPPERS[kind](recorder).beside(("fc",), (1, 2)).bind(MODEL.at(SIZE)).opened(MODEL.device, "bfloat16")
    ):
        pass
    beside = [] if kind is Elsewhere else [("beside", ("fc",), (1, 2))]
    assert recorder.asked == [*beside, ("bind", SIZE), ("opened", "bfloat16"), ("closed", "bfloat16")]


def test_lanes_of_several_kinds_see_their_mates_and_their_photographs():
    each = [INNER["coupled"](), INNER["shown"]()]
    scores, _ = climb(EachItsOwn(each))
    alone = [climb(objective, steps=1)[0][0] for objective in each]
    torch.testing.assert_close(scores[0], torch.stack((alone[0][0], alone[1][1])))


def test_two_caricatures_between_which_is_interpolated_move_with_the_transforms():
    photographs = [PHOTOGRAPH, PHOTOGRAPH.flip(2)]
    ends = [fv.caricature("norm", photograph) for photograph in photographs]
    scores, _ = climb(fv.interpolation(*ends))
    alone = [climb(objective, steps=1)[0][0] for objective in ends]
    torch.testing.assert_close(scores[0], torch.stack((alone[0][0], alone[1][1])))
