"""quiz: what is asked of whom, what the key holds, and what the page must not tell."""

import base64
import io
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.errors import OutputError, UserError
from featvis.trust.quiz import make_quiz
from tests.pages.manifests import entry, manifest, write_folder
from tests.trust.quizzes import (
    BEASTS,
    LABELS,
    classes,
    photographs,
    write,
    write_classes,
    write_photos,
)


def told(out):
    """What the page is told, with its names decoded."""
    text = (out / "quiz.html").read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="trials">(.*?)</script>', text, re.DOTALL)
    told = json.loads(data)
    for trial in told["trials"]:
        if "names" in trial:
            trial["names"] = json.loads(base64.b64decode(trial["names"]))
    return told


def image(page, number):
    source, height, width, _ = page["images"][number]
    opened = Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))
    assert (opened.height, opened.width) == (height, width)
    return opened


def items(key, task):
    return [item for item in key["items"] if item["task"] == task]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("quiz") / "gallery-of-forty", 40, units=12)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return make_quiz(folder, out, count=40, seed=3), out


def test_a_gallery_of_forty_is_asked_for_whole(made):
    key, out = made
    assert {task: len(items(key, task)) for task in key["tasks"]} == {
        "naming": 40,
        "choice": 12,
        "rating": 40,
    }
    assert sorted(item["label"] for item in items(key, "naming")) == sorted(LABELS)
    assert [item["item"] for item in key["items"]] == list(range(1, 93))
    assert json.loads((out / "key.json").read_text("utf-8")) == key
    assert [item["task"] for item in key["items"]] == ["naming"] * 40 + ["choice"] * 12 + ["rating"] * 40


def test_eight_names_the_right_one_among_seven_others_at_every_place(made):
    key, _ = made
    for item in items(key, "naming"):
        assert len(set(item["names"])) == 8
        assert item["names"][item["right"]] == item["label"]
        assert set(item["names"]) <= set(LABELS)
    places = [item["right"] for item in items(key, "naming")]
    assert len(set(places)) == 8, "the right name has no place of its own"


def test_the_page_shows_the_pictures_of_the_key_with_every_level_as_saved(made, folder):
    key, out = made
    page = told(out)
    assert page["quiz"] == key["quiz"]
    for item, trial in zip(key["items"], page["trials"], strict=True):
        assert (item["item"], item["task"]) == (trial["item"], trial["task"])
        if item["task"] == "choice":
            continue
        shown = np.asarray(image(page, trial["picture"]).convert("RGB"))
        assert np.array_equal(shown, np.asarray(Image.open(folder / item["file"]).convert("RGB")))
        assert trial.get("names") == item.get("names")


def test_the_page_tells_neither_names_nor_folders_nor_what_is_right(made, folder):
    _, out = made
    text = (out / "quiz.html").read_text("utf-8")
    for word in ("gallery-of-forty", "classifier", "efficientnet", "photo-", *BEASTS):
        assert word not in text.lower()
    page = told(out)
    assert set().union(*page["trials"]) == {"item", "task", "picture", "names", "count", "references", "pair"}
    for number in range(len(page["images"])):
        assert not image(page, number).info.get("featvis")
        assert set(image(page, number).info) <= {"loop", "background"}


def test_images_lie_in_the_page_in_the_order_in_which_they_are_asked_about(made):
    page = told(made[1])
    order = [trial["picture"] for trial in page["trials"] if trial["task"] == "naming"]
    assert order == list(range(40)), "their order tells nothing of their folder"


def test_the_same_seed_gives_the_same_bytes_and_another_another_order(made, folder, tmp_path):
    key, out = made
    again = make_quiz(folder, tmp_path / "again", count=40, seed=3)
    assert again == key
    assert (tmp_path / "again" / "quiz.html").read_bytes() == (out / "quiz.html").read_bytes()
    other = make_quiz(folder, tmp_path / "other", count=40, seed=4)
    assert other["quiz"] != key["quiz"]
    assert [item["label"] for item in items(other, "naming")] != [
        item["label"] for item in items(key, "naming")
    ]


