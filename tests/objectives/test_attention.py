"""Attention of timm's and torchvision's transformers, against their own arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import PLAIN, handle, scores_of, seeded, small


def timm_vit():
    from timm.models.vision_transformer import VisionTransformer

    told = {
        "img_size": (16, 24),
        "patch_size": 8,
        "embed_dim": 12,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 5,
    }
    return handle(seeded(lambda: VisionTransformer(**told)), (16, 24))


def torchvision_vit():
    from torchvision.models.vision_transformer import VisionTransformer

    def make():
        vit = VisionTransformer(16, 8, 2, 3, 12, 24, num_classes=5)
        for name, parameter in vit.named_parameters():
            if "in_proj_bias" in name:
                nn.init.normal_(parameter)
        return vit

    return handle(seeded(make), (16, 16))


def inputs(model, name, images):
    """What an attention is given."""
    found = {}
    hook = model.module.get_submodule(name).register_forward_pre_hook(
        lambda _, given: found.update(x=given[0])
    )
    with torch.no_grad():
        model.module.eval()((images - 0.5) / 0.5)
    hook.remove()
    return found["x"]


def by_hand(model, name, images, head):
    """Queries, keys and values (B, T, 4) of one of three heads."""
    attention = model.module.get_submodule(name)
    packed = (
        (attention.qkv.weight, attention.qkv.bias)
        if hasattr(attention, "qkv")
        else (attention.in_proj_weight, attention.in_proj_bias)
    )
    weights, biases = (one.detach().reshape(3, 3, 4, *one.shape[1:]) for one in packed)
    given = inputs(model, name, images)
    return [given @ weights[part, head].T + biases[part, head] for part in range(3)]


CASES = [(timm_vit, "blocks.1.attn"), (torchvision_vit, "encoder.layers.encoder_layer_1.self_attention")]


@pytest.mark.parametrize(("make", "name"), CASES)
def test_heads_and_scores_are_the_networks_own(make, name, chance):
    model = make()
    images = torch.rand((2, 3, *model.input_size), generator=chance)
    for head in (0, 2):
        parts = by_hand(model, name, images, head)
        for what, expected in zip(("query", "key", "value"), parts, strict=True):
            found = scores_of(model, fv.attention_head(name, head, what, 3), images)
            torch.testing.assert_close(found, expected[:, 1:, 3].mean(1), atol=1e-5, rtol=1e-4)
            found = scores_of(model, fv.attention_head(name, head, what, 1, token=0), images)
            torch.testing.assert_close(found, expected[:, 0, 1], atol=1e-5, rtol=1e-4)
        found = scores_of(model, fv.attention_score(name, head, 0, 3), images)
        expected = (parts[0][:, 0] * parts[1][:, 3]).sum(1) / 2
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "name"), CASES)
def test_a_score_is_rendered(make, name):
    model = make()
    (picture,) = fv.render(model, fv.attention_score(name, 1, 0, 2), size=model.input_size, steps=4, **PLAIN)
    assert picture.score > picture.start_score


def test_mistakes_are_said():
    network = timm_vit().at((16, 24))
    name = "blocks.1.attn"
    for wrong, told in (
        (fv.attention_head(name, 3, "key", 0), "heads 0 to 2"),
        (fv.attention_head(name, 0, "key", 4), "units 0 to 3"),
        (fv.attention_head(name, 0, "key", 0, token=7), "tokens 0 to 6"),
        (fv.attention_score(name, 0, 0, 7), "tokens 0 to 6"),
        (fv.attention_score("blocks.1.attm", 0, 0, 0), "did you mean"),
        (fv.attention_score("blocks.1.mlp", 0, 0, 0), "no attention"),
    ):
        with pytest.raises(fv.TargetError, match=told):
            wrong.bind(network)
    with pytest.raises(fv.TargetError, match="query, key or value"):
        fv.attention_head(name, 0, "quarry", 0)
    with pytest.raises(fv.TargetError, match="no attention"):
        fv.attention_score("conv1", 0, 0, 0).bind(small().at((17, 24)))
