from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.attribution.grad_cam import cam_layer
from featvis.attribution.register import check_options, methods
from featvis.attribution.result import Attribution
from featvis.attribution.scoring import find_target, scored
from featvis.errors import FeatvisWarning, ModelError, OutputError, RecipeError, TargetError, UserError
from tests.attribution.planted import CORNER, SIDE, SIZE, detector, hits, photograph, share_inside
from tests.networks import activations_of, handle, seeded, small
from tests.pages.markup import Page

OPTIONS = {"occlusion": {"window": 7, "stride": 3}}


@pytest.fixture(scope="module")
def planted():
    return detector(), photograph(torch.Generator().manual_seed(3))


@pytest.mark.parametrize("method", [method for method in methods() if method != "extremal"])  # has its own
@pytest.mark.parametrize("target", ["fc:0", "rest:0"])
def test_the_patch_that_fires_is_pointed_at(planted, method, target):
    model, photo = planted
    found = fv.attribute(model, photo, target, method, **OPTIONS.get(method, {}))
    assert found.values.shape == SIZE
    assert hits(found.values)
    # The patch is 3.5 % of the canvas.
    assert share_inside(found.values) > 0.4
    # Independently: the score is that of the network run by hand.
    layer, unit = target.split(":")
    given = activations_of(model, layer, photo[None])[0, int(unit)].mean()
    assert found.score == pytest.approx(float(given), rel=1e-5)


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "lrp"])
def test_a_neuron_and_a_direction_and_a_sum_are_targets(planted, method):
    model, photo = planted
    row, column = CORNER[0] + SIDE // 2, CORNER[1] + SIDE // 2
    for target in (
        f"rest:0@{row},{column}",
        fv.direction("rest", [1.0, 0.0]),
        fv.channel("rest", 0) + 0.5 * fv.logit(0),
    ):
        assert hits(fv.attribute(model, photo, target, method).values)


def test_integrated_gradients_are_complete(planted):
    model, photo = planted
    found = fv.attribute(model, photo, "fc:0", "integrated-gradients", steps=200)
    grey = torch.full_like(photo, 0.5)
    with torch.no_grad():
        whole, empty = (float(model.module((image[None] - 0.5) / 0.5)[0, 0]) for image in (photo, grey))
    assert abs(found.values.sum(dtype=np.float64) - (whole - empty)) < 1e-3 * (whole - empty)
    assert found.numbers["completeness_gap"] == pytest.approx(
        found.values.sum(dtype=np.float64) - (whole - empty), abs=1e-4
    )
    assert found.numbers["baseline_score"] == pytest.approx(empty, abs=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(7, 3), (5, 5)])
def test_occlusion_is_what_a_loop_over_windows_finds(planted, window, stride):
    model, photo = planted
    found = fv.attribute(model, photo, "fc:0", "occlusion", window=window, stride=stride).values
    total, times = torch.zeros(SIZE), torch.zeros(SIZE)

    def score(image):
        with torch.no_grad():
            return float(model.module((image[None] - 0.5) / 0.5)[0, 0])

    whole = score(photo)
    tops = [*range(0, SIZE[0] - window, stride)]
    lefts = [*range(0, SIZE[1] - window, stride)]
    # The last window of a row or column is cut at the edge.
    for top in [*tops, tops[-1] + stride]:
        for left in [*lefts, lefts[-1] + stride]:
            rows, columns = slice(top, top + window), slice(left, left + window)
            covered = photo.clone()
            covered[:, rows, columns] = 0.5
            total[rows, columns] += whole - score(covered)
            times[rows, columns] += 1
    assert torch.allclose(torch.from_numpy(found), total / times, atol=1e-4 * abs(whole))


def test_saliency_is_the_largest_difference_quotient(planted):
    model, photo = planted
    found = fv.attribute(model, photo, "rest:0", "saliency").values
    row, column = CORNER[0] + 4, CORNER[1] + 3
    steepest = 0.0
    for colour in range(3):
        sides = photo.double()[None].repeat(2, 1, 1, 1)
        sides[0, colour, row, column] -= 1e-4
        sides[1, colour, row, column] += 1e-4
        with torch.no_grad():
            double = detector().module.double()
            inner = torch.relu(double.rest(torch.nn.functional.relu6(double.conv((sides - 0.5) / 0.5))))
            assert inner.shape[1] == 2
            given = double.rest(torch.nn.functional.relu6(double.conv((sides - 0.5) / 0.5)))[:, 0]
        low, high = given.mean((1, 2))
        steepest = max(steepest, float((high - low).abs() / 2e-4))
    assert found[row, column] == pytest.approx(steepest, rel=1e-3)


