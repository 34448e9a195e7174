"""What people answered, beside counts by hand; and files of answers that are none."""

import json

import numpy as np
import pytest

import featvis as fv
from featvis.errors import OutputError, UserError
from featvis.trust.answers import MARKS as SCALE_NAMES
from featvis.trust.answers import PUBLISHED, evaluate_answers
from featvis.trust.intervals import wilson
from featvis.trust.quiz import make_quiz
from tests.trust.quizzes import LABELS, answers, write, write_classes, write_photos


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def key(place):
    """A quiz of two folders: 6 and 6 names, 4 and 0 pairs of photographs, 6 and 6 ratings, in this order."""
    one = write_classes(place / "first", 12, units=4)
    two = write_classes(place / "second", 12)
    return make_quiz([one, two], place / "quiz", count=6, seed=2)


def naming(free, name):
    """Answers to naming: functions of the item."""
    return lambda item: {"free": free(item), "name": name(item)}


def right(item):
    return item["right"]


def wrong(item):
    return (item["right"] + 1) % len(item["names"])


def first_name(item):
    return item["label"].partition(",")[0]


def plural(name):
    return name + ("es" if name.endswith("s") else "s")


def evaluate(place, tmp_path, *told, **options):
    files = [write(tmp_path / f"{number}.json", one) for number, one in enumerate(told)]
    return evaluate_answers(files, place / "quiz", **options)


def rows(table):
    """What was measured of all, and of each folder by its name."""
    return {"all": table["all"], **table["folders"]}


def test_accuracies_by_folder_with_wilson_intervals(place, key, tmp_path):
    everything = naming(lambda item: f"the {plural(first_name(item)).upper()}", right)
    nothing = naming(lambda item: "", wrong)
    of_first = naming(
        lambda item: item["label"].rpartition(", ")[2] if item["folder"] == "first" else "no such beast",
        lambda item: right(item) if item["folder"] == "first" else wrong(item),
    )
    told = evaluate(
        place,
        tmp_path,
        answers(key, "a", "Ann", naming=everything),
        answers(key, "b", "Bob", naming=nothing),
        answers(key, "c", naming=of_first),
    )
    assert [rater["rater"] for rater in told["raters"]] == ["Ann", "Bob", "c"]
    assert {(rater["answers"], rater["of"]) for rater in told["raters"]} == {(12, len(key["items"]))}
    first, second, total = (rows(told["naming"])[name] for name in ("first", "second", "all"))
    assert (first["answers"], first["right"], first["empty"], first["open"]) == (18, 12, 6, 0)
    assert (second["answers"], second["right"], second["empty"], second["open"]) == (18, 6, 6, 6)
    assert first["share"] == pytest.approx(2 / 3)
    assert first["interval"] == pytest.approx(list(wilson(12, 18)))
    assert (total["right"], total["answers"]) == (18, 36)
    names = rows(told["names"])
    assert [(names[one]["right"], names[one]["answers"]) for one in ("first", "second")] == [
        (12, 18),
        (6, 18),
    ]
    assert names["second"]["interval"] == pytest.approx(list(wilson(6, 18)))


def test_open_names_are_listed_and_count_once_somebody_marked_them(place, key, tmp_path):
    said = answers(key, "a", naming=naming(lambda item: "Some Beasts!", right))
    told = evaluate(place, tmp_path, said)
    asked = {item["label"] for item in key["items"] if item["task"] == "naming"}
    assert told["to_mark"] == {label: {"beasts": None} for label in asked}
    assert told["naming"]["all"]["open"] == 12
    assert told["naming"]["all"]["right"] == 0
    # Five are marked as right, four as wrong, the others stay open.
    marks = dict(told["to_mark"])
    for number, label in enumerate(sorted(marks)):
        if number < 5:
            marks[label] = {"beasts": True}
        elif number < 9:
            marks[label] = {"beasts": False}
    again = evaluate(place, tmp_path, said, accept=write(tmp_path / "marks.json", marks))
    assert (again["naming"]["all"]["right"], again["naming"]["all"]["open"]) == (5, 3)
    assert set(again["to_mark"]) == set(sorted(marks)[9:])
    # A list of right names, by the first name of a label.
    short = {first.partition(",")[0].upper(): ["beast"] for first in sorted(marks)[:2]}
    assert evaluate(place, tmp_path, said, accept=short)["naming"]["all"]["right"] == 2


