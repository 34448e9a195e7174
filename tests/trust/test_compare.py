"""Two recipes beside each other: what differs is found, what does not is not."""

import json

import numpy as np
import pytest
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.trust.compare import Comparison
from featvis.trust.intervals import paired
from tests.pages.markup import Page
from tests.trust.planted import FAST, Distance, colors, plain

LONG = fv.Recipe(**{**FAST, "redirect_steps": 0})
SHORT = LONG.but(steps=2)


def judge():
    return plain(nn.Sequential(Distance(scale=20, away=0.02)))


def slow_means(differences, owners, draws, seed):
    chance = np.random.default_rng(seed)
    kinds = sorted(set(owners))
    for row in chance.integers(0, len(kinds), (draws, len(kinds))):
        values = [
            d for kind in row for d, owner in zip(differences, owners, strict=True) if owner == kinds[kind]
        ]
        yield sum(values) / len(values)


def test_the_interval_is_that_of_a_bootstrap_over_units():
    chance = np.random.default_rng(3)
    a, b = chance.normal(size=9), chance.normal(0.4, 1, size=9)
    owners = np.array([0, 0, 1, 2, 2, 2, 5, 5, 7])
    means = list(slow_means(b - a, owners.tolist(), 300, 11))
    expected = np.quantile(means, (0.025, 0.975))
    assert paired(a, b, owners, 300, seed=11) == pytest.approx(tuple(expected))


def test_seeds_of_one_unit_do_not_count_as_units():
    a, b = np.zeros(40), np.repeat([0.0, 1.0, 2.0, 3.0], 10)
    apart = paired(a, b, np.arange(40), 2000)
    together = paired(a, b, np.repeat(np.arange(4), 10), 2000)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_a_longer_run_is_better_and_costs_more():
    heard = []
    found = fv.compare(
        LONG, SHORT, "0:0:4", model=colors(), judges=[judge()], seeds=2, draws=500, say=heard.append
    )
    measures = found["measures"]
    assert found["targets"] == [f"0:{unit}" for unit in range(4)]
    assert found["pictures"] == 8
    assert measures["evaluations"] == {
        "a": 60,
        "b": 2,
        "difference": -58,
        "interval": [-58, -58],
        "better": "b",
    }
    own = next(name for name in measures if name.startswith("probability"))
    assert measures[own]["better"] == "a"
    assert measures[own]["a"] > measures[own]["b"] + 0.1
    assert measures["gain"]["better"] == "a"
    assert measures["slope"]["better"] == "", "neither is better"
    assert heard


def test_a_measure_is_the_mean_over_the_saved_pictures(tmp_path):
    network = colors()
    found = fv.compare(LONG, SHORT, "0:0:3", model=network, judges=[judge()], out=tmp_path, draws=100)
    for name, recipe in (("a", LONG), ("b", SHORT)):
        files = sorted((tmp_path / name / "0").glob("000?.png"))
        assert len(files) == 3
        scores = [fv.load_picture(path).score for path in files]
        assert found["measures"]["score"][name] == pytest.approx(np.mean(scores))
        again = fv.render(network, "0:0:3", recipe=recipe)
        assert [picture.score for picture in again] == scores
    assert found["measures"]["score"]["difference"] == pytest.approx(
        found["measures"]["score"]["b"] - found["measures"]["score"]["a"]
    )


def test_recipes_that_do_not_differ_in_effect_are_not_called_different():
    found = fv.compare(LONG, LONG.but(tolerance=0.5), "0:0:4", model=colors(), judges=[], draws=100)
    for name, told in found["measures"].items():
        if name != "seconds":
            assert told["difference"] in (0, None), name  # an even color has no slope
            assert told["better"] == "", name


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"recipe_b": LONG}, "the two recipes are the same"),
        ({"targets": "0:1"}, "at least 2 units"),
        ({"targets": "0:0:9"}, "reaches past the last unit"),
        ({"draws": 5}, "at least 100 draws"),
    ],
)
def test_mistakes_are_told_before_any_compute(given, says, monkeypatch):
    monkeypatch.setattr("featvis.trust.compare.render", None)
    asked = {
        "recipe_a": LONG,
        "recipe_b": SHORT,
        "targets": "0:0:4",
        "model": colors(),
        "judges": [],
        **given,
    }
    with pytest.raises(fv.UserError, match=says):
        fv.compare(asked.pop("recipe_a"), asked.pop("recipe_b"), asked.pop("targets"), **asked)


@pytest.mark.usefixtures("embedded_once")
def test_the_command_shows_a_table_and_writes_it(tmp_path, capsys):
    typed = ["compare", "fast", "channel", "--targets", "blocks.1:0", "-t", "blocks.1:3", "--steps", "2,3"]
    typed += [
        "--size",
        "24x32",
        "--seeds",
        "1",
        "--judge",
        "efficientnet_lite1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*typed, "--json", str(tmp_path / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert "2 units, 2 pictures by each; a: fast, b: channel" in shown
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["measures"]["evaluations"]["a"], found["measures"]["evaluations"]["b"]) == (2, 3)
    assert "spread (D_σ), efficientnet_lite1" in found["measures"]
    assert len(list((tmp_path / "out").rglob("000?.png"))) == 4


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--steps", "1,2,3"], "--steps is one number"),
        (["--seeds", "0"], "--seeds is at least 1"),
        (["--model", "no such"], "--model"),
        (["--size", "0"], "size"),
    ],
)
def test_the_command_refuses_in_one_line(typed, says, capsys):
    assert main(["compare", "fast", "channel", "--targets", "blocks.1:0:2", *typed]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.strip().splitlines()) == 1


def test_evaluations_are_passes_not_steps(tmp_path):
    """Crops, copies and candidates cost what they cost, also where the pictures lie there from before."""
    several = SHORT.but(copies=2, best_of=2, transforms=[{"name": "multicrop", "crops": 3}])
    for _ in range(2):
        found = fv.compare(SHORT, several, "0:0:2", model=colors(), judges=[], out=tmp_path)
        measures = found["measures"]["evaluations"]
        assert (measures["a"], measures["b"], measures["better"]) == (2, 2 * 2 * 2 * 3, "a")


def test_a_comparison_shows_itself():
    row = {"a": 1.0, "b": 2.5, "difference": 1.5, "interval": [1.0, 2.0], "better": "b"}
    none = dict.fromkeys(("a", "b", "difference", "interval")) | {"better": ""}
    told = {
        "recipes": {"a": {"steps": 4}, "b": {"steps": 8}},
        "model": "<b>mine</b>",
        "targets": ["0:0", "0:1"],
        "pictures": 2,
        "measures": {"score": row, "slope": none},
    }
    comparison = Comparison(told)
    assert json.loads(json.dumps(comparison)) == told
    assert (
        repr(comparison) == "Comparison(2 units of <b>mine</b>, 2 pictures by each recipe; better: score: b)"
    )
    page = Page(comparison._repr_html_())
    assert "score 1 2.5 1.5 1 to 2 b" in page.text
    assert "a: steps 4" in page.text
    assert not page.all("b")
