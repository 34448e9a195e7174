"""No step that a GPU would record waits for the device or copies from the host: every part, many networks.

Tensors without numbers stand in for the GPU's: whatever would have to be known on the host, or to come from
it, shows.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import featvis as fv
from featvis.engine import replay
from featvis.engine.record import Watched
from featvis.spec import register
from featvis.spec.catalog import constructors
from tests.contract.test_transforms import OPTIONS
from tests.networks import Small, handle, seeded, small
from tests.standin import on_meta, tracing

SIZE = (17, 24)
NOT_REPLAYED = {"kornia"}
"""Parts that say so themselves: kornia draws from torch's global generators, seeded from the host."""
PHOTOGRAPH = torch.rand((3, *SIZE), generator=torch.Generator().manual_seed(3))


def trace(monkeypatch, model, objective, space=None, transforms=(), size=SIZE, **changes):
    """Take steps on the stand-in; whether one of them was recorded. What was refused is an error."""
    with tracing(monkeypatch) as recorder:
        options = {"steps": 6, "lanes": 2, "redirect_steps": 0, "seed": 3, **changes}
        list(
            fv.ascend(model, objective, space or fv.FourierImage(size=size), transforms=transforms, **options)
        )
        assert not replay._refused
        return recorder.recorded > 0


NEURON = ("conv2", (4, 6), SIZE)


@pytest.fixture(scope="module")
def network():
    return on_meta(small(), SIZE, (40, 36), windows=[NEURON, ("norm", (1, 2), SIZE)])


@pytest.mark.parametrize("name", register.names("images"))
def test_every_image_space_is_recorded(monkeypatch, network, name):
    space = register.make("images", {"name": name}, size=SIZE, channels=3)
    assert trace(monkeypatch, network, fv.channel("conv2", 1), space)


def test_so_is_a_generator(monkeypatch, network):
    generator = nn.Sequential(nn.Linear(5, 3 * 17 * 24), nn.Unflatten(1, (3, *SIZE)), nn.Sigmoid())
    space = fv.generator_image(generator, (5,), size=SIZE)
    assert trace(monkeypatch, network, fv.channel("conv2", 1), space)


@pytest.mark.parametrize("inner", ["fourier", "cppn", "deep"])
def test_so_are_wrapped_spaces(monkeypatch, network, inner):
    space = fv.AlphaImage(inner={"name": "mask", "inner": inner}, size=SIZE)
    opacity = register.make("objectives", {"name": "alpha"})
    assert trace(monkeypatch, network, fv.channel("conv2", 1) - 0.1 * opacity, space)


@pytest.mark.parametrize("name", register.names("transforms"))
@pytest.mark.parametrize("canvas", [SIZE, (40, 36)], ids=str)
def test_every_transform_is_recorded_or_says_that_it_is_not(monkeypatch, network, name, canvas):
    transform = register.make("transforms", {"name": name, **OPTIONS.get(name, {})})
    assert transform.replayable == (name not in NOT_REPLAYED)
    if transform.replayable:
        options = {"input_size": SIZE} if canvas != SIZE else {}
        assert trace(
            monkeypatch, network, fv.channel("conv2", 1), transforms=[transform], size=canvas, **options
        )


def test_so_is_the_mean_of_pixels_where_the_canvas_is_much_larger(monkeypatch, network):
    model = on_meta(small(), (51, 72), SIZE)
    assert trace(monkeypatch, model, fv.channel("conv2", 1), size=(51, 72), input_size=SIZE)


@pytest.mark.parametrize("name", register.names("objectives"))
def test_every_penalty_is_recorded(monkeypatch, network, name):
    penalty = register.make("objectives", {"name": name}).beside(("fc",))
    space = fv.AlphaImage(size=SIZE) if name == "alpha" else None
    assert trace(monkeypatch, network, fv.logit(1) - 0.3 * penalty, space)


