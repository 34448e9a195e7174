"""Words for units, of a planted network and by a pair that was trained on what the units look for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.explore.patches import Cutter, Embedder, Patch, feature_layer, size_of, square
from featvis.models.layers.measure import LayerInfo
from tests.explore.planted_words import (
    EACH,
    SIDE,
    UNITS,
    WORDS,
    loaded,
    planted,
    tokenize,
    train_pair,
    write_photographs,
)
from tests.networks import layouts, small


@pytest.fixture(scope="module")
def pair():
    return loaded(train_pair())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("words") / "photos")


@pytest.fixture(scope="module")
def found(pair, photos):
    return fv.describe_units(planted(), "seen:all", photos, pair, vocabulary=WORDS, count=EACH)


@pytest.fixture(scope="module")
def own(photos):
    """Described without a pair."""
    return fv.describe_units(planted(), ["seen:all"], photos, count=EACH)


def place_of(word, photos):
    """Where the square of a colour lies in its first photograph."""
    image = fv.load_image(photos / f"0-{word}.png", channels=3)
    channel = WORDS.index(word)
    seen = image[channel] - image[[one for one in range(3) if one != channel]].mean(0)
    row, column = divmod(int(torch.nn.functional.avg_pool2d(seen[None], 9, 1).argmax()), SIDE - 8)
    return row + 4, column + 4


def test_a_planted_unit_is_called_by_its_name_and_chance_is_not(found):
    for unit, what in enumerate(UNITS[:4]):
        told = found.units[f"seen:{unit}"]
        assert told.words[0].text == what
        assert told.words[0].certainty > 0.8
        assert sum(word.certainty for word in told.words) == pytest.approx(1)
        assert told.chance < 0.1
        assert {patch.image.partition("-")[2] for patch in told.patches} == {f"{what}.png"}
        assert told.clarity > 0.9 > found.usual_clarity["seen"]
    assert (
        repr(found) == "UnitWords(7 units of Planted, 30 photographs: seen:0 red, seen:1 green, seen:2 blue)"
    )


def test_a_unit_that_says_the_same_of_everything_has_no_words(found):
    told = found.units["seen:4"]
    assert told.is_silent
    assert (told.words, told.chance, told.clarity, told.twin, told.like) == ((), None, None, None, ())
    assert "seen:4" not in [one.target for one in found.search("red")]
    (line,) = [line for line in found.lines() if line.startswith("seen:4")]
    assert line.endswith("says the same of every photograph")


def test_twins_are_redundant_and_two_things_in_one_unit_are_told(found, photos, pair):
    assert found.units["seen:0"].twin == "seen:5"
    assert found.units["seen:0"].redundancy == pytest.approx(1, abs=1e-4)
    assert found.units["seen:1"].redundancy < 0.9
    assert found.units["seen:0"].polysemanticity == pytest.approx(0, abs=0.05)
    both = fv.describe_units(planted(), "seen:6", photos, pair, vocabulary=WORDS, count=2 * EACH).units[
        "seen:6"
    ]
    assert {patch.image.partition("-")[2] for patch in both.patches} == {"red.png", "stripes.png"}
    assert both.polysemanticity > 0.4
    assert both.clarity < 0.8
    assert {word.text for word in both.words[:2]} == {"red", "stripes"}
    assert both.twin is None
    assert both.redundancy is None


def test_q2_units_are_found_by_words(found):
    for unit, what in enumerate(UNITS[1:4], 1):
        (best, second, *_) = found.search(f"{what} thing")
        assert best.target == f"seen:{unit}"
        assert best.strength > 2
        assert best.strength > second.strength + 1
    assert {one.target for one in found.search("red")[:3]} == {"seen:0", "seen:5", "seen:6"}
    assert len(found.search("red", count=2)) == 2


@pytest.mark.parametrize("by", ["found", "own"])
def test_q2_units_are_found_by_example(by, request, photos):
    told = request.getfixturevalue(by)
    assert [one.target for one in told.like("seen:0", 2)] == ["seen:5", "seen:6"]
    assert told.like("seen:0")[0].strength == pytest.approx(1, abs=1e-4)
    assert told.units["seen:0"].like[0].target == "seen:5"
    for unit, word in ((1, "green"), (2, "blue")):
        best, second, *_ = told.at(photos / f"0-{word}.png", *place_of(word, photos))
        assert best.target == f"seen:{unit}"
        assert best.strength > 0.9 > second.strength


def test_without_a_pair_there_are_scores_and_no_words(own):
    assert own.pair is None
    assert own.layer == "flat"
    assert own.units["seen:0"].words == ()
    assert own.units["seen:0"].clarity > 0.9
    assert own.lines()[1].split()[:3] == ["seen:0", "seen:5", "1.00,"]
    with pytest.raises(fv.UserError, match="through an image-text pair"):
        own.search("red")


def test_the_same_call_gives_the_same_and_json_holds_it(found, pair, photos):
    again = fv.describe_units(planted(), "seen:all", photos, pair, vocabulary=WORDS, count=EACH)
    assert again == found
    told = json.loads(json.dumps(found.to_json()))
    assert told["units"][1]["words"][0]["text"] == "green"
    assert told["units"][4]["is_silent"]
    assert told["vocabulary"] == 6
    other = fv.describe_units(planted(), "seen:1", photos, pair, vocabulary=WORDS, count=EACH, seed=1)
    assert other.units["seen:1"].chance != found.units["seen:1"].chance
    assert "<table" in found._repr_html_()


def test_pictures_of_a_gallery_get_words_too(pair, photos, tmp_path):
    model = planted()
    plain = {"transforms": [], "space": fv.PixelImage(decorrelate=False), "learning_rate": 0.1, "lanes": 3}
    fv.render(model, "seen:0:3", size=16, steps=30, out=tmp_path / "gallery", **plain)
    told = fv.describe_units(
        model, None, photos, pair, vocabulary=WORDS, count=EACH, pictures=tmp_path / "gallery"
    )
    assert list(told.units) == ["seen:0", "seen:1", "seen:2"]
    assert [unit.picture_words[0].text for unit in told.units.values()] == ["red", "green", "blue"]
    with pytest.raises(fv.OutputError, match="holds no picture of relu"):
        fv.describe_units(model, "relu:0", photos, pair, vocabulary=WORDS, pictures=tmp_path / "gallery")
    with pytest.raises(fv.ModelError, match="weights"):
        fv.describe_units(small(), None, photos, pair, vocabulary=WORDS, pictures=tmp_path / "gallery")


def test_classes_of_a_network_and_units_of_a_dictionary_have_words(pair, photos, tmp_path):
    model = planted(labels=("one", "two", "three"))
    with torch.no_grad():
        model.module.fc.weight.copy_(torch.eye(7)[1:4] * 5)
        model.module.fc.bias.zero_()
    told = fv.describe_units(model, "fc:two", photos, pair, vocabulary=WORDS, count=EACH).units["fc:1"]
    assert told.label == "two"
    # Of a class the whole photograph is the patch.
    assert {patch.box for patch in told.patches} == {(0, 0, SIDE, SIDE)}
    torch.save({"W_dec": torch.eye(7)[[2, 0]], "W_enc": torch.eye(7)[:, [2, 0]]}, tmp_path / "sae.pt")
    address = f"seen@{tmp_path / 'sae.pt'}:0:2"
    told = fv.describe_units(model, address, photos, pair, vocabulary=WORDS, count=EACH)
    assert [unit.words[0].text for unit in told.units.values()] == ["blue", "red"]


def test_a_vocabulary_is_a_list_a_file_or_imagenet(pair, photos, tmp_path):
    (tmp_path / "words.txt").write_text("red\n\n  blue \nred\n", "utf-8")
    told = fv.describe_units(
        planted(), "seen:2", photos, pair, vocabulary=tmp_path / "words.txt", template="{}", count=4
    )
    assert told.vocabulary == 2
    assert [word.text for word in told.units["seen:2"].words] == ["blue", "red"]
    assert told.count == 4


def test_patches_are_what_positions_see_at_most_half_a_photograph():
    model = planted()
    cutter = Cutter(model, model.layer("seen"))
    assert cutter.box({"box": [10, 20, 8, 8], "position": [10, 20]}, (SIDE, SIDE)) == (10, 20, 8, 8)
    # At the border what is seen is cut; the square moves inside.
    assert cutter.box({"box": [0, 44, 8, 4], "position": [0, 44]}, (SIDE, SIDE)) == (0, 40, 8, 8)
    # What sees everything is cut around its own place, in the photograph's own pixels.
    deep = LayerInfo("deep", "Conv2d", "map", 1, 4, (1, 4, 6, 6), 9, stride=(8, 8))
    wide = Cutter(model, deep, 0.25)
    whole = {"box": [0, 0, 480, 720], "position": [1, 7]}
    assert wide.box(whole, (480, 720)) == (60, 540, 120, 120)
    unknown = LayerInfo("deep", "Conv2d", "map", 1, 4, (1, 4, 6, 6), 9)
    assert Cutter(model, unknown, 0.25).box(whole, (480, 720)) == (60, 540, 120, 120)
    assert wide.box({"box": None, "position": None}, (480, 720)) == (0, 120, 480, 480)
    assert square((3, 900), 40, (480, 720)) == (0, 680, 40, 40)


def test_a_turned_photograph_has_the_size_that_it_is_shown_at(tmp_path):
    image = Image.new("RGB", (30, 20), "red")
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.jpg")
    (tmp_path / "none.jpg").write_text("nothing")
    sizes = [size_of(tmp_path / f"{name}.jpg") for name in ("turned", "plain", "none")]
    assert sizes == [(30, 20), (20, 30), None]


def test_patches_are_embedded_once_each_and_in_their_order(photos, pair):
    embedder = Embedder(pair, "embedding", batch=2)
    names = [f"{number}-red.png" for number in (3, 0, 3)]
    patches = [Patch(name, (4, 6, 20, 20)) for name in names] + [Patch("0-red.png", (0, 0, 8, 8))]
    seen = []
    look = {one.key: lambda cut, name=one.image: seen.append((name, cut.size)) for one in patches}
    known = {}
    vectors = embedder.patches(photos, patches, known=known, look=look)
    assert seen == [("0-red.png", (8, 8)), ("0-red.png", (20, 20)), ("3-red.png", (20, 20))]
    assert torch.equal(vectors[0], vectors[2])
    assert vectors.norm(dim=1) == pytest.approx(torch.ones(4), abs=1e-5)
    crop = Image.open(photos / "3-red.png").convert("RGB").crop((6, 4, 26, 24)).resize((16, 16), 2)
    image = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = torch.nn.functional.normalize(pair.pair.encode_image(image), dim=1)[0]
    assert vectors[0] == pytest.approx(expected, abs=1e-3)
    # What is known is not embedded again, and still shown to those who look.
    known[patches[0].key] = torch.full((8,), 3.0)
    again = embedder.patches(photos, patches, known=known, look={patches[1].key: look[patches[1].key]})
    assert again[0].tolist() == [3.0] * 8
    assert torch.equal(again[1], vectors[1])
    assert seen[3:] == [("0-red.png", (20, 20))]


def test_nothing_is_embedded_twice_into_one_folder(pair, photos, tmp_path):
    shown = []
    hook = pair.pair.look.register_forward_hook(lambda _m, given, _o: shown.append(len(given[0])))
    try:
        options = {"vocabulary": WORDS, "count": EACH, "out": tmp_path}

        def describe(model=pair, **more):
            shown.clear()
            return fv.describe_units(planted(), "seen:all", photos, model, **{**options, **more})

        first, times = describe(), len(shown)
        assert times > 10
        strip = (tmp_path / "patches/seen/0000.webp").read_bytes()
        (tmp_path / "patches/seen/0000.webp").unlink()
        assert describe() == first
        assert shown == []
        assert (tmp_path / "patches/seen/0000.webp").read_bytes() == strip
        # Another pair, other photographs or a damaged file begin anew.
        file = tmp_path / "embeddings.safetensors"
        kept = file.read_bytes()
        for content in (b"", kept[:-9], kept.replace(b"about", b"abouu", 1)):
            file.write_bytes(content)
            assert describe() == first
            assert len(shown) == times
        describe(loaded(train_pair(steps=1)))
        assert describe() == first
        assert len(shown) == times
    finally:
        hook.remove()


def test_the_networks_own_features_are_those_before_its_classes():
    assert [feature_layer(make()) for make in (small, layouts)] == ["drop", "tokens"]


def test_mistakes_are_said(pair, photos, tmp_path):
    model = planted()
    with pytest.raises(fv.ModelError, match=r"embeds no texts; a pair is what fv\.load_open_clip"):
        fv.describe_units(model, "seen:0", photos, small(), vocabulary=WORDS)
    with pytest.raises(fv.TargetError, match="leave out @2,3"):
        fv.describe_units(model, "seen:0@2,3", photos, pair, vocabulary=WORDS)
    with pytest.raises(fv.TargetError, match="name some"):
        fv.describe_units(model, None, photos, pair, vocabulary=WORDS)
    with pytest.raises(fv.RecipeError, match=r"one \{\}"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=WORDS, template="a photo")
    with pytest.raises(fv.RecipeError, match="at least 2 words"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=["red", " red "])
    with pytest.raises(fv.RecipeError, match="texts, got 3"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=["red", 3])
    with pytest.raises(fv.RecipeError, match="at least 2 patches"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=WORDS, count=1)
    with pytest.raises(fv.RecipeError, match="up to 1 of a photograph"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=WORDS, widest=1.5)
    with pytest.raises(fv.UserError, match="does not exist"):
        fv.describe_units(model, "seen:0", tmp_path / "none", pair, vocabulary=WORDS)
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(fv.RecipeError, match="no text file"):
        fv.describe_units(model, "seen:0", photos, pair, vocabulary=tmp_path / "words.txt")
    (tmp_path / "one").mkdir()
    Image.new("RGB", (48, 48), "red").save(tmp_path / "one" / "red.png")
    with pytest.raises(fv.UserError, match="holds one photograph"):
        fv.describe_units(model, "seen:0", tmp_path / "one", pair, vocabulary=WORDS)


NET = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import torch
from tests.explore import planted_words
def net():
    return planted_words.planted()
def pair():
    made = planted_words.Pair()
    made.load_state_dict(torch.load(Path(__file__).with_name("pair.pt"), weights_only=True))
    return planted_words.loaded(made.eval())
"""


