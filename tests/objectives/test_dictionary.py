"""Units of sparse autoencoders and of components: every layout that people share gives the same unit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import featvis as fv
from featvis.objectives.dictionary import Dictionary, load_dictionary, unit_of
from tests.networks import PLAIN, activations_of, layouts, small
from tests.photographs.photographs import photo

OPTIONS = {"size": (17, 24), "steps": 3, **PLAIN}
COUNT, WIDTH = 11, 8


@pytest.fixture
def sae(chance):
    """An autoencoder of conv2's eight units, its parts by saev's names."""
    return {
        "W_enc": torch.randn((WIDTH, COUNT), generator=chance),
        "W_dec": torch.randn((COUNT, WIDTH), generator=chance),
        "b_enc": torch.randn(COUNT, generator=chance) / 4,
        "b_dec": torch.randn(WIDTH, generator=chance) / 4,
    }


def encoded(sae, activations, takes_off=True):
    centre = sae["b_dec"] if takes_off else 0
    return torch.relu((activations - centre) @ sae["W_enc"] + sae["b_enc"])


class Config:
    """Stands for a configuration's class, which must not be needed to read the file."""

    def __init__(self):
        self.d_in, self.normalize_activations = WIDTH, "none"


def write(sae, kind, folder):
    """Write the autoencoder as one of the layouts; whether the decoder's bias is taken off beforehand."""
    linear = {
        "encoder.weight": sae["W_enc"].T.contiguous(),
        "decoder.weight": sae["W_dec"].T.contiguous(),
        "encoder.bias": sae["b_enc"],
        "decoder.bias": sae["b_dec"],
    }
    path = folder / (
        "sae.safetensors" if kind in ("plain", "linear", "turned", "lens", "sparsity") else "sae.pt"
    )
    if kind == "plain":
        save_file(sae, path)
    elif kind == "linear":
        save_file(linear, path)
    elif kind == "turned":
        turned = {name: one.T.contiguous() if one.dim() == 2 else one for name, one in linear.items()}
        save_file(turned, path)
    elif kind == "lens":
        save_file(sae, path)
        (folder / "cfg.json").write_text(json.dumps({"d_in": WIDTH, "apply_b_dec_to_input": False}))
    elif kind == "sparsity":
        often = torch.full((COUNT,), -2.0)
        often[3] = -10
        save_file({**sae, "log_feature_sparsity": often}, path)
    elif kind == "prisma":
        torch.save({"cfg": Config(), "state_dict": sae}, path)
    else:  # saev: a line of JSON, then the state_dict
        header = {"schema": 2, "cfg": {"d_vit": WIDTH, "activation": {"cls": "TopK", "params": {"top_k": 4}}}}
        header = header if kind == "saev" else {"d_vit": WIDTH, "exp_factor": 2}
        with path.open("wb") as stream:
            stream.write((json.dumps(header) + "\n").encode())
            torch.save(sae, stream)
    return path, kind not in ("lens", "saev")


KINDS = ("plain", "linear", "turned", "lens", "sparsity", "prisma", "saev", "saev of old")


@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_gives_the_same_units(kind, sae, tmp_path, chance):
    path, takes_off = write(sae, kind, tmp_path)
    found = load_dictionary(path)
    rows = torch.randn((5, WIDTH), generator=chance) * 2
    assert torch.allclose(found.encode(rows), encoded(sae, rows, takes_off), atol=1e-5)
    assert torch.equal(found.encode(rows, [4, 1]), found.encode(rows)[:, [4, 1]])
    assert torch.equal(found.decoder, sae["W_dec"])
    assert found.dead == ([3] if kind == "sparsity" else [])
    assert ("never firing" in repr(found)) == (kind == "sparsity")
    assert found.kind == ("topk" if kind == "saev" else "relu")


def test_a_unit_is_climbed_by_its_activation_and_said_by_its_place(sae, tmp_path):
    path, _ = write(sae, "plain", tmp_path)
    model = small()
    pictures = fv.render(model, f"conv2@{path}:2,7:9", **OPTIONS)
    assert [one.target.split("#")[0] for one in pictures] == [f"conv2@sae.safetensors:{n}" for n in (2, 7, 8)]
    for row, picture in zip((2, 7, 8), pictures, strict=True):
        read = activations_of(model, "conv2", picture.image[None])[0].flatten(1).T
        before = (read - sae["b_dec"]) @ sae["W_enc"][:, row] + sae["b_enc"][row]
        expected = before.relu().mean() if (before > 0).any() else before.mean()
        assert picture.score == pytest.approx(float(expected), abs=1e-4)
        assert picture.score > picture.start_score
    alone = fv.render(model, f"conv2@{path}:7", **OPTIONS)[0]
    assert alone.key == pictures[1].key
    assert torch.equal(alone.image, pictures[1].image)