def test_confusion_counts_which_name_was_taken_for_which(place, key, tmp_path):
    item = next(item for item in key["items"] if item["task"] == "naming")
    taken = item["names"][wrong(item)]
    blind = naming(
        lambda one: "Ghost" if one is item else first_name(one),
        lambda one: wrong(one) if one is item else right(one),
    )
    told = evaluate(place, tmp_path, answers(key, "a", naming=blind), answers(key, "b", naming=blind))
    assert told["confusion"] == {
        "names": [{"label": item["label"], "said": taken, "times": 2}],
        "naming": [{"label": item["label"], "said": "ghost", "times": 2}],
    }


def test_two_photographs_by_the_kind_of_reference_beside_published_figures(place, key, tmp_path):
    by_pictures = answers(
        key,
        "a",
        choice=lambda item: {
            "photograph": item["right"] if item["references"] == "pictures" else 1 - item["right"]
        },
    )
    always = answers(key, "b", choice=lambda item: {"photograph": item["right"]})
    left = answers(key, "c", choice=lambda item: {"photograph": 0})
    lefts = evaluate(place, tmp_path, left)["choice"]
    for kind in ("pictures", "photographs"):
        items = [item for item in key["items"] if item.get("references") == kind]
        assert lefts[kind]["all"]["right"] == sum(item["right"] == 0 for item in items)
    assert {item["right"] for item in key["items"] if item["task"] == "choice"} == {0, 1}
    told = evaluate(place, tmp_path, by_pictures, always)
    pictures, photographs = (rows(told["choice"][kind]) for kind in ("pictures", "photographs"))
    assert set(pictures) == {"all", "first"}
    assert (pictures["first"]["right"], pictures["first"]["answers"]) == (4, 4)
    assert (photographs["first"]["right"], photographs["first"]["answers"]) == (2, 4)
    assert photographs["all"]["interval"] == pytest.approx(list(wilson(2, 4)))
    assert told["published"] == list(PUBLISHED)
    assert [one["pictures"] for one in PUBLISHED] == ["82 ± 4 %", "68 ± 4 %"]
    assert evaluate(place, tmp_path, answers(key, "a", naming=naming(first_name, right)))["published"] == []


def test_ratings_are_means_with_a_bootstrap_over_pictures(place, key, tmp_path):
    def rated(low):
        def marks(item):
            mark = low if item["folder"] == "first" else 4
            return {"ratings": {"photograph": mark, "whole": 5, "harsh": 1 + item["item"] % 2}}

        return marks

    told = evaluate(
        place, tmp_path, answers(key, "a", rating=rated(1)), answers(key, "b", rating=rated(2)), draws=1000
    )
    photograph = rows(told["ratings"]["photograph"])
    assert (photograph["first"]["mean"], photograph["second"]["mean"], photograph["all"]["mean"]) == (
        1.5,
        4,
        2.75,
    )
    assert (photograph["first"]["answers"], photograph["first"]["pictures"]) == (12, 6)
    assert photograph["first"]["interval"] == [1.5, 1.5], "every picture has the same mean"
    harsh = told["ratings"]["harsh"]["all"]
    items = [item["item"] for item in key["items"] if item["task"] == "rating"]
    means = np.array([1 + number % 2 for number in items], float)
    chosen = np.random.default_rng(0).integers(0, 12, (1000, 12))
    expected = np.quantile(means[chosen].mean(1), (0.025, 0.975))
    assert harsh["interval"] == pytest.approx(list(expected))
    # 6 pictures differ by one mark between the two, 6 by none.
    assert told["agreement"]["photograph"]["mean_difference"] == 0.5
    assert told["agreement"]["whole"] == {"questions": 12, "mean_difference": 0.0, "alpha": None}
    assert told["agreement"]["harsh"]["alpha"] == 1.0


