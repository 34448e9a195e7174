"""evaluate: folders of planted networks, and what must be flagged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.errors import ModelError, OutputError, RecipeError, UserError
from featvis.pages.folder import write_pages
from featvis.trust import evaluation
from tests.networks import handle, seeded, small
from tests.pages.markup import Page
from tests.trust.planted import (
    FAST,
    Eye,
    Fooled,
    Shortcut,
    Units,
    colors,
    judge,
    plain,
    write_photographs,
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A folder of four classes, from two starts each."""
    folder = tmp_path_factory.mktemp("colors")
    fv.render(colors(), "0:all", out=folder, seeds=2, **FAST)
    return folder


@pytest.fixture
def folder(rendered, tmp_path):
    place = tmp_path / "copy"
    for path in rendered.rglob("*"):
        if path.is_file():
            (place / path.relative_to(rendered)).parent.mkdir(parents=True, exist_ok=True)
            (place / path.relative_to(rendered)).write_bytes(path.read_bytes())
    return place


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def by_target(found, seed=0):
    return {one["target"]: one for one in found["pictures"] if one["seed"] == seed}


def test_pictures_of_classes_are_recognized_and_say_so_everywhere(folder):
    write_pages(folder)
    found = fv.evaluate(folder, model=colors(), judges=[judge(), plain(Eye())])
    assert set(found["judges"]) == {"Sequential", "Eye"}
    assert found["judges"]["Sequential"]["transfer"]["top1"] == 1.0
    assert found["judges"]["Sequential"]["permuted_labels"]["top1"] == 0.0
    for one in found["pictures"]:
        assert "recognized by 2 of 2 judges" in one["verdicts"], one
        assert one["score"] == pytest.approx(one["claimed"], abs=1e-5)
        assert one["agreement"]["agrees"]
        assert one["agreement"]["pictures"] == 2
    assert [one["verdicts"] for one in manifest(folder)["pictures"]] == [
        one["verdicts"] for one in found["pictures"]
    ]
    assert json.loads((folder / "evaluation.json").read_text()) == found
    assert "recognized by 2 of 2 judges" in (folder / "0" / "0000.html").read_text()


def test_what_is_measured_is_what_the_network_says_of_the_saved_picture(folder):
    found = by_target(fv.evaluate(folder, model=colors(), judges=[], write=False))
    for unit, color in enumerate(colors().module[0].colors.detach()):
        one = found[f"0:{unit}"]
        image = fv.load_picture(folder / one["file"]).image
        assert one["score"] == pytest.approx(-float((image - color[:, None, None]).square().mean()), abs=1e-5)
        # No transforms in the recipe: the fresh ones change nothing.
        assert one["fresh"] == pytest.approx(one["score"], abs=1e-5)
        assert one["selectivity"]["units"] == 4
        assert one["selectivity"]["rank_beside_photographs"] is None
        assert one["other_pictures"] == {"pictures": 6, "below": 1.0}
        assert "transfer" not in one
        assert "agreement" not in one