def test_a_unit_that_fires_nowhere_has_a_slope_and_a_score_below_0(sae, tmp_path):
    sae["b_enc"][5] = -50.0
    path, _ = write(sae, "plain", tmp_path)
    (picture,) = fv.render(small(), f"conv2@{path}:5", **OPTIONS)
    assert picture.status == "ok"
    assert picture.start_score < picture.score < 0


def test_a_threshold_is_what_must_be_exceeded(sae, tmp_path, chance):
    sae["threshold"] = torch.full((COUNT,), 1.5)
    path, _ = write(sae, "plain", tmp_path)
    rows = torch.randn((50, WIDTH), generator=chance)
    plain = encoded(sae, rows)
    found = load_dictionary(path)
    assert torch.allclose(found.encode(rows), plain * (plain > 1.5), atol=1e-5)
    assert found.kind == "jumprelu"
    unit = fv.vectors(f"conv2@{path}:0")[0].bind(small().at((17, 24)))
    maps = rows[:48].T.reshape(1, WIDTH, 6, 8)
    score = unit.score({"conv2": maps}, torch.zeros(1, 3, 17, 24))
    assert float(score) == pytest.approx(float((plain * (plain > 1.5))[:48, 0].mean()), abs=1e-5)


def test_activations_are_normalized_where_the_file_says_so(sae, tmp_path, chance):
    path, _ = write(sae, "plain", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"d_in": WIDTH, "normalize_activations": "layer_norm"}))
    rows = torch.randn((5, WIDTH), generator=chance) * 3 + 1
    normal = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
    assert torch.allclose(load_dictionary(path).encode(rows), encoded(sae, normal), atol=1e-5)
    (tmp_path / "config.json").write_text(json.dumps({"d_in": WIDTH, "normalize_activations": "whitened"}))
    with pytest.raises(fv.UserError, match="'whitened', which is not known here"):
        load_dictionary(path)


def test_the_decoders_direction_by_name(sae, tmp_path):
    model = small()
    for kind in ("plain", "linear", "turned", "saev"):
        path, _ = write(sae, kind, tmp_path)
        (one,) = fv.vectors(f"conv2@{path}:dec:4")
        assert torch.equal(one.vectors[0], sae["W_dec"][4])
        (picture,) = fv.render(model, f"conv2@{path}:dec:4", **OPTIONS)
        read = activations_of(model, "conv2", picture.image[None])[0].mean((1, 2))
        assert picture.score == pytest.approx(float(read @ sae["W_dec"][4]), abs=1e-4)


def test_components_and_lone_matrices_are_dictionaries_and_turned_for_the_layer(tmp_path, chance):
    model = small()
    images = [torch.rand((3, 17, 24), generator=chance) for _ in range(2)]
    found = fv.find_components(model, "conv2", images, "pca", 3)
    path = found.save(tmp_path / "rows.safetensors")
    for address in (f"conv2@{path}:0:2", f"conv2@{path}:directions:0:2"):
        told = fv.vectors(address)
        assert [torch.equal(one.vectors[0], found.directions[row]) for row, one in enumerate(told)] == [
            True
        ] * 2
    save_file({"atoms": found.directions.T.contiguous()}, tmp_path / "turned.safetensors")
    pictures = fv.render(model, f"conv2@{tmp_path / 'turned.safetensors'}:all", **OPTIONS)
    assert len(pictures) == 3
    read = activations_of(model, "conv2", pictures[1].image[None])[0].mean((1, 2))
    assert pictures[1].score == pytest.approx(float(read @ found.directions[1]), abs=1e-4)
    where = fv.attribute(model, images[0], f"conv2@{path}:1", "saliency")
    read = activations_of(model, "conv2", (images[0] * 255).round()[None] / 255)[0].mean((1, 2))
    assert where.score == pytest.approx(float(read @ found.directions[1]), abs=1e-4)


def test_tokens_are_positions_and_class_tokens_are_not(chance):
    model = layouts()
    images = torch.rand((1, 3, 17, 10), generator=chance)
    rows = torch.randn((3, 5), generator=chance)
    made = Dictionary("sae.pt", rows, rows, torch.full((3,), 2.0))
    bound = unit_of(made, "tokens", 2, "sae.pt:2").bind(model.at((17, 10)))
    read = activations_of(model, "tokens", images)
    expected = torch.relu(read[0, 2:] @ rows[2] + 2).mean()
    assert expected > 0
    assert float(bound.score({"tokens": read}, images)) == pytest.approx(float(expected), abs=1e-6)