@pytest.fixture(scope="module")
def typed(tmp_path_factory, pair):
    """The options that name the planted network and its pair."""
    place = tmp_path_factory.mktemp("typed")
    torch.save(pair.pair.state_dict(), place / "pair.pt")
    (place / "net.py").write_text(NET)
    (place / "words.txt").write_text("\n".join(WORDS))
    words = ["--pair", f"file:{place / 'net.py'}:pair", "--vocabulary", str(place / "words.txt")]
    return ["--model", f"file:{place / 'net.py'}:net"], words


def test_the_command_lists_words_and_finds_units(typed, photos, tmp_path, capsys):
    network, pair = typed
    place = ",".join(map(str, place_of("blue", photos)))
    asked = ["words", "seen:0:5", str(photos), *network, *pair, "--count", "6", "--template", "a {}"]
    asked += ["--find", "blue thing", "--like", "seen:3", "--at", f"{photos / '0-blue.png'}:{place}"]
    asked += ["--widest", "0.4", "--seed", "2", "--out", str(tmp_path / "out")]
    assert main([*asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["unit", "words", "chance", "clarity", "polysemantic", "redundant"]
    assert [line.split()[1] for line in lines[1:5]] == ["red", "green", "blue", "stripes"]
    for title in ("units for 'blue thing':", f"units for {photos / '0-blue.png'} at {place}:"):
        assert lines[lines.index(title) + 1].split()[0] == "seen:2"
        assert lines[lines.index(title) + 1].split()[2] == "blue"
    assert "units like seen:3:" in lines
    assert lines[-1] == str(tmp_path / "out" / "index.html")
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["searches"]["units for 'blue thing'"][0]["target"] == "seen:2"
    kept = json.loads((tmp_path / "out" / "words.json").read_text("utf-8"))
    assert [unit["words"] for unit in kept["units"]] == [unit["words"] for unit in told["units"]]
    assert (tmp_path / "out" / kept["units"][2]["strip"]).is_file()


def test_the_command_takes_a_gallery_and_needs_no_pair(typed, photos, tmp_path, capsys):
    network, _ = typed
    out = tmp_path / "gallery"
    fv.render(planted(), "seen:0:3", size=16, steps=1, lanes=3, out=out, recipe="fast")
    assert main(["words", str(out), str(photos), *network, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "most like it" in text.splitlines()[0]
    kept = json.loads((tmp_path / "out" / "words.json").read_text("utf-8"))
    assert [unit["target"] for unit in kept["units"]] == ["seen:0", "seen:1", "seen:2"]
    assert all((tmp_path / "out" / unit["picture"]).is_file() for unit in kept["units"])
    assert kept["count"] == 7
    assert main(["words", str(out), "seen:0", str(photos), *network]) == 2
    assert "is a gallery, and is given alone" in capsys.readouterr().err
    # What the folder names runs code: it must be typed.
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    (out / "manifest.json").write_text(json.dumps({**manifest, "model": network[1]}))
    assert main(["words", str(out), str(photos), "--out", str(tmp_path / "other")]) == 2
    assert "to have that loaded" in capsys.readouterr().err


def test_a_gallerys_own_pages_tell_the_words_of_its_units(typed, photos, tmp_path, capsys):
    network, pair = typed
    gallery, out = tmp_path / "gallery", ["--out", str(tmp_path / "out"), "--count", "6"]
    fv.render(planted(), "seen:0:3", size=16, steps=1, lanes=3, out=gallery, recipe="fast")
    assert main(["gallery", "pages", str(gallery)]) == 0
    assert main(["words", str(gallery), str(photos), *network, *out]) == 0
    assert not (gallery / "words.json").exists()
    assert main(["words", str(gallery), str(photos), *network, *pair, *out]) == 0
    assert "calls what it responds to in photographs: green" in (gallery / "seen" / "0001.html").read_text()
    capsys.readouterr()
    assert main(["words", str(gallery), str(photos), *network, "--out", str(gallery)]) == 2
    assert "is a gallery, whose pages would be overwritten" in capsys.readouterr().err
    (gallery / "words.json").write_text("[]")
    assert main(["gallery", "pages", str(gallery)]) == 2
    assert "words.json holds no table" in capsys.readouterr().err


def test_each_description_has_a_folder_of_its_own(typed, photos, tmp_path, capsys, monkeypatch):
    network, pair = typed
    monkeypatch.chdir(tmp_path)
    pages = []
    for asked in (["seen:0:2"], ["seen:1,2"], ["seen:0:2", *pair]):
        words = [word for word in asked if word.startswith("seen")]
        assert main(["words", *words, str(photos), *network, *asked[1:], "--count", "2"]) == 0
        pages.append(Path(capsys.readouterr().out.splitlines()[-1]))
    assert len(set(pages)) == 3
    assert all(page.is_file() and page.parts[:2] == ("gallery", "words") for page in pages)
    assert pages[0].parts[2] == "seen-0-2"


def test_a_pair_of_open_clip_is_named(typed, photos, tmp_path, capsys, monkeypatch):
    network, (_, _, *vocabulary) = typed
    made = train_pair(steps=1)
    made.visual = SimpleNamespace(image_size=16, image_mean=(0.5,) * 3, image_std=(0.5,) * 3)
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return made, None, None

    fake = SimpleNamespace(create_model_and_transforms=create, get_tokenizer=lambda name: tokenize)
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    words = ["words", "seen:0", str(photos), *network, *vocabulary, "--out", str(tmp_path)]
    assert main([*words, "--pair", "open_clip:ViT-B-32/openai", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pair"] == "open_clip:ViT-B-32/openai"
    assert asked == [("ViT-B-32", "openai")]
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert main([*words, "--pair", "open_clip:ViT-B-32"]) == 2
    assert "pip install 'featvis[clip]'" in capsys.readouterr().err


def test_mistakes_at_the_command_line_are_one_line(typed, photos, tmp_path, capsys):
    network, pair = typed
    start = ["words", "blocks.4:3", str(photos)]
    for more, said in (
        (["--pair", "clip"], "--pair 'clip' is no pair's name; write open_clip:NAME/TAG"),
        (["--find", "dog"], "--find is of words, which need an image-text pair: give --pair"),
        (["--vocabulary", "w.txt"], "--vocabulary is of words"),
        (["--template", "x {}"], "--template is of words"),
        ([*pair, "--template", "x"], "--template holds one {}"),
        ([pair[0], pair[1], "--vocabulary", "none.txt"], "no file of words 'none.txt'"),
        (["--widest", "0"], "--widest lies above 0"),
        (["--count", "1"], "--count is at least 2"),
        (["--at", "cat.jpg"], "--at is PHOTO:ROW,COLUMN"),
        (["--at", "none.jpg:3,4"], "no photograph 'none.jpg'"),
    ):
        assert main([*start, *more]) == 2, more
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("featvis: ")]
        assert said in line
    assert main(["words", "gallery/smal", str(photos)]) == 2
    assert "no folder 'gallery/smal'; TARGETS are units" in capsys.readouterr().err
    assert main(["words", "blocks.4:400", str(photos)]) == 2
    assert "out of range" in capsys.readouterr().err
    assert main(["words", "blocks.4:4", str(tmp_path / "none")]) == 2
    assert "no folder of photographs" in capsys.readouterr().err
    assert main(["words", "seen:0", str(photos), *network, "--like", "seen:1"]) == 2
    assert "unknown unit for --like 'seen:1'; did you mean 'seen:0'?" in capsys.readouterr().err
    (tmp_path / "net.py").write_text(NET.replace("def pair", "def other").replace("def net", "def pair"))
    assert main(["words", "seen:0", str(photos), *network, "--pair", f"file:{tmp_path / 'net.py'}:pair"]) == 2
    assert "the function returns an image-text pair" in capsys.readouterr().err


def test_mistakes_of_a_search_are_said(found, own, photos):
    with pytest.raises(fv.UserError, match="for words"):
        found.search(" ")
    with pytest.raises(fv.TargetError, match="none of the units"):
        own.like("seen:4")
    with pytest.raises(fv.UserError, match="48 rows and 48 columns"):
        own.at(photos / "0-red.png", 48, 3)
    with pytest.raises(fv.RecipeError, match="up to 1, got 2"):
        own.at(photos / "0-red.png", 4, 3, share=2)
    with pytest.raises(fv.OutputError, match="no photograph"):
        own.at(photos / "none.png", 4, 3)
