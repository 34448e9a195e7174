"""Networks of transformers from a folder, as ``save_pretrained`` writes it; nothing is downloaded."""

import copy
import json
import sys

import pytest
import torch

import featvis as fv
from featvis.cli import main
from featvis.errors import ModelError

pytest.importorskip("transformers", reason="the extra hf")

VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT |= {"image_size": 32, "patch_size": 8, "id2label": {0: "cat", 1: "dog", 2: "owl"}}
CONVNEXT = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1], "num_labels": 4, "image_size": 32}
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}
PROCESSOR |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 255}


def saved(folder, kind, settings, processor=PROCESSOR):
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = getattr(transformers, kind.partition("For")[0].removesuffix("Model") + "Config")(**settings)
        module = getattr(transformers, kind)(config).eval()
    transformers.utils.logging.disable_progress_bar()
    module.save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return module


def test_a_classifier_answers_as_transformers_does_under_its_own_preprocessing(tmp_path, chance, capfd):
    theirs = saved(tmp_path, "ViTForImageClassification", VIT)
    model = fv.load_model(f"hf:{tmp_path}", device="cpu")
    assert capfd.readouterr().err == ""
    assert model.mean == (0.4, 0.5, 0.6)
    assert model.std == (0.2, 0.3, 0.4)
    assert model.input_size == (32, 32)
    assert model.interpolation == "bicubic"
    assert list(model.labels) == ["cat", "dog", "owl"]
    images = torch.rand((2, 3, 32, 32), generator=chance)
    mean, std = (torch.tensor(one)[:, None, None] for one in (model.mean, model.std))
    with torch.no_grad():
        wanted = theirs(pixel_values=(images - mean) / std)
        hidden = theirs.vit(pixel_values=(images - mean) / std).last_hidden_state
    with model.tap(["classifier", "vit.layernorm"], size=(32, 32)) as tap, torch.no_grad():
        found = tap(images)
    assert torch.allclose(found["classifier"], wanted.logits, atol=1e-5)
    assert torch.allclose(found["vit.layernorm"], hidden, atol=1e-5)
    twin = copy.deepcopy(model.module)
    with torch.no_grad():
        twin.classifier.bias += 1
        assert torch.allclose(twin(images), model.module(images) + 1, atol=1e-5)


def test_units_of_both_kinds_are_climbed_on_other_canvases_too(tmp_path):
    (tmp_path / "vit").mkdir()
    (tmp_path / "convnext").mkdir()
    saved(tmp_path / "vit", "ViTForImageClassification", VIT)
    saved(tmp_path / "convnext", "ConvNextForImageClassification", CONVNEXT)
    options = {"steps": 4, "lanes": 2}
    for name, targets in (
        ("vit", ["classifier:owl", "vit.layers.0.mlp.fc1:5"]),
        ("convnext", ["classifier:3", "convnext.encoder.stages.1:7"]),
    ):
        model = fv.load_model(f"hf:{tmp_path / name}", device="cpu")
        pictures = fv.render(model, targets, size=(32, 48), **options)
        assert [picture.image.shape for picture in pictures] == [(3, 32, 48)] * 2
        assert all(picture.score > picture.start_score for picture in pictures)


def test_what_there_is_without_a_head_without_weights_or_with_another_range(tmp_path):
    other = {**PROCESSOR, "do_normalize": False, "rescale_factor": 2 / 255, "rescale_offset": True}
    other |= {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 24, "width": 32}}
    theirs = saved(tmp_path, "ViTModel", VIT, other)
    model = fv.load_model(f"hf:{tmp_path}", device="cpu")
    assert model.mean == (0.5, 0.5, 0.5)  # 255 x · 2/255 - 1
    assert model.std == (0.5, 0.5, 0.5)
    assert model.input_size == (24, 32)
    assert list(model.labels) == []
    images = torch.rand((1, 3, 32, 32))
    with torch.no_grad():
        assert torch.allclose(model.module(images), theirs(pixel_values=images).pooler_output, atol=1e-6)
    bare = fv.load_model(f"hf:{tmp_path}", weights="none", device="cpu")
    assert bare.fingerprint() == fv.load_model(f"hf:{tmp_path}", weights="none", device="cpu").fingerprint()
    assert bare.fingerprint() != model.fingerprint()


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(ModelError, match="neither there nor to be downloaded"):
        fv.load_model("hf:/nowhere/at/all")
    saved(tmp_path, "ViTForImageClassification", VIT, None)
    with pytest.raises(ModelError, match="preprocessing is not known"):
        fv.load_model(f"hf:{tmp_path}")
    (tmp_path / "text").mkdir()
    text = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    saved(tmp_path / "text", "BertModel", {**text, "intermediate_size": 8}, None)
    with pytest.raises(ModelError, match="takes input_ids, not images"):
        fv.load_model(f"hf:{tmp_path / 'text'}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["layers", f"hf:{tmp_path}"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "pip install 'featvis[hf]'" in told[0]
