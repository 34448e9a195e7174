"""Texts, through a small network with two towers."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import PLAIN, seeded, small

WORDS = ["red", "green", "blue"]


class TwoTowers(nn.Module):
    """Embeds an image by its mean colour, and the name of a colour by that colour: what is best is known."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 3, 1)
        self.words = nn.Embedding(4, 3)
        self.drop = nn.Dropout(0.5)
        self.asked = 0
        with torch.no_grad():
            self.encoder.weight.copy_(torch.eye(3)[:, :, None, None])
            self.encoder.bias.zero_()
            self.words.weight.copy_(torch.eye(4, 3) * 2.5)

    def encode_image(self, images):
        return self.encoder(images).mean((2, 3))

    def encode_text(self, tokens):
        self.asked += 1
        return self.drop(self.words(tokens))


def tokenize(texts):
    return torch.tensor([WORDS.index(text) if text in WORDS else 3 for text in texts])


def loaded(**told):
    told = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (15, 22), **told}
    return fv.load_paired(TwoTowers(), tokenize, **told)


@pytest.mark.parametrize("place", range(3))
def test_a_colours_name_gives_that_colour(place):
    (picture,) = fv.render(
        loaded(), fv.text(loaded(), WORDS[place]), size=(15, 22), steps=40, lanes=2, learning_rate=0.1
    )
    colour = picture.image.mean((1, 2))
    assert colour.argmax() == place
    towards = 2 * colour - 1
    assert picture.score == pytest.approx(float(towards[place] / towards.norm()), abs=1e-4)
    assert picture.score > picture.start_score


def test_a_text_is_embedded_once_and_the_pair_is_left_as_it_was():
    model = loaded()
    model.pair.train()
    first = fv.text(model, "red")
    assert fv.text(model, "red").describe() == first.describe() != fv.text(model, "blue").describe()
    assert model.pair.asked == 2
    assert model.pair.training
    assert model.pair.drop.training
    torch.testing.assert_close(first.vectors, torch.tensor([[1.0, 0.0, 0.0]]))


def test_many_texts_are_embedded_at_once_and_each_once():
    model = loaded()
    vectors = model.embed_all(["blue", "red", "blue"])
    assert vectors.argmax(1).tolist() == [2, 0, 2]
    assert torch.equal(model.embed("red"), vectors[1])
    assert model.embed_all(["red", "green", "blue"], batch=1).argmax(1).tolist() == [0, 1, 2]
    assert model.pair.asked == 2
    model.pair.encode_text = lambda tokens: torch.eye(3)[:1]
    with pytest.raises(fv.ModelError, match=r"gives \(2, D\) for 2 texts, it gave \(1, 3\)"):
        model.embed_all(["a", "b"])


def test_a_pair_says_what_its_cosines_are_scaled_by():
    model = loaded()
    assert model.scale == 100
    model.pair.logit_scale = nn.Parameter(torch.tensor(2.0))
    assert model.scale == pytest.approx(7.389, abs=1e-3)
    model.pair.logit_scale.data.fill_(900.0)
    assert model.scale == 100


def test_prompts_of_one_batch_are_each_their_own():
    model = loaded()
    pictures = fv.render(model, [fv.text(model, word) for word in WORDS], size=(15, 22), steps=20, lanes=3)
    assert [int(one.image.mean((1, 2)).argmax()) for one in pictures] == [0, 1, 2]
    assert [one.target.split(",")[0] for one in pictures] == ["text('red'", "text('green'", "text('blue'"]


def test_the_image_tower_is_a_network_like_others():
    model = loaded()
    assert model.output_layer == "embedding"
    assert model.layer("pair.encoder").kind == "map"
    (picture,) = fv.render(model, "pair.encoder:1", size=(15, 22), steps=3, **PLAIN)
    assert picture.score > picture.start_score


def test_a_text_stands_in_an_ensemble():
    model = loaded()
    both = fv.ensemble((model, fv.text(model, "red")), (small(), fv.logit(1), 0.1))
    (picture,) = fv.render(small(), both, size=(17, 24), steps=20, lanes=2)
    assert picture.image.mean((1, 2)).argmax() == 0


def test_mistakes_are_said(monkeypatch):
    with pytest.raises(fv.ModelError, match="has no direction"):
        fv.text(loaded(), "nothing that it knows")
    with pytest.raises(fv.TargetError, match="no text encoder"):
        fv.text(small(), "red")
    with pytest.raises(fv.TargetError, match="prompt"):
        fv.text(loaded(), " ")
    with pytest.raises(fv.ModelError, match="encode_image"):
        fv.load_paired(seeded(lambda: nn.Linear(2, 2)), tokenize)
    with pytest.raises(fv.TargetError, match="embedding"):
        fv.text(loaded(), "red").bind(small().at((17, 24)))
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(fv.ModelError, match=r"pip install 'featvis\[clip\]'"):
        fv.load_open_clip("ViT-B-32")
