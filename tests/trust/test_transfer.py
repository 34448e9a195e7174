"""Transfer by hand: ranks, probabilities, margins, intervals."""

import math

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.errors import ModelError, TargetError, UserError
from featvis.trust.controls import permute_labels
from featvis.trust.intervals import wilson
from featvis.trust.judging import fit
from featvis.trust.transfer import class_of, recognitions, summarize, transfer
from tests.networks import handle, small


class Channels(nn.Module):
    """The mean of each channel is a logit, times 10."""

    def forward(self, images):
        return 10 * images.mean((2, 3))


def colors(size=(8, 12), **told):
    told = {"mean": (0,) * 3, "std": (1,) * 3, "labels": ("red, crimson", "green", "blue"), **told}
    return handle(nn.Sequential(Channels()), size, **told)


def flat(color, size=(8, 12)):
    return torch.tensor(color)[:, None, None].expand(3, *size).contiguous()


def test_a_judge_of_three_colors_gives_what_is_computed_by_hand():
    judge = colors()
    pictures = [flat((0.9, 0.1, 0.2)), flat((0.3, 0.5, 0.7), (21, 9))]
    first, second = transfer(pictures, [0, 1], judge)
    assert (first.rank, second.rank) == (1, 2)
    assert (first.said, second.said) == (0, 2)
    assert first.logit == pytest.approx(9)
    assert first.margin == pytest.approx(9 - 2)
    assert second.margin == pytest.approx(5 - 7)
    assert first.probability == pytest.approx(math.exp(9) / (math.exp(9) + math.exp(1) + math.exp(2)))
    assert first.z == pytest.approx((9 - 4) / math.sqrt((25 + 9 + 4) / 3))


def test_a_tie_counts_against_the_picture():
    found = recognitions(torch.tensor([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]]), [0, 2])
    assert [one.rank for one in found] == [2, 3]
    assert found[0].margin == 0


def test_the_summary_counts_first_and_five():
    logits = torch.arange(8.0).repeat(4, 1)
    told = summarize(recognitions(logits, [7, 6, 3, 2]))
    assert (told["top1"], told["top5"]) == (0.25, 0.75)
    assert told["top1_interval"] == pytest.approx(list(wilson(1, 4)))
    assert told["margin"] == pytest.approx((1 - 1 - 4 - 5) / 4)
    assert summarize([]) == {"pictures": 0}


def test_pictures_are_resized_bicubically_and_those_of_the_right_size_are_not_touched(chance):
    judge = colors()
    right, wrong = torch.rand((3, 8, 12), generator=chance), torch.rand((3, 31, 17), generator=chance)
    shown = fit([right, wrong], judge)
    assert torch.equal(shown[0], right)
    expected = nn.functional.interpolate(
        wrong[None], (8, 12), mode="bicubic", antialias=True, align_corners=False
    )[0]
    assert torch.allclose(shown[1], expected.clamp(0, 1))
    assert (shown.min() >= 0) & (shown.max() <= 1)


def test_a_rendered_picture_is_judged_by_its_saved_levels():
    model = small(size=(8, 12))
    (picture,) = fv.render(model, "fc:1", size=(8, 12), steps=2, lanes=1)
    assert transfer([picture], [1], colors()) == transfer([picture.image], [1], colors())


def test_classes_are_found_by_the_name_that_both_networks_give_them():
    judge = colors()
    assert class_of("green", judge) == 1
    assert class_of("red, crimson", judge) == 0
    assert class_of("crimson", judge) is None
    assert class_of("", judge) is None


def test_mistakes_are_told():
    judge, picture = colors(), flat((0.1, 0.2, 0.3))
    with pytest.raises(TargetError, match="1 pictures, 2 classes"):
        transfer([picture], [0, 1], judge)
    with pytest.raises(TargetError, match="classes 0 to 2"):
        transfer([picture], [3], judge)
    with pytest.raises(UserError, match="3 channels, the picture has 1"):
        transfer([picture[:1]], [0], judge)
    with pytest.raises(ModelError, match="names no classes"):
        transfer([picture], [0], handle(nn.Sequential(nn.Conv2d(3, 4, 3))))
    assert transfer([], [], judge) == []


def test_permuted_labels_move_every_label_where_that_is_possible():
    labels = [5, 1, 5, 3, 2, 9, 9, 4]
    moved = permute_labels(labels)
    assert sorted(moved) == sorted(labels)
    assert all(one != other for one, other in zip(labels, moved, strict=True))
    assert permute_labels([]) == []
    found = permute_labels([1, 1, 1, 2])
    assert sorted(found) == [1, 1, 1, 2]
    assert sum(one == other for one, other in zip([1, 1, 1, 2], found, strict=True)) == 2
