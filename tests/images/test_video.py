"""Frames with a spectrum over time."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from tests.networks import small


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(space, count=2):
    drawn = [space.draw(generator(seed)) for seed in range(count)]
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


@pytest.mark.parametrize("inner", ["fourier", "pixel", "pyramid", {"name": "norm_ball", "radius": 50.0}])
@pytest.mark.parametrize(("frames", "channels"), [(5, 3), (4, 1), (1, 3), (3, 2)])
def test_any_video_is_fitted(inner, frames, channels):
    space = fv.VideoImage(size=(9, 14), channels=frames * channels, frames=frames, inner=inner)
    video = torch.rand((frames * channels, 9, 14), generator=generator())
    fitted = {name: value[None] for name, value in space.fit(video).items()}
    assert all(value.shape[:2] == (1, frames) for value in fitted.values())
    torch.testing.assert_close(space.decode(fitted)[0], video, atol=0.5 / 255, rtol=0)


def test_frames_stand_one_after_another_and_each_is_an_image_of_the_inner_space():
    """The first parameter is the mean over time, by the formula of the docstring."""
    space = fv.VideoImage(size=(9, 14), channels=12, frames=4, exponent=1.0)
    inner = fv.FourierImage(size=(9, 14))
    drawn = batch(space)
    images = space.decode(drawn).view(2, 4, 3, 9, 14)
    spectrum = drawn["inner.spectrum"]
    k, t = torch.arange(4.0), torch.arange(4.0)[:, None]
    cosines = torch.cos(torch.pi / 4 * (t + 0.5) * k) * (2 / 4) ** 0.5
    cosines[:, 0] /= 2**0.5
    strengths = torch.tensor([1, 1, 1 / 2, 1 / 3])
    strengths = strengths * (4 / strengths.square().sum()) ** 0.5
    mixed = torch.einsum("tk,bk...->bt...", cosines * strengths, spectrum)
    for frame in range(4):
        torch.testing.assert_close(images[:, frame], inner.decode({"spectrum": mixed[:, frame]}))


@pytest.mark.parametrize("frames", [1, 2, 9, 16])
def test_a_start_is_as_wide_as_an_image_s(frames):
    video = fv.VideoImage(size=(9, 14), channels=3 * frames, frames=frames, inner="pixel")
    image = fv.PixelImage(size=(9, 14))
    widths = [float((space.decode(batch(space, 40)) - 0.5).std()) for space in (video, image)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)


def test_what_changes_slowly_is_stronger_the_larger_the_exponent():
    def change(exponent):
        told = {"channels": 16, "frames": 16, "inner": "pixel", "exponent": exponent}
        video = fv.VideoImage(size=(9, 14), **told).decode(batch(fv.VideoImage(size=(9, 14), **told), 8))
        return float((video[:, 1:] - video[:, :-1]).std() / video.std())

    found = [change(exponent) for exponent in (0.0, 0.5, 1.0, 2.0)]
    assert found[0] == pytest.approx(2**0.5, rel=0.1), "independent frames"
    assert found == sorted(found, reverse=True)
    assert found[3] < 0.3


def test_a_canvas_grows_with_all_frames():
    smaller = fv.VideoImage(size=(6, 8), channels=6, frames=2)
    larger = smaller.resized((12, 16))
    drawn = batch(smaller)
    grown = smaller.grow(drawn, larger)
    assert grown["inner.spectrum"].shape == (2, 2, 3, 12, 9, 2)
    torch.testing.assert_close(larger.decode(grown)[:, :, ::2, ::2], smaller.decode(drawn), atol=1e-4, rtol=0)


def test_a_mask_within_keeps_each_frame_of_the_start_bit_for_bit():
    video = torch.rand((6, 8, 12), generator=generator())
    outside = fv.MaskedImage(size=(8, 12)).region == 0
    for space in (
        fv.VideoImage(size=(8, 12), channels=6, frames=2, inner="mask"),
        fv.MaskedImage(size=(8, 12), channels=6, inner=fv.VideoImage(frames=2)),
    ):
        begun = space.begin(video, generator())
        moved = {
            name: value[None] if name.rpartition(".")[2] == "around" else value[None] + 1
            for name, value in begun.items()
        }
        shown = space.decode(moved)[0]
        assert torch.equal(shown[:, outside], video[:, outside])
        assert not torch.allclose(shown[:, ~outside], video[:, ~outside])


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"frames": 4, "channels": 6}, fv.CanvasError, "4 frames have a multiple of so many channels, not 6"),
        ({"inner": "shared"}, fv.RecipeError, "no pictures of a set"),
        ({"inner": "alpha"}, fv.RecipeError, "'alpha' goes around a video"),
        ({"frames": 0}, fv.RecipeError, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_what_is_no_video_is_refused(told, error, words):
    with pytest.raises(error, match=words):
        fv.VideoImage(size=(8, 12), **told)


def test_without_channels_each_frame_has_three():
    assert fv.VideoImage(size=(8, 12), frames=5).channels == 15


def test_a_network_of_images_may_be_shown_one_frame():
    (picture,) = fv.render(small(), "conv1:1", size=(17, 24), steps=2, lanes=1, space="video")
    (plain,) = fv.render(small(), "conv1:1", size=(17, 24), steps=2, lanes=1, space="fourier")
    assert abs(picture.levels.astype(int) - plain.levels).max() <= 1
    assert picture.frames is None