def test_raters_agree_as_far_as_they_say_the_same(place, key, tmp_path):
    half = naming(
        lambda item: first_name(item) if item["item"] % 2 else "a Thing",
        lambda item: right(item) if item["item"] % 2 else wrong(item),
    )
    told = evaluate(
        place,
        tmp_path,
        answers(key, "a", naming=naming(first_name, right), choice=lambda item: {"photograph": 0}),
        answers(key, "b", naming=half, choice=lambda item: {"photograph": item["item"] % 2}),
    )
    odd = sum(item["item"] % 2 for item in key["items"] if item["task"] == "naming") / 12
    assert told["agreement"]["names"]["same"] == pytest.approx(odd)
    assert told["agreement"]["naming"]["same"] == pytest.approx(odd)
    assert told["agreement"]["names"]["questions"] == 12
    assert 0 < told["agreement"]["names"]["alpha"] < 1
    assert "photograph" not in told["agreement"], "nobody rated"
    assert evaluate(place, tmp_path, answers(key, "a", naming=half))["agreement"] == {}


def test_answers_that_break_off_count_as_far_as_they_go(place, key, tmp_path):
    said = answers(key, "a", naming=naming(first_name, right))
    said["answers"] = said["answers"][:5]
    del said["answers"][4]["name"]
    told = evaluate(place, tmp_path, said)
    assert told["naming"]["all"]["answers"] == 5
    assert told["raters"][0]["seconds"] == 1.5
    assert told["names"]["all"]["answers"] == 4
    assert told["ratings"] == {}


def test_a_file_that_went_through_an_editor_is_read(place, key, tmp_path):
    told = json.dumps(answers(key, "a", naming=naming(first_name, right)), indent=1).replace("\n", "\r\n")
    (tmp_path / "pasted.json").write_bytes(b"\xef\xbb\xbf" + told.encode())
    assert evaluate_answers(tmp_path / "pasted.json", place / "quiz")["names"]["all"]["share"] == 1


def test_a_session_saved_twice_counts_once(place, key, tmp_path):
    whole = answers(key, "a", "Ann", naming=naming(first_name, right))
    early = {**whole, "answers": [dict(one) for one in whole["answers"][:3]]}
    del early["answers"][2]["name"]
    said = []
    for order in ((early, whole), (whole, early)):
        told = evaluate(place, tmp_path, *order, say=said.append)
        assert len(told["raters"]) == 1
        assert told["naming"]["all"]["answers"] == 12
    assert len(said) == 2
    early["answers"][0]["name"] = (early["answers"][0]["name"] + 1) % 8
    number = early["answers"][0]["item"]
    with pytest.raises(UserError, match=f"of one session and differ in question {number}; leave one out"):
        evaluate(place, tmp_path, whole, early)
    # Two people of one name are two.
    said.clear()
    told = evaluate(place, tmp_path, whole, {**whole, "session": "b"}, say=said.append)
    assert len(told["raters"]) == 2
    assert said == ["2 sessions are by 'Ann': counted as 2 raters"]


def test_answers_to_several_quizzes_are_joined_each_with_its_key(place, key, tmp_path):
    other = make_quiz(write_photos(tmp_path / "photos", 4), tmp_path / "other", tasks=["rating"])
    marks = {"photograph": 5, "whole": 5, "harsh": 1}
    first = write(
        tmp_path / "1.json", answers(key, "a", rating=lambda item: {"ratings": {**marks, "photograph": 2}})
    )
    second = write(tmp_path / "2.json", answers(other, "b", rating=lambda item: {"ratings": marks}))
    told = evaluate_answers([first, second], [place / "quiz" / "key.json", tmp_path / "other"])
    assert told["folders"] == ["first", "second", "photos"]
    assert [told["ratings"]["photograph"]["folders"][name]["mean"] for name in told["folders"]] == [2, 2, 5]
    with pytest.raises(OutputError, match="it answers the quiz"):
        evaluate_answers([first, second], place / "quiz")


