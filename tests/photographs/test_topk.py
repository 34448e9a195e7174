"""What is kept of a stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featvis.photographs import topk
from featvis.photographs.batches import Batches
from featvis.photographs.topk import Best, Sampling, Spread


def stream(values, order, width):
    best = Best(values.shape[1], 5)
    for start in range(0, len(order), width):
        chosen = torch.tensor(order[start : start + width])
        best.add(values[chosen], chosen[:, None].expand(-1, values.shape[1]) * 10, chosen)
    return best


@pytest.mark.parametrize("width", [1, 7, 100])
def test_the_best_are_those_of_a_sort_in_whatever_order_they_come(chance, width):
    # Few different values: many ties, which the earlier photograph wins.
    values = torch.randint(0, 9, (100, 6), generator=chance).float()
    shuffled = torch.randperm(100, generator=chance).tolist()
    for order in (list(range(100)), shuffled):
        best = stream(values, order, width)
        for unit in range(6):
            expected = sorted(range(100), key=lambda n: (-float(values[n, unit]), n))[:5]
            assert best.numbers[unit].tolist() == expected
            assert best.values[unit].tolist() == values[expected, unit].tolist()
            assert best.places[unit].tolist() == [10 * n for n in expected]


def test_up_to_4096_quantiles_are_exact_and_the_largest_and_mean_always(chance):
    values = torch.randn((9000, 3), generator=chance)
    for count in (1, 2, 50, 4096, 9000):
        sampling, spread = Sampling(), Spread(3)
        for start in range(0, count, 64):
            numbers = list(range(start, min(start + 64, count)))
            spread.add(values[numbers].numpy(), sampling.rows(numbers))
        assert sampling.filled == min(count, 4096)
        for unit in range(3):
            told = spread.quantiles(unit, sampling.filled, [0.5, 0.9, 0.99, 1.0])
            truth = np.quantile(values[:count, unit].numpy().astype(float), [0.5, 0.9, 0.99, 1.0])
            assert told[3] == truth[3]
            assert spread.mean(unit) == pytest.approx(float(values[:count, unit].double().mean()), abs=1e-9)
            if count <= 4096:
                assert told == pytest.approx(truth.tolist())
            else:  # the share that a quantile of 4096 tells is off by less than .03 (.008 one sigma)
                share = [(values[:, unit] <= one).double().mean().item() for one in told]
                assert share == pytest.approx([0.5, 0.9, 0.99, 1.0], abs=0.03)


def test_the_sample_is_the_same_in_whatever_order_photographs_come(chance):
    order = torch.randperm(20_000, generator=chance).tolist()
    kept = []
    for numbers in (range(20_000), order):
        sampling, held = Sampling(), {}
        for number, row in zip(numbers, sampling.rows(list(numbers)), strict=True):
            if row is not None:
                held[row] = number
        assert len(held) == topk.SAMPLE
        kept.append(sorted(held.values()))
    assert kept[0] == kept[1]
    assert 0.45 < np.mean(np.array(kept[0]) < 10_000) < 0.55, "drawn from all, not from the first"


def test_values_that_are_not_finite_do_not_count():
    spread, sampling = Spread(2), Sampling()
    values = np.array([[1, np.nan], [3, np.inf], [-np.inf, np.nan]], dtype=np.float32)
    spread.add(values, sampling.rows([0, 1, 2]))
    assert spread.quantiles(0, 3, [0.5, 1.0]) == [2, 3]
    assert spread.mean(0) == 2
    assert spread.quantiles(1, 3, [0.5, 1.0]) == [None, None]
    assert spread.mean(1) is None


def canvas(height, width, level=0):
    return np.full((3, height, width), level, dtype=np.uint8)


def test_batches_hold_one_shape_each_and_every_photograph_once():
    batches, given = Batches(4), []
    for n in range(30):
        given += list(batches.add(n, canvas(4, 4 + n % 3, n)))
    given += list(batches.rest())
    assert sorted(n for batch in given for n in batch.numbers) == list(range(30))
    for batch in given:
        # Filled up, so that copies of one photograph see the same batch width.
        assert len(batch.levels) == 4
        assert batch.levels.shape[3] == 4 + batch.numbers[0] % 3
        assert [int(one.max()) for one in batch.levels[: len(batch.numbers)]] == batch.numbers


def test_a_shape_that_never_filled_a_batch_is_not_filled_up():
    batches = Batches(4)
    assert list(batches.add(0, canvas(4, 4))) == list(batches.add(1, canvas(4, 5))) == []
    assert [len(batch.levels) for batch in batches.rest()] == [1, 1]


def test_what_waits_is_bounded():
    one = canvas(4, 4).nbytes
    batches, most, given = Batches(8, waiting_bytes=10 * one), 0, 0
    for n in range(200):
        for batch in batches.add(n, canvas(4 + n % 40, 4)):
            given += len(batch.numbers)
            assert len(batch.levels) == 8
        most = max(most, n + 1 - given)
    assert most <= 10
    assert given + sum(len(batch.numbers) for batch in batches.rest()) == 200