def test_nothing_is_written_unless_asked(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    fv.evaluate(folder, model=colors(), judges=[judge()], write=False)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_verdicts_change_in_the_manifest_and_older_ones_read(folder):
    before = manifest(folder)
    for entry in before["pictures"]:
        del entry["verdicts"]
    del before["recipes"]
    (folder / "manifest.json").write_text(json.dumps(before))
    fv.evaluate(folder, model=colors(), judges=[judge()])
    after = manifest(folder)
    assert all(entry.pop("verdicts") for entry in after["pictures"])
    assert after == before
    (folder / "manifest.json").unlink()
    found = fv.evaluate(folder, model=colors(), judges=[judge()])
    assert len(found["pictures"]) == len(manifest(folder)["pictures"]) == 8


def test_rendering_on_keeps_verdicts_and_what_is_rendered_anew_has_none(folder):
    fv.evaluate(folder, model=colors(), judges=[judge()])
    fv.render(colors(), "0:all", out=folder, seeds=2, **FAST)
    assert all(entry["verdicts"] for entry in manifest(folder)["pictures"])
    fv.render(colors(), "0:2", out=folder, **{**FAST, "steps": 30})
    none = [(entry["unit"], entry["seed"]) for entry in manifest(folder)["pictures"] if not entry["verdicts"]]
    assert none == [(2, 0)]
    # Both recipes' pictures are looked at, each measured; and the evaluation shows them.
    evaluation = fv.evaluate(folder, model=colors(), judges=[judge()])
    assert all(one["selectivity"] for one in evaluation["pictures"])
    assert len(evaluation["pictures"]) == 9
    assert isinstance(evaluation, dict)
    assert len(repr(evaluation).splitlines()) == 1
    page = Page(evaluation._repr_html_())
    assert len(page.all("img")) == 9
    for one in evaluation["pictures"]:
        assert ", ".join(one["verdicts"]) in page.text


@pytest.mark.parametrize("lies", [False, True])
def test_a_noise_png_passed_off_as_a_picture_is_flagged(folder, lies):
    """Also where it carries a picture's recipe, and names the score that it really has."""
    path = folder / "0" / "0001.png"
    levels = np.random.default_rng(3).integers(0, 256, (3, 12, 16), dtype=np.uint8)
    forged = replace(fv.load_picture(path), levels=levels)
    if lies:
        far = forged.image - colors().module[0].colors[1].detach()[:, None, None]
        forged.score = -float(far.square().mean())
        told = manifest(folder)
        next(one for one in told["pictures"] if one["target"] == "0:1")["score"] = forged.score
        (folder / "manifest.json").write_text(json.dumps(told))
    forged.save(path)
    found = by_target(fv.evaluate(folder, model=colors(), judges=[judge()]))
    verdicts = found["0:1"]["verdicts"]
    assert ("its score is not the one it claims" in verdicts) is not lies
    assert {"responds as much to noise", "recognized by 0 of 1 judge", "looks unlike any photograph"} <= set(
        verdicts
    )
    assert "responds as much to noise" not in found["0:2"]["verdicts"]


def test_a_file_that_is_no_picture_of_ours_is_looked_at_and_flagged(folder):
    levels = np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(levels).save(folder / "0" / "0001.png")
    (folder / "0" / "0002.png").write_bytes(b"broken")
    (folder / "0" / "0003.png").write_bytes((folder / "0" / "0000.png").read_bytes())
    found = fv.evaluate(folder, model=colors(), judges=[judge()])
    told = by_target(found)
    assert found["missing"] == 1
    assert "0:2" not in told
    assert told["0:1"]["verdicts"][0] == "not the picture that was rendered"
    assert "responds as much to noise" in told["0:1"]["verdicts"]
    assert told["0:1"]["fresh"] is None
    assert told["0:3"]["verdicts"][0] == "not the picture that was rendered"


def test_a_fooling_circuit_is_flagged_and_the_honest_unit_is_not(tmp_path):
    model = plain(nn.Sequential(Fooled()), labels=("red", "red too"))
    photographs = write_photographs(tmp_path / "photographs")
    out = tmp_path / "out"
    fv.render(model, "0:all", out=out, **{**FAST, "learning_rate": 0.05})
    seen = fv.load_picture(out / "0" / "0000.png").image.mean((1, 2))
    assert seen.argmax() == 2, "the decoy shows"
    found = fv.evaluate(out, model=model, judges=[plain(Eye())], examples=photographs)
    fooled, honest = (by_target(found)[f"0:{unit}"] for unit in (0, 1))
    # The units cannot be told apart by what they say of photographs.
    assert fooled["photographs"]["best"] == pytest.approx(honest["photographs"]["best"], abs=0.01)
    assert "does not tell which photographs excite it" in fooled["verdicts"]
    assert "recognized by 0 of 1 judge" in fooled["verdicts"]
    assert fooled["choice"]["share"] < 0.1
    assert honest["choice"]["share"] > 0.9
    assert "does not tell which photographs excite it" not in honest["verdicts"]


def test_a_shortcut_is_flagged_for_no_other_network_sees_the_class(tmp_path):
    model = plain(nn.Sequential(Shortcut()))
    space = {"name": "fourier", "exponent": 1.4}  # the mark is small: in a steeper spectrum it comes late
    fv.render(model, "0:0:3", out=tmp_path, space=space, average=0.0, **FAST)
    shown = fv.load_picture(tmp_path / "0" / "0000.png").image
    corner = shown[:, : Shortcut.MARK, : Shortcut.MARK].mean((1, 2))
    assert corner.argmax() == 2, "the mark shows"
    told = by_target(fv.evaluate(tmp_path, model=model, judges=[judge()]))
    assert "recognized by 0 of 1 judge" in told["0:0"]["verdicts"]
    assert told["0:0"]["score"] > -0.01, "its own network is as sure as can be"
    for honest in ("0:1", "0:2"):
        assert "recognized by 1 of 1 judge" in told[honest]["verdicts"]


def test_silent_and_saturated_units_are_flagged(tmp_path):
    model = handle(seeded(Units), (12, 16), mean=(0,) * 3, std=(1,) * 3)
    out = tmp_path / "out"
    fv.render(model, "act:all", out=out, **FAST)
    found = by_target(fv.evaluate(out, model=model, judges=[]))
    assert found["act:1"]["verdicts"] == ["dead"]
    assert found["act:2"]["verdicts"][0] == "saturated"
    assert not {"dead", "saturated"} & set(found["act:0"]["verdicts"])
    assert {entry["unit"]: entry["verdicts"] for entry in manifest(out)["pictures"]}[1] == ["dead"]


def test_a_silent_units_picture_that_is_passed_off_as_one_is_flagged(tmp_path):
    model = handle(seeded(Units), (12, 16), mean=(0,) * 3, std=(1,) * 3)
    out = tmp_path / "out"
    (picture,) = fv.render(model, "act:0", out=out, **FAST)
    replace(picture, target="act:1", unit=1, score=7.0, key="0" * 32).save(out / "act" / "0001.png")
    (out / "manifest.json").unlink()
    assert by_target(fv.evaluate(out, model=model, judges=[]))["act:1"]["verdicts"] == ["dead"]


def test_pictures_of_an_untrained_network_say_so(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = handle(seeded(lambda: net), (12, 16))
    fv.render(model, "2:all", out=tmp_path, **{**FAST, "steps": 12, "learning_rate": 0.05})
    found = fv.evaluate(tmp_path, model=model, judges=[])
    assert found["controls"]["untrained"] is True
    assert all("of a network with random weights" in one["verdicts"] for one in found["pictures"])


def test_the_random_weights_control_is_told_by_layer(tmp_path):
    model = small()
    fv.render(
        model, ["relu2:all", "conv1:0,1"], out=tmp_path, steps=12, size=(17, 24), lanes=4, transforms=[]
    )
    found = fv.evaluate(tmp_path, model=model, judges=[])
    told = {one["layer"]: one for one in found["controls"]["random_weights"]}
    assert set(told) == {"relu2", "conv1"}
    assert [one["of"] for one in told["relu2"]["cascade"]] == [3, 3, 3]
    assert told["conv1"]["cascade"][-1] == {"randomized": 1, "of": 1, "z": told["conv1"]["cascade"][-1]["z"]}
    assert told["relu2"]["trained"] > told["relu2"]["cascade"][-1]["z"]


def test_neurons_negatives_and_objectives_that_are_code(tmp_path):
    model = small()

    @fv.objective(layers=["conv1"])
    def brightest(activations):
        return activations["conv1"].amax((1, 2, 3))

    options = {"steps": 6, "size": (17, 24), "lanes": 2, "transforms": []}
    fv.render(model, ["relu2:3@2,7", brightest], out=tmp_path, **options)
    from featvis.plan.make import make_plan
    from featvis.plan.wanted import Job
    from featvis.run.job import run_job

    plan = make_plan(model, "conv1:3", **options)
    one = replace(plan.wanted[0], objective=-plan.wanted[0].objective, name="-1*conv1:3", variant="negative")
    (down,) = run_job(Job((one,)), model, plan.weights)
    down.save(tmp_path / "conv1" / "0003-negative.png")
    (tmp_path / "manifest.json").unlink()
    found = {one["target"]: one for one in fv.evaluate(tmp_path, model=model, judges=[judge()])["pictures"]}
    assert found["relu2:3@2,7"]["score"] == pytest.approx(found["relu2:3@2,7"]["claimed"], abs=1e-4)
    assert found["-1*conv1:3"]["score"] == pytest.approx(down.score, abs=1e-4)
    code = next(one for target, one in found.items() if target.startswith("brightest"))
    assert "score" not in code
    assert code["look"]["contrast"] > 0
    # A negative is not asked of judges.
    assert "transfer" not in found["-1*conv1:3"]


def test_two_judges_of_one_name_are_both_asked(folder):
    found = fv.evaluate(folder, model=colors(), judges=[judge(), judge(10.0)], write=False)
    assert list(found["judges"]) == ["Sequential", "Sequential (2)"]
    assert all("recognized by 2 of 2 judges" in one["verdicts"] for one in found["pictures"])


def test_a_judge_whose_names_are_not_as_many_as_its_outputs_is_no_judge():
    with pytest.raises(ModelError, match="2 labels for 4 classes"):
        plain(nn.Sequential(judge().module[0]), labels=("red", "green"))


def test_a_judge_is_asked_only_what_it_knows(folder):
    other = plain(nn.Sequential(judge().module[0]), labels=("cat", "dog", "green", "grey"))
    found = fv.evaluate(folder, model=colors(), judges=[other], write=False)
    assert found["judges"]["Sequential"]["transfer"]["pictures"] == 4
    told = by_target(found)
    assert "transfer" not in told["0:0"]
    assert told["0:1"]["transfer"]["Sequential"]["said"] == "dog"


def test_mistakes_are_told_before_anything_is_written(folder, tmp_path):
    model = colors()
    with pytest.raises(ModelError, match=r"Small.* has .*give the network"):
        fv.evaluate(folder, model=small(), judges=[])
    with pytest.raises(ModelError, match="was climbed itself"):
        fv.evaluate(folder, model=model, judges=[colors()])
    with pytest.raises(ModelError, match="unknown network 'Sequential'"):
        fv.evaluate(folder, judges=[])
    with pytest.raises(RecipeError, match="batch is at least 1"):
        fv.evaluate(folder, model=model, batch=0)
    with pytest.raises(UserError, match="does not exist"):
        fv.evaluate(folder, model=model, judges=[], examples=tmp_path / "nowhere")
    with pytest.raises(OutputError, match="no folder"):
        fv.evaluate(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no pictures"):
        fv.evaluate(tmp_path / "empty")
    assert not (folder / "evaluation.json").exists()


def test_code_that_a_folder_names_is_not_run(folder):
    told = manifest(folder)
    told["model"] = "file:/tmp/evil.py:make"
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="to have that loaded"):
        fv.evaluate(folder)


def test_a_picture_that_was_rendered_meanwhile_keeps_its_entry(folder):
    model = colors()
    found = fv.evaluate(folder, model=model, judges=[], write=False)
    told = manifest(folder)
    told["pictures"][0]["key"] = "f" * 32
    (folder / "manifest.json").write_text(json.dumps(told))
    evaluation.write_verdicts(folder, found)
    verdicts = [entry["verdicts"] for entry in manifest(folder)["pictures"]]
    assert verdicts[0] == []
    assert all(verdicts[1:])


def test_path_similarity_needs_photographs_that_the_network_itself_names(tmp_path, folder):
    photographs = write_photographs(tmp_path / "photographs", 20)
    eye = plain(seeded(Eye))
    out = tmp_path / "eye"
    fv.render(eye, "named:0,3", out=out, **{**FAST, "size": (12, 16)})
    told = by_target(fv.evaluate(out, model=eye, judges=[], examples=photographs))
    assert told["named:0"]["path_similarity"]["photographs"] >= 2
    assert set(told["named:0"]["path_similarity"]["layers"]) == {"map", "seen"}
    assert torch.tensor(told["named:0"]["path_similarity"]["mean"]).isfinite()
    assert told["named:0"]["selectivity"]["rank_beside_photographs"] == 1
