"""The best of several candidates: chosen by the saved picture's score, every score told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.plan.make import make_plan
from featvis.run.candidates import compute, keep_best
from featvis.run.executors import local
from featvis.run.executors.devices import spread
from tests.networks import handle, small

OPTIONS = {"size": (17, 24), "steps": 6, "lanes": 3, "redirect_steps": 2}


def test_it_is_the_best_of_the_plain_pictures_by_their_saved_scores(tmp_path):
    plain = fv.render(small(), "norm:1,4", seeds=5, **OPTIONS)
    kept = fv.render(small(), "norm:1,4", best_of=5, out=tmp_path, **OPTIONS)
    assert [picture.target for picture in kept] == ["norm:1", "norm:4"]
    for place, picture in enumerate(kept):
        rivals = plain[5 * place : 5 * place + 5]
        best = max(rivals, key=lambda one: one.score)
        assert picture.candidates == [one.score for one in rivals]
        assert (picture.score, picture.chosen, picture.seed) == (best.score, best.seed, 0)
        assert (picture.levels == best.levels).all()
        assert picture.evaluations == 30
        assert picture.key != best.key
    assert len({picture.chosen for picture in kept} | {0}) > 1, "or the test tells nothing"


def test_the_manifest_the_file_and_the_next_run_know_all_scores(tmp_path, monkeypatch):
    options = {"best_of": 3, "out": tmp_path, **OPTIONS}
    (kept,) = fv.render(small(), "norm:1", **options)
    (path,) = (path for path in tmp_path.glob("*/*.png") if path.name != "grid.png")
    loaded = fv.load_picture(path)
    assert (loaded.candidates, loaded.chosen, loaded.evaluations) == (kept.candidates, kept.chosen, 18)
    text = (tmp_path / "manifest.json").read_text("utf-8")
    assert '"candidates": [' in text
    assert '"evaluations": 18' in text
    assert fv.reproduce(path, small()).png() == path.read_bytes()
    monkeypatch.setattr(local, "run_job", None)
    (again,) = fv.render(small(), "norm:1", **options)
    assert again.png() == kept.png(), "and nothing is computed"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_with_a_band_it_is_the_one_nearest_to_it(place):
    options = {**OPTIONS, "learning_rate": 1e-6, "space": fv.PixelImage(deviation=0.5)}
    scores = [picture.score for picture in fv.render(small(), "norm:1", seeds=3, **options)]
    aim = sorted(scores)[place]
    (kept,) = fv.render(small(), "norm:1", best_of=3, band=aim, **options)
    assert kept.score == pytest.approx(aim, abs=1e-4)
    assert kept.candidates == pytest.approx(scores, abs=1e-4)
    (kept,) = fv.render(small(), "norm:1", best_of=3, band=[aim, max(scores)], **options)
    assert kept.score >= aim - 1e-4


def test_seeds_do_not_share_candidates():
    both = fv.render(small(), "norm:2", seeds=2, best_of=2, **OPTIONS)
    plain = fv.render(small(), "norm:2", seeds=4, **OPTIONS)
    assert [picture.candidates for picture in both] == [
        [one.score for one in plain[:2]],
        [one.score for one in plain[2:]],
    ]
    assert [picture.chosen // 2 for picture in both] == [0, 1]
    (second,) = fv.render(small(), "norm:2", seed=1, best_of=2, **OPTIONS)
    assert second.png() == both[1].png()


@pytest.mark.slow
def test_with_patience_and_on_several_devices_it_is_the_same():
    options = {**OPTIONS, "steps": 48, "patience": 4, "tolerance": 0.3, "best_of": 3}
    for picture in fv.render(small(), "norm:0:3", **options):
        assert len(picture.candidates) == 3
        assert picture.score == max(picture.candidates)
    planned = make_plan(small(), "norm:0:4", best_of=3, **OPTIONS)
    alone = {
        one.target: one.png() for one in keep_best(spread(planned.wanted, [planned.model], planned.weights))
    }
    pair = [planned.model, small()]
    assert {
        one.target: one.png() for one in keep_best(spread(planned.wanted, pair, planned.weights))
    } == alone
    assert len(alone) == 4


def test_of_dead_candidates_none_is_kept_while_one_lives():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    nn.init.zeros_(module[0].weight.data)
    nn.init.constant_(module[0].bias.data, -1.0)
    (picture,) = fv.render(handle(module), "1:0", best_of=2, **{**OPTIONS, "attempts": 1})
    assert picture.status == "dead"
    assert picture.candidates == [0.0, 0.0]


def test_a_failure_is_told_once_and_the_others_go_on(monkeypatch):
    plain, told = local.run_job, []

    def breaks(job, *given):
        if any(one.name == "norm:1" and one.candidate == 2 for one in job.wanted):
            raise RuntimeError("no")
        return plain(job, *given)

    monkeypatch.setattr(local, "run_job", breaks)
    planned = make_plan(small(), "norm:0:3", best_of=3, **OPTIONS)
    run = compute(
        planned.wanted,
        planned.model,
        planned.weights,
        failed=lambda wanted, reason: told.append((wanted.name, reason)),
    )
    assert [picture.target for picture in run] == ["norm:0", "norm:2"]
    assert told == [("norm:1", "no")]


def test_it_is_counted_in_jobs_and_costs():
    from featvis.plan.wanted import make_jobs
    from featvis.run.estimate import estimate

    planned = make_plan(small(), "norm:0:4", best_of=3, **OPTIONS)
    assert [len(job.wanted) for job in make_jobs(planned.wanted)] == [3, 3, 3, 3]
    (cost,), _ = estimate(planned.wanted, planned.model, planned.weights)
    assert (cost.pictures, cost.jobs) == (4, 4)


@pytest.mark.parametrize("number", [0, -1, 1.5, "many"])
def test_at_least_one(number):
    with pytest.raises(fv.RecipeError, match="best_of"):
        fv.render(small(), "norm:0", best_of=number, **OPTIONS)