def test_the_key_beside_the_answers_and_folders_of_answers_are_found(key, place, tmp_path):
    made = make_quiz(write_photos(tmp_path / "photos", 3), tmp_path / "out", tasks=["rating"])
    marks = {"ratings": {"photograph": 3, "whole": 3, "harsh": 3}}
    write(tmp_path / "out" / "ann.json", answers(made, "a", rating=lambda item: marks))
    assert evaluate_answers(tmp_path / "out")["ratings"]["whole"]["all"]["answers"] == 3
    lone = write(tmp_path / "lone.json", answers(made, "a", rating=lambda item: marks))
    with pytest.raises(UserError, match=r"no key: give the quiz's key\.json"):
        evaluate_answers(lone)
    (tmp_path / "none").mkdir()
    with pytest.raises(OutputError, match=r"no \.json file of answers"):
        evaluate_answers(tmp_path / "none", tmp_path / "out")
    with pytest.raises(UserError, match="no file of answers"):
        evaluate_answers([], tmp_path / "out")


def damaged(key):
    """What files of answers may be: a change of a good one or the bytes, and what the line must say."""
    good = answers(key, "a", naming=naming(first_name, right))

    def changed(**changes):
        return json.dumps({**good, **changes}).encode()

    def answer(**changes):
        return changed(answers=[{**good["answers"][0], **changes}])

    rating = next(item["item"] for item in key["items"] if item["task"] == "rating")
    choice = next(item["item"] for item in key["items"] if item["task"] == "choice")
    marks = {"photograph": 1, "whole": 1, "harsh": 1}
    no_number = json.dumps(good).encode().replace(b'"seconds": 1.5', b'"seconds": NaN', 1)

    def rated(**marks):
        return changed(answers=[{"item": rating, "ratings": marks}])

    return {
        "empty": (b"", "no whole JSON"),
        "cut off": (json.dumps(good).encode()[:-40], "no whole JSON"),
        "no UTF-8": (b"\xff\xfe{", "no whole JSON"),
        "nested": (b"[" * 100_000, "nested too deeply"),
        "a list": (b"[]", "is not a file of answers"),
        "a number": (b"3", "is not a file of answers"),
        "the key": (json.dumps(key).encode(), "is not a file of answers"),
        "a later version": (changed(version=2), "another version"),
        "no answers": (changed(answers=None), "no list"),
        "an answer that is none": (changed(answers=[3]), "no question's number"),
        "no number": (answer(item="1"), "no question's number"),
        "true is no number": (answer(item=True), "no question's number"),
        "a large number": (answer(item=10**400), "no question's number"),
        "unknown question": (answer(item=999), "no question 999"),
        "twice": (changed(answers=[good["answers"][0]] * 2), "answered twice"),
        "no such name": (answer(name=8), "has no name 8"),
        "below 0": (answer(name=-1), "whole number from 0"),
        "half a name": (answer(name=1.5), "whole number from 0"),
        "NaN": (no_number, "NaN is no number"),
        "no time": (answer(seconds="long"), "no number of seconds"),
        "before it began": (answer(seconds=-1), "no number of seconds"),
        "free is a list": (answer(free=["x"]), "no text"),
        "free is a book": (answer(free="x" * 501), "no text of at most 500"),
        "rater is a table": (changed(rater={}), "rater is no text"),
        "session is missing": (changed(session=None), "session is no text"),
        "no quiz": (changed(quiz=None), "quiz is no text"),
        "another quiz": (changed(quiz="0123"), "it answers the quiz '0123'"),
        "another task": (answer(item=rating), "asks for something else"),
        "nothing answered": (changed(answers=[{"item": rating}]), "answer"),
        "a scale is missing": (rated(whole=1), "ratings on photograph"),
        "a scale too many": (rated(**marks, x=1), "ratings on"),
        "six": (rated(**{**marks, "whole": 6}), "from 1 to 5"),
        "a third photograph": (changed(answers=[{"item": choice, "photograph": 2}]), "from 0 to 1"),
        "too large": (b" " * (8 * 2**20 + 1), "too many for"),
    }