def test_of_two_photographs_one_is_among_the_units_best_and_one_is_not(made):
    key, _ = made
    record = photographs(12)["units"]
    kinds = [item["references"] for item in items(key, "choice")]
    assert kinds.count("pictures") == kinds.count("photographs") == 6
    for item in items(key, "choice"):
        mine = {crop["file"]: crop["value"] for crop in record[item["target"]]["examples"]}
        best, least = item["photographs"][item["right"]], item["photographs"][1 - item["right"]]
        assert mine[best] == item["value"] > item["at_most"] == 8.0
        assert least not in mine
        assert best not in item["shown"]
        if item["references"] == "photographs":
            assert set(item["shown"]) == set(mine) - {best}
        else:
            assert item["shown"] == [f"classifier/{int(item['target'].split(':')[1]):04d}.png"]
    sides = [(item["references"], item["right"]) for item in items(key, "choice")]
    assert {kind: sides.count(kind) for kind in sides} == {
        (kind, side): 3 for kind in ("pictures", "photographs") for side in (0, 1)
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda units: [crop.update(value=5.0) for unit in units.values() for crop in unit["examples"]],
        lambda units: (
            [crop.update(image="one.jpg") for unit in units.values() for crop in unit["examples"][:1]]
            and [unit.update(examples=unit["examples"][:1]) for unit in units.values()]
        ),
        lambda units: [crop.update(value=None) for unit in units.values() for crop in unit["examples"]],
        lambda units: [crop.update(file="../x.webp") for unit in units.values() for crop in unit["examples"]],
        lambda units: [units.pop(name) for name in list(units)[1:]],
    ],
    ids=["all alike", "one photograph", "no values", "files outside", "one unit"],
)
def test_where_no_photograph_is_known_to_excite_less_none_is_asked_about(tmp_path, change, request):
    record = photographs(4)
    write_folder(tmp_path / "gallery", classes(9), record)
    change(record["units"])
    write(tmp_path / "gallery" / "examples.json", record)
    said = []
    key = make_quiz(tmp_path / "gallery", tmp_path / "out", say=said.append)
    assert key["tasks"] == ["naming", "rating"]
    none = "choice: no photographs to choose from are recorded in gallery (`featvis"
    few = "choice: in gallery none of the photographs is known to excite a unit less than its best"
    (line,) = said
    assert line.startswith(none if request.node.callspec.id in ("no values", "files outside") else few)


def test_a_name_is_asked_for_once_and_folders_share_what_both_have(tmp_path):
    one, two = write_classes(tmp_path / "one", 12), write_classes(tmp_path / "two", 12)
    said = []
    key = make_quiz([one, two], tmp_path / "out", tasks=["naming", "rating"], say=said.append)
    naming = items(key, "naming")
    assert len({item["label"] for item in naming}) == len(naming) == 12
    assert [sum(item["folder"] == name for item in naming) for name in ("one", "two")] == [6, 6]
    assert said[0].startswith("naming: 6 pictures of one; a name is asked for once")
    # What is rated is of the same classes in both, mixed.
    rated = {
        name: {item["label"] for item in items(key, "rating") if item["folder"] == name}
        for name in ("one", "two")
    }
    assert rated["one"] == rated["two"]
    assert [item["folder"] for item in items(key, "rating")] != ["one"] * 12 + ["two"] * 12
    few = make_quiz([one, two], tmp_path / "few", tasks=["rating"], count=5)
    labels = [{item["label"] for item in few["items"] if item["folder"] == name} for name in ("one", "two")]
    assert labels[0] == labels[1]
    assert len(labels[0]) == 5