def samples():
    pattern = torch.rand((8, 3, 4), generator=torch.Generator().manual_seed(1)) + 0.1
    return {
        "accentuation": lambda: fv.accentuation(fv.logit(1), PHOTOGRAPH, layer="conv1"),
        "alignment": lambda: fv.channel("norm", 1) - fv.alignment("conv2"),
        "caricature": lambda: fv.caricature("norm", PHOTOGRAPH),
        "channel": lambda: fv.channel("norm", 1),
        "direction": lambda: fv.direction("norm", [1.0, 0, 0, 0, 0, 0, -1, 2], power=2),
        "direction_at": lambda: fv.direction_at("norm", torch.ones(8), (1, 2)),
        "diversity": lambda: fv.channel("norm", 1) - fv.diversity("conv2", relative=True),
        "dot_cosine": lambda: fv.dot_cosine("norm", pattern),
        "facet": lambda: fv.facet(fv.channel("norm", 1), {"relu1": torch.ones(6)}),
        "interpolation": lambda: fv.interpolation(fv.channel("norm", 1), fv.logit(2)),
        "layer": lambda: fv.layer("norm"),
        "log_probability": lambda: fv.log_probability(2),
        "logit": lambda: fv.logit(2),
        "margin": lambda: fv.margin(2) + fv.margin(1, others="logsumexp"),
        "match": lambda: fv.match("norm", PHOTOGRAPH),
        "neuron": lambda: fv.neuron(NEURON[0], 3, NEURON[1]),
        "objective": lambda: brightest,
        "style": lambda: fv.style(["conv1", "norm"], PHOTOGRAPH),
        "tensor_direction": lambda: fv.tensor_direction("norm", pattern),
        "weighted": lambda: fv.weighted("norm", {3: 1.0, 7: -0.5}, window=(1, 2, 3, 4)),
        "within": lambda: fv.within(fv.channel("norm", 1), 1.0, 2.0),
    }


@fv.objective(layers=["norm"])
def brightest(activations):
    return activations["norm"].amax((1, 2, 3))


ELSEWHERE = {
    "activation_statistics": "below: what a penalty reads",
    "load_activation_statistics": "likewise",
    "attention_head": "with the transformers, below",
    "attention_score": "with the transformers, below",
    "ensemble": "below: its other network stands on the device, too",
    "text": "below: a pair of networks",
    "load_dictionary": "below: its units, from a file",
    "vectors": "below: from a file",
}


def test_every_objective_has_a_sample_here():
    named = {entry.name.partition("(")[0].removeprefix("fv.") for entry in constructors("objectives")}
    assert named == set(samples()) | set(ELSEWHERE) | set(register.names("objectives")) - {
        "alpha",
        "batchnorm",
        "confidence",
        "rivals",
    }


@pytest.mark.parametrize("name", sorted(samples()))
def test_every_objective_is_recorded(monkeypatch, network, name):
    objective = samples()[name]()
    # Photographs are shown as the pictures are. A warp is dear on a device without numbers.
    moved = [fv.Warp(jitter=2, scale=(0.9, 1.1))] if name in ("accentuation", "style") else []
    assert trace(monkeypatch, network, objective, transforms=[*moved, fv.Noise(sd=0.05)])


def test_so_is_a_sum_of_different_ones(monkeypatch, network):
    from featvis.objectives.base import EachItsOwn

    assert trace(monkeypatch, network, EachItsOwn([fv.channel("norm", 1), fv.neuron("conv1", 2, (3, 4))]))


def test_so_are_directions_of_a_file(monkeypatch, network, tmp_path):
    save_file({"decoder": torch.eye(8)}, tmp_path / "sae.safetensors")
    (first, *_) = fv.vectors(f"norm@{tmp_path}/sae.safetensors:decoder:0:2")
    assert trace(monkeypatch, network, first)


def test_so_are_units_of_a_sparse_autoencoder(monkeypatch, network, tmp_path):
    rows = torch.rand((6, 8), generator=torch.Generator().manual_seed(1))
    tensors = {"W_enc": rows.T, "W_dec": rows, "b_enc": torch.ones(6), "b_dec": torch.zeros(8)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "sae.safetensors")
    (first, *_) = fv.vectors(f"norm@{tmp_path}/sae.safetensors:0:2")
    assert trace(monkeypatch, network, first)


def test_so_is_a_penalty_by_statistics_of_photographs(monkeypatch, network, tmp_path):
    images = [PHOTOGRAPH, 1 - PHOTOGRAPH]
    fv.activation_statistics(small(), images, out=tmp_path / "mine.safetensors")
    told = {"name": "batchnorm", "statistics": str(tmp_path / "mine.safetensors")}
    assert trace(monkeypatch, network, fv.logit(1) - register.make("objectives", told).beside(("fc",)))


def test_so_is_an_ensemble(monkeypatch, network):
    other = on_meta(handle(seeded(Small, 2), (13, 9)), (13, 9))
    monkeypatch.setattr(type(other), "fingerprint", lambda self: "of the stand-in")
    together = fv.ensemble((network, fv.channel("norm", 1)), (other, fv.caricature("norm", PHOTOGRAPH)))
    assert trace(monkeypatch, network, together)


