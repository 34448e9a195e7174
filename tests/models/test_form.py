"""In which form a network takes images: found by trying, never by a name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from featvis.models.form import find_form, forms_of
from tests.networks import handle, scores_of, seeded


class Called(nn.Module):
    """A network that is a function of its input, with a layer at its end."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.inner, self.last = function, nn.ModuleList(modules), nn.Identity()

    def forward(self, shown):
        return self.last(self.function(shown, *self.inner))


class Recurrent(nn.Module):
    """A GRU over raw samples, which takes ``(B, T)``."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, waves):
        return self.head(self.gru(waves.reshape(len(waves), -1, 4))[0][:, -1])


def spectral(waves):
    return torch.stft(waves, 16, window=torch.hann_window(16), return_complex=True).abs().flatten(1)


SIGNALS = {
    "convolutions": (
        lambda: nn.Sequential(nn.Conv1d(1, 4, 5, stride=2), nn.ReLU(), nn.Conv1d(4, 3, 3)),
        "(B, C, T)",
    ),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), "(B, C, T)"),
    "unsqueezed": (
        lambda: Called(lambda waves, conv: conv(waves[:, None]).mean(2), nn.Conv1d(1, 3, 5)),
        "(B, T)",
    ),
    "as an image": (
        lambda: Called(
            lambda waves, conv: conv(waves[:, None, :, None]).mean((2, 3)), nn.Conv2d(1, 3, (8, 1))
        ),
        "(B, T)",
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3)), "(B, T)"),
    "normed": (lambda: nn.Sequential(nn.Linear(48, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), "(B, T)"),
    "spectral": (lambda: Called(lambda waves, linear: linear(spectral(waves)), nn.Linear(117, 3)), "(B, T)"),
}


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_network_of_signals_is_shown_the_form_that_it_runs_on(kind):
    make, axes = SIGNALS[kind]
    network = seeded(make)
    model = handle(network, 48, 1, signal=True)
    assert model.form.axes == axes
    image = torch.rand((2, 1, 1, 48), generator=torch.Generator().manual_seed(1))
    output = model.output_layer
    shown = (image - 0.5) / 0.5
    with torch.no_grad(), model.tap([output]) as activations:
        wanted = network.eval()(shown[:, 0, 0] if axes == "(B, T)" else shown[:, :, 0])
        torch.testing.assert_close(activations(image)[output], wanted)
    layer = model.layer(output)
    assert (layer.units, layer.labels) == (3, ())
    (picture,) = fv.render(model, f"{output}:1", steps=12, lanes=1)
    assert picture.levels.shape == (1, 1, 48)
    assert picture.score > picture.start_score


def test_recurrent_networks_take_signals():
    network = seeded(Recurrent)
    model = handle(network, 48, 1, signal=True)
    image = torch.rand((2, 1, 1, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), model.tap(["head"]) as activations:
        torch.testing.assert_close(activations(image)["head"], network(image[:, 0, 0] * 2 - 1))


class Stepwise(nn.Module):
    """A convolution over two channels and what is made of its steps in time: tokens, and a signal again."""

    def __init__(self):
        super().__init__()
        self.conv, self.tokens = nn.Conv1d(2, 6, 5, stride=2), nn.Linear(6, 7)
        self.last = nn.Conv1d(7, 4, 3)

    def forward(self, signals):
        return self.last(self.tokens(self.conv(signals).transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize(
    ("layer", "steps"), [("conv", 22), ("tokens", 22), ("last", 20)], ids=["conv", "tokens", "last"]
)
def test_a_neuron_of_a_signal_is_one_step_in_time(layer, steps, chance):
    network = seeded(Stepwise).eval()
    model = handle(network, 48, 2, signal=True)
    image = torch.rand((1, 2, 1, 48), generator=chance)
    with torch.no_grad():
        given = network.conv(image[:, :, 0] * 2 - 1)
        if layer != "conv":
            given = network.tokens(given.movedim(1, 2)).movedim(2, 1)
        if layer == "last":
            given = network.last(given)
    assert given.shape[2] == steps
    for step in (0, 3, steps - 1):
        torch.testing.assert_close(scores_of(model, fv.neuron(layer, 2, (0, step)), image), given[:, 2, step])
        vector = torch.randn(given.shape[1], generator=chance)
        for one in (
            fv.direction_at(layer, vector, (0, step)),
            fv.weighted(layer, vector, position=(0, step)),
        ):
            torch.testing.assert_close(scores_of(model, one, image), given[:, :, step] @ vector)
    torch.testing.assert_close(scores_of(model, fv.neuron(layer, 2), image), given[:, 2, steps // 2])
    with pytest.raises(fv.TargetError, match=f"1 rows by {steps} columns"):
        fv.neuron(layer, 2, (0, steps)).bind(model.at((1, 48)))
    # A longer signal has more steps.
    assert fv.neuron(layer, 2, (0, steps)).bind(model.at((1, 52))).positions == ((0, steps),)


def test_a_neuron_of_a_signal_is_climbed_where_it_looks(tmp_path):
    network = seeded(Stepwise)
    model = handle(network, 48, 2, signal=True)
    start = torch.full((2, 1, 48), 0.5)
    told = {
        "transforms": [],
        "penalties": [],
        "steps": 9,
        "lanes": 1,
        "space": fv.PixelImage(decorrelate=False),
    }
    (picture,) = fv.render(model, "conv:3@0,7", start=start, out=tmp_path, **told)
    assert picture.score > picture.start_score
    # The seventh step sees samples 14 to 18 alone.
    changed = (picture.image != picture.image[:, :, :1]).any(0)[0].nonzero().flatten().tolist()
    assert changed == [14, 15, 16, 17, 18]
    with torch.no_grad():
        own = network.conv(torch.from_numpy(picture.values)[None, :, 0])
    assert picture.score == pytest.approx(float(own[0, 3, 7]), abs=1e-5)


def test_what_stands_along_no_time_has_no_steps():
    """Linear layers over whole signals: the rows of ``(B, C, units)`` are channels."""
    model = handle(seeded(lambda: nn.Sequential(nn.Linear(48, 8), nn.ReLU())), 48, 2, signal=True)
    with pytest.raises(fv.TargetError, match="has no map, so no position can be given, only units"):
        fv.neuron("0", 3, (0, 1)).bind(model.at((1, 48)))


def test_two_channels_are_never_one_waveform():
    assert [form.axes for form in forms_of(signal=True, frames=None, channels=2)] == ["(B, C, T)"]


def test_trying_leaves_a_network_in_training_as_it_was():
    network = seeded(lambda: nn.Sequential(nn.Linear(48, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert handle(network, 48, 1, signal=True).form.axes == "(B, T)"
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Mover(nn.Module):
    """A small network of videos."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv1 = nn.Conv3d(channels, 6, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm3d(6), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(6, 8, 3, stride=2, padding=1)
        self.pool, self.fc = nn.AdaptiveAvgPool3d(1), nn.Linear(8, 5)

    def forward(self, videos):
        found = self.conv2(self.relu(self.norm(self.conv1(videos))))
        return self.fc(self.pool(found).flatten(1))


