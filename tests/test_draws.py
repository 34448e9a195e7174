"""A picture's own chance."""

from __future__ import annotations

import itertools

import pytest
import torch

from featvis import draws


def numbers(*key):
    return torch.rand(8, generator=draws.stream(*key))


def test_a_stream_depends_on_its_four_names_alone():
    keys = list(itertools.product((0, 1), ("a:1", "a:11"), (0, 1), ("start", "0 warp")))
    every = [numbers(*key) for key in keys]
    for (key, one), (other_key, other) in itertools.combinations(zip(keys, every, strict=True), 2):
        assert not torch.equal(one, other), (key, other_key)
    for key, one in zip(keys, every, strict=True):
        assert torch.equal(numbers(*key), one)


@pytest.mark.parametrize(
    ("one", "other"), [((1, "2", 3, "x"), (12, "", 3, "x")), ((1, "a", 0, "b"), (1, "", 0, "ab"))]
)
def test_names_do_not_run_into_each_other(one, other):
    assert not torch.equal(numbers(*one), numbers(*other))


def test_numbers_are_uniform_from_0_up_to_1():
    found = draws.uniform(draws.stream(0, "a:1", 0, "x"), 5000, 3)
    assert found.shape == (5000, 3)
    assert 0 <= found.min() < 0.001
    assert 0.999 < found.max() < 1
    assert found.mean(0) == pytest.approx(torch.full((3,), 0.5), abs=0.02)
    assert abs(float(torch.corrcoef(found.T)[0, 1])) < 0.05