def test_so_is_a_text(monkeypatch):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.text = Small(), nn.EmbeddingBag(9, 5)

        def encode_image(self, images):
            return self.image(images)

        def encode_text(self, tokens):
            return self.text(tokens)

    pair = fv.load_paired(
        seeded(Pair), lambda texts: torch.tensor([[len(t) % 9 for t in texts]]), input_size=SIZE
    )
    prompt = fv.text(pair, "a red circle")
    assert trace(monkeypatch, on_meta(pair, SIZE), prompt)


@pytest.mark.parametrize(
    "change",
    [
        {"copies": 2},
        {"average": 0.9},
        {"gradient_norm": 1.0},
        {"gradient_clip": 0.1},
        {"pool_gradients": "l2"},
        {"residual_gradients": 0.5},
        {"hold": 2},
        {"schedule": "cosine"},
        {"optimizer": "nadam"},
        {"lanes": 5},
    ],
    ids=lambda change: " ".join(change),
)
def test_every_option_of_the_loop_is_recorded(monkeypatch, network, change):
    assert trace(monkeypatch, network, fv.channel("conv2", 1), transforms=[fv.Warp(jitter=2)], **change)


def test_stages_are_recorded_each(monkeypatch, network):
    sizes = {"size": (40, 36), "stages": [[[20, 18], 0.5]], "steps": 12}
    model = on_meta(small(), (40, 36), (20, 18))
    assert trace(monkeypatch, model, fv.channel("conv2", 1), **sizes)


def waits(activations):
    return activations["norm"].mean((1, 2, 3)) * float(activations["norm"].max())


def copies(activations):
    read = activations["norm"]
    return (read * torch.ones(6).to(read.device)).mean((1, 2, 3))


def chooses(activations):
    read = activations["norm"]
    return torch.stack([one[one > 0].sum() for one in read])


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (waits, "waits for the device"),
        (copies, "copies between host and device"),
        (chooses, "waits for the device"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_recorded_is_seen_before_anything_is_recorded(function, why):
    """On the CPU by the look alone: what is an index there is a copy to a device."""
    images = torch.rand((2, 8, 5, 6))
    seen = Watched("cpu")
    if function is copies:
        seen = Watched("meta")
        images = images.to("meta")
    with seen:
        function({"norm": images})
    assert any(found.startswith(why) for found in seen.found), seen.found
    assert "test_recorded_steps.py:" in seen.found[0]


def test_what_a_recording_reads_is_held_even_where_a_cache_drops_it():
    kept, made = torch.ones(3), None
    with Watched("cpu") as seen:
        made = kept * 2
        (made + kept.view(3, 1)).sum()
    assert [id(tensor.untyped_storage()._cdata) for tensor in seen.read.values()] != []
    assert {tensor.untyped_storage()._cdata for tensor in seen.read.values()} == {
        kept.untyped_storage()._cdata
    }


NETWORKS = {
    "torchvision:resnet18": (64, 80),
    "torchvision:squeezenet1_1": (64, 80),
    "torchvision:mobilenet_v3_small": (64, 80),
    "torchvision:alexnet": (64, 80),
    "torchvision:vgg11_bn": (64, 80),
    "torchvision:googlenet": (64, 80),
    "torchvision:inception_v3": (80, 96),
    "torchvision:densenet121": (64, 80),
    "torchvision:convnext_tiny": (64, 80),
    "torchvision:swin_t": (64, 96),
    "torchvision:regnet_y_400mf": (64, 80),
    "torchvision:vit_b_32": (224, 224),
    "timm:vit_tiny_patch16_224": (224, 224),
}
FAST = ("torchvision:resnet18", "torchvision:squeezenet1_1")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_every_architecture_is_recorded(monkeypatch, name):
    size = NETWORKS[name]
    plain = fv.load_model(name, weights="none", device="cpu")
    model = on_meta(plain, size)
    layer = plain.at(size).output_layer
    assert trace(monkeypatch, model, fv.channel(layer, 3), size=size, transforms=[fv.Warp(jitter=2)])
    if "vit" in name:
        block = (
            "blocks.3.attn" if name.startswith("timm") else "encoder.layers.encoder_layer_3.self_attention"
        )
        for objective in (fv.attention_head(block, 1, "query", 5), fv.attention_score(block, 1, 0, 7)):
            assert trace(monkeypatch, model, objective, size=size)