def test_smoothgrad_is_the_mean_over_noisy_copies(planted):
    model, photo = planted
    once = fv.attribute(model, photo, "fc:0", "saliency", smooth=3, noise=0.1, seed=5)
    again = fv.attribute(model, photo, "fc:0", "saliency", smooth=3, noise=0.1, seed=5)
    other = fv.attribute(model, photo, "fc:0", "saliency", smooth=3, noise=0.1, seed=6)
    assert np.array_equal(once.values, again.values)
    assert not np.array_equal(once.values, other.values)
    chance = torch.Generator().manual_seed(5)
    total = torch.zeros_like(photo)
    for _ in range(3):
        noisy = (photo[None] + 0.1 * torch.randn((1, *photo.shape), generator=chance)).requires_grad_()
        (slope,) = torch.autograd.grad(model.module((noisy - 0.5) / 0.5)[0, 0], noisy)
        total += slope[0]
    assert np.allclose(once.values, (total / 3).abs().amax(0), atol=1e-4 * once.values.max())


@pytest.mark.filterwarnings("ignore::featvis.errors.FeatvisWarning")
def test_grad_cam_is_captums_where_captum_reads_the_same_layer(chance):
    from captum.attr import LayerAttribution, LayerGradCam

    model = small(size=(24, 32))
    photo = (torch.rand((3, 24, 32), generator=chance) * 255).round() / 255
    maps = [fv.attribute(model, photo, f"fc:{unit}", "grad-cam", layer="norm").values for unit in range(5)]
    module = model.module.eval()
    module.relu2.inplace = False  # Captum reads what an in-place ReLU has already written over
    for unit, found in enumerate(maps):
        shown = (photo[None] - 0.5) / 0.5
        given = LayerGradCam(module, module.norm).attribute(shown, target=unit, relu_attributions=True)
        expected = LayerAttribution.interpolate(given, (24, 32), "bilinear")[0, 0]
        assert np.allclose(found, expected.detach(), atol=1e-6)
    assert sum(bool(found.max() > 1e-4) for found in maps) >= 2


def test_grad_cam_reads_the_last_convolutions_map_behind_its_norm_or_the_targets_own(lite0):
    network = small(size=(24, 32)).at((24, 32))
    assert cam_layer(network, ("fc",)).name == "relu2"
    assert cam_layer(network, ("conv1",)).name == "conv1"
    assert cam_layer(lite0.at((64, 96)), ("classifier",)).name == "bn2"
    with pytest.raises(TargetError, match="runs after 'conv1'"):
        cam_layer(network, ("conv1",), "norm")
    with pytest.raises(TargetError, match="no map"):
        cam_layer(network, ("fc",), "pool")


class Heard(nn.Module):
    """Convolutions of any number of axes over what ``turn`` makes of its input, and a classifier."""

    def __init__(self, turn, *inner):
        super().__init__()
        self.turn, self.inner, self.fc = turn, nn.Sequential(*inner), nn.Linear(6, 4)
        with torch.no_grad():
            self.fc.weight[1].abs_()  # so that a class has a map whatever the chance

    def forward(self, shown):
        return self.fc(self.inner(self.turn(shown)).flatten(2).mean(2))


def plain(shown):
    return shown


WAVES, FRAMES = {"size": (1, 61), "signal": True}, {"size": (18, 23), "frames": 5}
KINDS = {
    "signal of 1 channel": (WAVES, 1, plain, nn.Conv1d),
    "signal of 2 channels": (WAVES, 2, plain, nn.Conv1d),
    "signal of 3 channels": (WAVES, 3, plain, nn.Conv1d),
    "waveform": (WAVES, 1, lambda waves: waves.view(len(waves), 1, waves.shape[1]), nn.Conv1d),
    "waveform as a column": (WAVES, 1, lambda waves: waves.view(len(waves), 1, waves.shape[1], 1), nn.Conv2d),
    "volume of 1 channel": (FRAMES, 1, plain, nn.Conv3d),
    "volume of 2 channels": (FRAMES, 2, plain, nn.Conv3d),
    "video": (FRAMES, 3, lambda shown: shown.transpose(1, 2), nn.Conv3d),
    "image of 1 channel": ({"size": (18, 23)}, 1, plain, nn.Conv2d),
    "image of 2 channels": ({"size": (18, 23)}, 2, plain, nn.Conv2d),
    "image of 3 channels": ({"size": (18, 23)}, 3, plain, nn.Conv2d),
}


