"""A gallery from its config: what is rendered, what is not, what the folder says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from featvis.errors import RecipeError, TargetError, UserError
from featvis.galleries.config import load_gallery
from featvis.galleries.plan import plan_gallery
from featvis.galleries.status import read_status
from featvis.run.executors import local
from tests.galleries.planted import RECIPE, manifest, pngs, section, strays, write_config
from tests.networks import small

TWO = section(["conv1:0:3"], title="First", text="a < b") + section(
    ["conv2:4", "fc:1,2"], title="Second", variants=["picture", "negative"], seeds=2
)


def build(config, out, **told):
    return fv.build_gallery(config, out=out, **told)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    place = tmp_path_factory.mktemp("built")
    config = write_config(place, TWO)
    return config, place / "out", build(config, place / "out")


def test_what_lies_in_the_folder(built):
    _, out, outcome = built
    assert sorted(pngs(out)) == sorted(
        [f"conv1/000{unit}.png" for unit in range(3)]
        + [
            f"{place}{variant}{seed}.png"
            for place in ("conv2/0004", "fc/0001", "fc/0002")
            for variant in ("", "-negative")
            for seed in ("", "-seed1")
        ]
    )
    assert (outcome.rendered, outcome.existing, outcome.total, outcome.missing) == (15, 0, 15, 0)
    assert not outcome.failed
    assert not outcome.dead
    assert strays(out) == []
    for name in ("index.html", "conv1/index.html", "conv1/0000.html", "conv1/grid.png", "gallery.toml"):
        assert (out / name).is_file()
    assert "Second" in (out / "index.html").read_text("utf-8")


def test_the_manifest_agrees_with_the_pictures(built):
    config, out, _ = built
    told = manifest(out)
    assert told["model"] == "file:net.py:make", "as the config says it, wherever it lies"
    assert told["gallery"]["title"] == "Planted"
    assert told["gallery"]["command"].startswith("featvis gallery build ")
    first, second = told["gallery"]["sections"]
    assert first == {"title": "First", "text": "a < b", "pictures": [f"conv1:{n} seed 0" for n in range(3)]}
    assert second["pictures"][:4] == [
        "conv2:4 seed 0",
        "-1*conv2:4 seed 0",
        "conv2:4 seed 1",
        "-1*conv2:4 seed 1",
    ]
    entries = {f"{entry['target']} seed {entry['seed']}": entry for entry in told["pictures"]}
    assert set(entries) == {*first["pictures"], *second["pictures"]}
    for entry in entries.values():
        picture = fv.load_picture(out / entry["file"])
        assert (picture.key, picture.trace, picture.variant) == (
            entry["key"],
            entry["trace"],
            entry["variant"],
        )
        assert len(entry["trace"]) == 3
        assert "stale" not in entry
    assert (out / "gallery.toml").read_bytes() == config.read_bytes()


def test_the_second_build_renders_nothing(built, ascents):
    config, out, _ = built
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    outcome = build(config, out)
    assert ascents == []
    assert (outcome.rendered, outcome.existing) == (0, 15)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == before


def test_a_negative_is_what_the_unit_is_least(built):
    _, out, _ = built
    for unit in (1, 2):
        picture, negative = (fv.load_picture(out / f"fc/000{unit}{tail}.png") for tail in ("", "-negative"))
        assert (picture.target, negative.target) == (f"fc:{unit}", f"-1*fc:{unit}")
        assert (negative.layer, negative.unit, negative.variant) == ("fc", unit, "negative")
        assert negative.score > negative.start_score, "its score is larger where the unit is less active"
        assert negative.score > -picture.score
        assert negative.recipe == picture.recipe


@pytest.mark.parametrize("file", ["fc/0001.png", "fc/0001-negative-seed1.png"])
def test_every_picture_can_be_reproduced(built, file):
    config, out, _ = built
    model = fv.load_model(f"file:{config.parent / 'net.py'}:make", mean=(0.5,) * 3, std=(0.5,) * 3)
    model.name = "file:net.py:make"
    assert fv.reproduce(out / file, model).png() == (out / file).read_bytes()


def test_the_bytes_do_not_depend_on_where_the_config_lies(built, tmp_path):
    _, out, _ = built
    build(write_config(tmp_path / "elsewhere", TWO), tmp_path / "out")
    assert pngs(tmp_path / "out") == pngs(out)


def test_limit_renders_so_many_and_the_rest_later(built, tmp_path, ascents):
    config, out, _ = built
    outcome = build(config, tmp_path / "out", limit=4)
    assert (outcome.rendered, outcome.missing, len(pngs(tmp_path / "out"))) == (4, 11, 4)
    assert read_status(tmp_path / "out").missing == 11
    outcome = build(config, tmp_path / "out", limit=100)
    assert (outcome.rendered, outcome.existing, outcome.missing) == (11, 4, 0)
    assert pngs(tmp_path / "out") == pngs(out)


def test_a_changed_recipe_renders_what_changed_alone(tmp_path, ascents):
    sections = section(["conv1:0:2"]) + section(["conv2:0:2"])
    config = write_config(tmp_path, sections)
    build(config, tmp_path / "out")
    before = pngs(tmp_path / "out")
    del ascents[:]
    write_config(
        tmp_path, section(["conv1:0:2"]) + section(["conv2:0:2"], recipe={"steps": 2}).replace(":", " =")
    )
    config.write_text(
        config.read_text().replace('{"steps" = 2}', "{ steps = 2 }").replace("conv2 =0 =2", "conv2:0:2")
    )
    assert load_gallery(config).sections[1].recipe == {"steps": 2}
    outcome = build(config, tmp_path / "out")
    assert ascents == [2], "one job of two lanes"
    after = pngs(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"conv2/0000.png", "conv2/0001.png"}
    assert (outcome.rendered, outcome.stale) == (2, 0), "the new ones took the place of the old"


def test_pruning_takes_the_sheets_that_show_what_is_gone(tmp_path, capsys):
    out = tmp_path / "out"
    build(write_config(tmp_path, section(["conv1:0:3", "conv2:4,5", "fc:1"])), out)
    mine = out / "fc/mine.txt"
    mine.write_text("a note")
    before = (out / "conv2/grid.png").read_bytes()
    config = write_config(tmp_path, section(["conv1:0:3", "conv2:4"]))
    build(config, out)
    typed = ["gallery", "build", str(config), "--out", str(out), "--prune", "--device", "cpu"]
    assert main([*typed, "--dry-run"]) == 0
    assert "2 pictures that the config no longer asks for would be removed" in capsys.readouterr().out
    assert (out / "fc/grid.png").exists()
    assert main(typed) == 0
    assert "fc/grid.png" not in capsys.readouterr().out
    assert not (out / "fc/grid.png").exists()
    assert mine.read_text() == "a note"
    assert (out / "conv2/grid.png").read_bytes() != before
    build(config, tmp_path / "anew")
    for layer in ("conv1", "conv2"):
        assert (out / layer / "grid.png").read_bytes() == (
            tmp_path / "anew" / layer / "grid.png"
        ).read_bytes()


def test_a_folder_that_is_called_like_an_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, section(["conv1:0:3"]))
    build(config, "run:/x")
    assert Path("run:/x/conv1/grid.png").exists()
    for out in ("s3://", "file://", "http://a.b/c"):
        with pytest.raises(fv.OutputError, match="nothing can be written to"):
            build(config, out)
    with pytest.raises(fv.OutputError, match="as text"):
        build(config, Path("s3://bucket/gallery"))


def test_what_the_config_no_longer_asks_for_is_marked_and_pruned_on_demand(tmp_path, ascents):
    config = write_config(tmp_path, section(["conv1:0:4"]))
    build(config, tmp_path / "out")
    write_config(tmp_path, section(["conv1:1:3"]))
    outcome = build(config, tmp_path / "out")
    assert (outcome.rendered, outcome.stale, outcome.pruned) == (0, 2, 0)
    stale = {entry["target"] for entry in manifest(tmp_path / "out")["pictures"] if entry.get("stale")}
    assert stale == {"conv1:0", "conv1:3"}
    assert len(pngs(tmp_path / "out")) == 4, "nothing is lost"
    assert read_status(tmp_path / "out").stale == 2
    write_config(tmp_path, section(["conv1:0:3"]))
    assert build(config, tmp_path / "out").stale == 1, "wanted again, it is not rendered again"
    typed = ["--out", str(tmp_path / "out"), "--prune", "--device", "cpu"]
    assert main(["gallery", "build", str(config), *typed]) == 0
    assert read_status(tmp_path / "out").stale == 0
    assert sorted(pngs(tmp_path / "out")) == [f"conv1/000{unit}.png" for unit in range(3)]
    assert not (tmp_path / "out/conv1/0003.html").exists()
    assert len(ascents) == 2, "the four of the first build"


def test_a_limit_leaves_the_old_recipes_pictures_until_theirs_come(tmp_path):
    config = write_config(tmp_path, section(["conv1:0:4"]))
    build(config, tmp_path / "out")
    write_config(tmp_path, section(["conv1:0:4"]), RECIPE.replace("steps = 3", "steps = 2"))
    outcome = build(config, tmp_path / "out", limit=1, prune=True)
    assert (outcome.rendered, outcome.stale, outcome.pruned, outcome.missing) == (1, 3, 0, 3)
    assert read_status(tmp_path / "out").missing == 3
    assert len(pngs(tmp_path / "out")) == 4


def test_a_dead_unit_is_recorded_and_not_tried_again(tmp_path, ascents):
    # Without redirected gradients nothing wakes the ReLU behind a bias of -1.
    config = write_config(tmp_path, section(["relu:4:6"]), RECIPE + "redirect_steps = 0\n")
    outcome = build(config, tmp_path / "out")
    assert outcome.dead == ["relu:5"]
    assert read_status(tmp_path / "out").dead == 1
    count = len(ascents)
    assert build(config, tmp_path / "out").dead == ["relu:5"]
    assert len(ascents) == count


def failing(monkeypatch, unit):
    run = local.run_job

    def sometimes(job, *rest, **told):
        if any(one.unit == unit for one in job.wanted):
            raise RuntimeError("the kernel\ndid not like it")
        return run(job, *rest, **told)

    monkeypatch.setattr(local, "run_job", sometimes)


def test_a_failing_unit_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    config = write_config(tmp_path, section(["conv1:0:5"]))
    whole = tmp_path / "whole"
    build(config, whole)
    with monkeypatch.context() as patch:
        failing(patch, 3)
        assert main(["gallery", "build", str(config), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "1 of 5 pictures failed, conv1:3 the first: the kernel did not like it" in said
    failed = [entry for entry in manifest(tmp_path / "out")["pictures"] if entry["status"] == "failed"]
    assert [(entry["target"], entry["file"], entry["reason"]) for entry in failed] == [
        ("conv1:3", None, "the kernel did not like it")
    ]
    assert read_status(tmp_path / "out").failed == 1
    assert "did not like it" in (tmp_path / "out/conv1/0003.html").read_text("utf-8")
    assert build(config, tmp_path / "out").rendered == 1, "the same command tries it again"
    assert pngs(tmp_path / "out") == pngs(whole)


def test_a_unit_that_is_no_number_is_recorded(tmp_path):
    config = write_config(tmp_path, section(["odd:0:4"]))
    outcome = build(config, tmp_path / "out")
    assert set(outcome.failed) == {"odd:2"}
    assert "nan" in outcome.failed["odd:2"]
    assert len(pngs(tmp_path / "out")) == 3
    json.loads((tmp_path / "out/manifest.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_dry_run_writes_nothing(built, tmp_path, capsys):
    config, _, _ = built
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "15 pictures, 15 of them to be rendered" in told
    assert not (tmp_path / "out").exists()


def test_a_mistake_that_the_network_shows_leaves_nothing_behind(tmp_path, capsys):
    config = write_config(tmp_path, section(["conv9:0"]))
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "deep/out")]) == 2
    assert "did you mean 'conv2' or 'conv1'?" in capsys.readouterr().err
    assert not (tmp_path / "deep").exists()


def test_one_picture_has_one_recipe(tmp_path):
    config = write_config(
        tmp_path, section(["conv1:0:2"]) + section(["conv1:1"]) + "recipe = { steps = 9 }\n"
    )
    with pytest.raises(RecipeError, match="section 2 asks for conv1:1 seed 0 with another recipe"):
        build(config, tmp_path / "out")
    config = write_config(tmp_path, section(["conv1:0:2"]) + section(["conv1:1"]))
    assert build(config, tmp_path / "out").total == 2, "the same one may stand in two sections"


@pytest.mark.parametrize(
    ("pattern", "layers"),
    [
        ("conv*:0", ["conv1:0", "conv2:0"]),
        ("conv?:0:2", ["conv1:0", "conv1:1", "conv2:0", "conv2:1"]),
        ("*1:3@1,2", ["conv1:3@1,2", "relu1:3@1,2"]),
        ("fc:1", ["fc:1"]),
    ],
)
def test_patterns_of_layers(tmp_path, pattern, layers):
    path = tmp_path / "gallery.toml"
    path.write_text(f'[[sections]]\ntargets = ["{pattern}"]')
    planned = plan_gallery(load_gallery(path), small())
    assert [one.target for one in planned.pictures.values()] == layers


def test_a_star_does_not_cross_a_dot_and_two_do(lite0, tmp_path):
    path = tmp_path / "gallery.toml"
    path.write_text('[recipe]\nsize = 64\n[[sections]]\ntargets = ["blocks.*:0", "blocks.1.**pw:1"]')
    targets = [one.target for one in plan_gallery(load_gallery(path), lite0).pictures.values()]
    assert targets[:7] == [f"blocks.{stage}:0" for stage in range(7)]
    assert targets[7:] == ["blocks.1.0.conv_pw:1", "blocks.1.1.conv_pw:1"]
    path.write_text('[[sections]]\ntargets = ["block.*:0"]')
    with pytest.raises(TargetError, match=r"did you mean 'blocks\.\d'"):
        plan_gallery(load_gallery(path), lite0)


@pytest.mark.parametrize("name", ["small", "demo", "lite0", "tour", "transfer", "channels"])
def test_the_repositorys_configs_fit_their_network(lite0, name):
    from tests.galleries.test_config import REPOSITORY

    planned = plan_gallery(load_gallery(REPOSITORY / f"configs/galleries/{name}.toml"), lite0)
    if name == "lite0":
        assert len(planned.units["classifier"]) == 40
        kinds = {type(dict(lite0.module.named_modules())[layer]).__name__ for layer in planned.units}
        assert kinds >= {"Conv2dSame", "Conv2d", "BatchNormAct2d", "Sequential", "Linear"}


BRIEF = RECIPE.replace("steps = 3", "steps = 1")
OTHERS = [
    # what the other config says: what it adds, drops and changes, and how that is said
    (section(["conv1:0:5"]), BRIEF, (2, 2, 0), ": it asks for 2 more pictures, no longer for 2"),
    (section(["conv1:1:4", "fc:0,1", "conv1:6"]), BRIEF, (1, 0, 0), ": it asks for 1 more picture"),
    (section(["conv1:1:4", "fc:0"], seeds=2), BRIEF, (4, 1, 0), "for 4 more pictures, no longer for 1"),
    (
        section(["conv?:1:5", "fc:all"]),
        RECIPE,
        (9, 1, 4),
        "for 9 more pictures, no longer for 1, for 4 of those that are there by another recipe",
    ),
    (section(["conv1:6", "fc:0", "conv1:1:4"]), BRIEF, (0, 0, 0), "; it asks for the same pictures"),
]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A gallery of five pictures of which four are made."""
    place = tmp_path_factory.mktemp("few")
    config = write_config(place, section(["conv1:1:4", "fc:0", "conv1:6"]), BRIEF)
    build(config, place / "out", limit=4)
    return place / "out"


