"""Alpha: transparency is where the unit does not look, and a picture is scored as it is saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.spec import register
from featvis.transforms.background import FIELDS, WAVES, Background, over
from tests.networks import correlation, handle, scores_of, small

SIZE = (20, 28)


class Middle(nn.Module):
    """Looks for bright above dark in the middle of the canvas; elsewhere at nothing."""

    def __init__(self, offset=0.0):
        super().__init__()
        self.look = nn.Conv2d(3, 1, SIZE)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[:, :, 5:10, 7:21] = 0.2
            self.look.weight[:, :, 10:15, 7:21] = -0.2
            self.look.bias.fill_(offset)

    def forward(self, images):
        return self.look(images)


def cutout(offset=0.0, weight=4.0, **options):
    told = {"steps": 96, "lanes": 1, "learning_rate": 0.1, "transforms": [], "size": SIZE, **options}
    penalties = [{"name": "alpha", "weight": weight}]
    space = {"name": "alpha", "inner": {"name": "pixel"}}
    return fv.render(handle(Middle(offset), SIZE), "look:0", space=space, penalties=penalties, **told)[0]


def test_only_what_the_unit_looks_at_is_opaque():
    picture = cutout()
    alpha = picture.image[3]
    assert float(alpha[5:15, 7:21].mean()) > 0.85
    elsewhere = torch.ones(SIZE, dtype=torch.bool)
    elsewhere[5:15, 7:21] = False
    assert float(alpha[elsewhere].mean()) < 0.15
    assert float(cutout(weight=0.0).image[3][elsewhere].mean()) > 0.4, "nothing else makes it transparent"


def test_a_negative_score_is_no_reason_to_be_opaque():
    assert np.array_equal(cutout(steps=32).levels, cutout(-1000.0, steps=32).levels)


def test_t38_one_pictures_alpha_does_not_move_anothers_score(chance):
    model, objective = small(size=SIZE), 2 * fv.channel("norm", 3)
    penalty = register.make("objectives", {"name": "alpha"})
    images = torch.rand((3, 4, *SIZE), generator=chance)
    found = penalty({}, images)
    assert found.tolist() == pytest.approx([sum(image[3].flatten().tolist()) / 560 for image in images])
    moved = images.clone()
    moved[1, 3] = 0.0
    assert penalty({}, moved).tolist() == [float(found[0]), 0.0, float(found[2])]
    # Nor in a whole run: beside a mate that its penalty makes transparent, and alone.
    options = {"size": SIZE, "steps": 6, "lanes": 2, "space": "alpha"}
    options |= {"penalties": [{"name": "alpha", "weight": 50.0}]}
    beside = fv.render(model, [objective, -1000 * objective], **options)[0]
    (alone,) = fv.render(model, objective, **options)
    assert np.array_equal(beside.levels, alone.levels)


def test_the_png_has_an_alpha_channel_and_is_scored_over_gray(tmp_path):
    model = small(size=SIZE)
    options = {"space": "alpha", "size": SIZE, "steps": 6, "lanes": 2}
    (picture, other) = fv.render(model, ["norm:3", "norm:4"], out=tmp_path, **options)
    path = tmp_path / "norm" / "0003.png"
    with Image.open(path) as opened:
        assert opened.mode == "RGBA"
        pixels = np.asarray(opened).astype(np.float32) / 255
    shown = pixels[..., :3] * pixels[..., 3:] + 0.5 * (1 - pixels[..., 3:])
    shown = torch.from_numpy(shown).permute(2, 0, 1)[None]
    assert picture.score == pytest.approx(float(scores_of(model, fv.channel("norm", 3), shown)[0]), abs=1e-5)
    assert picture.score > picture.start_score
    again = fv.load_picture(path)
    assert again.alpha
    assert np.array_equal(again.levels, picture.levels)
    assert fv.reproduce(path, model).png() == path.read_bytes()
    assert fv.grid([picture, other]).mode == "RGB"
    alone = fv.render(model, "norm:3", **options)[0]
    assert np.array_equal(alone.levels, picture.levels), "backgrounds are the picture's own"


@pytest.mark.parametrize(("channels", "mode"), [(1, "LA"), (3, "RGBA"), (4, "L")])
def test_pictures_with_alpha_of_any_number_of_channels_round_trip(channels, mode, tmp_path):
    model = small(channels, SIZE)
    (picture,) = fv.render(model, "norm:1", size=SIZE, steps=2, lanes=1, space="alpha", patience=1)
    assert picture.levels.shape == (channels + 1, *SIZE)
    assert picture.pil.mode == mode
    again = fv.load_picture(picture.save(tmp_path / "unit.png"))
    assert np.array_equal(again.levels, picture.levels)
    assert picture.values.shape == (channels, *SIZE)


def test_a_start_image_without_alpha_is_half_transparent(chance):
    photo = torch.randint(0, 256, (3, *SIZE), generator=chance).float() / 255
    space = fv.AlphaImage(size=SIZE)
    image = space.decode({name: value[None] for name, value in space.fit(photo).items()})[0]
    assert torch.equal((image[:3] * 255).round(), (photo * 255).round())
    assert torch.allclose(image[3], torch.tensor(0.5), atol=0.5 / 255)


def test_a_penalty_on_alpha_without_alpha_is_refused():
    with pytest.raises(fv.RecipeError, match="transparency"):
        fv.render(small(), "norm:1", penalties=["alpha"], size=(17, 24))
    with pytest.raises(fv.RecipeError, match="already"):
        fv.AlphaImage(inner={"name": "mask", "inner": "alpha"})


def fields(deviation=0.7, exponent=1.0, lanes=2, steps=150, size=(30, 44)):
    """Backgrounds of every step before their sigmoid, and their values."""
    uniform = torch.rand((lanes, steps, Background.numbers), generator=torch.Generator().manual_seed(3))
    background = Background(deviation, exponent)
    values = background.prepare(uniform, torch.linspace(0, 1, steps), size, size)
    flat = values.flatten(0, 1)
    return torch.logit(background.backgrounds(flat, 3, size)).view(lanes, steps, 3, *size), values


def test_backgrounds_are_smooth_fall_as_they_should_and_are_as_strong_as_they_should():
    raw, _ = fields()
    assert float(raw.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(raw.std()) == pytest.approx(0.7, rel=0.05)
    power = torch.fft.rfft2(raw, norm="ortho").abs().square().mean((0, 1, 2))
    assert float(power[WAVES + 1 : -WAVES, :].sum() + power[:, WAVES + 1 :].sum()) < 1e-6 * float(power.sum())
    # Exponent 1: twice the frequency has a quarter of the power.
    assert float(power[0, 2] / power[0, 4]) == pytest.approx(4, rel=0.3)
    assert float(power[1, 0] / power[3, 0]) == pytest.approx(9, rel=0.3)
    flat = fields(exponent=1e-6)[0]
    power = torch.fft.rfft2(flat, norm="ortho").abs().square().mean((0, 1, 2))
    assert float(power[0, 2] / power[0, 4]) == pytest.approx(1, rel=0.3)


def test_every_step_of_every_picture_has_a_background_of_its_own():
    raw, _ = fields(steps=4)
    every = raw.flatten(0, 1).flatten(1)
    every = (every - every.mean(1, keepdim=True)) / every.std(1, keepdim=True)
    alike = (every @ every.mT / every.shape[1]).abs() - torch.eye(len(every))
    assert float(alike.max()) < 0.75
    # Colours go together, but not all the way.
    red, green = raw[:, :, 0], raw[:, :, 1]
    assert 0.4 < correlation(red, green) < 0.95


def test_alpha_says_how_much_of_the_background_shows(chance):
    images = torch.rand((2, 4, *SIZE), generator=chance)
    background = Background()
    uniform = torch.rand((2, 3, Background.numbers), generator=chance)
    values = background.prepare(uniform, torch.linspace(0, 1, 3), SIZE, SIZE)[:, 1]
    behind = background.backgrounds(values, 3, SIZE)
    shown = background.apply(images, values, None, SIZE)
    for lane, channel, row, column in [(0, 0, 0, 0), (1, 2, 19, 27), (0, 1, 7, 3)]:
        alpha = float(images[lane, 3, row, column])
        expected = (
            alpha * images[lane, channel, row, column] + (1 - alpha) * behind[lane, channel, row, column]
        )
        assert float(shown[lane, channel, row, column]) == pytest.approx(float(expected), abs=1e-6)
    images[:, 3] = 1
    assert torch.equal(over(images, behind), images[:, :3])
    assert Background.numbers == FIELDS * (2 * WAVES + 1) ** 2