def of_kind(kind, chance):
    """A network of a kind of images, and an image."""
    told, channels, turn, conv = KINDS[kind]
    column = kind == "waveform as a column"
    width = (5, 1) if column else 3
    network = seeded(
        lambda: Heard(turn, conv(channels, 5, width), nn.ReLU(), conv(5, 6, width, stride=2), nn.ReLU())
    )
    image = torch.rand((channels * told.get("frames", 1), *told["size"]), generator=chance)
    return handle(network, channels=channels, **told), (image * 255).round() / 255


def as_taken(model, image):
    """An image as the network takes it, by hand."""
    shown = (image[None] - 0.5) / 0.5
    if model.signal:
        return shown[:, :, 0] if model.form.axes == "(B, C, T)" else shown[:, 0, 0]
    if model.frames is None:
        return shown
    videos = torch.stack(torch.chunk(shown, model.frames, 1), 1)  # (B, T, C, H, W)
    return videos if model.form.axes == "(B, T, C, H, W)" else videos.movedim(1, 2)


@pytest.mark.filterwarnings("ignore::featvis.errors.FeatvisWarning")
@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_gives_a_map_of_the_canvas_for_all_that_a_network_takes(kind, method, chance, tmp_path):
    model, image = of_kind(kind, chance)
    few = {"steps": 3} if "steps" in methods()[method].options else {}
    found = fv.attribute(model, image, "fc:2", method, **few)
    assert found.values.shape == model.input_size
    assert found.values.dtype == np.float32
    with torch.no_grad():
        assert found.score == pytest.approx(float(model.module(as_taken(model, image))[0, 2]), rel=1e-4)
    for shown in (found.overlay, found.map):
        assert (shown.height, shown.width) == model.input_size
    *_, numbers = found.save(tmp_path)
    assert json.loads(numbers.read_text()) == json.loads(json.dumps(found.to_json()))
    assert found.to_json()["size"] == list(model.input_size)
    assert "largest at row" in repr(found)
    assert len(Page(found._repr_html_()).all("img")) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_grad_cam_is_that_by_hand_on_all_that_a_network_takes(kind, chance):
    model, image = of_kind(kind, chance)
    size, module = model.input_size, model.module.eval()
    read = {}
    hook = module.inner.register_forward_hook(lambda *given: read.update(a=given[2]))
    score = module(as_taken(model, image))[0, 1]
    hook.remove()
    (slope,) = torch.autograd.grad(score, read["a"])
    given = sum(slope[0, unit].mean() * read["a"][0, unit] for unit in range(6)).detach().relu()
    if model.signal:
        given = given.flatten()[None, None]
        wanted = nn.functional.interpolate(given, size[1], mode="linear")[0]
    else:
        each = given if given.dim() == 3 else given[None]
        enlarged = [nn.functional.interpolate(one[None, None], size, mode="bilinear")[0, 0] for one in each]
        wanted = torch.stack(enlarged).amax(0)
    found = fv.attribute(model, image, "fc:1", "grad-cam")
    assert found.numbers["layer"] == "inner"
    assert np.ptp(found.values) > 0
    assert np.allclose(found.values, wanted, atol=1e-6)


def test_of_a_spectrogram_grad_cam_shows_the_largest_of_its_frequencies(chance):
    def spectrogram(waves):
        return waves.unfold(1, 8, 4).abs().transpose(1, 2)[:, None]  # (B, 1, 8, steps in time)

    network = seeded(lambda: Heard(spectrogram, nn.Conv2d(1, 6, 3), nn.ReLU()))
    image = (torch.rand((1, 1, 60), generator=chance) * 255).round() / 255
    found = fv.attribute(handle(network, (1, 60), 1, signal=True), image, "fc:1", "grad-cam").values
    with torch.no_grad():
        given = network.inner(spectrogram(image[0] * 2 - 1))[0]
        rows = torch.einsum("c,chw->hw", network.fc.weight[1], given) / given[0].numel()
        wanted = nn.functional.interpolate(rows[None], 60, mode="linear")[0].amax(0)
    assert found.shape == (1, 60)
    assert np.ptp(found) > 0
    assert np.allclose(found[0], wanted, atol=1e-6)


BURST = slice(180, 204)