@pytest.mark.parametrize(("sections", "recipe", "counts", "said"), OTHERS)
def test_status_tells_how_many_pictures_another_config_adds(
    few, sections, recipe, counts, said, tmp_path, capsys
):
    other = write_config(tmp_path, sections, recipe)
    assert main(["gallery", "status", str(few), str(other)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"{other} is not what the folder was built from")
    assert line.endswith(said)
    assert main(["gallery", "status", str(few), str(other), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] == dict(zip(("added", "dropped", "changed"), counts, strict=True))


def test_what_another_network_s_config_adds_is_not_known(few, tmp_path, capsys):
    other = write_config(tmp_path, section(["conv1:0"]))
    other.with_name("net.py").unlink()
    assert main(["gallery", "status", str(few), str(other)]) == 0
    assert "in how many pictures is not known: " in capsys.readouterr().out
    other.write_text('model = "vgg16"\n' + section(["features.0:0"]))
    assert main(["gallery", "status", str(few), str(other)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith("is not known: it is of vgg16, the folder of file:net.py:make")


@pytest.mark.slow
def test_vgg16s_config_asks_for_64_units_of_five_layers(vgg16_weights):
    from tests.galleries.test_config import REPOSITORY

    gallery = load_gallery(REPOSITORY / "configs/galleries/vgg16.toml")
    model = fv.load_model(gallery.model, weights=vgg16_weights)
    planned = plan_gallery(gallery, model)
    assert len(planned.units) == 5
    assert sum(map(len, planned.units.values())) >= 64


def test_status_and_pages_and_export(built, tmp_path, capsys):
    config, out, _ = built
    assert main(["gallery", "status", str(out), str(config)]) == 0
    assert capsys.readouterr().out == f"{out}: 15 done, 0 missing, 0 dead, 0 failed, 0 stale\n"
    other = write_config(tmp_path, section(["conv1:0"]))
    assert main(["gallery", "status", str(out), str(other)]) == 0
    assert "is not what the folder was built from" in capsys.readouterr().out
    (out / "index.html").unlink()
    assert main(["gallery", "pages", str(out)]) == 0
    assert (out / "index.html").is_file()
    (out / ".hidden.png").write_bytes(b"x")
    (out / "notes.txt").write_bytes(b"x")
    (out / "link.png").symlink_to(config)
    assert main(["gallery", "export", str(out), "--zip", str(tmp_path / "a/gallery.zip")]) == 0
    for name in (".hidden.png", "notes.txt", "link.png"):
        (out / name).unlink()
    with zipfile.ZipFile(tmp_path / "a/gallery.zip") as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
        assert archive.read("out/conv1/0000.png") == (out / "conv1/0000.png").read_bytes()
    wanted = {f"out/{path.relative_to(out).as_posix()}" for path in out.rglob("*") if path.is_file()}
    assert names == wanted
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["gallery.zip"]


def test_what_is_asked_of_a_built_gallery_is_said_as_json_or_not_at_all(built, tmp_path, capsys):
    from featvis.cli.output import set_loudness

    _, out, _ = built
    told = {}
    for name, words in {
        "status": [],
        "pages": [],
        "export": ["--zip", str(tmp_path / "gallery.zip")],
    }.items():
        capsys.readouterr()
        assert main(["gallery", name, str(out), *words, "--json"]) == 0
        told[name] = json.loads(capsys.readouterr().out)
        assert main(["gallery", name, str(out), *words, "--quiet"]) == 0
        assert capsys.readouterr().err == ""
        assert main(["gallery", name, str(out), *words, "--verbose"]) == 0
    capsys.readouterr()
    for loudness in ("--quiet", "--verbose"):
        assert main(["gallery", "schema", loudness]) == 0
        assert "properties" in json.loads(capsys.readouterr().out)
    set_loudness(quiet=False, verbose=False)
    assert told["status"]["done"] == 15
    assert Path(told["pages"]["page"]).is_file()
    assert told["export"]["bytes"] == (tmp_path / "gallery.zip").stat().st_size


def test_status_tells_how_long_the_rest_takes(built, tmp_path):
    config, _, _ = built
    build(config, tmp_path / "out", limit=5)
    told = read_status(tmp_path / "out")
    entries = manifest(tmp_path / "out")["pictures"]
    mean = sum(entry["seconds"] for entry in entries) / 5
    assert (told.planned, told.done, told.missing) == (15, 5, 10)
    assert 0.2 * 10 * mean <= told.seconds_left <= 5 * 10 * mean


def test_photographs_beside_the_pictures(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for shade in range(4):
        Image.new("RGB", (40, 30), (60 * shade, 20, 120)).save(photos / f"{shade}.png")
    sections = section(["conv2:0:2"]) + '\n[examples]\nfolder = "photos"\ncount = 2\n'
    config = write_config(tmp_path, sections)
    build(config, tmp_path / "out")
    told = json.loads((tmp_path / "out/examples.json").read_text())
    assert len(told["units"]["conv2:0"]["examples"]) == 2
    page = (tmp_path / "out/conv2/0000.html").read_text("utf-8")
    assert told["units"]["conv2:0"]["examples"][0]["file"] in page
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="holds no photograph"):
        build(config, tmp_path / "again", examples=photos)
    assert (tmp_path / "again/index.html").is_file(), "the pictures and their pages are there"


def test_directions_of_a_file_and_products_of_layers(tmp_path, monkeypatch):
    rows = torch.randn((4, 24), generator=torch.Generator().manual_seed(2))
    save_file({"decoder": rows}, tmp_path / "sae.safetensors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the file is found from the config's folder
    targets = ["conv1, relu@sae.safetensors:decoder:1:3", "conv1,conv2:3,7", "conv?,fc:0"]
    config = write_config(tmp_path, section(targets))
    outcome = build(config, tmp_path / "out")
    assert (outcome.rendered, outcome.total) == (11, 11)
    told = {one["target"].split("#")[0]: one for one in manifest(tmp_path / "out")["pictures"]}
    where = "sae.safetensors:decoder"
    assert set(told) == {
        *(f"{layer}@{where}:{row}" for layer in ("conv1", "relu") for row in (1, 2)),
        *("conv1:3", "conv1:7", "conv2:3", "conv2:7", "conv1:0", "conv2:0", "fc:0"),
    }
    one = told[f"relu@{where}:2"]
    picture = fv.load_picture(tmp_path / "out" / one["file"])
    module = plan_gallery(
        load_gallery(config), fv.load_model(f"file:{tmp_path}/net.py:make", mean=(0.5,) * 3, std=(0.5,) * 3)
    ).model.module
    with torch.no_grad():
        maps = module.relu(module.conv1(picture.image[None] * 2 - 1))[0]
    assert one["score"] == pytest.approx(float((maps.mean((1, 2)) * rows[2]).sum()), abs=1e-3)
    again = build(config, tmp_path / "out")
    assert (again.rendered, again.existing) == (0, 11)
    save_file({"decoder": rows * 2}, tmp_path / "sae.safetensors")
    assert build(config, tmp_path / "out").rendered == 4


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("conv1@sae.safetensors", "no file"),
        ("conv1@sae.safetensors:decoder:0", "cannot be read"),
        ("conv1,convX:0", "convX"),
    ],
)
def test_wrong_directions_and_products_are_said(tmp_path, target, said):
    with pytest.raises(UserError, match=said):
        build(write_config(tmp_path, section([target])), tmp_path / "out")