def test_a_unit_is_asked_about_once_and_folders_share_what_both_have(tmp_path):
    one, two = write_classes(tmp_path / "one", 9, units=6), write_classes(tmp_path / "two", 9, units=6)
    key = make_quiz([one, two], tmp_path / "out", tasks=["choice"])
    assert [sum(item["folder"] == name for item in key["items"]) for name in ("one", "two")] == [3, 3]
    assert len({item["target"] for item in key["items"]}) == 6
    # Of two networks the units of one number are two units.
    told = json.loads((two / "manifest.json").read_text())
    write(two / "manifest.json", {**told, "weights": "another"})
    assert len(make_quiz([one, two], tmp_path / "both", tasks=["choice"])["items"]) == 12


def test_photographs_are_cut_to_the_shape_and_size_of_the_pictures(tmp_path):
    pictures, photos = write_classes(tmp_path / "pictures", 8), write_photos(tmp_path / "photos", 20)
    key = make_quiz([pictures, photos], tmp_path / "out", count=8, tasks=["rating"])
    page = told(tmp_path / "out")
    assert {tuple(one[1:3]) for one in page["images"]} == {(24, 32)}
    assert [sum(item["folder"] == name for item in key["items"]) for name in ("pictures", "photos")] == [8, 8]


def test_images_of_any_origin_are_asked_about_by_the_names_that_labels_json_gives(tmp_path):
    photos = write_photos(tmp_path / "photos", 10)
    labels = {f"snap-{number:02d}.jpg": LABELS[number] for number in range(9)}
    write(photos / "labels.json", labels)
    key = make_quiz(photos, tmp_path / "out", tasks=["naming"])
    assert {item["file"]: item["label"] for item in key["items"]} == labels
    write(photos / "labels.json", {"snap-00.jpg": 3})
    with pytest.raises(OutputError, match=r"labels\.json is a table of files and their labels"):
        make_quiz(photos, tmp_path / "out2", tasks=["naming"])


def test_few_names_are_filled_up_from_the_network(tmp_path, lite0):
    pictures = [entry("classifier", unit, label=lite0.layer("classifier").labels[unit]) for unit in (263, 1)]
    write_folder(tmp_path / "two", manifest(*pictures))
    key = make_quiz(tmp_path / "two", tmp_path / "out", tasks=["naming"])
    for item in key["items"]:
        assert len(set(item["names"])) == 8
        assert set(item["names"]) <= set(lite0.layer("classifier").labels)


def test_where_few_names_are_known_there_are_few_to_choose_from(tmp_path):
    told = classes(3, model="file:nowhere.py:net")
    said = []
    key = make_quiz(
        write_folder(tmp_path / "three", told), tmp_path / "out", tasks=["naming"], say=said.append
    )
    assert [sorted(item["names"]) for item in key["items"]] == [sorted(LABELS[:3])] * 3
    assert said == ["naming: only 3 names are known to choose from in three"]


def test_a_name_that_also_the_right_one_has_is_no_other_name(tmp_path):
    labels = ["crane, bird", "crane, machine", *LABELS[:8]]
    pictures = [entry("classifier", unit, label=label) for unit, label in enumerate(labels)]
    key = make_quiz(write_folder(tmp_path / "g", manifest(*pictures)), tmp_path / "out", tasks=["naming"])
    cranes = [item for item in key["items"] if item["label"].startswith("crane")]
    assert len(cranes) == 2
    for item in cranes:
        assert [name for name in item["names"] if name.startswith("crane")] == [item["label"]]


def test_what_is_no_picture_now_is_not_shown(tmp_path):
    folder = write_classes(tmp_path / "g", 12)
    entries = json.loads((folder / "manifest.json").read_text())
    entries["pictures"][0]["stale"] = True
    entries["pictures"][1]["variant"] = "negative"
    entries["pictures"][2]["status"] = "dead"
    write(folder / "manifest.json", entries)
    (folder / "classifier/0003.png").unlink()
    (folder / "classifier/0004.png").write_bytes(b"\x89PNG broken")
    key = make_quiz(folder, tmp_path / "out", tasks=["rating"])
    assert sorted(item["file"] for item in key["items"]) == [
        f"classifier/{unit:04d}.png" for unit in range(5, 12)
    ]