def test_top_examples_are_by_the_units_activation(sae, tmp_path):
    path, _ = write(sae, "plain", tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        photo(seed, 17, 24).save(folder / f"{seed}.png")
    model = small()
    name = f"conv2@{path}"
    found = fv.find_examples(model, folder, {name: [3, 9], "conv2": [1]}, out=tmp_path / "out", count=6)
    for row in (3, 9):
        best = {}
        for seed in range(6):
            image = fv.load_image(folder / f"{seed}.png", channels=3)
            read = activations_of(model, "conv2", image[None])[0].flatten(1).T
            best[f"{seed}.png"] = float(encoded(sae, read)[:, row].max())
        told = {one["image"]: one["value"] for one in found["units"][f"{name}:{row}"]["examples"]}
        assert told == pytest.approx(best, abs=1e-4)
    assert list((tmp_path / "out").rglob("0009-0.webp"))
    sae["b_enc"][3] += 1
    save_file(sae, path)
    other = fv.find_examples(model, folder, {name: [3]}, out=tmp_path / "out", count=6)
    values = [one["units"][f"{name}:3"]["examples"][0]["value"] for one in (found, other)]
    assert values[1] == pytest.approx(values[0] + 1, abs=1e-4)


def test_a_picture_of_a_unit_is_reproduced_with_its_file(sae, tmp_path):
    path, _ = write(sae, "linear", tmp_path)
    model = small()
    fv.render(model, [f"conv2@{path}:6", f"conv2@{path}:dec:6"], out=tmp_path / "out", **OPTIONS)
    path = path.rename(tmp_path / "moved.safetensors")
    files = [one for one in (tmp_path / "out").rglob("*.png") if one.name != "grid.png"]
    assert len(files) == 2
    for file in files:
        again = fv.reproduce(file, model, made_of=[path])
        assert (again.levels == fv.load_picture(file).levels).all()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("conv2@{}:11", "out of range"),
        ("conv2@{}:0:8:", "LAYER@FILE"),
        ("conv1@{}:0", "the layer has 6 units"),
        ("conv2@{}:nope:0", "unknown key"),
    ],
)
def test_mistakes_are_said(address, words, sae, tmp_path):
    path, _ = write(sae, "plain", tmp_path)
    with pytest.raises(fv.TargetError, match=words):
        fv.render(small(), address.format(path), **OPTIONS)
    save_file({"one": torch.zeros(2, 8), "two": torch.zeros(2, 8)}, tmp_path / "two.safetensors")
    with pytest.raises(fv.TargetError, match="holds one, two, no dictionary"):
        load_dictionary(tmp_path / "two.safetensors")
    save_file({**sae, "b_enc": torch.full((COUNT,), torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(fv.UserError, match="not finite"):
        load_dictionary(tmp_path / "nan.safetensors")


class Tied(nn.Module):
    """A sparse autoencoder that is trained here."""

    def __init__(self, rows, count):
        super().__init__()
        self.b_dec = nn.Parameter(rows.mean(0))
        start = torch.randn((count, rows.shape[1]), generator=torch.Generator().manual_seed(0))
        self.W_dec = nn.Parameter(start / start.norm(dim=1, keepdim=True))
        self.W_enc = nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = nn.Parameter(torch.zeros(count))

    def forward(self, rows):
        codes = torch.relu((rows - self.b_dec) @ self.W_enc + self.b_enc)
        return codes @ self.W_dec + self.b_dec, codes


@pytest.mark.slow
def test_an_autoencoder_that_is_trained_here_on_lite0_is_climbed_and_searched(lite0, tmp_path):
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea", "astronaut", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    rows = []
    for file in sorted(folder.iterdir()):
        image = fv.load_image(file, channels=3, size=(224, 224))[None]
        with lite0.tap(["blocks.4"]) as tap, torch.no_grad():
            rows.append(tap(image)["blocks.4"][0].flatten(1).T.clone())
    rows = torch.cat(rows)
    model = Tied(rows, 256)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    spread = (rows - rows.mean(0)).square().mean()
    for _ in range(300):
        found, codes = model(rows)
        loss = (found - rows).square().mean() / spread + 2e-3 * codes.abs().sum(1).mean() / rows.norm(
            dim=1
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        explained = 1 - float((model(rows)[0] - rows).square().mean() / spread)
        codes = model(rows)[1]
    assert explained > 0.8
    path = tmp_path / "sae.safetensors"
    save_file({name: one.detach().contiguous() for name, one in model.named_parameters()}, path)
    strongest = codes.mean(0).argsort(descending=True)[:4].tolist()
    units = ",".join(map(str, strongest))
    pictures = fv.render(lite0, f"blocks.4@{path}:{units}", size=96, steps=24)
    for unit, picture in zip(strongest, pictures, strict=True):
        print(unit, picture.start_score, picture.score, float(codes[:, unit].mean()))
        assert picture.score > 3 * max(picture.start_score, float(codes[:, unit].mean()))
    found = fv.find_examples(lite0, folder, {f"blocks.4@{path}": strongest}, count=1, size=(224, 224))
    assert len(found["units"]) == 4
    assert all(one["examples"][0]["value"] > 0 for one in found["units"].values())
