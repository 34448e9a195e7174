"""A picture depends on its recipe, its target and its seed, and on nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from tests.networks import handle, seeded, small

OPTIONS = {"size": (17, 24), "steps": 6, "lanes": 3, "redirect_steps": 2}


def pngs(pictures):
    return {(picture.target, picture.seed): picture.png() for picture in pictures}


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def together(model):
    return pngs(fv.render(model, "norm:0:7", **OPTIONS))


def test_t20_the_same_call_gives_the_same_bytes(model, together):
    assert len(set(together.values())) == 7, "seven units, seven pictures"
    assert pngs(fv.render(model, "norm:0:7", **OPTIONS)) == together


def test_t20_no_global_chance_is_used_or_touched(model, together):
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    again = pngs(fv.render(model, "norm:0:7", **OPTIONS))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert again == together, "nor does the picture depend on it"


def test_t20_loading_a_named_network_touches_no_global_chance():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = fv.load_model("torchvision:squeezenet1_1", weights="none")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = fv.load_model("torchvision:squeezenet1_1", weights="none")
    assert one.fingerprint() == other.fingerprint(), "random weights are the same ones every time"


@pytest.mark.parametrize("order", ["norm:6,2,4,0,5,1,3", "norm:1,0,3,2,5,4,6"])
def test_t21_the_order_of_the_units_does_not_matter(model, together, order):
    assert pngs(fv.render(model, order, **OPTIONS)) == together


def test_t21_two_halves_with_the_same_lanes_give_the_same_pictures(model, together):
    halves = [fv.render(model, wish, **OPTIONS) for wish in ("norm:0:4", "norm:4:7")]
    assert pngs([picture for half in halves for picture in half]) == together


def test_t21_other_mates_and_no_mates_give_the_same_picture(model, together):
    alone = pngs(fv.render(model, "norm:5", **OPTIONS))
    assert alone.items() <= together.items()
    mates = pngs(fv.render(model, ["conv1:2", "norm:5", "fc:1", "norm:7", "norm:5@2,3"], **OPTIONS))
    assert mates["norm:5", 0] == together["norm:5", 0]


def test_t21_seeds_of_one_unit_are_independent_of_each_other(model):
    three = pngs(fv.render(model, "norm:2", seeds=3, **OPTIONS))
    assert len(set(three.values())) == 3
    assert pngs(fv.render(model, "norm:2", seed=2, **OPTIONS)) == {("norm:2", 2): three["norm:2", 2]}


@pytest.mark.parametrize("kind", ["direction", "sum", "power"])
def test_t21_directions_and_sums_do_not_depend_on_their_mates(model, kind):
    vectors = torch.randn(4, 8, generator=torch.Generator().manual_seed(5))
    penalty = fv.total_variation()
    make = {
        "direction": lambda v: fv.direction("norm", v),
        "power": lambda v: fv.direction("norm", v, power=2),
        "sum": lambda v: (
            fv.channel("norm", int(v[0] > 0)) + 0.5 * fv.direction("conv1", v[:6]) - 0.1 * penalty
        ),
    }[kind]
    every = pngs(fv.render(model, [make(v) for v in vectors], **OPTIONS))
    assert len(every) == 4
    for vector in vectors:
        assert pngs(fv.render(model, make(vector), **OPTIONS)).items() <= every.items()


def test_t21_a_penalty_does_not_look_at_the_mates(model):
    options = {**OPTIONS, "penalties": [{"name": "batchnorm", "weight": 1.0}, {"name": "l2"}]}
    every = pngs(fv.render(model, "norm:0:5", **options))
    assert pngs(fv.render(model, "norm:3", **options)).items() <= every.items()


def test_t21_a_dead_mate_changes_nothing():
    net = seeded(
        lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    )
    with torch.no_grad():
        net[0].bias[1] = -0.7  # asleep on grey, not for ever
        net[0].bias[2] = -1e6  # never lives
    model = handle(net)
    options = {**OPTIONS, "attempts": 2}
    every = pngs(fv.render(model, "1:all", **options))
    for unit in range(4):
        assert pngs(fv.render(model, f"1:{unit}", **options)).items() <= every.items()


def test_a_longer_run_does_not_start_from_another_image(model):
    starts = []
    for steps in (1, 5):
        seen = []
        fv.render(
            model,
            "norm:1",
            **{**OPTIONS, "steps": steps},
            watch=lambda step, seen=seen: seen.append(step.scores),
        )
        starts.append(float(seen[0][0]))
    assert starts[0] == starts[1]


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [1, 7, 13])
def test_an_interruption_changes_no_byte(model, together, tmp_path, at):
    count = 0

    def interrupt(step):
        nonlocal count
        count += 1
        if count == at:
            raise Stop

    with pytest.raises(Stop):
        fv.render(model, "norm:0:7", out=tmp_path, watch=interrupt, **OPTIONS)
    finished = sorted(tmp_path.glob("norm/0*.png"))
    assert len(finished) == (at - 1) // 6 * 3, "each finished job is there, nothing of the one under way"
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in finished}
    fv.render(model, "norm:0:7", out=tmp_path, **OPTIONS)
    for path, (when, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (when, content), "nothing is done twice"
    files = {(f"norm:{unit}", 0): (tmp_path / f"norm/{unit:04d}.png").read_bytes() for unit in range(7)}
    assert files == together


def test_a_file_on_disk_is_the_picture_in_memory(model, tmp_path):
    pictures = fv.render(model, ["norm:1", "norm:2@1,2"], out=tmp_path, seed=4, **OPTIONS)
    assert (tmp_path / "norm/0001-seed4.png").read_bytes() == pictures[0].png()
    assert (tmp_path / "norm/0002@1,2-seed4.png").read_bytes() == pictures[1].png()


@pytest.mark.parametrize("wish", ["norm:3", "norm:3@2,5", "fc:2"])
def test_reproduce_gives_the_same_bytes(model, tmp_path, wish):
    (picture,) = fv.render(model, wish, seed=3, **OPTIONS)
    path = picture.save(tmp_path / "unit.png")
    assert fv.reproduce(path, model).png() == path.read_bytes()


def test_reproduce_needs_no_more_than_the_file_for_a_named_network(tmp_path, lite0):
    (picture,) = fv.render(lite0, "blocks.0:3", size=(33, 40), steps=2, lanes=2)
    path = picture.save(tmp_path / "unit.png")
    assert fv.reproduce(path).png() == path.read_bytes()


def test_reproduce_takes_a_custom_objective_and_the_start_image(model, tmp_path, chance):
    @fv.objective(layers=["norm"])
    def brightest(activations):
        return activations["norm"].amax((1, 2, 3))

    start = torch.rand((3, 17, 24), generator=chance)
    (picture,) = fv.render(model, brightest, start=start, steps=3, lanes=2)
    path = picture.save(tmp_path / "custom.png")
    with pytest.raises(fv.UserError, match="give that objective"):
        fv.reproduce(path, model)
    with pytest.raises(fv.UserError, match="give that image"):
        fv.reproduce(path, model, objective=brightest)
    with pytest.raises(fv.UserError, match="not start from this image"):
        fv.reproduce(path, model, objective=brightest, start=1 - start)
    with pytest.raises(fv.UserError, match="not of"):
        fv.reproduce(path, model, objective=fv.channel("norm", 1), start=start)
    assert fv.reproduce(path, model, objective=brightest, start=start).png() == path.read_bytes()
    # The image as an 8-bit file is all that a user may still have of it.
    rounded = (start * 255).round() / 255
    assert fv.reproduce(path, model, objective=brightest, start=rounded).png() == path.read_bytes()


def test_reproduce_refuses_other_weights(model, tmp_path):
    (picture,) = fv.render(model, "norm:3", **OPTIONS)
    path = picture.save(tmp_path / "unit.png")
    other = handle(seeded(lambda: type(model.module)(), seed=8))
    with pytest.raises(fv.ModelError, match="was made with"):
        fv.reproduce(path, other)


def test_reproduce_refuses_a_png_of_somebody_else(model, tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "photo.png")
    with pytest.raises(fv.OutputError, match="carries no recipe"):
        fv.reproduce(tmp_path / "photo.png", model)


@pytest.mark.slow
def test_24_units_of_the_embedded_network_together_permuted_halved_and_interrupted(lite0, tmp_path):
    options = {"size": (33, 48), "steps": 3, "lanes": 4}
    units = list(range(24))
    together = pngs(fv.render(lite0, "blocks.1.0:0:24", **options))
    random.Random(5).shuffle(units)
    permuted = pngs(fv.render(lite0, f"blocks.1.0:{','.join(map(str, units))}", **options))
    assert permuted == together
    halves = [fv.render(lite0, f"blocks.1.0:{half}", **options) for half in ("0:10", "10:24")]
    assert pngs([picture for half in halves for picture in half]) == together
    seen = 0

    def interrupt(step):
        nonlocal seen
        seen += 1
        if seen == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fv.render(lite0, "blocks.1.0:0:24", out=tmp_path, watch=interrupt, **options)
    assert 0 < len(list(tmp_path.glob("*/0*.png"))) < 24
    fv.render(lite0, "blocks.1.0:0:24", out=tmp_path, **options)
    files = {(f"blocks.1.0:{n}", 0): (tmp_path / f"blocks.1.0/{n:04d}.png").read_bytes() for n in range(24)}
    assert files == together


@pytest.mark.parametrize("settled", [{"lanes": 5}, {"seed": 1}, {"steps": 5}])
def test_what_changes_bits_stands_in_the_key(model, settled):
    (one,) = fv.render(model, "norm:1", **OPTIONS)
    (other,) = fv.render(model, "norm:1", **{**OPTIONS, **settled})
    assert one.key != other.key


def test_the_thread_count_is_settled_in_the_recipe_and_given_back(model):
    before, during = torch.get_num_threads(), set()
    assert before != 2, "else this test says nothing"
    (picture,) = fv.render(
        model, "norm:1", **OPTIONS, threads=2, watch=lambda _: during.add(torch.get_num_threads())
    )
    assert during == {2}
    assert picture.recipe["threads"] == 2
    assert torch.get_num_threads() == before
    (picture,) = fv.render(model, "norm:1", **OPTIONS)
    assert picture.recipe["threads"] == before
