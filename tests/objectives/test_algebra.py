"""Sums, differences and multiples of objectives; objectives of a user's own."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.objectives.base import EachItsOwn, Sum, stack
from tests.networks import scores_of, small

SIZE = (17, 24)


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def images(chance):
    return torch.rand((3, 3, *SIZE), generator=chance)


def gradient(model, objective, images):
    images = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(scores_of(model, objective, images).sum(), images)
    return found


def test_t02_the_gradient_of_a_sum_is_the_sum_of_gradients(model, images):
    a, b = fv.channel("norm", 2), fv.neuron("conv1", 1)
    told = a.describe(), b.describe()
    found = gradient(model, 2 * a + 3 * b, images)
    torch.testing.assert_close(found, 2 * gradient(model, a, images) + 3 * gradient(model, b, images))
    assert (a.describe(), b.describe()) == told, "operands are unchanged"
    torch.testing.assert_close(gradient(model, a, images), gradient(model, fv.channel("norm", 2), images))


FORMS = {
    "a + b": (lambda a, b: a + b, (1, 1)),
    "a - b": (lambda a, b: a - b, (1, -1)),
    "-a + b": (lambda a, b: -a + b, (-1, 1)),
    "a * 2 - .5 * b": (lambda a, b: a * 2 - 0.5 * b, (2, -0.5)),
    "a / 4 + 0": (lambda a, b: a / 4 + 0, (0.25, 0)),
    "2 * (a - 3 * (b - a))": (lambda a, b: 2 * (a - 3 * (b - a)), (8, -6)),
    "sum": (lambda a, b: sum([a, b, a]), (2, 1)),
    "0 + a": (lambda a, b: 0 + a, (1, 0)),
    "-(b - a)": (lambda a, b: -(b - a), (1, -1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_algebra_is_arithmetic_on_scores(form, model, images):
    make, (first, second) = FORMS[form]
    a, b = fv.channel("norm", 2), fv.channel("conv1", 1)
    found = scores_of(model, make(a, b), images)
    expected = first * scores_of(model, a, images) + second * scores_of(model, b, images)
    torch.testing.assert_close(found, expected)
    assert found.shape == (3,), "one score for each picture"


def test_t03_a_sum_of_1001_terms(model, images):
    total = fv.channel("norm", 0)
    for number in range(1000):
        total = total + 0.001 * fv.channel("norm", number % 8)
    assert len(total.terms) == 1001, "flat"
    found = scores_of(model, total, images)
    each = [scores_of(model, fv.channel("norm", unit), images) for unit in range(8)]
    torch.testing.assert_close(found, each[0] + 0.125 * sum(each), rtol=1e-4, atol=1e-5)
    found.sum()
    assert gradient(model, total, images).abs().sum() > 0
    assert total.layers == ("norm",)


def test_a_sum_reads_each_layer_once_and_runs_as_deep_as_needed():
    total = fv.channel("conv1", 0) + fv.channel("norm", 1) - 2 * fv.channel("conv1", 3) - fv.l2()
    assert total.layers == ("conv1", "norm")


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(factor):
    with pytest.raises(fv.UserError, match="finite"):
        fv.l1() * factor


@pytest.mark.parametrize(
    "half", [np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5], requires_grad=True)]
)
def test_a_weight_may_be_a_number_of_torch_or_numpy_on_either_side(half):
    a = fv.channel("norm", 1)
    assert (a * half).describe() == (half * a).describe() == (0.5 * a).describe()
    assert (a / half).describe() == (2 * a).describe()


def test_a_tensor_of_several_numbers_is_no_weight():
    for many in (torch.ones(2), np.ones(3)):
        for wrong in (lambda a, many=many: a * many, lambda a, many=many: many * a):
            with pytest.raises(fv.UserError, match=r"one finite number, got a .* of shape"):
                wrong(fv.l1())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a: a + 1,
        lambda a: a - 1,
        lambda a: a * a,
        lambda a: a * "2",
        lambda a: 1 - a,
        lambda a: a * True,
    ],
)
def test_what_makes_no_objective_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        wrong(fv.l1())


def test_two_sums_that_differ_have_two_descriptions():
    a, b = fv.channel("norm", 0), fv.channel("norm", 1)
    every = [a + b, a - b, 2 * a + b, a + 1.0000001 * b, a + 1.00000012 * b, b, 1 / 3 * a, 0.333333 * a]
    assert len({one.describe() for one in every}) == len(every)


def test_sums_of_one_form_are_stacked_and_score_as_each_alone(model, images):
    network, penalty = model.at(SIZE), fv.total_variation()
    each = [
        (fv.channel("norm", unit) - 0.5 * penalty + 2 * fv.channel("conv1", unit)).bind(network)
        for unit in (3, 0, 5)
    ]
    together = stack(each)
    assert isinstance(together, Sum)
    with model.tap(together.layers, size=SIZE) as activations:
        found = activations(images)
    for lane, one in enumerate(each):
        torch.testing.assert_close(together(found, images)[lane], one(found, images)[lane])


def test_objectives_of_several_kinds_are_scored_each_by_its_own(model, images):
    network = model.at(SIZE)
    each = [
        fv.channel("norm", 2).bind(network),
        fv.neuron("conv1", 1).bind(network),
        (-1 * fv.l1()).bind(network),
    ]
    together = stack(each)
    assert isinstance(together, EachItsOwn)
    with model.tap(together.layers, size=SIZE) as activations:
        found = activations(images)
    expected = torch.stack([one(found, images)[lane] for lane, one in enumerate(each)])
    torch.testing.assert_close(together(found, images), expected)


@fv.objective(layers=["norm"])
def brightest(activations):
    return activations["norm"].amax((1, 2, 3))


def test_an_objective_of_ones_own_is_climbed(model, images):
    with torch.no_grad():
        found = scores_of(model, brightest, images)
    assert found.shape == (3,)
    (picture,) = fv.render(model, brightest, size=SIZE, steps=10, lanes=1, transforms=[])
    assert picture.score > picture.start_score
    assert picture.target == "brightest(norm)"


def test_it_may_look_at_the_images_too(model, images):
    @fv.objective(layers="norm", name="bright and light")
    def both(activations, images):
        return activations["norm"].mean((1, 2, 3)) + images.mean((1, 2, 3))

    expected = scores_of(model, sum(fv.channel("norm", u) for u in range(8)) / 8, images) + images.mean(
        (1, 2, 3)
    )
    torch.testing.assert_close(scores_of(model, both, images), expected)
    assert both.describe() == "bright and light(norm)"


def test_it_may_look_at_the_images_alone(model):
    @fv.objective()
    def green(_activations, images):
        return images[:, 1].mean((1, 2)) - images[:, 0].mean((1, 2))

    (picture,) = fv.render(model, green, size=SIZE, steps=30, lanes=1, learning_rate=0.2)
    assert picture.score > 0.3


@pytest.mark.parametrize(
    ("wrong", "came"),
    [
        (lambda a: a["norm"].mean(), "()"),
        (lambda a: a["norm"].mean((2, 3)), "(2, 8)"),
        (lambda a: a["norm"].mean((1, 2, 3))[:1], "(1,)"),
        (lambda a: 3.0, "float"),
        (lambda a: None, "NoneType"),
    ],
)
def test_a_score_of_the_wrong_shape_is_refused_by_name(model, wrong, came):
    wrong = fv.objective(layers=["norm"], name="my own")(wrong)
    with pytest.raises(
        fv.UserError, match=re.escape(f"one score for each picture, shape (2,); it returned {came}")
    ) as e:
        fv.render(model, wrong, size=SIZE, steps=2, lanes=2)
    assert "my own(norm)" in str(e.value)


def test_an_unknown_layer_of_ones_own_objective_names_the_nearest(model):
    with pytest.raises(fv.TargetError, match="did you mean 'norm'"):
        fv.render(model, fv.objective(layers=["nurm"])(lambda a: a["nurm"]), size=SIZE, steps=1)


def test_the_decorator_without_layers_is_refused():
    with pytest.raises(fv.UserError, match="layers="):

        @fv.objective
        def nothing(activations):
            return activations


def mean_of(activations, unit):
    return activations["norm"][:, unit].mean((1, 2))


def plain(activations):
    return mean_of(activations, 3)


class Held:
    def __init__(self, unit=3):
        self.unit = unit

    def score(self, activations):
        return mean_of(activations, self.unit)

    def __call__(self, activations, images):
        return mean_of(activations, self.unit) + 0 * images.sum()


def passed_on(function):
    @functools.wraps(function)
    def wrapper(*given):
        return function(*given)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        plain,
        Held().score,
        Held(),
        functools.partial(mean_of, unit=3),
        functools.partial(lambda a, images, unit: mean_of(a, unit) + 0 * images.sum(), unit=3),
        passed_on(lambda a, images: mean_of(a, 3) + 0 * images.sum()),
        passed_on(plain),
        lambda a, unit=3: mean_of(a, unit),
        lambda a, images=None: mean_of(a, 3) + 0 * images.sum(),
        lambda *given: mean_of(*given, 3),
    ],
)
def test_whatever_can_be_called_gets_the_arguments_that_it_takes(function, model, images):
    mine = fv.objective(layers=["norm"], name="mine")(function)
    torch.testing.assert_close(
        scores_of(model, mine, images), scores_of(model, fv.channel("norm", 3), images)
    )


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: 1, "takes nothing"),
        (lambda a, b, c: 1, "takes a, b, c"),
        (lambda a, *, unit: 1, "takes a, unit"),
        (7, "got int"),
    ],
)
def test_what_takes_other_arguments_is_refused_at_once(function, told):
    with pytest.raises(fv.UserError, match=f"'mine' .*activations, images.*{told}"):
        fv.objective(layers=["norm"], name="mine")(function)


def make(unit, *, called=None):
    @fv.objective(layers=["norm"], name=called)
    def strongest(activations):
        return activations["norm"][:, unit].amax((1, 2))

    return strongest


@pytest.mark.parametrize(
    "pair",
    [
        (make(0), make(5)),
        (make(0) + fv.channel("norm", 1), make(5) + fv.channel("norm", 1)),
        [fv.objective("norm")(lambda a, n=n: mean_of(a, n)) for n in range(2)],
        [fv.objective("norm")(functools.partial(mean_of, unit=n)) for n in range(2)],
        [fv.objective("norm", name="held")(Held(n)) for n in range(2)],
        [fv.objective("norm", name="held")(Held(n).score) for n in range(2)],
        [fv.objective("norm")(passed_on(functools.partial(mean_of, unit=n))) for n in range(2)],
        [make(torch.tensor(n)) for n in range(2)],
    ],
)
def test_two_functions_of_one_name_are_never_taken_for_one(pair, model):
    with pytest.raises(fv.UserError, match=r"two different functions are both called .*name="):
        fv.render(model, list(pair), size=SIZE, steps=1)


def test_one_function_that_is_asked_for_twice_gives_one_picture(model):
    assert len(fv.render(model, [make(0), make(0), make(1, called="one")], size=SIZE, steps=1)) == 2


def test_a_layer_that_was_not_declared_is_named_with_those_that_were(model):
    mine = fv.objective(layers=["norm"], name="mine")(lambda a: a["conv1"].mean((1, 2, 3)))
    with pytest.raises(fv.TargetError, match=r"mine\(norm\) reads 'conv1', but layers=\['norm'\]"):
        fv.render(model, mine, size=SIZE, steps=1)
    mine = fv.objective(layers=["norm"], name="mine")(lambda a: a("norm").mean((1, 2, 3)))
    with pytest.raises(fv.TargetError, match=r"activations\['norm'\]"):
        fv.render(model, mine, size=SIZE, steps=1)


@pytest.mark.parametrize("layers", [torch.nn.ReLU(), [torch.nn.ReLU()], [3]])
def test_layers_are_named(layers):
    with pytest.raises(fv.TargetError, match="layers are named"):
        fv.objective(layers=layers)


@pytest.mark.parametrize(
    "function",
    [
        lambda a: a["norm"].detach().mean((1, 2, 3)),
        lambda a: (a["norm"] > 0).float().mean((1, 2, 3)),
        lambda a: torch.zeros(len(a["norm"])),
    ],
)
def test_a_score_without_a_gradient_is_told_by_name(function, model):
    mine = fv.objective(layers=["norm"], name="mine")(function)
    with pytest.raises(fv.UserError, match=r"mine\(norm\): no gradient"):
        fv.render(model, mine, size=SIZE, steps=1, lanes=2)
    fv.render(model, mine + fv.channel("norm", 1), size=SIZE, steps=1, lanes=2)