def test_large_images_are_made_smaller_and_small_ones_are_left_alone(tmp_path):
    photos = write_photos(tmp_path / "photos", 1, (1200, 600))
    make_quiz(photos, tmp_path / "out", tasks=["rating"])
    assert told(tmp_path / "out")["images"][0][1:3] == [256, 512]


def test_a_quiz_of_others_answers_is_not_lost(made, folder, tmp_path):
    out = tmp_path / "out"
    make_quiz(folder, out, seed=1, count=4)
    before = (out / "key.json").read_bytes()
    make_quiz(folder, out, seed=1, count=4)
    assert (out / "key.json").read_bytes() == before
    with pytest.raises(OutputError, match="holds another quiz, whose answers need its key"):
        make_quiz(folder, out, seed=2, count=4)
    assert (out / "key.json").read_bytes() == before
    (out / "key.json").write_text("{}")
    with pytest.raises(OutputError, match="is no key of a quiz"):
        make_quiz(folder, out, seed=1, count=4)
    (out / "key.json").unlink()
    with pytest.raises(OutputError, match="is there without its key"):
        make_quiz(folder, out, seed=1, count=4)


def test_what_cannot_be_asked_is_one_line(folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="unknown task 'namng'; did you mean 'naming'"):
        make_quiz(folder, out, tasks=["namng"])
    with pytest.raises(UserError, match="no task"):
        make_quiz(folder, out, tasks=[])
    with pytest.raises(UserError, match="at least 1"):
        make_quiz(folder, out, count=0)
    with pytest.raises(OutputError, match="no folder"):
        make_quiz(tmp_path / "none", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no pictures"):
        make_quiz(tmp_path / "empty", out)
    with pytest.raises(UserError, match="named twice"):
        make_quiz([folder, folder], out)
    with pytest.raises(UserError, match="nothing to ask"):
        make_quiz(write_photos(tmp_path / "photos", 3), out, tasks=["naming", "choice"])
    assert not out.exists()


def test_hostile_labels_and_titles_stay_text_in_the_page(tmp_path):
    labels = [f"</script><script>alert({number})</script>" for number in range(9)]
    pictures = [entry("classifier", unit, label=label) for unit, label in enumerate(labels)]
    write_folder(tmp_path / "g", manifest(*pictures))
    title = "</title><script>alert('x')</script> \u2028 & \"'"
    make_quiz(tmp_path / "g", tmp_path / "out", tasks=["naming"], title=title, text=title)
    text = (tmp_path / "out" / "quiz.html").read_text("utf-8")
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert told(tmp_path / "out")["title"] == title
    assert sorted(told(tmp_path / "out")["trials"][0]["names"])[0] in labels


def test_names_that_are_no_utf8_are_kept_or_written_as_they_can_be(tmp_path):
    photos = write_photos(tmp_path / "photos", 8)
    odd = os.fsdecode(b"\xff\xe9.jpg")
    try:
        (photos / "snap-00.jpg").rename(photos / odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    labels = {f"snap-{number:02d}.jpg": f"a\x1b\ud800 {number}" for number in range(1, 8)}
    write(photos / "labels.json", {**labels, "snap-01.jpg": "  "})
    key = make_quiz(photos, tmp_path / "out", title="\ud800<&", text="\udcff", tasks=["naming", "rating"])
    assert json.loads((tmp_path / "out" / "key.json").read_text("utf-8")) == key
    assert odd in {item["file"] for item in items(key, "rating")}
    assert sorted(item["label"] for item in items(key, "naming")) == [
        f"a ? {number}" for number in range(2, 8)
    ]
    assert told(tmp_path / "out")["title"] == "?<&"


def test_it_is_public():
    assert fv.make_quiz is make_quiz