def test_what_is_no_file_of_answers_is_one_line(place, key, tmp_path):
    for name, (content, says) in damaged(key).items():
        path = tmp_path / "bad.json"
        path.write_bytes(content)
        with pytest.raises(OutputError) as caught:
            evaluate_answers(path, place / "quiz")
        line = str(caught.value)
        assert says in line, (name, line)
        assert str(path) in line
        assert "\n" not in line
        assert len(line) < 400, name


def test_what_is_no_key_is_one_line(place, key, tmp_path):
    good = write(tmp_path / "good.json", answers(key, "a", naming=naming(first_name, right)))
    item = key["items"][0]
    bad = {
        "the answers": answers(key, "a"),
        "no items": {**key, "items": 3},
        "an item of no folder": {**key, "items": [{**item, "folder": "elsewhere"}]},
        "right is none of the names": {**key, "items": [{**item, "right": 8}]},
        "names are numbers": {**key, "items": [{**item, "names": [1]}]},
        "an unknown task": {**key, "items": [{**item, "task": "singing"}]},
        "an item twice": {**key, "items": [item, item]},
        "an unhashable number": {**key, "items": [{**item, "item": []}]},
    }
    for name, content in bad.items():
        with pytest.raises(OutputError) as caught:
            evaluate_answers(good, write(tmp_path / "key.json", content))
        assert "\n" not in str(caught.value), name
    with pytest.raises(OutputError, match="should be the key of a quiz"):
        evaluate_answers(good, tmp_path / "none.json")
    with pytest.raises(OutputError, match="should be a file of answers"):
        evaluate_answers(tmp_path / "none.json", place / "quiz")


@pytest.mark.parametrize("marks", [[], {"a": 3}, {"a": {"b": 1}}, {"a": {"b": "yes"}}])
def test_what_is_no_table_of_names_is_one_line(place, key, tmp_path, marks):
    said = answers(key, "a", naming=naming(first_name, right))
    with pytest.raises(OutputError, match="names to accept are a table of labels"):
        evaluate(place, tmp_path, said, accept=write(tmp_path / "marks.json", marks))


def test_texts_of_others_do_not_move_the_terminals_cursor(place, key, tmp_path):
    said = answers(key, "a", "An\x1b[2Jn\u202e\n", naming=naming(lambda item: "\x1b]0;x\x07 beast", right))
    told = evaluate(place, tmp_path, said)
    assert told["raters"][0]["rater"] == "An [2Jn"
    assert "\x1b" not in json.dumps(told, ensure_ascii=False)


def test_a_folder_may_have_any_name(tmp_path):
    folders = [write_photos(tmp_path / name, 2) for name in ("all", "folders", "photograph")]
    key = make_quiz(folders, tmp_path / "quiz", tasks=["rating"])
    marks = {"all": 1, "folders": 2, "photograph": 5}
    said = answers(
        key, "a", rating=lambda item: {"ratings": dict.fromkeys(SCALE_NAMES, marks[item["folder"]])}
    )
    told = evaluate(tmp_path, tmp_path, said)["ratings"]["whole"]
    assert {name: row["mean"] for name, row in told["folders"].items()} == marks
    assert told["all"]["mean"] == pytest.approx(8 / 3)


def test_labels_are_those_of_the_key(key):
    assert {item["label"] for item in key["items"] if item["task"] == "naming"} <= set(LABELS)


def test_it_is_public():
    assert fv.evaluate_answers is evaluate_answers