class FramesFirst(nn.Module):
    """Frames one by one, ``(B, T, C, H, W)``, then their mean."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, videos):
        each = self.conv(videos.flatten(0, 1)).mean((2, 3))
        return self.fc(each.unflatten(0, videos.shape[:2]).mean(1))


class FixedFrames(Mover):
    """A network of videos that takes eight frames and no other number."""

    def forward(self, videos):
        if videos.shape[2] != 8:
            raise ValueError("eight frames")
        return super().forward(videos)


COLOURS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}


@pytest.mark.parametrize(("make", "axes"), [(Mover, "(B, C, T, H, W)"), (FramesFirst, "(B, T, C, H, W)")])
def test_videos_are_shown_frame_after_frame_with_the_colours_mean(make, axes):
    network = seeded(make)
    model = fv.load_model(network, **COLOURS, input_size=(12, 18), frames=5)
    assert (model.form.axes, model.channels, model.frames) == (axes, 15, 5)
    videos = torch.rand((2, 5, 3, 12, 18), generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(COLOURS[name])[:, None, None] for name in ("mean", "std"))
    shown = (videos - mean) / std
    shown = shown.transpose(1, 2) if axes == "(B, C, T, H, W)" else shown
    with torch.no_grad(), model.tap(["fc"]) as activations:
        torch.testing.assert_close(activations(videos.flatten(1, 2))["fc"], network.eval()(shown))


@pytest.mark.parametrize(("make", "frames"), [(Mover, 16), (FixedFrames, 8)])
def test_the_number_of_frames_is_found_where_nobody_told_it(make, frames):
    model = fv.load_model(seeded(make), **COLOURS, input_size=(12, 18))
    assert model.frames == frames
    assert any(f"T is {frames}" in note for note in model.notes)


def test_a_network_of_images_has_no_frames_whatever_its_kernels():
    class Slices(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 4, 3, padding=1)

        def forward(self, images):
            return self.conv(images[:, None]).mean(2)

    model = fv.load_model(seeded(Slices), **COLOURS, input_size=(12, 18))
    assert (model.frames, model.notes) == (None, ())
    assert model.layer("conv").units == 4


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"frames": 0}, "frames counts a video's frames, at least 1, got 0"),
        ({"frames": True}, "at least 1"),
        ({"frames": 2.5}, "at least 1"),
        ({"frames": 4, "signal": True, "input_size": 9}, "frames"),
        ({"sample_rate": 8000}, "sample_rate is a signal's"),
        ({"sample_rate": 0, "signal": True, "input_size": 9}, "from 1 up, got 0"),
        ({"sample_rate": float("nan"), "signal": True, "input_size": 9}, "from 1 up"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(told, words):
    with pytest.raises(fv.ModelError, match=words):
        fv.load_model(nn.Conv2d(1, 1, 1), mean=(0.5,), std=(0.5,), **{"input_size": 12, **told})


def test_the_axes_of_videos_are_measured():
    model = fv.load_model(seeded(Mover), **COLOURS, input_size=(12, 18), frames=5)
    found = {layer.name: (layer.kind, layer.units, layer.shape) for layer in model.layers}
    assert found["conv1"] == ("video", 6, (1, 6, 5, 12, 18))
    assert found["relu"] == ("video", 6, (1, 6, 5, 12, 18))
    assert found["conv2"] == ("video", 8, (1, 8, 3, 6, 9))
    assert found["pool"] == ("video", 8, (1, 8, 1, 1, 1))
    assert found["fc"] == ("vector", 5, (1, 5))


class Branches(nn.Module):
    """Two branches side by side, whose number of units no module tells, and their mean."""

    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(3, 5, 3, padding=1)
        self.both, self.pool = nn.Identity(), nn.AdaptiveAvgPool3d(1)

    def forward(self, videos):
        return self.pool(self.both(torch.cat([self.conv(videos), self.other(videos)], 1)))


def test_units_that_no_module_tells_are_on_the_axis_of_the_colours():
    model = fv.load_model(seeded(Branches), **COLOURS, input_size=(12, 18), frames=6)
    kinds = {layer.name: (layer.kind, layer.axis, layer.units) for layer in model.layers}
    assert kinds["both"] == kinds["pool"] == ("video", 1, 9)


class LastAxis(nn.Module):
    """Units on the last of five axes, as in video transformers, by a module that does not tell them."""

    def __init__(self):
        super().__init__()
        self.conv, self.moved, self.norm = nn.Conv3d(3, 6, 2, stride=2), nn.Identity(), nn.LayerNorm(6)

    def forward(self, videos):
        return self.norm(self.moved(self.conv(videos).permute(0, 2, 3, 4, 1)))


def test_units_on_the_last_of_five_axes():
    model = fv.load_model(seeded(LastAxis), **COLOURS, input_size=(12, 18), frames=8)
    kinds = {layer.name: (layer.kind, layer.axis, layer.units) for layer in model.layers}
    assert kinds == {"conv": ("video", 1, 6), "moved": ("video_last", 4, 6), "norm": ("video_last", 4, 6)}
    (picture,) = fv.render(model, "norm:2", size=(12, 18), steps=6, lanes=1)
    shown = torch.from_numpy(picture.values)[None]
    with torch.no_grad():
        assert picture.score == pytest.approx(float(model.module(shown)[..., 2].mean()), abs=1e-5)


@pytest.mark.parametrize("target", ["conv1:1", "conv2:3", "fc:2"])
def test_a_video_s_units_are_climbed_and_scored_by_the_network_itself(target, tmp_path):
    network = seeded(Mover)
    model = fv.load_model(network, **COLOURS, input_size=(12, 18), frames=5)
    (picture,) = fv.render(model, target, size=(12, 18), steps=8, lanes=1, out=tmp_path)
    assert picture.levels.shape == (15, 12, 18)
    assert picture.score > picture.start_score
    layer, unit = target.split(":")
    values = np.load(tmp_path / layer / f"{int(unit):04d}.npy")
    assert values.shape == (3, 5, 12, 18)
    network.eval()
    until_conv2 = nn.Sequential(network.conv1, network.norm, nn.ReLU(), network.conv2)
    whole = {"conv1": network.conv1, "conv2": until_conv2, "fc": network}[layer]
    with torch.no_grad():
        own = whole(torch.from_numpy(values)[None])[0, int(unit)].mean()
    assert picture.score == pytest.approx(float(own), abs=1e-5)
    path = tmp_path / layer / f"{int(unit):04d}.png"
    assert fv.load_picture(path).frames == 5
    assert fv.reproduce(path, model).png() == picture.png()


def test_a_neuron_of_a_video_is_refused_in_one_line():
    model = fv.load_model(seeded(Mover), **COLOURS, input_size=(12, 18), frames=5)
    for target in ("conv2:3@1,1", fv.neuron("conv2", 3)):
        with pytest.raises(fv.TargetError, match=r"conv2 has no map, .* shape is \(1, 8, 3, 6, 9\)"):
            fv.render(model, target, size=(12, 18), steps=1)


def test_frames_are_the_default_of_the_image_space_and_what_is_asked_for_stays():
    model = fv.load_model(seeded(Mover), **COLOURS, input_size=(12, 18), frames=5)
    told = {"size": (12, 18), "steps": 1, "lanes": 1}

    def space(**more):
        return fv.render(model, "conv2:3", **told, **more)[0].recipe["space"]

    usual = space()
    assert (usual["name"], usual["frames"], usual["inner"]["name"]) == ("video", 5, "fourier")
    assert space(recipe="texture")["inner"]["exponent"] == 1.0
    assert space(space="video") == {**usual, "inner": {**usual["inner"], "exponent": 1.3}}
    assert space(space={"name": "mask", "inner": "video"})["inner"]["frames"] == 5
    assert space(space=fv.VideoImage(inner="pixel"))["inner"]["name"] == "pixel"
    assert space(space="pixel")["name"] == "pixel"
    assert space(recipe=fv.Recipe(space={"name": "pixel"}, transforms=[]))["name"] == "pixel"


def test_a_volume_of_three_slices_is_no_coloured_image(tmp_path):
    network = seeded(lambda: Mover(1))
    model = fv.load_model(network, mean=(0.5,), std=(0.5,), input_size=(12, 18), frames=3)
    (picture,) = fv.render(model, "conv2:3", size=(12, 18), steps=4, lanes=1, out=tmp_path)
    assert picture.recipe["space"]["frames"] == 3
    assert picture.has_own_view
    assert picture.view.mode == "L"
    assert np.load(tmp_path / "conv2" / "0003.npy").shape == (1, 3, 12, 18)
    again = fv.load_picture(tmp_path / "conv2" / "0003.png")
    assert np.array_equal(again.levels, picture.levels)


def test_no_form_fits():
    def run(_):
        raise ValueError

    forms = forms_of(signal=True, frames=None, channels=1)
    assert find_form(forms, run, 1, (1, 9)) is None
    assert find_form(forms, lambda shown: shown.flatten(0, 1)[:2], 1, (1, 9)) is None, "another first axis"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_networks_of_transformers_and_torchvision_take_their_own_form():
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    heard = transformers.Wav2Vec2Config(
        **small, conv_dim=(16,) * 7, num_conv_pos_embedding_groups=4, num_labels=5
    )
    seen = transformers.VideoMAEConfig(**small, image_size=32, patch_size=8, num_frames=8, num_labels=5)
    wave = seeded(lambda: transformers.Wav2Vec2ForSequenceClassification(heard))
    masked = seeded(lambda: transformers.VideoMAEForVideoClassification(seen))
    video = pytest.importorskip("torchvision").models.video
    shifted = seeded(lambda: video.swin3d_t())
    found = [
        fv.load_model(wave, mean=(0.5,), std=(0.5,), input_size=4000, signal=True),
        fv.load_model(masked, **COLOURS, input_size=32),
        fv.load_model(shifted, **COLOURS, input_size=64, frames=8),
    ]
    assert [model.form.axes for model in found] == ["(B, T)", "(B, T, C, H, W)", "(B, C, T, H, W)"]
    assert [model.frames for model in found] == [None, 8, 8]
    assert [model.layer(model.output_layer).units for model in found] == [5, 5, 400]
    assert found[2].layer("features.0").kind == "video_last"