class Listener(nn.Module):
    """Finds a burst of alternating samples by correlation; all else is below its threshold."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(1, 1, 24, padding=12), nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(burst()[None, None] / 24)
            self.conv.bias.fill_(-0.3)
            self.fc.weight.fill_(100)

    def forward(self, signals):
        return self.fc(torch.relu(self.conv(signals)).mean(2))


def burst():
    return torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(6)


@pytest.fixture(scope="module")
def heard():
    """A burst in faint noise, after a step as loud as it."""
    chance = torch.Generator().manual_seed(2)
    wave = 0.05 * torch.randn(311, generator=chance)
    wave[60:120] = 0.9
    wave[BURST] = burst()
    image = ((wave.clamp(-1, 1) / 2 + 0.5) * 255).round() / 255
    return handle(Listener(), (1, 311), 1, signal=True), image[None, None]


@pytest.mark.parametrize("method", methods())
def test_what_fires_in_a_signal_is_pointed_at(heard, method):
    model, image = heard
    more = {"extremal": {"steps": 60}}.get(method, {})
    found = fv.attribute(model, image, "fc:0", method, curves=True, **more)
    values = found.values[0]
    near = slice(BURST.start - 12, BURST.stop + 12)  # windows and maps are coarser than samples
    assert near.start <= int(values.argmax()) < near.stop
    above = values.clip(min=0)
    assert above[near].sum() > 0.7 * above.sum()
    # A blurred signal has nothing of the burst, so there is something to lose and to gain.
    assert found.numbers["insertion"] > found.numbers["deletion"] + 0.2


def test_occlusion_of_a_signal_covers_windows_in_time(heard):
    model, image = heard
    found = fv.attribute(model, image, "fc:0", "occlusion", window=20, stride=9)
    assert (found.numbers["window"], found.numbers["stride"]) == (20, 9)
    whole, total, times = found.score, torch.zeros(311), torch.zeros(311)
    for left in range(0, 311 - 20 + 9, 9):
        covered = image.clone()
        covered[..., left : left + 20] = 0.5
        with torch.no_grad():
            fall = whole - float(model.module(covered[:, :1, :][0][None] * 2 - 1)[0, 0])
        total[left : left + 20] += fall
        times[left : left + 20] += 1
    assert np.allclose(found.values[0], total / times, atol=1e-4 * abs(whole))
    own = fv.attribute(model, image, "fc:0", "occlusion").numbers
    assert (own["window"], own["stride"]) == (311 // 7, 311 // 14)


@pytest.mark.filterwarnings("ignore:extremal. the mask keeps")
@pytest.mark.parametrize("method", methods())
def test_the_network_is_given_back_as_it_was(chance, method):
    model = small(size=(24, 32))
    model.module.train()
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    photo = torch.rand((3, 24, 32), generator=chance)
    fv.attribute(
        model,
        photo,
        "fc:1",
        method,
        sanity=method == "saliency",
        **({"steps": 3} if method == "extremal" else {}),
    )
    assert model.module.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.module.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


def test_what_is_saved_is_the_overlay_the_map_and_the_numbers(planted, tmp_path):
    model, photo = planted
    found = fv.attribute(model, photo, "fc:0", "occlusion", curves=True, window=9)
    overlay, plain, numbers = found.save(tmp_path)
    told = json.loads(numbers.read_text())
    assert told["score"] == pytest.approx(found.score)
    assert told["sum"] == pytest.approx(float(found.values.sum()), rel=1e-4)
    assert found.values[tuple(told["largest_at"])] == found.values.max()
    with Image.open(overlay) as opened:
        shown = np.asarray(opened).astype(int)
    assert shown.shape == (*SIZE, 3)
    # Where nothing speaks for the target the grey photograph is seen; where it is strongest, it is not.
    nothing = found.strength == 0
    assert nothing.any()
    assert (shown[nothing] == shown[nothing][:, :1]).all()
    assert (np.ptp(shown[found.strength == 1], axis=1) > 30).all()
    with Image.open(plain) as opened:
        assert (opened.height, opened.width) == SIZE


def test_a_photograph_from_a_file_is_shown_whole_or_from_its_middle(planted, tmp_path):
    model, _ = planted
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (82, 200, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    assert fv.attribute(model, tmp_path / "a.png", "conv:0").values.shape == (41, 100)
    assert fv.attribute(model, tmp_path / "a.png", "conv:0", size=(30, 45)).values.shape == (30, 45)


def test_mistakes_are_told_in_one_line(planted, tmp_path):
    model, photo = planted
    with pytest.raises(RecipeError, match="did you mean 'saliency'"):
        fv.attribute(model, photo, "fc:0", "salience")
    with pytest.raises(RecipeError, match="an option of occlusion"):
        fv.attribute(model, photo, "fc:0", "saliency", window=3)
    with pytest.raises(RecipeError, match="unknown option 'widow'; did you mean 'window'"):
        fv.attribute(model, photo, "fc:0", "occlusion", widow=3)
    with pytest.raises(RecipeError, match="between 0 and 1"):
        fv.attribute(model, photo, "fc:0", "extremal", area=1.0)
    with pytest.raises(RecipeError, match="say with smooth"):
        fv.attribute(model, photo, "fc:0", "saliency", noise=0.2)
    with pytest.raises(TargetError, match="names 2 units"):
        fv.attribute(model, photo, "fc:0,1")
    with pytest.raises(OutputError, match="no photograph"):
        fv.attribute(model, tmp_path / "none.png", "fc:0")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(OutputError, match="no readable photograph"):
        fv.attribute(model, tmp_path / "text.png", "fc:0")
    with pytest.raises(fv.CanvasError, match=r"\[0, 1\]"):
        fv.attribute(model, photo * 2, "fc:0")
    with pytest.raises(TargetError, match="reads no layer"):
        fv.attribute(model, photo, fv.total_variation())


def test_without_captum_its_methods_say_what_to_install(planted, monkeypatch):
    import sys

    model, photo = planted
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModelError, match=r"pip install 'featvis\[attribution\]'"):
        fv.attribute(model, photo, "fc:0", "saliency")
    assert fv.attribute(model, photo, "fc:0", "grad-cam").values.any()


def test_choices_go_to_the_methods_that_take_them():
    assert check_options(["occlusion", "saliency"], {"window": 3, "smooth": 4})["window"] == 3


def test_a_score_of_many_images_is_that_of_each(planted):
    model, photo = planted
    objective, name = find_target(model, "fc:0", SIZE)
    assert name == "fc:0"
    images = torch.stack([photo * share for share in torch.linspace(0, 1, 5)])
    with scored(model, objective, SIZE) as score:
        together = score.values(images, batch=2)
        alone = torch.cat([score.values(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_unit_that_does_not_respond_is_said_to(planted):
    model, photo = planted
    with pytest.warns(FeatvisWarning, match="does not respond"):
        found = fv.attribute(model, torch.full_like(photo, 0.5), "fc:0", "saliency", curves=True)
    assert not found.values.any()
    assert found.numbers["deletion"] is None
    assert "NaN" not in json.dumps(found.to_json())


def test_an_attribution_shows_itself():
    values = np.zeros((20, 30), np.float32)
    values[4, 7] = 2
    photo = np.full((3, 20, 30), 90, np.uint8)
    where = Attribution("saliency", "fc:3", "mine", values, photo, score=1.5, label="<i>tabby</i>, cat")
    assert repr(where) == "Attribution('saliency', 'fc:3', score 1.5, largest at row 4, column 7)"
    page = Page(where._repr_html_())
    assert len(page.all("img")) == 3
    assert "fc:3 <i>tabby</i>: score 1.5" in page.text
    assert where._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": ["saliency"]}, "named by a text"),
        ({"method": "all"}, "unknown method 'all'"),
        ({"method": "ig"}, "did you mean 'integrated-gradients'"),
        ({"method": "smoothgrad"}, "did you mean 'saliency'.*smooth=16"),
        ({"method": "integrated-gradients", "baseline": 0}, "unknown baseline 0"),
        ({"method": "integrated-gradients", "baseline": torch.zeros(3, 4, 4)}, "unknown baseline Tensor"),
        ({"method": "grad-cam", "layer": ["conv"]}, "by its name, one as a text, got list"),
    ],
)
def test_what_is_no_method_baseline_or_layer_is_told(given, told, planted):
    model, photo = planted
    with pytest.raises(UserError, match=told) as caught:
        fv.attribute(model, photo, "fc:0", **given)
    assert "\n" not in str(caught.value)


def test_a_module_in_place_of_a_layer_is_told_its_name(planted):
    model, photo = planted
    with pytest.raises(TargetError, match="by its name, here 'conv'"):
        fv.attribute(model, photo, "fc:0", "grad-cam", layer=model.module.conv)


def test_a_bare_network_is_told_what_it_lacks(planted):
    model, photo = planted
    with pytest.raises(ModelError, match="give mean and std"):
        fv.attribute(model.module, photo, "fc:0")
